"""An effect: the mean over seeds of a difference, how sure it is, and in which sense it is sure.

Two things would be different if a study were done again: its seeds and its test images.  A seed decides the
labelled subset, the first weights, the order and the augmentation all at once, so that the spread over seeds
holds all of these (Bouthillier et al. 2021, Accounting for variance in machine learning benchmarks, MLSys).
What the test images add is read from the scores under bootstrap resamples of them, the same for all arms and
seeds, so that differences are paired by resample.

Where all seeds share the test images, the levels are crossed, and a variance of the mean over S seeds is

    V = s^2 / S + sigma_b^2

s^2 is the variance over seeds, which already holds each seed's own reading of the images; sigma_b^2 is what
all seeds share.  A bootstrap of the images alone counts both: with c the shared part and e each seed's own,
the mean over seeds varies over resamples by v_mean = c + e / S, each seed by v_each = c + e.  That a
resampling of crossed factors counts their interaction more than once, and must be corrected for it, is shown
in Owen 2007, The pigeonhole bootstrap, Annals of Applied Statistics 1, 386-411.  Where each seed has test
images of its own, the levels are nested, and s^2 / S holds everything.

Both are ends of one case: seeds in groups of n_g, those of a group with the same test images.  With
k = sum_g (n_g / S)^2, which is 1 where the levels are crossed and 1 / S where they are nested,

    v_mean = k c + e / S    and    v_each = c + e

give c and e, each at least 0.  Of c, s^2 / S holds what differs between the seeds of different groups; the
rest is sigma_b^2 = c (S k - 1) / (S - 1)."""

import math
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from selftrain.record import Record
from selftrain.report.levels import Level, degrees_of_freedom, of_images, quantile, upper_tail
from selftrain.report.statistics import rounded

_NOTHING = 1e-9  # a standard deviation below this is rounding

BOTH = "other seeds and other test images"
SEEDS = "other seeds, on these test images"
IMAGES = "other test images, with this seed"
NEITHER = "this seed on these test images alone"


