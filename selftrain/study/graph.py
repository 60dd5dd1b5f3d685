"""The graph of a study: supervised cell -> pseudo-labels -> student, and what of it is done, stale or waiting."""

import os
import shlex
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from selftrain import provenance, record, splits
from selftrain import run as rounds
from selftrain.program import Benchmark
from selftrain.pseudo import labels_file
from selftrain.recipe import Recipe, digest, identity
from selftrain.record import Record, Setting
from selftrain.report.places import kind, place_name
from selftrain.run import Cell
from selftrain.system.errors import UserError
from selftrain.system.files import file_name

# by a study, besides start, self-training and seed
VARIED = frozenset({"policy", "magnitude", "randaugment_ops", "fraction", "steps"})


@dataclass(frozen=True, eq=False)
class Node:
    """One `accelerate launch`: it trains one cell (a student's further rounds with it) or labels the pool with one."""

    kind: str  # supervised, labels or student
    cells: tuple[Cell, ...]  # whose records it makes
    options: tuple[str, ...]  # of the benchmark, after the recipe's name
    needs: "Node | None"
    images: int  # that it sees: what its duration goes by
    labels: Callable[[], Path | None] = lambda: (
        None
    )  # of a labels node: the file that it makes, once its teacher is known

    @property
    def teacher(self) -> Cell:
        return self.cells[0] if self.kind != "student" else self.cells[0].teacher

    @property
    def recipe(self) -> Recipe:
        return self.cells[0].recipe

    @property
    def id(self) -> str:
        return f"{self.kind}-{self.cells[0].folder.name}"

    @property
    def title(self) -> str:
        r, cell = self.recipe, self.cells[0]
        what = f"{cell.arm}: label the pool" if self.kind == "labels" else str(cell.arm)
        place = Setting(policy=r.policy, fraction=r.fraction)
        return f"{what}, {place_name(place, ' of the labels')}, seed {r.seed}"


@dataclass(frozen=True)
class Graph:
    """Nodes in the order they run, teachers before students; and the records of earlier calls."""

    nodes: list[Node]
    records: Path  # folder of the study's committed records
    file: str  # of the program that trains its cells
    preset: str
    launch: str  # options of `accelerate launch`
    committed: dict[str, Record] = field(default_factory=dict)  # by key of the cell
    unsettled: set[str] = field(
        default_factory=set
    )  # keys of stale cells that would be run again: a dry run's

    @property
    def program(self) -> str:
        """coco or pascal."""
        return Path(self.file).stem

    @property
    def cells(self) -> list[Cell]:
        return [cell for node in self.nodes if node.kind != "labels" for cell in node.cells]

    def read_committed(self) -> None:
        self.committed.clear()
        self.committed.update((found.key, found) for _, found in read_records(self.records))

    def command(self, node: Node) -> list[str]:
        """What runs a node."""
        return [
            sys.executable,
            "-m",
            "accelerate.commands.launch",
            *shlex.split(self.launch),
            self.file,
            self.preset,
            *node.options,
        ]

    def printed(self, node: Node) -> str:
        """The same, as a person would type it."""
        script = os.path.relpath(self.file)
        return shlex.join(
            ["accelerate", "launch", *shlex.split(self.launch), script, self.preset, *node.options]
        )

    def finished(self, cell: Cell) -> Record | None:
        return (
            None
            if cell.key in self.unsettled
            else record.read(cell.folder / "record.json") or self.committed.get(cell.key)
        )

    def done(self, node: Node) -> bool:
        """Whether nothing is left to do for it: its records exist, or its files, or nobody needs them any more."""
        if node.kind == "labels":
            return (
                self._idle(node)
                or self.finished(node.teacher) is not None
                and (file := node.labels()) is not None
                and file.exists()
            )
        if not all(self.finished(cell) for cell in node.cells):
            return False
        # a committed record without its weights cannot teach
        return node.kind == "student" or self._idle(node) or (node.cells[0].folder / "final.pt").exists()

    def _idle(self, node: Node) -> bool:
        return all(self.done(other) for other in self.followers(node))

    def followers(self, node: Node) -> list[Node]:
        return self._followers.get(node.id, [])

    @cached_property
    def _followers(self) -> dict[str, list[Node]]:
        found: dict[str, list[Node]] = {}
        for node in self.nodes:
            if node.needs:
                found.setdefault(node.needs.id, []).append(node)
        return found

    def lacking(self, node: Node) -> str:
        """What a command that ended well should have left and did not."""
        found = [
            str(cell.folder / name)
            for cell in node.cells
            for name in ("record.json", "final.pt")
            if not (cell.folder / name).exists()
        ]
        return f"{', '.join(found) or node.labels()} is missing; put it back, or delete what lies beside it, and the cell is run again"

    def publish(self, node: Node) -> None:
        """Its records into the study's folder of records, one file a place of the tables."""
        for cell in node.cells if node.kind != "labels" else ():
            found = record.read(cell.folder / "record.json")
            if found is not None and self.committed.get(cell.key) != found:
                record.write(self.records / record_name(found), found)
                self.committed[cell.key] = found


