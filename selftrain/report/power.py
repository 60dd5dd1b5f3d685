"""What would settle an open question: more seeds, more test images, or neither.

Everything here takes the spreads that were seen for the true ones.  A spread over three seeds is itself known
to a factor of two or so, and the answer with it: it is a plan, not a promise."""

import math
from collections.abc import Callable

import numpy as np

from selftrain.report.effect import Effect
from selftrain.report.levels import Level, quantile
from selftrain.system.progress import duration

POWER, ALPHA = 0.8, 0.05
MOST_SEEDS, MOST_IMAGES = 100, 100  # further seeds, and times the test images, that are looked at
_GRID = {True: 400, False: 40}  # points of the distribution of a variance: by few degrees of freedom, by many


def planned(effect: Effect, seeds: int, images: int) -> list[Level]:
    """The variances of the mean of a study of so many seeds and test images, by the spreads of this one.

    Seeds divide what differs between seeds.  More test images make smaller what all seeds share, and each
    seed's own reading of the images, but not the rest of the spread over seeds.  Of one seed nothing is known
    of other seeds.
    """
    share = effect.images / images if effect.images and images else 1.0
    seed_variance = effect.seed_variance * effect.n - effect.own_image_variance * (1 - share)
    levels = [(max(seed_variance, 0.0) / seeds, seeds - 1), (effect.image_variance * share, images - 1)]
    return [(variance, df) for variance, df in levels if variance > 0 and df > 0]


def power(delta: float, levels: list[Level], alpha: float = ALPHA) -> float:
    """The chance that the two-sided test at `alpha` shows a true effect of `delta`.

    With one level it is a probability of the noncentral t distribution (Cohen 1988, Statistical Power
    Analysis, chapter 2).  With two, the statistic is a normal deviate over the root of a sum of two scaled
    chi-squares, and its critical value depends on them too (`levels.py`): the noncentral t is then averaged
    numerically over both chi-squares, which for one level gives the same number.
    """
    from scipy import special

    if not levels:
        return 1.0 if delta else 0.0
    factors = np.meshgrid(*(chi_squares(df) for _, df in levels), indexing="ij")
    estimated = [variance * factor for (variance, _), factor in zip(levels, factors)]
    total = sum(estimated)
    bounds = [special.stdtrit(df, 1 - alpha / 2) for _, df in levels]
    critical = sum(part * bound for part, bound in zip(estimated, bounds)) / total * np.sqrt(total)
    error = math.sqrt(sum(variance for variance, _ in levels))
    shown = special.ndtr((delta - critical) / error) + special.ndtr((-delta - critical) / error)
    return float(shown.mean())


def chi_squares(df: float) -> np.ndarray:
    """Equally likely values of a chi-square over its degrees of freedom, by their quantiles."""
    from scipy import special

    n = _GRID[df < 30]
    return special.chdtri(df, 1 - (np.arange(n) + 0.5) / n) / df


def minimum_detectable(
    effect: Effect, seeds: int | None = None, images: int | None = None, alpha: float = ALPHA
) -> float:
    """The smallest true effect that the two-sided test at `alpha` shows with 80 % power, in the metric's
    unit.

    seeds, images: of the planned study; default those of this one.  nan where nothing is known of the spread.
    """
    from scipy import optimize

    levels = planned(effect, seeds or effect.n, images or effect.images)
    if not levels:
        return 0.0 if effect.spread else math.nan
    error = math.sqrt(sum(variance for variance, _ in levels))
    return float(optimize.brentq(lambda delta: power(delta, levels, alpha) - POWER, 0.0, 100 * error))


def half_width(effect: Effect, seeds: int, images: int) -> float:
    """Of the interval that a study of so many seeds and test images may expect."""
    levels = planned(effect, seeds, images)
    if not levels:
        return 0.0
    return quantile(1 - (1 - effect.level) / 2, levels) * math.sqrt(sum(variance for variance, _ in levels))


def more_seeds(effect: Effect, enough: Callable[[int, int], bool]) -> int | None:
    """How many further seeds are enough, up to a hundred; None where they are not.

    enough: whether so many seeds and test images are.
    """
    further = range(0 if effect.n > 1 else 1, MOST_SEEDS + 1)
    return next((more for more in further if enough(effect.n + more, effect.images)), None)


def more_images(effect: Effect, enough: Callable[[int, int], bool]) -> int | None:
    """How many further test images are enough, up to a hundred times those there are; None where they are
    not, and where nothing is known of the test images.
    """
    low, high = effect.images, MOST_IMAGES * effect.images
    if not low or not enough(effect.n, high):
        return None
    while low < high:  # the more the better: bisection finds the fewest
        middle = (low + high) // 2
        low, high = (low, middle) if enough(effect.n, middle) else (middle + 1, high)
    return low - effect.images


def settle(effect: Effect, margin: float, metric: str, seconds_a_seed: float | None = None) -> str:
    """A sentence: what would show an effect of `margin`, and what would make the interval narrower than that.

    seconds_a_seed: of training all that one further seed needs; None leaves the hours out.

    `With the spread seen: 3 more seeds (4 h 00 min) would show an effect of 1 AP, more test images alone
    would not; 1 more seed (1 h 20 min) or 400 more test images would make the interval narrower than ±1
    AP.`
    """
    if effect.n == 1:
        cost = f" ({duration(2 * seconds_a_seed)})" if seconds_a_seed else ""
        return f"One seed tells nothing of other seeds: 2 more{cost} would begin to."
    if not effect.spread:
        return "The seeds do not differ at all: what further ones would tell cannot be planned."
    shown = _sentence(
        effect,
        lambda seeds, images: power(margin, planned(effect, seeds, images)) >= POWER,
        f"show an effect of {margin:g} {metric}",
        seconds_a_seed,
    )
    narrow = _sentence(
        effect,
        lambda seeds, images: half_width(effect, seeds, images) < margin,
        f"make the interval narrower than ±{margin:g} {metric}",
        seconds_a_seed,
    )
    return f"With the spread seen: {shown}; {narrow}."


def _sentence(
    effect: Effect, enough: Callable[[int, int], bool], aim: str, seconds_a_seed: float | None
) -> str:
    """Which of the two ways leads to the aim alone, and which does not."""
    seeds, images = more_seeds(effect, enough), more_images(effect, enough)
    if seeds == 0:
        return f"the {effect.n} seeds are enough to {aim}"
    ways = []
    if seeds:
        cost = f" ({duration(seeds * seconds_a_seed)})" if seconds_a_seed else ""
        ways.append(f"{seeds} more seed{'s' if seeds > 1 else ''}{cost}")
    if images:
        ways.append(f"{_upwards(images):,} more test images")
    vain = [] if seeds else [f"{MOST_SEEDS} more seeds"]
    if effect.images and not images:
        vain.append("more test images" if ways else f"{MOST_IMAGES} times the test images")
    if not ways:
        return f"{' or '.join(vain)} alone would not {aim}"
    return f"{' or '.join(ways)} would {aim}" + (f", {vain[0]} alone would not" if vain else "")


def _upwards(count: int) -> int:
    """To two digits: nobody plans 1,237 images."""
    unit = 10 ** max(0, len(str(count)) - 2)
    return -(-count // unit) * unit
