"""What an arm is worth in labels: with its n labelled images it scores what another arm would need n' for.

A start is read against the random one (what pre-training is worth), and a student against the supervised arm
of its own start (what self-training is worth).  The curves and their intervals are those of
`label_curves.py`."""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from selftrain.record import RANDOM, Arm, Record, Setting
from selftrain.report.effect import are_resampled, covered
from selftrain.report.label_curves import Curves, Needed, Reading
from selftrain.report.label_lines import Points
from selftrain.report.matrix import Matrix
from selftrain.report.places import order

FEWEST = 3
"""Numbers of labels that a curve takes"""


@dataclass(frozen=True)
class Equivalent:
    """What an arm is worth at a place, in labelled images of its base arm."""

    arm: Arm
    base: Arm
    setting: Setting
    """the place, its fraction included"""
    labels: int
    """images that the arm had labels of"""
    needed: Needed | None
    """how many the base arm needs for the same score; None where that cannot be said"""
    reason: str | None = None
    """why it cannot be said"""

    @property
    def value(self) -> Reading:
        """The labels that the arm is worth beside its own; below 0 where the base arm needs fewer than it."""
        return self._beside(self.needed.value)

    @property
    def low(self) -> Reading:
        """The lower end of the 95 % interval of `value`."""
        return self._beside(self.needed.low)

    @property
    def high(self) -> Reading:
        """The upper end of the 95 % interval of `value`."""
        return self._beside(self.needed.high)

    def show(self) -> str:
        """`140 (60 to 420)`, `more than 1,200`, `more than 1,200 (at least 300)`, or `unknown`."""
        return self.words(show_labels) if self.needed else "unknown"

    def words(self, show: Callable[[Reading], str]) -> str:
        """The value and its interval, each as `show` writes it; out of sight only its inner end."""
        value, low, high = show(self.value), show(self.low), show(self.high)
        if not self.value.beyond:
            return f"{value} ({low} to {high})"
        if self.low.beyond == self.high.beyond:
            return value
        inner = f"at least {low}" if self.value.beyond > 0 else f"at most {high}"
        return f"{value} ({inner})"

    def _beside(self, reading: Reading) -> Reading:
        return Reading(reading.labels - self.labels, reading.beyond)


def show_labels(reading: Reading) -> str:
    """A number of labels with two significant digits: `140`, `more than 1,200`, `less than -40`.

    What lies beyond a bound is rounded towards the safe side.
    """
    size = abs(reading.labels)
    unit = 10 ** max(0, math.floor(math.log10(size)) - 1) if size >= 1 else 1
    to_unit = {1: math.floor, 0: round, -1: math.ceil}[reading.beyond]
    words = {1: "more than ", 0: "", -1: "less than "}[reading.beyond]
    return f"{words}{to_unit(reading.labels / unit) * unit:,}"


@dataclass(frozen=True)
class Series:
    """The arms of a study at the places that differ in nothing but the share of the labels."""

    matrix: Matrix
    place: Setting
    """without the fraction"""
    settings: list[Setting]
    """the places, from few labels to many"""

    @cached_property
    def pairs(self) -> list[tuple[Arm, Arm]]:
        """(arm, base) of what is read here."""
        return [
            (arm, base)
            for arm in self.matrix.arms
            if arm != RANDOM and any(self.matrix.stands(arm, place) for place in self._places(arm))
            if self._places(base := arm.supervised if arm.rounds else RANDOM)
        ]

    @cached_property
    def points(self) -> dict[Arm, Points]:
        """Of each arm of a pair its runs."""
        arms = dict.fromkeys(arm for pair in self.pairs for arm in pair)
        return {
            arm: _points(self._records(arm), self.matrix.metric)
            for arm in sorted(arms, key=lambda arm: arm.order)
        }

    @cached_property
    def curves(self) -> Curves[Arm] | None:
        """Of the arms that have enough runs for one; None where no arm has."""
        fitted = {arm: each for arm, each in self.points.items() if not _too_few(arm, each)}
        return Curves(fitted) if fitted else None

    @cached_property
    def equivalents(self) -> list[Equivalent]:
        """One for each pair and number of labels, from few labels to many."""
        return [
            self._equivalent(arm, base, place)
            for arm, base in self.pairs
            for place in self._places(arm)
            if self.matrix.stands(arm, place)
        ]

    @property
    def covers(self) -> str:
        """What the intervals cover, in words."""
        every = self.points.values()
        tests = {seed: test for each in every for seed, test in zip(each.seeds, each.tests)}
        return covered(Counter(tests.values()), all(each.resampled is not None for each in every))

    @property
    def examples(self) -> list[Equivalent]:
        """One of each pair, for an arrow or a sentence.

        It is the one in the middle of those whose value is within sight; where none is, of all.
        """
        chosen = []
        for pair in self.pairs:
            every = [of for of in self.equivalents if (of.arm, of.base) == pair]
            known = [of for of in every if of.needed] or every
            within = [of for of in known if of.needed and not of.value.beyond] or known
            chosen.append(within[len(within) // 2])
        return chosen

    def _equivalent(self, arm: Arm, base: Arm, place: Setting) -> Equivalent:
        records = self.matrix.at(arm, place).values()
        labels = round(sum(r.labelled_images for r in records) / len(records))
        reason = self.why_not(arm, base)
        needed = None if reason else self.curves.read(arm, base, labels)
        return Equivalent(arm, base, place, labels, needed, reason)

    def why_not(self, arm: Arm, base: Arm) -> str | None:
        """Why the labels of one arm cannot be read off another's curve; None where they can."""
        for each in (arm, base):
            if reason := _too_few(each, self.points[each]):
                return reason
        for each in (arm, base):
            if rise := self.curves.rises(each):
                few, many = rise
                return f"the score of {each} clearly falls from {few:,} to {many:,} labels"
        if not self.curves.falls(base):
            return f"more labels do not raise the score of {base} beyond its uncertainty"
        return None

    def _places(self, arm: Arm) -> list[Setting]:
        return [place for place in self.settings if self.matrix.at(arm, place)]

    def _records(self, arm: Arm) -> list[Record]:
        return [r for place in self.settings for r in self.matrix.at(arm, place).values()]


@lru_cache(maxsize=8)
def find_series(matrix: Matrix) -> list[Series]:
    """What of a study can be read so: places with at least `FEWEST` shares of the labels, and two arms."""
    groups: dict[Setting, list[Setting]] = {}
    for place in matrix.places:
        groups.setdefault(place.without("fraction"), []).append(place)
    found = [
        Series(matrix, place, sorted(settings, key=lambda each: each["fraction"]))
        for place, settings in sorted(groups.items(), key=lambda item: order(item[0]))
        if len(settings) >= FEWEST
    ]
    return [series for series in found if series.pairs]


def _points(records: list[Record], metric: str) -> Points:
    """Scores are in percent, and more of them is better."""
    resampled = are_resampled(records, [metric])
    return Points(
        np.array([r.labelled_images for r in records], float),
        np.array([r.seed for r in records]),
        np.array([100 - r.score for r in records]),
        100 - np.array([r.resampled[metric] for r in records], float) if resampled else None,
        min(r.scored_images for r in records),
        np.array([r.hashes.test for r in records]),
    )


def _too_few(arm: Arm, points: Points) -> str | None:
    """Why an arm has too few runs for a curve, or None."""
    if len(points.sizes) < FEWEST:
        return f"{arm} ran with {len(points.sizes)} numbers of labels, and a curve takes {FEWEST}"
    if points.counts.max() < 2:
        return f"{arm} has one seed for each number of labels: no spread to judge by"
    return None