def place_of(cell: Cell) -> tuple:
    """Where a cell's record will stand: its place in the tables, and its seed."""
    r = cell.recipe
    return cell.arm, r.policy, r.fraction, r.protocol_name if cell.teacher else r.label_source, r.seed


def place_and_seed(found: Record) -> tuple:
    """The same of a record that stands there."""
    return found.arm, found.settings["policy"], found.settings["fraction"], kind(found), found.seed


def shortest(fraction: float) -> str:
    """`1`, `0.05`, `0.3333333333333333`: read again it is the same number, or a command would give another cell than it was made for."""
    return text if float(text := f"{fraction:g}") == fraction else repr(fraction)


def record_name(found: Record) -> str:
    """The file of a record in a study's folder."""
    arm, policy, fraction, labels, seed = place_and_seed(found)
    return f"{file_name('-'.join(arm.words))}{'' if labels == 'train' else f'-{labels}'}-{policy}-f{shortest(fraction)}-s{seed}.json"


def build(
    benchmark: Benchmark,
    preset: str,
    cells: list[tuple[Recipe, tuple[str, ...]]],
    records: Path,
    launch: str,
    warn: Callable[[str], None],
) -> Graph:
    """The graph of `cells`: recipes of one start each, with the options that make them of the preset.  Reads, or generates, the data once."""
    source = _Cached(benchmark.source)
    told: set[str] = set()

    def once(text: str) -> None:
        if text not in told:
            told.add(text)
            warn(text)

    nodes: list[Node] = []
    read: dict[tuple, splits.Splits] = {}
    for recipe, options in cells:
        if recipe.unlabeled == ("rest",) and recipe.fraction == 1:
            once("--unlabeled rest leaves no pool with all labels: supervised cells only there")
        which = (recipe.fraction, recipe.seed, recipe.self_training)
        if which not in read:
            read[which] = splits.load(recipe, source, warn=once)
        data = read[which]
        first, *students = rounds.plan(recipe, data)
        nodes.append(
            Node(
                "supervised",
                (first,),
                (*options, *(["--until", "supervised"] if students else [])),
                None,
                first.images,
            )
        )
        if students:
            nodes.append(
                Node(
                    "labels",
                    (first,),
                    (*options, "--until", "labels"),
                    nodes[-1],
                    len(data.pool),
                    _labels(benchmark.task, recipe, first, data),
                )
            )
            nodes.append(
                Node("student", tuple(students), options, nodes[-1], sum(cell.images for cell in students))
            )
    graph = Graph(nodes, records, benchmark.file, preset, launch)
    graph.read_committed()
    return graph


def _labels(task: type, recipe: Recipe, teacher: Cell, data: splits.Splits) -> Callable[[], Path | None]:
    def file() -> Path | None:
        found = record.read(teacher.folder / "record.json")
        return found and labels_file(task, recipe, found.hashes.final, data.pool, data.train, teacher.folder)

    return file


class _Cached:
    """A data source that reads each data set once, however many cells use it."""

    def __init__(self, source):
        self.layout, self.import_ids, self.own_pool = source.layout, source.import_ids, source.own_pool
        self._source, self._read = source, {}

    def read(self, recipe: Recipe, root: Path, warn: Callable[[str], None]):
        # of the recipe only what names files decides what is read
        key = (
            root,
            *(
                getattr(recipe, name, None)
                for name in (
                    "protocol",
                    "train_json",
                    "val_json",
                    "test_json",
                    "train_images",
                    "val_images",
                    "test_images",
                )
            ),
        )
        if key not in self._read:
            self._read[key] = self._source.read(recipe, root, warn)
        return self._read[key]


def read_records(folder: Path) -> list[tuple[Path, Record]]:
    """Those that are there: another call may move one away meanwhile."""
    return [
        (file, found) for file in sorted(folder.glob("*.json")) if (found := record.read(file)) is not None
    ]


# ---- records of other code, data or settings ------------------------------------------------------------------------------------


def difference(found: Record, cell: Cell) -> list[str]:
    """What a record's cell has other than the cell that now stands in its place."""
    mine = identity(cell.recipe, student=cell.teacher is not None)
    then = found.settings
    reasons = [
        f"{name} {then.get(name)} -> {mine.get(name)}"
        for name in sorted(mine.keys() | then.keys())
        if digest(then.get(name)) != digest(mine.get(name))
    ]
    reasons += [
        f"{what} changed"
        for what, now in (("data", cell.data), ("pool", cell.pool), ("weights", cell.weights))
        if getattr(found.hashes, what) != now
    ]
    return reasons or ["its teacher changed"]


