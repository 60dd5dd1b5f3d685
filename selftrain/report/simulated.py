"""Simulated studies whose truth is known: what intervals cover, what tests find wrongly, what they can show.

A simulated study scores some cells (arms at places) with several seeds on test images.  The score of cell k
with seed s on image i is

    y(k, s, i) = I(i) + G(s) + A(k, s) + C(k, i) + E(k, s, i)

I and G are what all cells share of an image and of a seed; differences are free of them.  A is what a cell
makes of a seed, C of an image, E of both.  The first cell of each pair has none of these three, so that the
difference of a pair has just the variances that a case names.  All true differences are 0.  The replicates
are made as in a real study: the images are drawn again with replacement, the same ones for all cells and
seeds, and the mean is taken again.  In a nested study each seed has images of its own: then I and C differ
between seeds too."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from selftrain.report.effect import BOTH, Effect, effect_of
from selftrain.report.levels import quantile
from selftrain.report.power import chi_squares, minimum_detectable
from selftrain.report.tested import holm, p_of

IMAGES, RESAMPLES, CHUNK = 200, 500, 250


@dataclass(frozen=True)
class Truth:
    """Variances of the difference of two cells, in squares of the metric's unit."""

    name: str
    """what decides"""
    seed: float
    """by the seed: variance of A"""
    shared: float
    """by the test images: variance of the mean of C over `IMAGES` images"""
    own: float
    """by each seed's own reading of the test images: variance of the mean of E over `IMAGES` images"""
    tails: str = "normal"
    """the distribution of A: normal, t3 (of Student, with 3 degrees of freedom) or lognormal (of a standard
    normal), the latter two centred and scaled"""
    nested: bool = False
    """whether each seed has test images of its own"""

    def effect(self, seeds: int, images: int = IMAGES) -> Effect:
        """The effect of a study whose estimates are the truth, to plan others with."""
        share = IMAGES / images
        of_each = self.seed + self.own * share + (self.shared * share if self.nested else 0.0)
        return Effect(
            mean=0.0,
            low=math.nan,
            high=math.nan,
            n=seeds,
            df=math.nan,
            p=math.nan,
            seed_variance=of_each / seeds,
            image_variance=0.0 if self.nested else self.shared * share,
            own_image_variance=(self.own + (self.shared if self.nested else 0.0)) * share,
            images=images,
            covers=BOTH,
        )


SEEDS_DECIDE = Truth("seeds", seed=1.0, shared=0.02, own=0.1)
MOSTLY_SEEDS = Truth("mostly seeds", seed=1.0, shared=0.1, own=0.1)
BOTH_DECIDE = Truth("seeds and images", seed=0.5, shared=0.2, own=0.5)
IMAGES_DECIDE = Truth("images", seed=0.1, shared=1.0, own=0.1)
OWN_READING = Truth("each seed's own reading", seed=0.01, shared=0.0, own=1.0)
REGIMES = (SEEDS_DECIDE, MOSTLY_SEEDS, BOTH_DECIDE, IMAGES_DECIDE, OWN_READING)
HEAVY = [
    replace(truth, tails=tails) for tails in ("t3", "lognormal") for truth in (SEEDS_DECIDE, BOTH_DECIDE)
]  # fmt: skip
NESTED = [replace(truth, nested=True) for truth in (SEEDS_DECIDE, IMAGES_DECIDE)]


