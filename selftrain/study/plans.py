"""What the commands of a study train, and on what data, before anything runs."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selftrain import splits
from selftrain.cells import Cell, plan
from selftrain.program import Benchmark
from selftrain.recipe import Recipe
from selftrain.splits import Splits
from selftrain.study.options import Command
from selftrain.tasks.protocol import Task


@dataclass(frozen=True)
class Planned:
    """What one command of a benchmark does: it trains the cells of a recipe, one after the other."""

    command: Command
    cells: tuple[Cell, ...]
    """in the order of work"""
    splits: Splits
    """their data"""
    task: Task
    """with the labeller that a teacher labels by"""

    @property
    def label_settings(self) -> dict[str, Any]:
        """The fields of the recipe that decide what labels a teacher gives."""
        recipe, labeller = self.command.recipe, self.task.labeller
        names = [*labeller.raw_fields, *labeller.label_fields]
        return {name: getattr(recipe, name) for name in names if name not in recipe.unused()}


def make_plans(
    benchmark: Benchmark, commands: list[Command], warn: Callable[[str], None], source: Any = None
) -> list[Planned]:
    """What the commands train, and on what data.

    source: a `Cached` one, where further commands are planned on the same data.
    """
    source = source or Cached(benchmark.source)
    warned: set[str] = set()

    def _warn_once(text: str) -> None:
        if text not in warned:
            warned.add(text)
            warn(text)

    read: dict[tuple, Splits] = {}
    plans = []
    for command in commands:
        recipe = command.recipe
        if recipe.unlabeled == ("rest",) and recipe.fraction == 1:
            _warn_once("--unlabeled rest leaves no pool with all labels: supervised cells only there")
        which = (recipe.fraction, recipe.seed, recipe.self_training, *_kinds_of_labels(recipe))
        if which not in read:
            read[which] = splits.load(recipe, source, warn=_warn_once)
        task = benchmark.task(recipe, read[which].train.class_names)
        cells = plan(recipe, read[which], next(iter(task.objectives)))
        plans.append(Planned(command, tuple(cells), read[which], task))
    return plans


def _kinds_of_labels(recipe: Recipe) -> tuple[str, str]:
    """All that a study may vary of what its data set is read by."""
    return recipe.label_source, recipe.protocol_name


class Cached:
    """A data source that reads each data set once, however many cells use it."""

    def __init__(self, source):
        self._source, self._read = source, {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def read(self, recipe: Recipe, root: Path, warn: Callable[[str], None]):
        """(train, val, test), as the source itself reads them."""
        key = (root, *_kinds_of_labels(recipe))
        if key not in self._read:
            self._read[key] = self._source.read(recipe, root, warn)
        return self._read[key]
