"""What stands below an error curve over labels: the runs of an arm, their noise, and lines through them.

A curve `a + b n^-g` is a straight line in n^-g: for a given exponent the best one has a closed form."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

MIXES = (0.0, 0.25, 0.5, 0.75, 0.9, 0.97, 1.0)
"""Tried shares of the error's variance, with the fewest labels, that falls as 1 / n"""
PARAMETERS = 3
"""Of an arm's curve"""
NOISE_FLOOR = 1e-9
"""Least variance of an error, in percent squared, so that runs without any noise can be fitted"""


@dataclass(frozen=True)
class Points:
    """What the runs of an arm ended with, each array (N,), one value a run."""

    labels: np.ndarray
    """labelled images"""
    seeds: np.ndarray
    errors: np.ndarray
    """in percent: 100 less the score"""
    resampled: np.ndarray | None = None
    """(N, B): the same under each of B resamples of the test images; None where these are not known"""
    images: int = 0
    """how many test images; 0 where that is not known"""
    tests: np.ndarray | None = None
    """a name of each run's test images; None where they are not known"""

    @cached_property
    def sizes(self) -> np.ndarray:
        """The different numbers of labelled images (F,), from small to large."""
        return np.unique(self.labels)

    @cached_property
    def means(self) -> np.ndarray:
        """The mean error at each of them (F,)."""
        return np.array([self.errors[self.labels == size].mean() for size in self.sizes])

    @cached_property
    def counts(self) -> np.ndarray:
        """The runs at each of them (F,)."""
        return np.array([(self.labels == size).sum() for size in self.sizes])

    @property
    def freedom(self) -> int:
        """The degrees of freedom of the noise about a curve."""
        return max(1, len(self.labels) - PARAMETERS)

    @cached_property
    def squares(self) -> np.ndarray:
        """The sum of squared deviations from that mean (F,)."""
        deviations = (self.errors[self.labels == size] - mean for size, mean in zip(self.sizes, self.means))
        return np.array([(each**2).sum() for each in deviations])


@dataclass(frozen=True)
class Lines:
    """The weighted straight lines of an arm in x = (n / n_least)^-g, one for each of G exponents."""

    x: np.ndarray
    """(G, N)"""
    weights: np.ndarray
    """(N,), of the runs: 1 over the shape of their variance"""
    centre: np.ndarray
    """(G, 1), weighted mean of x"""
    spread: np.ndarray
    """(G,), weighted sum of the squared deviations from it"""
    a: np.ndarray
    b: np.ndarray
    """(G,) each"""
    residuals: np.ndarray
    """(G, N)"""

    @property
    def loss(self) -> np.ndarray:
        """The weighted sum of squared residuals (G,)."""
        return (self.weights * self.residuals**2).sum(1)

    def at(self, x: np.ndarray) -> np.ndarray:
        """The error at x (G, M)."""
        return self.a[:, None] + self.b[:, None] * x

    def influence(self) -> tuple[np.ndarray, np.ndarray]:
        """How the line at x follows from the runs: `error(x) = sum of (mean + (x - centre) slope) errors`.

        Returns mean (N,) and slope (G, N).
        """
        slope = self.weights * (self.x - self.centre) / self.spread[:, None]
        return self.weights / self.weights.sum(), slope


def fit_lines(x: np.ndarray, errors: np.ndarray, weights: np.ndarray) -> Lines:
    """The best lines with a and b at least 0; x (G, N), errors and weights (N,)."""
    total = weights.sum()
    centre = (x * weights).sum(1, keepdims=True) / total
    mean = (errors * weights).sum() / total
    spread = (weights * (x - centre) ** 2).sum(1)
    b = np.maximum(0.0, (weights * (x - centre) * errors).sum(1) / spread)
    a = mean - b * centre[:, 0]
    through_zero = (weights * x * errors).sum(1) / (weights * x**2).sum(1)
    a, b = np.where(a < 0, 0.0, a), np.where(a < 0, through_zero, b)
    return Lines(x, weights, centre, spread, a, b, errors - a[:, None] - b[:, None] * x)


def noise_shape(labels: np.ndarray, mix: float, least: float) -> np.ndarray:
    """The variance of an error against that with the fewest labels."""
    return 1 - mix + mix * least / labels


def noise_scale(lines: Lines, at: int) -> float:
    """The variance of an arm's error with the fewest labels, by its residuals from one of its lines."""
    return max(float(lines.loss[at]) / max(1, len(lines.weights) - PARAMETERS), NOISE_FLOOR)


def noise_mix(points: Mapping[Hashable, Points], least: float) -> float:
    """Which of `MIXES` makes the spread between seeds likeliest, whatever the curve."""

    def _likelihood(mix: float) -> float:
        total = 0.0
        for each in points.values():
            shape, freedom = noise_shape(each.sizes, mix, least), each.counts - 1
            scaled = max(float((each.squares / shape).sum()), NOISE_FLOOR)
            total -= (freedom * np.log(shape)).sum() + freedom.sum() * np.log(scaled)
        return total

    return max(MIXES, key=_likelihood)
