"""Whether a cell and a record are the same, and if not, why: what of a study is of other code, data or
settings than now.

A record is a cell's if it has the cell's key.  A record of another key stands in a cell's place if arm,
setting and seed are the same.
"""

import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from selftrain import provenance
from selftrain.cells import Cell, Human
from selftrain.recipe import digest, identity
from selftrain.record import Record
from selftrain.splits import Splits
from selftrain.stale import move_away, stale_reasons, with_followers
from selftrain.study.graph import Graph, read_records
from selftrain.study.places import Place
from selftrain.system.errors import UserError
from selftrain.workplace import work_lock

SET_BY_EVERY_STUDY = frozenset({"policy", "magnitude", "randaugment_ops", "fraction", "steps", "seed"})
"""Settings that may differ within a study without --vary; RandAugment's belong to one policy."""


def changed_settings(then: Mapping[str, Any], now: Mapping[str, Any], names: Iterable[str]) -> list[str]:
    """`lr 0.008 -> 0.001` for each of these settings that is not what it was."""
    return [
        f"{name} {then.get(name)} -> {now.get(name)}"
        for name in sorted(names)
        if digest(then.get(name)) != digest(now.get(name))
    ]


def differences(
    done: Record, cell: Cell, splits: Splits, finished: Callable[[Cell], Record | None]
) -> list[str]:
    """Why a record is not what the cell in its place would give now; empty where it is.

    `splits`: the cell's data; `finished`: the record of a needed cell, where there is one.
    """
    other_test = [] if done.hashes.test == splits.test.hash else ["scored on another test set"]
    if done.key == cell.key:
        reasons = provenance.stale(done)
        for role, needed in cell.needs():
            now = finished(needed)
            if now and role in done.needs and now.hashes.final != done.needs[role].final:
                reasons.append(f"its {role} was trained anew, to other weights")
        return reasons + other_test
    # a field that the record does not know decides nothing at its neutral value
    names = done.settings.keys() | cell.settings(neutral=False).keys()
    reasons = changed_settings(done.settings, cell.settings(), names)
    pool = next((feed.data for feed in cell.feeds if not isinstance(feed.labels, Human)), None)
    same_data = (done.hashes.train, done.hashes.val) == (splits.train.hash, splits.val.hash)
    reasons += [] if same_data else ["data changed"]
    reasons += [] if done.hashes.pool == pool else ["pool changed"]
    reasons += [] if done.hashes.weights == cell.root_weights else ["weights changed"]
    if same_data:
        reasons += other_test
    return (
        reasons
        or [
            *(
                f"its {role} changed"
                for role, needed in cell.needs()
                if role not in done.needs or done.needs[role].cell != needed.key
            )
        ]
        or ["it was declared in another way"]
    )


def unexpected_differences(done: Record, cell: Cell, varied: Iterable[str]) -> list[str]:
    """The settings in which a record differs from this study's cells, outside of what the study varies.

    Its warm-up is compared with that of as many steps: another policy or rung has another one.
    """
    recipe = replace(cell.recipe, steps=done.settings["steps"])
    now = identity(recipe, student=done.arm.rounds > 0) | {"recipe": recipe.name}
    then = done.settings | {"recipe": done.recipe}
    return changed_settings(then, now, now.keys() & then.keys() - SET_BY_EVERY_STUDY - set(varied))


def _rival(done: Record, graph: Graph) -> tuple[Cell, tuple[str, ...]]:
    """(the cell that a record of another part of the matrix is compared with, the fields that may differ).

    Where starts are tuned, it is one of the same start; if there is none, the values of that one are its own.
    """
    if done.tuned is None:
        return graph.cells[0], graph.varied
    same = (cell for cell in graph.cells if cell.arm.supervised == done.arm.supervised)
    found = next(same, None)
    return found or graph.cells[0], (*graph.varied, *([] if found else done.tuned.chosen))


@dataclass(frozen=True)
class Stale:
    """What of a study is of other code, data or settings than now."""

    lines: list[str]
    """for a person: each folder and file, and why"""
    retrained: set[str]
    """keys of the cells that --stale rerun trains again: these, and those that need them"""
    files: list[Path]
    """committed records that it moves away"""
    not_kept: list[Path]
    """committed records of other settings or data, which --stale keep cannot keep"""
    foreign: list[str]
    """the same of another part of the matrix, which no choice runs again"""

    def check(self, choice: str, out: str) -> None:
        """Refuse what a study cannot go on with.

        Raises UserError on `refuse`, on `keep` where a record is of other settings, and where one of another
        part of the matrix is: a table of both would mean nothing.
        """
        if self.foreign:
            lines = ["records of this study with other settings:", *self.foreign]
            cure = "a study's tables hold one setting: give that one, or another --name"
            raise UserError("\n".join([*lines, cure]))
        if self.lines and choice == "refuse":
            raise UserError(
                f"{self}\n--stale rerun runs these cells again (what is there is moved to {out}/stale); "
                "--stale keep takes what older code measured as it is; another --name keeps both apart"
            )
        if self.not_kept and choice == "keep":
            raise UserError(
                f"{self}\n--stale keep cannot keep a record of other settings or data ({self.not_kept[0]} "
                "first): give another --name, or --stale rerun"
            )

    def __str__(self) -> str:
        return "\n".join(["stale:", *self.lines])