@dataclass(frozen=True)
class Stale:
    lines: list[str]  # what is of other code, data or settings than now, and why
    again: set[str]  # keys of the cells that --stale rerun runs again: these, and students of these
    files: list[tuple[Path, Record, Cell]]  # committed records and the cells that stand in their places now
    other: list[Path]  # those of other settings or data
    foreign: list[str]  # the same of another part of the matrix, which no choice runs again

    def check(self, choice: str, out: str) -> None:
        """Raises UserError on `refuse`, on `keep` where a record is of other settings, and where one of another part of the matrix is: a table of both would mean nothing."""
        if self.foreign:
            raise UserError(
                "\n".join(
                    [
                        "records of this study with other settings:",
                        *self.foreign,
                        "a study's tables hold one setting: give that one, or another --name",
                    ]
                )
            )
        if self.lines and choice == "refuse":
            raise UserError(
                f"{self}\n--stale rerun runs these cells again (what is there is moved to {out}/stale); --stale keep takes what older code "
                "measured as it is; another --name keeps both apart"
            )
        if self.other and choice == "keep":
            raise UserError(
                f"{self}\n--stale keep cannot keep a record of other settings or data ({self.other[0]} first): give another --name, or --stale rerun"
            )

    def __str__(self) -> str:
        return "\n".join(["stale:", *self.lines])


def find_stale(graph: Graph) -> Stale:
    """Every finished or begun cell, and every committed record, that is of other code, data or settings than now."""
    cells = graph.cells
    by_place = {place_of(cell): cell for cell in cells}
    stale = {cell.key: reasons for cell in cells if (reasons := rounds.stale(cell))}
    found = Stale(
        [f"{cell.folder}: {'; '.join(stale[cell.key])}" for cell in cells if cell.key in stale],
        set(stale),
        [],
        [],
        [],
    )
    for file, r in read_records(graph.records):
        cell = by_place.get(place_and_seed(r))
        if cell is None:  # of another part of the matrix
            if reasons := apart(r, cells[0].recipe):
                found.foreign.append(f"{file}: {'; '.join(reasons)}")
            continue
        reasons = provenance.stale(r) if r.key == cell.key else difference(r, cell)
        teacher = graph.finished(cell.teacher) if cell.teacher else None
        if not reasons and teacher and teacher.hashes.final != r.needs["teacher"].final:
            reasons = ["its teacher was trained anew, to other weights"]
        if reasons:
            found.lines.append(f"{file}: {'; '.join(reasons)}")
            found.again.add(cell.key)
            found.other.extend([file] if r.key != cell.key else [])
        found.files.append((file, r, cell))
    for cell in cells:  # a student follows its teacher: that will be another
        if cell.teacher and cell.teacher.key in found.again:
            found.again.add(cell.key)
    return found


def apart(found: Record, recipe: Recipe) -> list[str]:
    """What a record has other than this recipe, of what a study does not vary."""
    mine, then = (
        identity(recipe, student=found.arm.rounds > 0) | {"recipe": recipe.name},
        found.settings | {"recipe": found.recipe},
    )
    return [
        f"{name} {then[name]} -> {mine[name]}"
        for name in sorted(mine.keys() & then.keys() - VARIED - {"seed"})
        if digest(then[name]) != digest(mine[name])
    ]


def show_stale(graph: Graph, choice: str, say: Callable[[str], None]) -> None:
    """What `settle_stale` would say or refuse; what it would run again counts as not done."""
    found = find_stale(graph)
    try:
        found.check(choice, graph.nodes[0].recipe.out)
        if found.lines:
            say(f"{found}\n{'kept as they are' if choice == 'keep' else 'to be run again'}")
    except UserError as error:
        say(str(error))
    if choice != "keep":
        graph.unsettled.update(found.again)


def settle_stale(graph: Graph, choice: str, say: Callable[[str], None]) -> None:
    """List what is stale and do as --stale says.  Raises UserError as `Stale.check` does, and where a cell that would be run again is being trained."""
    found, cells = find_stale(graph), graph.cells
    found.check(choice, cells[0].recipe.out)
    if not found.lines:
        return
    if choice == "keep":
        say(f"{found}\nkept as they are")
        return
    for cell in (cell for cell in cells if cell.key in found.again):  # before anything is moved
        with rounds.training_lock(cell) as lock:
            if not lock.take():
                raise UserError(
                    f"{cell.folder}: is being trained ({lock.holder()}); stop that command before its cell is run again"
                )
    say(f"{found}\nrun again")
    rounds.settle_stale(cells, "rerun", lambda _: None)
    for file, r in ((file, r) for file, r, cell in found.files if cell.key in found.again):
        target = Path(cells[0].recipe.out) / "stale" / f"{file.stem}-{time.time_ns()}.json"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(file, target)
        graph.committed.pop(r.key, None)