@dataclass(frozen=True)
class Effect:
    """The mean over seeds of a difference, or of any contrast, with its interval."""

    mean: float
    """in the unit of the metric"""
    low: float
    """lower end of the interval; nan without one, and where there is no spread to make one of"""
    high: float
    """upper end of the interval; nan without one"""
    n: int
    """how many seeds"""
    df: float
    """degrees of freedom of the t distribution with the same quantile (`levels.py`); nan without an
    interval"""
    p: float
    """two-sided against zero; nan without an interval, and where there is no spread to test"""
    seed_variance: float
    """of the mean, by the spread over seeds: s^2 / S; 0 of one seed"""
    image_variance: float
    """of the mean, by the test images that all seeds share; 0 where that is not known, and where each seed
    has its own"""
    own_image_variance: float
    """of one seed's number, by its own reading of the test images: a part of s^2 that more test images make
    smaller; 0 where that is not known"""
    images: int
    """how many test images a seed is scored on; 0 where that is not known"""
    covers: str
    """what the interval covers, in words"""
    level: float = 0.95
    """of the interval"""

    @property
    def levels(self) -> tuple[Level, ...]:
        """The variances of the mean above 0, each with its degrees of freedom."""
        return _levels((self.seed_variance, self.n - 1), (self.image_variance, self.images - 1))

    @property
    def spread(self) -> bool:
        """Whether the number differs between seeds or between resamples of the test images."""
        return bool(self.levels)

    @property
    def clear(self) -> bool:
        """Whether the interval leaves zero out.

        One seed is never clear: nothing is known of others.  Nor are several that do not differ at all: that
        they happen to be equal does not make other ones equal.
        """
        return self.n > 1 and (self.low > 0 or self.high < 0)

    @property
    def bounded(self) -> bool:
        """Whether there is an interval."""
        return not math.isnan(self.low)

    @property
    def half_width(self) -> float:
        """Of the interval; nan without one."""
        return (self.high - self.low) / 2

    def at_level(self, level: float) -> "Effect":
        """The same effect with the interval of another level, such as 0.90, each of whose ends is a one-sided
        95 % bound; without an interval where this one has none.
        """
        if not self.levels:
            return replace(self, level=level, low=math.nan, high=math.nan, df=math.nan)
        probability = (1 + level) / 2
        half_width = float(quantile(probability, self.levels)) * _root_of_sum(self.levels)
        df = float(degrees_of_freedom(probability, self.levels))
        return replace(self, low=self.mean - half_width, high=self.mean + half_width, df=df, level=level)

    def show(self, digits: int, sign: str = "") -> str:
        """`12.3 ± 0.4`, or `12.3` without an interval; sign: "+" prints the sign of positive means too."""
        mean = rounded(self.mean, digits, sign)
        return f"{mean} ± {self.half_width:.{digits}f}" if self.bounded else mean

    def csv(self) -> dict[str, float | int | str]:
        """Mean, half width of the interval and n for a csv file."""
        half_width = round(self.half_width, 4) if self.bounded else ""
        return {"mean": round(self.mean, 4), "half_width_95": half_width, "n": self.n}

    def word(self, margin: float) -> str:
        """What is said of the effect: helps, hurts, equivalent or open.

        It `helps` or `hurts` where the interval leaves zero out, and is `equivalent` where the interval
        lies inside plus and minus `margin`, in the unit of the metric.  An effect can be both: there is
        one, and it is too small to matter.  Then both are said, since each answers a question of its own.
        By an interval of 95 % the second is a test of equivalence at 2.5 % a side (Schuirmann 1987, J.
        Pharmacokinetics and Biopharmaceutics 15, 657-680), more careful than the usual 5 %.  All else is
        `open`: one seed always, and several that do not differ at all.
        """
        inside = self.n > 1 and -margin < self.low and self.high < margin
        if self.clear:
            return ("helps" if self.mean > 0 else "hurts") + (
                ", equivalent within the margin" if inside else ""
            )
        return "equivalent" if inside else "open"

    def numbers(self, metric: str, digits: int, covers: bool = True, p: bool = True) -> str:
        """Mean, interval, what it covers, n and p, as a part of a sentence.

        covers, p: whether these two are said.  A p that is not corrected for the number of tests is no test.
        """
        effect = f"{rounded(self.mean, digits, '+')} {metric}"
        seeds = "one seed" if self.n == 1 else f"n = {self.n} seeds"
        if not self.spread and self.covers != NEITHER:
            where = "under every resample of the test images" if self.n == 1 else f"with every one of {seeds}"
            return f"{effect} {where}: no spread to test"
        if not self.bounded:
            return f"{effect}, {seeds}: no interval"
        low, high = (rounded(end, digits, "+") for end in (self.low, self.high))
        what = f" ({self.covers})" if covers else ""
        interval = f"{100 * self.level:g} % interval {low} to {high}{what}"
        return f"{effect}, {interval}, {seeds}" + (f", {p_text(self.p)}" if p else "")


def p_text(p: float, name: str = "p") -> str:
    """`p = 0.013`, `p < 0.001`."""
    return f"{name} < 0.001" if p < 0.001 else f"{name} = {p:.3f}"


def covered(groups: Counter, resampled: bool) -> str:
    """What an interval covers, in words.

    groups: how many seeds have each set of test images; resampled: whether scores under resamples of these
    are known.
    """
    seeds = groups.total()
    if seeds == 1:
        return IMAGES if resampled else NEITHER
    return BOTH if resampled or len(groups) == seeds else SEEDS


def effect_of(
    values: Sequence[float],
    replicates: np.ndarray | None = None,
    images: int = 0,
    tests: Sequence[Hashable] | None = None,
    level: float = 0.95,
) -> Effect:
    """The effect from one number a seed.

    replicates: (S, B), the same numbers under each of B resamples of the test images; images: how many test
    images; tests: of each seed a name of its test images, default the same for all.  Without replicates,
    seeds that share test images tell of other seeds alone; one seed with replicates tells of other test
    images alone.

    Raises ValueError where there is no value, and where replicates have another number of seeds, fewer than
    two columns, or come without the number of images.
    """
    n = len(values)
    _check(n, replicates, images)
    seed_variance = _variance(values) / n if n > 1 else 0.0
    groups = Counter(tests or [None] * n)
    image_variance = own = 0.0
    if replicates is not None:
        each = float(np.mean([_variance(row) for row in replicates]))
        image_variance, own = map(float, of_images(each, _variance(replicates.mean(0)), groups))
    covers = covered(groups, replicates is not None)
    mean = float(np.mean(values))
    levels = _levels((seed_variance, n - 1), (image_variance, images - 1))
    found = Effect(
        mean=mean,
        low=math.nan,
        high=math.nan,
        n=n,
        df=math.nan,
        p=2 * upper_tail(abs(mean) / _root_of_sum(levels), levels) if levels else math.nan,
        seed_variance=seed_variance,
        image_variance=image_variance,
        own_image_variance=own,
        images=images,
        covers=covers,
    )
    return found.at_level(level)