def find_stale(graph: Graph) -> Stale:
    """Every finished or begun cell, and every committed record, that is of other code, data or settings than
    now.
    """
    cells = graph.cells
    places = _Places(graph)
    in_folders = {cell.key: reasons for cell in cells if (reasons := stale_reasons(cell, graph.modules))}
    lines = [f"{cell.folder}: {'; '.join(in_folders[cell.key])}" for cell in cells if cell.key in in_folders]
    retrained = set(in_folders)
    stale_files: list[Path] = []
    not_kept: list[Path] = []
    foreign: list[str] = []
    standing: list[tuple[Path, Cell]] = []
    """committed records and the cells that stand in their places now"""
    for file, done in read_records(graph.records):
        cell = places.cell(done)
        if cell is None:  # of another part of the matrix
            reasons = unexpected_differences(done, *_rival(done, graph))
        else:
            reasons = differences(done, cell, graph.splits[cell.key], graph.finished)
        if cell is None or done.key != cell.key and cell.key in graph.committed:
            foreign += [f"{file}: {'; '.join(reasons)}"] if reasons else []
            continue
        standing.append((file, cell))
        if not reasons:
            continue
        lines.append(f"{file}: {'; '.join(reasons)}")
        stale_files.append(file)
        if done.key != cell.key or done.hashes.test != graph.splits[cell.key].test.hash:
            not_kept.append(file)
        if (
            not cell.folder.exists()
        ):  # else what is there goes on, or takes its place, scored again if need be
            retrained.add(cell.key)
    retrained = with_followers(cells, retrained)
    moved = [file for file, cell in standing if file in stale_files or cell.key in retrained]
    return Stale(lines, retrained, moved, not_kept, foreign)


class _Places:
    """The cells of a study by their places, and which of them a record is compared with."""

    def __init__(self, graph: Graph):
        self._graph = graph
        self._by_place = {graph.place(cell): cell for cell in graph.cells}
        self._first_rungs: dict[Place, Cell] = {}
        for cell in sorted(graph.cells, key=lambda cell: cell.recipe.steps):
            self._first_rungs.setdefault(_without_budget(graph.place(cell)), cell)
        policies = (
            done.settings["policy"] for _, done in read_records(graph.records) if self._on_a_rung(done)
        )
        self._with_this_base = set(policies)

    def cell(self, done: Record) -> Cell | None:
        """The cell in whose place a record stands; None for one of another part of the matrix.

        A rung that is not asked for is another part too, if other records of its policy stand on rungs of the
        ladder.  If none does, the study's steps have changed, and its cell is that of the smallest budget.
        """
        there = self._graph.place(done)
        found = self._by_place.get(there)
        if found is None and done.settings["policy"] not in self._with_this_base:
            return self._first_rungs.get(_without_budget(there))
        return found

    def _on_a_rung(self, done: Record) -> bool:
        return self._graph.place(done)[1]["budget"] in (1, *self._graph.ladder.budgets)


def _without_budget(there: Place) -> Place:
    arm, setting, seed = there
    return arm, setting.without("budget"), seed


def show_stale(graph: Graph, choice: str, say: Callable[[str], None]) -> None:
    """What `settle_stale` would say or refuse; what it would run again counts as not done."""
    stale = find_stale(graph)
    try:
        stale.check(choice, graph.cells[0].recipe.out)
        if stale.lines:
            say(f"{stale}\n{'kept as they are' if choice == 'keep' else 'to be run again'}")
    except UserError as error:
        say(str(error))
    if choice != "keep":
        graph.unsettled.update(stale.retrained)
        for file, done in read_records(graph.records):
            if file in stale.files:
                graph.committed.pop(done.key, None)


def settle_stale(graph: Graph, choice: str, say: Callable[[str], None]) -> None:
    """List what is stale and do as --stale says.

    Raises UserError as `Stale.check` does, and where a cell that would be run again is being trained.
    """
    stale, out = find_stale(graph), graph.cells[0].recipe.out
    stale.check(choice, out)
    if not stale.lines:
        return
    if choice == "keep":
        say(f"{stale}\nkept as they are")
        return
    retrained = [cell for cell in graph.cells if cell.key in stale.retrained]
    for cell in retrained:  # before anything is moved
        with work_lock(cell) as lock:
            if not lock.take():
                raise UserError(
                    f"{cell.folder}: is being trained ({lock.holder()}); stop that command before its cell "
                    "is run again"
                )
    say(f"{stale}\nrun again")
    for cell in retrained:
        move_away(cell)
    for file in stale.files:
        target = Path(out) / "stale" / f"{file.stem}-{time.time_ns()}.json"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(file, target)
    graph.read_committed()
