"""What the cells of one command share, and how two commands that work on one cell stay apart."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from selftrain.cells import Cell
from selftrain.engine import Engine
from selftrain.registry import deciding_modules
from selftrain.splits import Splits
from selftrain.system.lock import Lock
from selftrain.tasks.protocol import Task


@dataclass
class Workplace:
    """What every cell of a command shares: processes, task, data, and how to speak with a person."""

    engine: Engine
    task: Task
    splits: Splits
    say: Callable[[str], None]
    source: type | None = None
    """what read the data, where that is part of this project"""

    @property
    def modules(self) -> tuple[str, ...]:
        """The modules that decide a result here: `run.py`, and those of task, data and splits; see
        `provenance`.
        """
        return deciding_modules(type(self.task), self.source)


def work_lock(cell: Cell, what: str = "training") -> Lock:
    """The lock of one kind of work on a cell."""
    return Lock(Path(cell.recipe.out) / "locks" / f"{cell.folder.name}.{what}")


@contextmanager
def exclusively(engine: Engine, cell: Cell, what: str, say: Callable[[str], None]) -> Iterator[None]:
    """Nobody else does `what` with this cell meanwhile; waits for another command that does.

    Raises Stopped.
    """
    lock, announced = work_lock(cell, what), False
    while not engine.agree(engine.accelerator.is_main_process and lock.take()):
        if not announced:
            say(f"{cell.arm}: {what} by {lock.holder()}; waiting for it to end")
            announced = True
        engine.stop.check()
        time.sleep(1)
    try:
        yield
    finally:
        lock.release()
