"""Cells: training runs that say what they are made of.

A cell declares its first weights, the feeds that it learns from, what is frozen, and what it is scored on.
Its key, the cells it needs, its place in the order of work, its cost and the name of its arm follow from that
declaration.

    teacher = Cell(recipe, Pretrained("imagenet", "…"), (human,), val)
    pseudo = Feed("pseudo", pool.hash, Pseudo(teacher), "boxes", 16)
    student = Cell(recipe, teacher.weights, (human, pseudo), val)
    student.needs()                 # (("teacher", teacher),)
    str(student.arm)                # imagenet + self-training
"""

import functools
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from selftrain.recipe import Recipe, digest, first_arms, identity, neutral_fields
from selftrain.record import Arm
from selftrain.splits import Splits
from selftrain.starts.start import identify

# ---- first weights --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Random:
    """Every weight is drawn from the seed."""

    start: ClassVar[str] = "random"
    identity: ClassVar[str] = "random"

    def declare(self) -> list:
        """The part of the cell's key that this declaration gives, as plain json."""
        return ["random"]


@dataclass(frozen=True)
class Pretrained:
    """The trunk, or of a checkpoint the whole network, comes from elsewhere."""

    start: str
    """imagenet, imagenet++, timm:MODEL.TAG or checkpoint:FILE"""
    identity: str
    """hash of the file, or the hub's name of the weights"""

    def declare(self) -> list:
        """The part of the cell's key that this gives: kind of start and identity of the weights, no path."""
        return [self.start.partition(":")[0], self.identity]


@dataclass(frozen=True)
class Final:
    """The final weights of another cell."""

    cell: "Cell"
    part: Literal["trunk", "all"] = "all"
    """the trunk alone, under fresh heads, or the whole network"""

    def declare(self) -> list:
        """The part of the cell's key that this declaration gives, as plain json."""
        return ["final", self.part, self.cell.key]


Weights = Random | Pretrained | Final


# ---- labels ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Human:
    """Labels that people made."""

    def declare(self) -> list:
        """The part of the cell's key that this declaration gives, as plain json."""
        return ["human"]


@dataclass(frozen=True)
class Pseudo:
    """Labels that another cell's final network gives to a pool."""

    teacher: "Cell"

    def declare(self) -> list:
        """The part of the cell's key that this declaration gives, as plain json."""
        return ["pseudo", self.teacher.key]


@dataclass(frozen=True)
class Acquired:
    """Human labels of the `count` images of a pool that a strategy chose by another cell's predictions."""

    cell: "Cell"
    strategy: str
    count: int

    def declare(self) -> list:
        """The part of the cell's key that this declaration gives, as plain json."""
        return ["acquired", self.strategy, self.count, self.cell.key]


@dataclass(frozen=True)
class Unlabelled:
    """No labels: the objective needs images alone."""

    def declare(self) -> list:
        """The part of the cell's key that this declaration gives, as plain json."""
        return ["unlabelled"]


Labels = Human | Pseudo | Acquired | Unlabelled


@dataclass(frozen=True)
class Feed:
    """One of the streams of samples that a training step mixes."""

    name: str
    """human, pseudo, ...; also enters the seed of the stream's order and augmentation"""
    data: str
    """hash of the images (and of their labels, where people made them)"""
    labels: Labels
    objective: str
    """which of the task's objectives it trains"""
    batch: int
    """samples a step, over all processes and micro-batches"""

    def declare(self) -> list:
        """The part of the cell's key that this declaration gives, as plain json."""
        return [self.name, self.data, self.labels.declare(), self.objective, self.batch]


def key_of(settings: dict[str, Any], weights: list, feeds: list, val: str, freeze: str = "none") -> str:
    """The key of a cell with these declarations; `settings` are without neutral values."""
    declaration = {"recipe": settings, "weights": weights, "feeds": feeds, "val": val}
    return digest(declaration | ({"freeze": freeze} if freeze != "none" else {}))


