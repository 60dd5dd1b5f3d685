"""Error curves over the number of labelled images, one for each arm, and how one is read against another.

The error is `e(n) = a + b n^-g` with n labelled images, a and b at least 0, and an exponent g that is drawn
towards one common to all arms, and this towards 1/2 (Hoiem et al. 2021, "Learning curves for analysis of deep
networks", section 3).  Its variance is `s^2 (v0 + v1 / n)`, of which s is the arm's own.

For a fixed exponent this is a weighted straight line in n^-g, which has a closed form; so the fit looks along
the exponents alone, and the interval of a reading keeps every exponent that the runs allow (a
profile with quantiles of t: Bates and Watts 1988, "Nonlinear regression analysis and its applications",
section 6.1; where several levels vary, their quantile is that of `levels.py`)."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from selftrain.report.label_lines import (
    NOISE_FLOOR,
    Lines,
    Points,
    fit_lines,
    noise_mix,
    noise_scale,
    noise_shape,
)
from selftrain.report.label_spread import Side, difference
from selftrain.report.levels import quantile

EXPONENTS = np.linspace(0.05, 1.5, 16)
CLOSE = np.array([-3, -2.4, -1.8, -1.2, -0.8, -0.4, 0.4, 0.8, 1.2, 1.8, 2.4, 3])
"""Further exponents about an arm's best, in standard errors"""
EXPECTED = 0.5
"""The exponent that theory expects, and Hoiem et al. find in most curves"""
COMMON_WIDTH = 0.5
"""How far from it the arms' common exponent lies, as a standard deviation: a few good curves decide"""
OWN_WIDTH = 0.15
"""How far from the common one an arm's own exponent lies"""
RULED_OUT = 20.0
"""How much worse than the best fit an exponent may be, on the scale of a squared t, to be looked at"""
ROUNDS = 2
"""Of fitting exponents by the noise about the curves, and that noise again"""
REACH = 4.0
"""So many times the largest number of labels is the last one that a curve is read at"""
READINGS = 81
LEVEL = 0.95
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Reading:
    """A number of labels that was read off a curve, or the end of its interval."""

    labels: float
    beyond: int = 0
    """+1: there are more than this, -1: fewer; how many more or fewer the runs cannot say"""


@dataclass(frozen=True)
class Needed:
    """The labels that one arm needs to reach the error of another, with the ends of a 95 % interval."""

    value: Reading
    low: Reading
    high: Reading


