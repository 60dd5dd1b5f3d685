"""The graph of a study: cells to train and pools to label, who waits for whom, and what of it is done.

Who waits for whom follows from the declarations of the cells (`Cell.needs`).
"""

import os
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from msgspec.structs import replace

from selftrain import record
from selftrain.cells import Cell
from selftrain.label import labels_file
from selftrain.program import Benchmark
from selftrain.recipe import Recipe, digest
from selftrain.record import Record, Setting, Tuned
from selftrain.splits import Splits
from selftrain.study.ladder import ONE_RUNG, Ladder
from selftrain.study.options import Command, Study
from selftrain.study.places import Place, place, record_name, setting_title, shortest
from selftrain.study.plans import Planned, make_plans
from selftrain.system.files import file_name

Kind = Literal["supervised", "labels", "student"]


@dataclass(frozen=True, eq=False)
class Node:
    """One `accelerate launch`: it trains one cell (a student's further rounds with it) or labels the pool
    with one.
    """

    kind: Kind
    cells: tuple[Cell, ...]
    """whose records it makes; of a labels node: the teacher"""
    planned: Planned
    """the command that it is a part of"""
    options: tuple[str, ...]
    """of the benchmark, after the name of the preset"""
    needs: tuple["Node", ...]
    """what must be done before"""
    setting: Setting
    """where it stands in the study"""

    @property
    def cell(self) -> Cell:
        """The first of its cells."""
        return self.cells[0]

    @property
    def recipe(self) -> Recipe:
        """The recipe of its first cell."""
        return self.cell.recipe

    @property
    def images(self) -> int:
        """Images that it sees: what its duration goes by."""
        if self.kind == "labels":
            return len(self.planned.splits.pool)
        return sum(cell.images for cell in self.cells)

    @property
    def id(self) -> str:
        """Its name in the names of files."""
        own = {axis: value for axis, value in self.setting.items() if axis not in self._settings_of_its_cell}
        words = [file_name(f"{axis}-{shortest(value)}") for axis, value in own.items()]
        return "-".join([self.kind, self.cell.folder.name, *words])

    @property
    def _settings_of_its_cell(self) -> set[str]:
        return {*self.cell.settings(), "labels", "budget"}

    @property
    def title(self) -> str:
        """What a person calls it."""
        what = f"{self.cell.arm}: label the pool" if self.kind == "labels" else str(self.cell.arm)
        return f"{what}, {setting_title(self.setting)}, seed {self.recipe.seed}"

    def label_file(self, teacher: Record) -> Path:
        """Where the labels that it makes lie, once its teacher has a record."""
        data = self.planned.splits
        return labels_file(
            self.planned.task.labeller,
            self.planned.command.recipe,
            teacher.hashes.final,
            data.pool,
            data.train,
            self.cell.folder,
        )


# ---- from declarations to nodes -------------------------------------------------------------------------


def make_nodes(plans: list[Planned], varied: tuple[str, ...] = (), ladder: Ladder = ONE_RUNG) -> list[Node]:
    """The nodes of these commands, each cell trained by one of them, each pool labelled once by each teacher
    in each way.

    Plans of cells that others need come before the others; raises ValueError otherwise.
    """
    training: dict[str, Node] = {}
    """by the key of the cell"""
    labelling: dict[tuple[str, str, str], Node] = {}
    """by teacher, pool, and how it labels"""

    def _train(
        kind: Kind, cells: list[Cell], planned: Planned, labelled: dict[str, Node], *more: str
    ) -> None:
        new = tuple(cell for cell in cells if cell.key not in training)
        if new:
            needs = _needs(new, training, labelled)
            setting = place(new[0], varied, ladder)[1]
            node = Node(kind, new, planned, (*planned.command.options, *more), needs, setting)
            training.update((cell.key, node) for cell in new)

    for planned in plans:
        students = [cell for cell in planned.cells if cell.teacher is not None]
        others = [cell for cell in planned.cells if cell.teacher is None]
        _train("supervised", others, planned, {}, *(["--until", "supervised"] if students else []))
        labelled = {}
        for teacher in (cell for cell in others if any(each.teacher.key == cell.key for each in students)):
            how = digest(planned.label_settings)
            made = _labels_node(teacher, planned, training, varied, ladder)
            labelled[teacher.key] = labelling.setdefault((teacher.key, planned.splits.pool.hash, how), made)
        _train("student", students, planned, labelled)
    return _in_order(training, labelling)


