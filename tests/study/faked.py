"""Cells that are not trained: a study's commands leave at once what a training would have left."""

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from selftrain import provenance, record
from selftrain.cells import Cell
from selftrain.record import Need, Record
from selftrain.study.graph import Graph, Node
from selftrain.study.runner import Runner
from tests.records import made_up, with_hashes

Score = Callable[[Cell], float]


def result(graph: Graph, cell: Cell, score: float) -> Record:
    """The record of a cell, by the code and on the data of today."""
    settings, splits = cell.settings(), graph.splits[cell.key]
    fields = {name: settings[name] for name in ("policy", "fraction", "seed", "steps")}
    made = made_up(cell.arm, score=score, **fields)
    hashes = {name: getattr(splits, name).hash for name in ("train", "val", "test")}
    hashes |= {"weights": cell.root_weights, "pool": splits.pool.hash if cell.teacher else None}
    needs = {role: Need(needed.key, "f") for role, needed in cell.needs()}
    sources = provenance.sources(graph.modules)
    changed = replace(
        made,
        key=cell.key,
        recipe=cell.recipe.name,
        settings=settings,
        needs=needs,
        modules=list(graph.modules),
        sources=sources,
    )
    return with_hashes(changed, **hashes)


class Fake:
    """Runs of a study that take no time; `score` says what a cell scores, nan that its loss diverges."""

    def __init__(self, score: Score, patch: pytest.MonkeyPatch):
        self.score = score
        self.ran: list[Node] = []
        self.before: Callable[[Node], None] = lambda node: None
        """called when a node begins"""
        patch.setattr(Runner, "_launch", lambda runner, node: self._launch(runner, node))

    @property
    def seeds(self) -> list[int]:
        """Of the nodes that were run."""
        return [node.recipe.seed for node in self.ran]

    def _launch(self, runner: Runner, node: Node) -> None:
        graph, progress = runner.graph, runner.progress
        self.ran.append(node)
        self.before(node)
        runner.command_seconds[node.id] = 1.0
        if node.kind == "labels":
            file = node.label_file(graph.finished(node.cell))
            file.parent.mkdir(parents=True)
            file.touch()
        for cell in node.cells if node.kind != "labels" else ():
            score = self.score(cell)
            if score != score:
                progress.log(node).parent.mkdir(parents=True, exist_ok=True)
                progress.log(node).write_text("error: loss is nan. Lower --lr, lengthen --warmup-steps\n")
                progress.exit_codes[node.id] = 1
                return
            cell.folder.mkdir(parents=True)
            (cell.folder / "final.pt").touch()
            record.write(cell.folder / "record.json", result(graph, cell, score))
        graph.publish(node)