class Curves(Generic[Key]):
    """The error curves of some arms, fitted together."""

    def __init__(self, points: dict[Key, Points]):
        """points: of each arm; every arm has two numbers of labels or more, and four runs or more."""
        self.points = points
        self.least = min(each.labels.min() for each in points.values())
        self.mix = noise_mix(points, self.least)
        self.exponents = {key: EXPONENTS for key in points}
        self.lines = self._all_lines()
        self.scales = {key: noise_scale(each, int(each.loss.argmin())) for key, each in self.lines.items()}
        for _ in range(ROUNDS):
            around = self._common()
            self.exponents = {key: self._near(key, around) for key in points}
            """of each arm (G,); its best one stands last"""
            self.lines = self._all_lines()
            self.scales = {key: noise_scale(each, -1) for key, each in self.lines.items()}

    def exponent(self, key: Key) -> float:
        """That of an arm's best curve."""
        return float(self.exponents[key][-1])

    def error(self, key: Key, labels: np.ndarray) -> np.ndarray:
        """The error of an arm with so many labels (M,), in percent."""
        return self.lines[key].at(self._x(labels, self.exponents[key]))[-1]

    def value(self, key: Key, base: Key, labels: float) -> Reading:
        """The number of labels of `read`, without its interval."""
        least, most = self._reach(base)
        error, lines = float(self.error(key, np.array([labels]))[0]), self.lines[base]
        a, b = lines.a[-1], lines.b[-1]
        x = (error - a) / b if b > 0 else -1.0
        found = self.least * x ** (-1 / self.exponent(base)) if x > 0 else np.inf
        if found > most:
            return Reading(most, 1)
        return Reading(least, -1) if found < least else Reading(float(found))

    def read(self, key: Key, base: Key, labels: float) -> Needed:
        """How many labels the arm `base` needs for the error that the arm `key` has with `labels`.

        It is never read off beyond `REACH` times the most labels that `base` was trained with, nor below the
        fewest by that factor.
        """
        value = self.value(key, base, labels)
        grid = np.union1d(np.geomspace(*self._reach(base), READINGS), value.labels)
        excess, of_key, of_base = self._exponents_of(key, base)
        away, levels = difference(
            self._side(key, np.array([labels])), self._side(base, grid), of_key, of_base
        )
        profile = excess[:, None] + away**2 / sum(variance for variance, _ in levels)
        at = profile.argmin(0), np.arange(len(grid))
        # the ratio to what a t test rejects, as a root, so that it is nearly straight between two readings
        there = [(variance[at], freedom[at]) for variance, freedom in levels]
        beyond = profile[at] ** 0.5 / quantile((1 + LEVEL) / 2, there) - 1
        # the value itself is never ruled out, nor is one beyond the last reading
        beyond[np.searchsorted(grid, value.labels)] = -1.0
        return Needed(value, *_ends(grid, beyond, value))

    def falls(self, key: Key) -> bool:
        """Whether the error clearly falls from the fewest to the most labels of an arm's runs."""
        from scipy import stats

        sizes = self.points[key].sizes
        fall = float(np.subtract(*self.error(key, sizes[[0, -1]])))
        x = self._x(sizes[[0, -1]], self.exponents[key])[-1]
        # the fall is the slope times a known number
        width = abs(x[0] - x[1]) * (self.scales[key] / self.lines[key].spread[-1]) ** 0.5
        return fall > stats.t.ppf((1 + LEVEL) / 2, self.points[key].freedom) * width

    def rises(self, key: Key) -> tuple[int, int] | None:
        """Two neighbouring numbers of labels between which the mean error clearly rises, or None."""
        from scipy import stats

        points = self.points[key]
        shape, freedom = noise_shape(points.sizes, self.mix, self.least), (points.counts - 1).sum()
        # the spread between seeds: that about the curve would hide a rise in it
        between = max(float((points.squares / shape).sum()) / max(1, freedom), NOISE_FLOOR)
        variance = between * shape / points.counts
        rise = np.diff(points.means) / (variance[1:] + variance[:-1]) ** 0.5
        worst, sizes = int(rise.argmax()), points.sizes
        clear = rise[worst] > stats.t.ppf(0.995, max(1, freedom))
        return (int(sizes[worst]), int(sizes[worst + 1])) if clear else None

    def _reach(self, key: Key) -> tuple[float, float]:
        """The fewest and the most labels that a curve is read at."""
        sizes = self.points[key].sizes
        return sizes[0] / REACH, sizes[-1] * REACH

    def _side(self, key: Key, labels: np.ndarray) -> Side:
        """An arm, read with so many labels (M,)."""
        x = self._x(labels, self.exponents[key])
        return Side(self.points[key], self.lines[key], self.scales[key], x)

    # ---- exponents ---------------------------------------------------------------------------------

    def _exponents_of(self, key: Key, base: Key) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pairs of exponents that the runs allow two arms.

        Returns how much worse than the best pair each fits, and the positions among the two arms' exponents,
        (P,) each.
        """
        around = EXPONENTS
        far = (around - EXPECTED) ** 2 / COMMON_WIDTH**2
        for each in self.points:
            if each not in (key, base):
                far = far + self._fit(each, around).min(1)
        ours, theirs = self._fit(key, around), self._fit(base, around)
        total = (far[:, None, None] + ours[:, :, None] + theirs[:, None, :]).min(0)
        excess = total - total.min()
        of_key, of_base = np.nonzero(excess < RULED_OUT)
        return excess[of_key, of_base], of_key, of_base

    def _fit(self, key: Key, around: np.ndarray) -> np.ndarray:
        """Minus twice the logarithm of the likelihood of an arm's exponents, about each common one (C, G)."""
        away = (self.exponents[key] - around[:, None]) / OWN_WIDTH
        return self.lines[key].loss / self.scales[key] + away**2

    def _common(self) -> float:
        """The likeliest exponent for the arms to lie around."""
        far = (EXPONENTS - EXPECTED) ** 2 / COMMON_WIDTH**2
        return float(EXPONENTS[(far + sum(self._fit(key, EXPONENTS).min(1) for key in self.points)).argmin()])

    def _near(self, key: Key, around: float) -> np.ndarray:
        """Exponents of an arm (G,): all over, close together where the runs want them, the best one last."""

        def _loss(exponents: np.ndarray) -> np.ndarray:
            fit = self._line(key, exponents).loss / self.scales[key]
            return fit + ((exponents - around) / OWN_WIDTH) ** 2

        # a grid ever closer to the best: all exponents of a grid are fitted at once
        best, step = EXPONENTS[_loss(EXPONENTS).argmin()], EXPONENTS[1] - EXPONENTS[0]
        for _ in range(5):
            grid = np.clip(best + step * np.linspace(-1, 1, 21), EXPONENTS[0], EXPONENTS[-1])
            best, step = grid[_loss(grid).argmin()], step / 10
        beside = _loss(best + np.array([-1e-3, 0.0, 1e-3]))
        curvature = (beside[0] + beside[2] - 2 * beside[1]) / 1e-6
        width = min(OWN_WIDTH, (2 / max(curvature, 1e-9)) ** 0.5)
        close = best + width * CLOSE
        inside = close[(close >= EXPONENTS[0]) & (close <= EXPONENTS[-1])]
        return np.append(np.union1d(EXPONENTS, inside), best)

    # ---- lines -------------------------------------------------------------------------------------

    def _x(self, labels: np.ndarray, exponents: np.ndarray) -> np.ndarray:
        """(G, M)"""
        return (labels / self.least) ** -exponents[:, None]

    def _line(self, key: Key, exponents: np.ndarray) -> Lines:
        points = self.points[key]
        weights = 1 / noise_shape(points.labels, self.mix, self.least)
        return fit_lines(self._x(points.labels, exponents), points.errors, weights)

    def _all_lines(self) -> dict[Key, Lines]:
        return {key: self._line(key, self.exponents[key]) for key in self.points}


def _ends(grid: np.ndarray, beyond: np.ndarray, value: Reading) -> tuple[Reading, Reading]:
    """The ends of the interval: the outermost numbers of labels that are not ruled out.

    grid: numbers of labels (M,); beyond: what is above 0 where one is ruled out (M,).
    """
    first, last = np.flatnonzero(beyond <= 0)[[0, -1]]

    def _cross(inside: int, outside: int) -> Reading:
        share = beyond[inside] / (beyond[inside] - beyond[outside])
        near, far = np.log(grid[[inside, outside]])
        return Reading(float(np.exp(near + share * (far - near))))

    # nothing is ruled out beyond the last number that was read
    low = Reading(float(grid[0]), -1) if first == 0 else _cross(first, first - 1)
    high = Reading(float(grid[-1]), 1) if last == len(grid) - 1 else _cross(last, last + 1)
    if value.beyond and first == last:
        return value, value
    return low, high