def _labels_node(
    teacher: Cell, planned: Planned, training: dict[str, Node], varied: tuple[str, ...], ladder: Ladder
) -> Node:
    """The node that labels the pool; its setting is its teacher's, and how it labels where that is varied."""
    recipe = planned.command.recipe
    names = {*planned.label_settings, "protocol"} | teacher.settings().keys()  # protocol: which pool
    axes = {name: getattr(recipe, name) for name in varied if name in names}
    options = (*planned.command.options, "--until", "labels")
    setting = Setting(place(teacher, (), ladder)[1], **axes)
    return Node("labels", (teacher,), planned, options, (training[teacher.key],), setting)


def _needs(cells: tuple[Cell, ...], training: dict[str, Node], labelled: dict[str, Node]) -> tuple[Node, ...]:
    """The nodes that must be done before these cells can be trained by one command."""
    own = {cell.key for cell in cells}
    found: dict[str, Node] = {}
    for cell in cells:
        for role, needed in cell.needs():
            if needed.key in own:
                continue
            node = labelled.get(needed.key) if role == "teacher" else None
            node = node or training.get(needed.key)
            if node is None:
                raise ValueError(f"{cell.folder.name} needs {needed.folder.name}, which nothing trains")
            found.setdefault(node.id, node)
    return tuple(found.values())


def _in_order(training: dict[str, Node], labelling: dict) -> list[Node]:
    """Nodes in the order they run: each right behind those that it needs."""
    ordered: dict[str, Node] = {}

    def _visit(node: Node) -> None:
        if node.id not in ordered:
            for needed in node.needs:
                _visit(needed)
            ordered[node.id] = node

    for node in (*training.values(), *labelling.values()):
        _visit(node)
    return list(ordered.values())


