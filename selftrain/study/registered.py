"""The contrasts that a study registers: a file beside its records, written before its first cell runs.

A study that is extended by seeds, fractions, starts or budgets keeps them.  Contrasts that were chosen with
results in view would test nothing, so whatever contradicts that order is refused.
"""

import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from selftrain.recipe import digest
from selftrain.record import Record
from selftrain.report.contrasts import CONTRASTS, check_planned, read_registered, to_toml
from selftrain.report.contrasts import Registered as Contrasts
from selftrain.report.places import multiple
from selftrain.report.registered import default_contrasts
from selftrain.study.graph import Graph, read_records
from selftrain.system.errors import UserError
from selftrain.system.files import write_atomic

FILE = CONTRASTS
NONE = "none"
"""what --contrasts says to register nothing"""


@dataclass(frozen=True)
class Registered:
    """The contrasts of a study, in its file or about to be written there."""

    file: Path
    text: str = ""
    """content of the file"""
    names: tuple[str, ...] = ()
    """of the contrasts; none where a study registers nothing"""
    why: str = ""
    """for a person: since when they stand, or why there are none"""

    @property
    def path(self) -> Path | None:
        """The file, for the option --contrasts of every command; None where nothing is registered."""
        return self.file if self.names else None

    def write(self) -> None:
        """Write the file where it does not stand yet."""
        if self.names and not self.file.exists():
            write_atomic(self.file, lambda file: file.write(self.text.encode()))

    def __str__(self) -> str:
        if not self.names:
            return f"contrasts: none are registered, {self.why}; all comparisons are descriptive"
        return f"contrasts: {len(self.names)} registered in {self.file} ({self.why}): {'; '.join(self.names)}"


def contrasts_of(graph: Graph, asked: str | None) -> Registered:
    """What the study registers; writes nothing.

    asked: what --contrasts names, a file or `none`.  Raises UserError where that contradicts what is
    registered already or what has been run, and for a file that holds no contrasts or asks for cells that the
    study does not have.
    """
    file, done = graph.records / FILE, read_records(graph.records)
    if file.exists():
        found = _standing(graph, file, asked)
    elif asked == NONE:
        found = Registered(file, why="as --contrasts none says")
    elif done:
        found = _without_file(file, done, asked)
    else:
        found = _usual(graph, file) if asked is None else _given(graph, file, asked)
    if found.names:
        _check_records(graph, found)
    return found


# ---- where they come from -------------------------------------------------------------------------------


def _standing(graph: Graph, file: Path, asked: str | None) -> Registered:
    """Those of the study's file.  Raises UserError where others are asked for, and where a lower rung would
    change what they mean.
    """
    standing = read_registered(file)
    if asked is not None and (asked == NONE or not _same(read_registered(Path(asked)), standing)):
        raise UserError(
            f"--contrasts {asked}: {file} registers others, and what was registered before the first cell is "
            "never changed; leave --contrasts out to keep them, or give another --name"
        )
    _check_lowest_rung(graph, file)
    why = _when(graph, "they stand since before the first cell")
    if standing.seeds is not None:
        asked_for = {cell.recipe.seed for cell in graph.cells}
        beyond = sorted(asked_for - set(standing.seeds))
        why += f"; seeds beyond their plan, no part of the test: {', '.join(map(str, beyond))}" * bool(beyond)
    names = tuple(contrast.name for contrast in standing.contrasts)
    return Registered(file, file.read_text(), names, why)


def _same(one: Contrasts, other: Contrasts) -> bool:
    """Whether two files register the same."""
    return (one.contrasts, one.seeds) == (other.contrasts, other.seeds)


def _given(graph: Graph, file: Path, asked: str) -> Registered:
    """Those of a person's file, word for word."""
    contrasts = read_registered(Path(asked)).contrasts
    check_planned(contrasts, _planned(graph), asked)
    names = tuple(contrast.name for contrast in contrasts)
    return Registered(file, Path(asked).read_text(), names, _when(graph))


def _usual(graph: Graph, file: Path) -> Registered:
    """Those of the usual contrasts that the cells of this study can answer: a matrix may have gaps."""
    arms = sorted({cell.arm for cell in graph.cells}, key=lambda arm: arm.order)
    policies = sorted({cell.recipe.policy for cell in graph.cells})
    fractions = sorted({cell.recipe.fraction for cell in graph.cells})
    planned, kept = _planned(graph), []
    budgets = sorted({setting["budget"] for _, setting in planned})
    for contrast in default_contrasts(arms, policies, fractions, budgets, _equal_cost(graph)):
        try:
            check_planned([contrast], planned, str(file))
        except UserError:
            continue
        kept.append(contrast)
    if not kept:
        return Registered(file, why="as there are no usual ones for these arms")
    names = tuple(contrast.name for contrast in kept)
    seeds = {cell.recipe.seed for cell in graph.cells}
    return Registered(file, to_toml(kept, seeds), names, f"the usual ones; {_when(graph)}")


