"""How a row of `speed.py` is measured: two sides in turns, and what is shown of them."""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import torch

FACTORS = {"ms/step": 1e3, "ms/image": 1e3, "s": 1, "MiB": 2**-20}
"""Unit of a line: the factor from seconds or bytes.  Any other unit is a rate, the inverse of seconds."""


@dataclass(frozen=True)
class Options:
    """What all rows share."""

    folder: Path
    """a temporary folder, removed at the end"""
    quick: bool
    """tiny sizes, to see that the rows run"""
    repeats: int
    """turns of each side that count"""
    photos: Path | None
    """a person's folder of photos for the input pipeline"""
    threads: int
    """of torch and OpenCV, where a row does not say otherwise"""


@dataclass(frozen=True)
class Line:
    """One line of the table: what a unit of work costs each side, a pair of costs for each repeat."""

    work: str
    """what is done"""
    against: str
    """what does the same on the other side"""
    unit: str
    """in which the costs are shown"""
    target: float | None
    """least ratio of their cost to ours; None where nothing is promised"""
    ours: list[float]
    """seconds or bytes a unit of work, one number for each repeat"""
    theirs: list[float]
    """the same of the other side"""
    remark: str = ""
    """is shown above the table"""

    def columns(self, verdict: bool) -> list[str]:
        """The line as it stands in the table; with `verdict` it says whether the target is met."""
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
        value = cost * FACTORS[self.unit] if self.unit in FACTORS else 1 / cost
        return f"{value:.3g} {self.unit}" if value < 100 else f"{value:.0f} {self.unit}"


Row = Callable[[Options], list[Line]]
"""Measures one kind of work, in one line of the table or in several."""


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
    """Let torch and OpenCV use this many threads; afterwards they use as many as before."""
    before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(number), cv2.setNumThreads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before[0]), cv2.setNumThreads(before[1])
