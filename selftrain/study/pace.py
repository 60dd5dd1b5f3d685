"""How long the nodes of a study are expected to take: by the images that they see, and by the records of
finished ones with the same network.
"""

from pathlib import Path

from selftrain import record
from selftrain.record import Record
from selftrain.study.graph import Graph, Kind, Node
from selftrain.system.errors import UserError

Network = tuple
"""values of the fields of a recipe that the time of an image goes by, None of those that it does not have;
and what is frozen
"""
NETWORK_FIELDS = ("backbone", "neck", "channels", "head_depth", "image_size")


def network_of(node: Node) -> Network:
    """The network of a node."""
    return (*(getattr(node.recipe, name, None) for name in NETWORK_FIELDS), node.cell.arm.freeze)


def _network_of_record(done: Record) -> Network:
    return (*(done.settings.get(name) for name in NETWORK_FIELDS), done.arm.freeze)


class Pace:
    """Seconds and images of finished nodes, by kind and network."""

    def __init__(self):
        self._sums: dict[tuple[Kind, Network], tuple[float, int]] = {}

    def add(self, kind: Kind, network: Network, seconds: float, images: int) -> None:
        """One finished node."""
        before = self._sums.get((kind, network), (0.0, 0))
        self._sums[kind, network] = before[0] + seconds, before[1] + images

    def knows(self, network: Network) -> bool:
        """Whether a training of this network is among them."""
        return any((kind, network) in self._sums for kind in ("supervised", "student"))

    def completed(self, others: "Pace", networks: set[Network]) -> "Pace":
        """This pace, and that of others for the networks that it does not know."""
        both = Pace()
        both._sums = dict(self._sums)
        for (kind, network), sums in others._sums.items():
            if network in networks and not self.knows(network):
                both._sums[kind, network] = sums
        return both

    def seconds(self, node: Node) -> float | None:
        """What a node is expected to take, by those of its kind, else by training at all; None before there
        is any of its network.
        """
        for kind in (node.kind, "supervised", "student"):
            if sums := self._sums.get((kind, network_of(node))):
                return node.images * sums[0] / sums[1]
        return None


def seconds_of(graph: Graph, node: Node) -> float | None:
    """What a finished node took, by the records: training and evaluation of the curve, or labelling; not the
    start of its processes.
    """
    if node.kind == "labels":
        records = [done for after in graph.followers(node) if (done := graph.finished(after.cell))]
        return records[0].measured.label_seconds if records else None
    records = [graph.finished(cell) for cell in node.cells]
    if not all(records):
        return None
    return sum(done.measured.seconds - done.measured.label_seconds for done in records)


def pace_of(graph: Graph) -> Pace:
    """The pace of a study's finished nodes."""
    pace = Pace()
    for node in graph.nodes:
        if (seconds := seconds_of(graph, node)) is not None:
            pace.add(node.kind, network_of(node), seconds, node.images)
    return pace


def pace_of_others(graph: Graph) -> tuple[Pace, str | None]:
    """The same before any has finished, from records with the same network: of the studies beside this one,
    else of results/; and a sentence on which they are.
    """
    networks, pace = {network_of(node) for node in graph.nodes}, Pace()
    for folder in (graph.records.parent, Path(graph.file).resolve().parent.parent / "results" / "records"):
        records = [done for done in _records_below(folder) if done.task == graph.program]
        records = [done for done in records if _network_of_record(done) in networks]
        for done in records:
            network, measured = _network_of_record(done), done.measured
            kind = "student" if done.arm.rounds else "supervised"
            pace.add(kind, network, measured.seconds - measured.label_seconds, done.images)
            if done.pseudo_labels:
                pace.add("labels", network, measured.label_seconds, done.pseudo_labels["pool_images"])
        if records:
            devices = sorted({done.measured.hardware["device"] for done in records})
            return pace, f"records of {folder}, on {', '.join(devices)}"
    return pace, None


def _records_below(folder: Path) -> list[Record]:
    records = []
    for file in sorted(folder.glob("*/*.json")):
        try:
            records.append(record.read(file))
        except UserError:  # of something else: it only tells no time
            continue
    return [done for done in records if done is not None]
