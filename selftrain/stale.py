"""Cells of older code: what lies in a cell's folder but is no work of the code, or of the needed cells, as
they are today.
"""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

from selftrain import provenance, record
from selftrain.cells import Cell
from selftrain.system.errors import UserError
from selftrain.workplace import work_lock


def stale_reasons(cell: Cell, modules: tuple[str, ...]) -> list[str]:
    """Why what lies in a cell's folder, finished or begun, is no work of today's code and of the cells that
    it needs.
    """
    if (done := record.read(cell.folder / "record.json")) is not None:
        reasons = provenance.stale(done)
        for role, needed in cell.needs():
            now = record.read(needed.folder / "record.json")
            if now and role in done.needs and now.hashes.final != done.needs[role].final:
                reasons.append(f"its {role} was trained anew, to other weights")
        return reasons
    if (cell.folder / "last.pt").exists():
        begun = provenance.read_sources(cell.folder / "sources.json") or {}  # without that file: everything
        other = provenance.changed(begun, provenance.sources(modules))
        return [f"code changed since it began: {', '.join(other)}"] if other else []
    return []


def with_followers(cells: list[Cell], keys: set[str]) -> set[str]:
    """These keys and those of all cells that need them, directly or not; `cells` are in the order of work."""
    found = set(keys)
    for cell in cells:
        if any(needed.key in found for _, needed in cell.needs()):
            found.add(cell.key)
    return found


def settle_stale(
    cells: list[Cell], modules: tuple[str, ...], choice: str, say: Callable[[str], None]
) -> None:
    """List the stale cells and do as --stale says; on the main process alone.

    Raises UserError on `refuse`, and where a cell that would be run again is being trained.
    """
    reasons = {cell.key: why for cell in cells if (why := stale_reasons(cell, modules))}
    if not reasons:
        return
    lines = [f"{cell.folder}: {'; '.join(reasons[cell.key])}" for cell in cells if cell.key in reasons]
    if choice == "refuse":
        cure = (
            "--stale rerun runs them again (the old ones are moved away), --stale keep takes them as they are"
        )
        raise UserError("\n".join(["stale cells:", *lines, cure]))
    say("\n".join([f"stale cells, {'kept as they are' if choice == 'keep' else 'run again'}:", *lines]))
    if choice == "rerun":
        again = with_followers(cells, set(reasons))  # a student follows its teacher: that will be another one
        for cell in (cell for cell in cells if cell.key in again):
            move_away(cell)


def move_away(cell: Cell) -> None:
    """Move a cell's folder to OUT/stale.  Raises UserError where the cell is being trained."""
    with work_lock(cell) as lock:
        if not lock.take():
            raise UserError(
                f"{cell.folder}: is being trained ({lock.holder()}); stop that command before its cell is "
                "run again"
            )
        if cell.folder.exists():
            away = Path(cell.recipe.out) / "stale" / f"{cell.folder.name}-{time.time_ns()}"
            away.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(cell.folder, away)