Scores = Callable[[Record, str], np.ndarray]
"""Of a record and the name of a score: (1,), the score; or (1 + B,), followed by the same under each of B
resamples of the test images"""


def effect_of_records(
    of_seeds: Sequence[Sequence[Record]],
    metrics: Collection[str],
    number: Callable[[int, Scores], np.ndarray],
) -> Effect | None:
    """The effect of a number that is made of the scores of several records of each seed.

    of_seeds: the records of each seed; metrics: which of their scores count; number: called with the place of
    a seed in `of_seeds`, and with the scores of a record.  None of no seed, and where the number of a seed is
    not finite.
    """
    if not of_seeds:
        return None
    every = [record for each in of_seeds for record in each]
    resampled = are_resampled(every, metrics)

    def _scores(record: Record, metric: str) -> np.ndarray:
        return np.array(
            [record.metrics[metric], *(record.resampled[metric] if resampled else ())], dtype=float
        )

    numbers = np.stack([number(seed, _scores) for seed in range(len(of_seeds))])
    if not np.isfinite(numbers).all():
        return None
    tests = [tuple(record.hashes.test for record in each) for each in of_seeds]
    images = min(record.scored_images for record in every)
    return effect_of(numbers[:, 0].tolist(), numbers[:, 1:] if resampled else None, images, tests)


def are_resampled(records: Collection[Record], metrics: Collection[str]) -> bool:
    """Whether all records have these scores under the same number of resamples of several test images."""
    sizes = {len(record.resampled.get(name) or ()) for record in records for name in metrics}
    return len(sizes) == 1 and sizes != {0} and all(record.scored_images > 1 for record in records)


def score_of(records: Collection[Record], metric: str) -> Effect | None:
    """The score of some records, one for each seed; None of none."""
    of_seeds = [[record] for record in records]
    return effect_of_records(of_seeds, [metric], lambda seed, scores: scores(of_seeds[seed][0], metric))


def _levels(*both: Level) -> tuple[Level, ...]:
    """Those that vary."""
    return tuple((variance, df) for variance, df in both if variance > 0)


def _root_of_sum(levels: tuple[Level, ...]) -> float:
    return math.sqrt(sum(variance for variance, _ in levels))


def _check(n: int, replicates: np.ndarray | None, images: int) -> None:
    if n == 0:
        raise ValueError("an effect needs at least one value")
    if replicates is None:
        return
    if replicates.ndim != 2 or replicates.shape[0] != n or replicates.shape[1] < 2:
        raise ValueError(f"replicates have shape {replicates.shape}; wanted ({n}, at least 2)")
    if images < 2:
        raise ValueError(f"replicates are of at least two test images, not of {images}")


def _variance(values: list[float] | np.ndarray) -> float:
    """The unbiased variance; 0 where the values differ by rounding alone."""
    variance = float(np.var(values, ddof=1))
    return variance if variance > _NOTHING**2 else 0.0


def chance_of_better(effect: Effect) -> float | None:
    """P(A > B): the chance that the difference of a further seed is above zero; None of one seed,
    and of seeds that do not differ at all.

    The further seed is scored on as many other test images where the interval covers them, else on the
    same. Its difference has Student's predictive distribution: the spread of one seed and the error of the
    mean add to s^2 (1 + 1 / S), with S - 1 degrees of freedom (Geisser 1993, Predictive Inference;
    Hahn and Meeker 1991, Statistical Intervals), and the shared part of the test images
    counts once for this study's and once for the other ones.  Why P(A > B) is the question of somebody who
    chooses: Bouthillier et al. 2021.
    """
    if effect.n < 2:
        return None
    levels = _levels(
        (effect.seed_variance * (effect.n + 1), effect.n - 1), (2 * effect.image_variance, effect.images - 1)
    )
    if not levels:
        return None
    return 1 - upper_tail(effect.mean / _root_of_sum(levels), levels)
