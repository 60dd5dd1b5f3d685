"""How a row of `speed.py` is measured: two sides in turns, and what is told of them."""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import torch

SHOWN = {
    "ms/step": 1e3,
    "ms/image": 1e3,
    "s": 1,
    "MiB": 2**-20,
}  # unit of a line: factor from seconds or bytes


@dataclass(frozen=True)
class Setting:
    """What the rows share."""

    folder: Path  # temporary
    quick: bool
    repeats: int
    photos: Path | None
    cores: int


@dataclass(frozen=True)
class Line:
    """One line of the table.  Costs (seconds or bytes) of a unit of work, a pair a repeat: less is better."""

    work: str
    against: str
    unit: str
    target: float | None  # least ratio of their cost to ours; None: told, not promised
    ours: list[float]
    theirs: list[float]
    remark: str = ""

    def cells(self, verdict: bool) -> list[str]:
        ratios = [theirs / ours for ours, theirs in zip(self.ours, self.theirs, strict=True)]
        ratio = statistics.median(ratios)
        target = f"{self.target:g}x" if self.target else "none"
        if self.target and verdict:
            target += ": met" if ratio >= self.target else ": **missed**"
        return [
            self.work,
            self.against,
            self._shown(self.ours),
            self._shown(self.theirs),
            f"{ratio:.2f}x",
            target,
            str(len(ratios)),
            f"{min(ratios):.2f}-{max(ratios):.2f}",
        ]

    def _shown(self, costs: list[float]) -> str:
        cost = statistics.median(costs)
        value = cost * SHOWN[self.unit] if self.unit in SHOWN else 1 / cost
        return f"{value:.3g} {self.unit}" if value < 100 else f"{value:.0f} {self.unit}"


def alternate(*sides: Callable[[], object], repeats: int, units: int = 1) -> list[list[float]]:
    """Seconds a unit of work of each side, turn by turn; the first turn of each does not count."""
    costs: list[list[float]] = [[] for _ in sides]
    for _ in range(1 + repeats):
        for side, seconds in zip(sides, costs):
            began = time.perf_counter()
            side()
            seconds.append((time.perf_counter() - began) / units)
    return [seconds[1:] for seconds in costs]


@contextmanager
def threads(number: int) -> Iterator[None]:
    """So many threads in torch and OpenCV."""
    before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(number), cv2.setNumThreads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before[0]), cv2.setNumThreads(before[1])