# ---- the graph ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Graph:
    """Nodes in the order they run, needed ones first; and the records of earlier calls."""

    nodes: list[Node]
    records: Path
    """folder of the study's committed records"""
    file: str
    """of the program that trains its cells"""
    preset: str
    """name of the recipe"""
    launch: str = ""
    """options of `accelerate launch`"""
    contrasts: Path | None = None
    """file of the registered contrasts, which every command signs its records with"""
    varied: tuple[str, ...] = ()
    """fields of the recipe that the study varies besides policy and fraction"""
    ladder: Ladder = ONE_RUNG
    """the budgets that its arms are trained for"""
    modules: tuple[str, ...] = ()
    """of the code that its cells begin with; see `provenance`"""
    tuned: Mapping[tuple[str, str], Tuned] = field(default_factory=dict)
    """by (start, freeze): how the study tuned it, which its records say"""
    committed: dict[str, Record] = field(default_factory=dict)
    """by key of the cell"""
    unsettled: set[str] = field(default_factory=set)
    """keys of stale cells that would be run again: a dry run's"""

    @property
    def program(self) -> str:
        """Its name without an ending: coco, pascal ..."""
        return Path(self.file).stem

    @cached_property
    def cells(self) -> list[Cell]:
        """All cells, needed ones first."""
        return [cell for node in self.nodes if node.kind != "labels" for cell in node.cells]

    @cached_property
    def splits(self) -> dict[str, Splits]:
        """The data of each cell, by its key."""
        trained = (node for node in self.nodes if node.kind != "labels")
        return {cell.key: node.planned.splits for node in trained for cell in node.cells}

    def place(self, of: Cell | Record) -> Place:
        """Where a cell or a record stands in this study."""
        return place(of, self.varied, self.ladder)

    def read_committed(self) -> None:
        """Read the committed records (again)."""
        self.committed.clear()
        self.committed.update((done.key, done) for _, done in read_records(self.records))

    def command(self, node: Node) -> list[str]:
        """What runs a node; the launcher leaves the last word in the log to the program."""
        launcher = [sys.executable, "-m", "accelerate.commands.launch", "--quiet", *shlex.split(self.launch)]
        return [*launcher, self.file, self.preset, *node.options, *self._signed]

    def printed(self, node: Node) -> str:
        """The same, as a person would type it: then a traceback below a message does no harm."""
        script = os.path.relpath(self.file)
        launcher = ["accelerate", "launch", *shlex.split(self.launch)]
        return shlex.join([*launcher, script, self.preset, *node.options, *self._signed])

    @property
    def _signed(self) -> list[str]:
        return [] if self.contrasts is None else ["--contrasts", str(self.contrasts)]

    def finished(self, cell: Cell) -> Record | None:
        """A cell's record, its own or a committed one; None where there is none of today's test set."""
        if cell.key in self.unsettled:
            return None
        for done in (record.read(cell.folder / "record.json"), self.committed.get(cell.key)):
            if done is not None and done.hashes.test == self.splits[cell.key].test.hash:
                return done
        return None

    def done(self, node: Node) -> bool:
        """Whether nothing is left to do for it: its records exist, or its files, or nobody needs them any
        more.
        """
        if node.kind == "labels":
            if self._not_needed(node):
                return True
            teacher = self.finished(node.cell)
            return teacher is not None and node.label_file(teacher).exists()
        if not all(self.finished(cell) for cell in node.cells):
            return False
        # a committed record without its weights cannot teach
        return self._not_needed(node) or all((cell.folder / "final.pt").exists() for cell in node.cells)

    def _not_needed(self, node: Node) -> bool:
        """Whether all that waits for it is done, so that it need not be there."""
        return all(self.done(other) for other in self.followers(node))

    def followers(self, node: Node) -> list[Node]:
        """The nodes that wait for this one."""
        return self._followers.get(node.id, [])

    @cached_property
    def _followers(self) -> dict[str, list[Node]]:
        found: dict[str, list[Node]] = {}
        for node in self.nodes:
            for needed in node.needs:
                found.setdefault(needed.id, []).append(node)
        return found

    def lacking(self, node: Node) -> str:
        """What a command that ended well should have left and did not."""
        files = [
            str(cell.folder / name)
            for cell in node.cells
            for name in ("record.json", "final.pt")
            if not (cell.folder / name).exists()
        ]
        teacher = self.finished(node.cell)
        if not files and node.kind == "labels" and teacher:
            files = [str(node.label_file(teacher))]
        return (
            f"{', '.join(files) or 'its result'} is missing; put it back, or delete what lies beside it, "
            "and the cell is run again"
        )

    def publish(self, node: Node) -> None:
        """Its records into the study's folder of records, one file a place of the tables."""
        for cell in node.cells if node.kind != "labels" else ():
            done = record.read(cell.folder / "record.json")
            if done is None or self.finished(cell) != done:
                continue
            signed = replace(done, tuned=self.tuned.get((done.arm.start, done.arm.freeze)))
            if self.committed.get(cell.key) != signed:
                record.write(self.records / record_name(done, self.varied, self.ladder), signed)
                self.committed[cell.key] = signed


def read_records(folder: Path) -> list[tuple[Path, Record]]:
    """Those that are there: another call may move one away meanwhile."""
    return [(file, done) for file in sorted(folder.glob("*.json")) if (done := record.read(file)) is not None]


def build(
    benchmark: Benchmark,
    study: Study,
    commands: list[Command],
    records: Path,
    warn: Callable[[str], None],
    source: Any = None,
) -> Graph:
    """The graph of a study's commands.  Reads, or generates, the data once.

    source: of the data, as `make_plans` takes it.
    Raises UserError for data or weights that are not there.
    """
    plans = make_plans(benchmark, commands, warn, source)
    ladder = study.ladder(benchmark.recipes[study.recipe]().steps)
    graph = Graph(
        make_nodes(plans, study.varied, ladder),
        records,
        benchmark.file,
        study.recipe,
        launch=study.launch,
        varied=study.varied,
        ladder=ladder,
        modules=benchmark.modules,
    )
    graph.read_committed()
    return graph