def studies(
    truth: Truth, seeds: int, n: int, number: int, cells: int = 2, images: int = IMAGES
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Of each of n simulated studies the scores (K, S), and those under each resample (K, S, B).

    number: of the case; all randomness is a function of it and of the study's place among the n.
    """
    for first in range(0, n, CHUNK):
        draw = np.random.default_rng([number, first])
        m = min(CHUNK, n - first)
        of_images = (m, cells, seeds if truth.nested else 1, images)
        by_image = draw.normal(size=of_images) * math.sqrt(truth.shared * IMAGES)
        by_both = draw.normal(size=(m, cells, seeds, images)) * math.sqrt(truth.own * IMAGES)
        by_seed = _deviates(draw, truth.tails, (m, cells, seeds, 1)) * math.sqrt(truth.seed)
        y = by_image + by_both + by_seed
        y[:, ::2] = 0.0
        y += draw.normal(size=(m, 1, *of_images[2:])) * 20 + draw.normal(size=(m, 1, seeds, 1)) * 3
        # how often each image was drawn, as a share: (B, N)
        weights = draw.multinomial(images, np.full(images, 1 / images), size=RESAMPLES) / images
        yield from zip(y.mean(-1), y @ weights.T)


def _deviates(draw: np.random.Generator, tails: str, shape: tuple[int, ...]) -> np.ndarray:
    """Random numbers of mean 0 and variance 1."""
    if tails == "t3":
        return draw.standard_t(3, size=shape) / math.sqrt(3)
    if tails == "lognormal":
        return (draw.lognormal(size=shape) - math.exp(0.5)) / math.sqrt((math.e - 1) * math.e)
    return draw.normal(size=shape)


def effects(
    truth: Truth, seeds: int, n: int, number: int, images: int = IMAGES, contrasts: np.ndarray | None = None
) -> list[list[Effect]]:
    """Of each simulated study the effects of contrasts (M, K), default of the second cell less the first."""
    contrasts = np.array([[-1.0, 1.0]]) if contrasts is None else contrasts
    found = []
    for scores, resampled in studies(truth, seeds, n, number, contrasts.shape[1], images):
        values, replicates = contrasts @ scores, np.tensordot(contrasts, resampled, 1)
        tests = range(seeds) if truth.nested else None
        found.append([effect_of(v.tolist(), r, images, tests) for v, r in zip(values, replicates)])
    return found


# ---- what intervals cover ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Coverage:
    """How many of the 95 % intervals of a case have the truth inside, as shares."""

    truth: Truth
    seeds: int
    here: float
    """of `effect_of`"""
    satterthwaite: float
    """with the same variances, and Satterthwaite's degrees of freedom"""
    seeds_alone: float
    """of Student's t over seeds, which knows nothing of test images"""


def coverage(truth: Truth, seeds: int, n: int, number: int) -> Coverage:
    """The shares of n simulated studies."""
    found = [effect for (effect,) in effects(truth, seeds, n, number)]
    satterthwaite = [_covered(effect, satterthwaite_quantile(effect)) for effect in found]
    alone = [effect_covered_by_seeds(effect) for effect in found] if seeds > 1 else [math.nan]
    here = [effect.low < 0 < effect.high for effect in found]
    return Coverage(truth, seeds, *(float(np.mean(each)) for each in (here, satterthwaite, alone)))


def _covered(effect: Effect, bound: float) -> bool:
    return abs(effect.mean) < bound * math.sqrt(sum(variance for variance, _ in effect.levels))


def satterthwaite_quantile(effect: Effect) -> float:
    """Of Student's t with (V1 + V2)^2 / (V1^2 / df1 + V2^2 / df2) degrees of freedom (Satterthwaite 1946)."""
    total = sum(variance for variance, _ in effect.levels)
    df = total**2 / sum(variance**2 / df for variance, df in effect.levels)
    return quantile(0.975, [(1.0, df)])


def effect_covered_by_seeds(effect: Effect) -> bool:
    """Whether the t interval over seeds alone holds the truth, which is 0."""
    level = (effect.seed_variance, effect.n - 1)
    return abs(effect.mean) < quantile(0.975, [level]) * math.sqrt(effect.seed_variance)


def coverages(n: int) -> list[Coverage]:
    """Every case: regimes, nested ones and those with heavy tails, with 3 and 5 seeds, and one seed alone."""
    cases = [(truth, seeds) for truth in (*REGIMES, *NESTED, *HEAVY) for seeds in (3, 5)]
    cases.append((replace(IMAGES_DECIDE, name="images, this seed", seed=0.0), 1))
    return [coverage(*case, n, number) for number, case in enumerate(cases)]


def exact_coverage(seeds: int, share: float, images: int = IMAGES) -> tuple[float, float]:
    """What the intervals of `effect_of` and those of Satterthwaite cover, by numerical integration.

    share: of the variance of the mean, by the test images.  Both estimated variances are then scaled
    chi-squares; given these the mean is normal.
    """
    from scipy import special

    own = (1 - share) * chi_squares(seeds - 1)[:, None]
    shared = share * chi_squares(images - 1)[None]
    total = own + shared
    bounds = [special.stdtrit(df, 0.975) for df in (seeds - 1, images - 1)]
    cochran = (own * bounds[0] + shared * bounds[1]) / total
    satterthwaite = special.stdtrit(total**2 / (own**2 / (seeds - 1) + shared**2 / (images - 1)), 0.975)
    covered = (2 * special.ndtr(bound * np.sqrt(total)) - 1 for bound in (cochran, satterthwaite))
    return tuple(float(each.mean()) for each in covered)


# ---- wrong findings among several contrasts ------------------------------------------------------------

# eight cells: random and pre-trained, with weak and strong augmentation, with few and many labels
_GAINS = np.array(
    [[-1, 1, 0, 0, 0, 0, 0, 0], [0, 0, -1, 1, 0, 0, 0, 0], [0, 0, 0, 0, -1, 1, 0, 0], [0] * 6 + [-1, 1]]
)
_SUMS = (
    np.array([[1, 1, 1, 1], [1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1], [0, 0, 0, 4], [2, 2, 0, 0]]) / 4
)
SIX = _SUMS @ _GAINS
EXPECTED = ("above zero", "above zero", "above zero", "either", "either", "either")
TRUE_EFFECTS = np.array([3.0, 0.0, 0.0, 0.0, 3.0, 3.0])  # where half of the contrasts are not zero


@dataclass(frozen=True)
class Familywise:
    """In how many studies any contrast whose truth is 0 is called different from 0, as shares."""

    truth: Truth
    seeds: int
    others: bool
    """whether three of the six contrasts have true effects"""
    holm: float
    """after Holm's correction"""
    uncorrected: float
    """without it"""


def familywise(truth: Truth, seeds: int, others: bool, n: int, number: int) -> Familywise:
    """The shares of n simulated studies with six contrasts each."""
    added = TRUE_EFFECTS if others else np.zeros(6)
    null = added == 0
    wrong, uncorrected = [], []
    for six in effects(truth, seeds, n, number, contrasts=SIX):
        ps = [p_of(_moved(effect, by), expect) for effect, by, expect in zip(six, added, EXPECTED)]
        wrong.append((np.array(holm(ps)) <= 0.05)[null].any())
        uncorrected.append((np.array(ps) <= 0.05)[null].any())
    return Familywise(truth, seeds, others, float(np.mean(wrong)), float(np.mean(uncorrected)))


def _moved(effect: Effect, by: float) -> Effect:
    """The same study, with a true effect added."""
    if by == 0:
        return effect
    from selftrain.report.levels import upper_tail

    mean = effect.mean + by
    error = math.sqrt(sum(variance for variance, _ in effect.levels))
    return replace(effect, mean=mean, p=2 * upper_tail(abs(mean) / error, effect.levels))


def familywise_all(n: int) -> list[Familywise]:
    """Every case."""
    cases = [
        (truth, seeds, others)
        for truth in (SEEDS_DECIDE, BOTH_DECIDE)
        for seeds in (3, 5)
        for others in (False, True)
    ]
    return [familywise(*case, n, 100 + number) for number, case in enumerate(cases)]


# ---- effects that a study can show ---------------------------------------------------------------------


@dataclass(frozen=True)
class Detectable:
    """The smallest effect that studies show in 80 % of all cases."""

    truth: Truth
    seeds: int
    images: int
    planned: float
    """by the formula, from the true variances of three seeds and `IMAGES` images"""
    simulated: float
    """by simulated studies of that size"""

    @property
    def ratio(self) -> float:
        """How much larger the planned one is."""
        return self.planned / self.simulated


def detectable(truth: Truth, seeds: int, images: int, n: int, number: int) -> Detectable:
    """The effect that 80 % of n simulated studies show."""
    found = [effect for (effect,) in effects(truth, seeds, n, number, images)]
    means = np.array([effect.mean for effect in found])
    bounds = np.array([(effect.high - effect.low) / 2 for effect in found])
    low, high = 0.0, 1000.0
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (low, middle) if (np.abs(means + middle) > bounds).mean() >= 0.8 else (middle, high)
    planned = minimum_detectable(truth.effect(3), seeds, images)
    return Detectable(truth, seeds, images, planned, high)


def detectables(n: int) -> list[Detectable]:
    """Every case: the study as it is, with more seeds, and with more test images."""
    sizes = ((3, IMAGES), (5, IMAGES), (8, IMAGES), (3, 4 * IMAGES))
    cases = [(truth, *size) for truth in (*REGIMES, NESTED[1]) for size in sizes]
    return [detectable(*case, n, 200 + number) for number, case in enumerate(cases)]