def without_neutral(settings: dict[str, Any], recipe: type[Recipe]) -> dict[str, Any]:
    """Settings but for those at the value at which they do nothing: so a new field moves no older key."""
    neutral = neutral_fields(recipe)
    return {
        name: value
        for name, value in settings.items()
        if name not in neutral or json.dumps(value) != json.dumps(neutral[name])
    }


# ---- cells ----------------------------------------------------------------------------------------------

OF_THE_MIX = ("alpha", "loss_momentum")
"""fields of a recipe that decide how several feeds' losses become one"""


@dataclass(frozen=True)
class Cell:
    """One training run."""

    recipe: Recipe
    weights: Weights
    feeds: tuple[Feed, ...]
    val: str
    """hash of the split that the learning curve is measured on; it is part of the run"""
    freeze: str = "none"
    """what of the trunk keeps its first weights: none, stages:N or backbone (see `models/freeze.py`)"""
    scored_on: tuple[str, ...] = ("test",)
    """names of the sets that the final network is scored on, the reported one first, or none; no part of the
    key: scoring an old cell on a later set trains nothing again
    """

    def __post_init__(self):
        """Raises ValueError where two cells would have one role, as two teachers would."""
        roles = [role for role, _ in self.needs()]
        if len(set(roles)) < len(roles):
            raise ValueError(f"a cell has one cell a role, not {', '.join(roles)}")

    def needs(self) -> tuple[tuple[str, "Cell"], ...]:
        """(role, cell) of every cell that must be finished first, each cell once."""
        found: dict[str, tuple[str, Cell]] = {}
        for feed in self.feeds:
            match feed.labels:
                case Pseudo(teacher):
                    found.setdefault(teacher.key, ("teacher", teacher))
                case Acquired(cell, _, _):
                    found.setdefault(cell.key, ("query", cell))
        if isinstance(self.weights, Final):
            found.setdefault(self.weights.cell.key, ("weights", self.weights.cell))
        return tuple(found.values())

    @property
    def teacher(self) -> "Cell | None":
        """The cell that gives pseudo-labels to this one, or None."""
        return next((cell for role, cell in self.needs() if role == "teacher"), None)

    @functools.cached_property
    def key(self) -> str:
        """Hash of everything that decides the result: another recipe, data set or weights file gives another
        cell.
        """
        feeds = [feed.declare() for feed in self.feeds]
        val = self.val if self.scored_on else ""  # a cell that is never scored has no curve either
        return key_of(self.settings(neutral=False), self.weights.declare(), feeds, val, self.freeze)

    def settings(self, neutral: bool = True) -> dict[str, Any]:
        """The recipe's fields that decide this cell's result; without those that are at their neutral value,
        on request.
        """
        found = identity(self.recipe, student=self.teacher is not None)
        if len(self.feeds) > 1:
            found |= {name: getattr(self.recipe, name) for name in OF_THE_MIX}
        return found if neutral else without_neutral(found, type(self.recipe))

    @property
    def arm(self) -> Arm:
        """The row of a table that this cell belongs to."""
        return Arm(self._start(), tuple(self._methods()), self._arm_freeze)

    @property
    def _arm_freeze(self) -> str:
        """As its start, what is frozen names the whole arm: it is the first teacher's."""
        return self.freeze if self.teacher is None else self.teacher._arm_freeze

    def _start(self) -> str:
        if self.teacher is not None:
            return self.teacher.arm.start
        if not isinstance(self.weights, Final):
            return self.weights.start
        before = self.weights.cell
        alone = all(isinstance(feed.labels, Unlabelled) for feed in before.feeds)
        return f"ssl:{before.feeds[0].objective}" if alone else f"after {before.arm}"

    def _methods(self) -> Iterator[str]:
        for number, feed in enumerate(self.feeds):
            match feed.labels:
                case Acquired(_, strategy, count):
                    yield f"{count} labels by {strategy}"
                case Unlabelled():
                    yield feed.objective
                case Human() if number:
                    yield "joint" if feed.objective != self.feeds[0].objective else feed.name
        if self.teacher is not None:
            yield from ["self-training"] * (self.teacher.arm.rounds + 1)

    @property
    def _given(self) -> Random | Pretrained:
        """The weights that its arm starts from: those behind its teacher's, or behind the cells that it goes
        on from.
        """
        if self.teacher is not None:
            return self.teacher._given
        return self.weights.cell._given if isinstance(self.weights, Final) else self.weights

    @property
    def normalised_as(self) -> str:
        """The start whose pixel normalisation this cell's network has: a student has its teacher's."""
        return self._given.start

    @property
    def root_weights(self) -> str:
        """Identity of the weights that its arm starts from: `random`, a file's hash, or a hub's name."""
        return self._given.identity

    @property
    def folder(self) -> Path:
        """Where its checkpoint, final weights and record lie."""
        r, arm = self.recipe, self.arm
        start = "checkpoint" if arm.start.startswith("checkpoint:") else arm.start.replace("+", "p")
        others = [method for method in arm.methods if method != "self-training"]
        kept = {"none": [], "backbone": ["frozen"]}.get(arm.freeze, [arm.freeze, "frozen"])
        words = [r.task, start, *kept, *others, *([f"student{arm.rounds}"] if arm.rounds else [])]
        name = "-".join([*words, r.policy, f"f{r.fraction:g}", f"s{r.seed}", self.key])
        return Path(r.out) / "cells" / "".join(c if c.isalnum() or c in "-._+" else "-" for c in name)

    @property
    def images(self) -> int:
        """Images that its own training sees; those of the cells that it needs are not counted."""
        return self.recipe.steps * sum(feed.batch for feed in self.feeds)

    @property
    def finished(self) -> bool:
        """Whether its record is on this machine."""
        return (self.folder / "record.json").exists()


