"""What a person sees while it runs: a bar a stage on a terminal, a line every few seconds in a log file."""

import os
import resource
import sys
import time

import torch
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
    """GiB: of the accelerator where there is one, else of this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    unit = 2**10 if sys.platform != "darwin" else 1  # Linux counts KiB, macOS bytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def cores() -> int:
    """CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def duration(seconds: float) -> str:
    seconds = int(round(seconds))
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"


class Stage:
    """One bar: `update(done, images, **numbers)`.  Rates leave out what an earlier, interrupted run had done."""

    def __init__(self, console: Console | None, title: str, total: int, done: int = 0, unit: str = "step"):
        self.console, self.title, self.total, self.unit = console, title, total, unit
        self.first, self.began, self.said = done, time.perf_counter(), time.perf_counter()
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
            self.task = self.bar.add_task(title, total=total, completed=done, note="")

    def __enter__(self) -> "Stage":
        return self

    def __exit__(self, *_) -> None:
        if self.bar:
            self.bar.stop()

    def update(self, done: int, images: int, **numbers: float) -> None:
        """done: of total; images: seen since this stage began; numbers: shown as they are."""
        if self.console is None:
            return
        now = time.perf_counter()
        rate = images / max(now - self.began, 1e-9)
        note = "  ".join(
            [f"{k} {v:.4g}" for k, v in numbers.items()]
            + [f"{rate:.0f} images/s", f"{peak_memory():.1f} GiB"]
        )
        if self.bar:
            self.bar.start()  # not before there is something to show
            self.bar.update(self.task, completed=done, note=note)
        elif now - self.said >= LOG_EVERY or done == self.total:
            self.said = now
            left = (now - self.began) / max(1, done - self.first) * (self.total - done)
            self.console.print(
                f"{self.title}: {self.unit} {done}/{self.total}  {note}  ETA {duration(left)}",
                highlight=False,
                soft_wrap=True,
            )