def _planned(graph: Graph) -> list[tuple]:
    """(arm, setting) of every cell; budgets as multiples of the policy's smallest one, as the tables have
    them.
    """
    places = [(cell, *graph.place(cell)[:2]) for cell in graph.cells]
    least = _least_steps((cell.recipe.policy, cell.recipe.steps) for cell in graph.cells)
    return [
        (arm, setting.but(budget=multiple(cell.recipe.steps / least[cell.recipe.policy])))
        for cell, arm, setting in places
    ]


def _least_steps(of_policies: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Of each policy the smallest number of steps: what a budget is a multiple of."""
    least: dict[str, int] = {}
    for policy, steps in of_policies:
        least[policy] = min(steps, least.get(policy, steps))
    return least


def _equal_cost(graph: Graph) -> float | None:
    """The budget at which a supervised run sees as many images as a teacher of T steps and its student; None
    where students differ in that.
    """
    students = [cell for cell in graph.cells if cell.arm.methods == ("self-training",)]
    of_student = {cell.images / (cell.recipe.steps * cell.recipe.batch_size) for cell in students}
    return 1 + of_student.pop() if len(of_student) == 1 else None


def _when(graph: Graph, none_older: str = "before the first cell") -> str:
    """That they come before the first cell, or how many finished cells are older, and what that means."""
    done = [found for cell in graph.cells if (found := graph.finished(cell))]
    every = {each.key: each for each in [*(each for _, each in read_records(graph.records)), *done]}
    older = sum(each.contrasts is None for each in every.values())
    if not older:
        return none_older
    cells = "1 finished cell is" if older == 1 else f"{older} finished cells are"
    return f"{cells} older than the file, so the report will not test it where a contrast uses them"


# ---- what is refused ------------------------------------------------------------------------------------


def _check_lowest_rung(graph: Graph, file: Path) -> None:
    """Refuse rungs below the lowest one that has records: budgets in contrasts are its multiples."""
    done = _least_steps((each.settings["policy"], each.steps) for _, each in read_records(graph.records))
    asked = {policy: {c.recipe.steps for c in graph.cells if c.recipe.policy == policy} for policy in done}
    begun = any(done[policy] == min(steps) for policy, steps in asked.items() if steps)
    for policy, steps in asked.items():
        if not steps or done[policy] <= min(steps):
            continue
        if begun and done[policy] in steps:
            continue  # the policy's lowest rung is not finished yet, but that of another one is
        raise UserError(
            f"{file}: was registered with T = {done[policy]} steps of {policy}, and its budgets are multiples"
            f" of T; a rung of {min(steps)} steps would make them mean others; leave out what is below T "
            "(--budgets, --steps), or give another --name"
        )


def _without_file(file: Path, done: list[tuple[Path, Record]], asked: str | None) -> Registered:
    """A study that has records but no file of contrasts: it began without, or the file is gone."""
    for each, of in done:
        if of.contrasts is not None:
            raise UserError(
                f"{each}: was run under registered contrasts ({of.contrasts}), but {file} is missing; put it "
                f"back, or give another --name, or say --contrasts {NONE} to register nothing"
            )
    if asked is not None:
        raise UserError(
            f"--contrasts {asked}: {done[0][0]} was run before any were registered; give another --name, and "
            "another --out if its cells are to be run after them"
        )
    return Registered(file, why="as its first records are older than they would be")


def _check_records(graph: Graph, found: Registered) -> None:
    """Refuse records that were run under other contrasts, in the study's folder or in those of its cells."""
    own = digest(tomllib.loads(found.text))
    for file, done in read_records(graph.records):
        if done.contrasts not in (None, own):
            raise UserError(
                f"{file}: was run under other contrasts ({done.contrasts}) than {found.file} holds ({own}); "
                "put the former file back, or give another --name"
            )
    for cell in graph.cells:
        done = graph.finished(cell)
        if done is not None and done.contrasts not in (None, own):
            same = next(_files_of(done.contrasts, graph.records.parent), "FILE")
            raise UserError(
                f"{cell.folder}: was finished under other contrasts ({done.contrasts}) than these ({own}); "
                f"give those (--contrasts {same}), or --contrasts {NONE} to register nothing, or another "
                "--out to train it again"
            )


def _files_of(hash_of_contrasts: str, folder: Path) -> Iterator[Path]:
    """The files of other studies that hold the contrasts of this hash."""
    for file in sorted(folder.glob(f"*/{FILE}")):
        if digest(tomllib.loads(file.read_text())) == hash_of_contrasts:
            yield file