def in_order(cells: Iterable[Cell]) -> list[Cell]:
    """These cells and all that they need, each once, needed ones first."""
    ordered: dict[str, Cell] = {}

    def _visit(cell: Cell) -> None:
        if cell.key not in ordered:
            for _, needed in cell.needs():
                _visit(needed)
            ordered[cell.key] = cell

    for cell in cells:
        _visit(cell)
    return list(ordered.values())


def pseudo_batch(recipe: Recipe) -> int:
    """Pseudo-labelled images a step of a student."""
    return round(recipe.batch_size * recipe.pseudo_ratio)


def first_weights(recipe: Recipe, start: str) -> Weights:
    """The declaration of one of --starts.  Raises UserError where its weights cannot be identified."""
    return (
        Random() if start == "random" else Pretrained(start, identify(start, recipe.backbone, recipe.weights))
    )


def plan(recipe: Recipe, splits: Splits, objective: str) -> list[Cell]:
    """All cells of a recipe in the order they run: a supervised one of every start, and of every depth of
    freezing, then its students, round by round.

    The supervised cell of an arm is the teacher of its self-trained sibling: nothing is trained twice.
    `objective` is the task's supervised objective.
    """
    planned = []
    human = Feed("human", splits.train.hash, Human(), objective, recipe.batch_size)
    for start, freeze in first_arms(recipe):
        weights = first_weights(recipe, start)
        cell = Cell(recipe, weights, (human,), splits.val.hash, freeze)
        planned.append(cell)
        for _ in range(recipe.rounds if recipe.self_training else 0):
            first = {"own": weights, "random": Random(), "teacher": Final(cell)}[recipe.student_start]
            pseudo = Feed("pseudo", splits.pool.hash, Pseudo(cell), objective, pseudo_batch(recipe))
            kept = "none" if isinstance(first, Random) else freeze
            cell = Cell(recipe, first, (human, pseudo), splits.val.hash, kept)
            planned.append(cell)
    return planned
