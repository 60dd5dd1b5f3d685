"""What a person sees of a running program.

On a terminal every stage has a progress bar; in a log file it has one line every few seconds.
"""

import os
import resource
import sys
import time

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

LOG_EVERY = 15.0  # seconds between lines where there is no terminal


def peak_memory() -> float:
    """Return the peak memory in GiB, of the accelerator where there is one, else of this process."""
    import torch  # here: an option's help should not wait for it

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    unit = 2**10 if sys.platform != "darwin" else 1  # Linux counts KiB, macOS bytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def cores() -> int:
    """Return the number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def duration(seconds: float) -> str:
    """Write a time in seconds as a person would: `45 s`, `3 min 07 s`, `2 h 05 min`."""
    seconds = int(round(seconds))
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"


class Stage:
    """The progress of one stage of a program, such as training or evaluation; a context manager.

    Rates and the remaining time leave out what an earlier, interrupted run had done.
    """

    def __init__(self, console: Console | None, title: str, total: int, done: int = 0, unit: str = "step"):
        """Begin a stage of `total` units of which `done` were done before.

        console: where to print; None, as on all processes but the main one, prints nothing.
        """
        self.console, self.title, self.total, self.unit = console, title, total, unit
        self.done_before = done
        self.began = self.last_line = time.perf_counter()
        self.bar = None
        if console is not None and console.is_terminal:
            self.bar = Progress(
                TextColumn("{task.description:<34}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("ETA"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
                console=console,
                refresh_per_second=4,
            )
            self.bar_task = self.bar.add_task(title, total=total, completed=done, note="")

    def __enter__(self) -> "Stage":
        return self

    def __exit__(self, *_) -> None:
        if self.bar:
            self.bar.stop()

    def update(self, done: int, images: int, **numbers: float) -> None:
        """Show how far the stage is.

        done: units that are done of the total; images: how many were seen since this stage began;
        numbers: further values that are shown under their names, such as `loss=0.5`.
        """
        if self.console is None:
            return
        now = time.perf_counter()
        rate = images / max(now - self.began, 1e-9)
        values = [f"{name} {value:.4g}" for name, value in numbers.items()]
        note = "  ".join([*values, f"{rate:.0f} images/s", f"{peak_memory():.1f} GiB"])
        if self.bar:
            self.bar.start()  # not before there is something to show
            self.bar.update(self.bar_task, completed=done, note=note)
        elif now - self.last_line >= LOG_EVERY or done == self.total:
            self.last_line = now
            remaining = (now - self.began) / max(1, done - self.done_before) * (self.total - done)
            self.console.print(
                f"{self.title}: {self.unit} {done}/{self.total}  {note}  ETA {duration(remaining)}",
                highlight=False,
                soft_wrap=True,
            )
