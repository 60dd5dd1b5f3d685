"""How far one error curve lies from another, and how sure that is: by runs, by seeds and by test images.

Everything here is for given exponents: the curves are then straight lines, and a difference of two of them is
a weighted sum of the errors of their runs, whose variance is known from theirs."""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from selftrain.report.label_lines import NOISE_FLOOR, PARAMETERS, Lines, Points
from selftrain.report.levels import of_images

Levels = list[tuple[np.ndarray, np.ndarray]]
"""Variances with their degrees of freedom, (P, M) each, as `levels.quantile` takes them"""


@dataclass(frozen=True)
class Side:
    """An arm of a difference, and where its curve is read."""

    points: Points
    """its runs"""
    lines: Lines
    """through them, for each of G exponents, the best one last"""
    scale: float
    """the variance of its error with the fewest labels"""
    x: np.ndarray
    """where the lines are read: (G, 1) of the one arm, (G, M) of its base"""


@dataclass(frozen=True)
class _Sum:
    """`error(key) - error(base)` as a sum over runs, for P pairs of exponents and M numbers of labels.

    It is straight in `away`: sum of ours * errors - sum of (mean + slope * away) * errors of the base."""

    ours: np.ndarray
    """(P, N): what a run of `key` counts"""
    mean: np.ndarray
    """(N',)"""
    slope: np.ndarray
    """(P, N')"""
    away: np.ndarray
    """(P, M): x less its weighted mean"""


def difference(key: Side, base: Side, of_key: np.ndarray, of_base: np.ndarray) -> tuple[np.ndarray, Levels]:
    """The error of one arm less that of another, (P, M), and its variances.

    of_key, of_base: positions (P,) among the two arms' exponents.

    Two arms of one seed share their labelled images, and a student has its teacher's mistakes; so errors of
    the same seed and number of labels vary together.  Where all runs of a seed go together (one lucky first
    weight), the seeds differ by more than their runs tell: the excess is a variance of its own, with
    seeds - 1 degrees of freedom.  What the seeds share of the test images is the third, where the runs have
    their scores under resamples of these.  The residuals about a curve hold a part of it, as far as it bends
    the curve; it is not taken out again, which errs on the careful side.
    """
    one, two = key.lines, base.lines
    away = base.x - two.centre
    found = one.at(key.x)[of_key] - two.at(base.x)[of_base]
    mean, slope = one.influence()
    ours = mean + (key.x - one.centre) * slope
    mean, slope = two.influence()
    parts = _Sum(ours[of_key], mean, slope[of_base], away[of_base])
    model, freedom = _of_runs(key, base, parts, two.spread[of_base, None])
    levels = [(model, np.broadcast_to(freedom, model.shape))]
    points = key.points, base.points
    seeds = np.union1d(points[0].seeds, points[1].seeds)
    if len(seeds) > 1:
        residuals = one.residuals[-1], two.residuals[-1]
        fixed, tilt = (each.squeeze(-1) for each in _by_seed(parts, points, seeds, residuals))
        fixed, tilt = (each - each.mean(1, keepdims=True) for each in (fixed, tilt))
        # the variance over seeds of fixed - tilt * away
        squares = _square(fixed, tilt, parts.away)
        between = np.maximum(0.0, len(seeds) / (len(seeds) - 1) * squares - model)
        levels.append((between, np.full(model.shape, len(seeds) - 1.0)))
    if all(each.resampled is not None for each in points):
        levels.append(_of_images(parts, points, seeds))
    return found, levels


# ---- by runs -------------------------------------------------------------------------------------------


def _of_runs(key: Side, base: Side, parts: _Sum, spread: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The variance of a difference by the errors of single runs, and its degrees of freedom."""
    one, two = key.lines, base.lines
    runs, others = _shared(key.points, base.points)
    shared = parts.ours[:, runs] / one.weights[runs]
    own = (parts.ours**2 / one.weights).sum(1)[:, None]
    of_base = 1 / two.weights.sum() + parts.away**2 / spread
    both = (shared @ parts.mean[others])[:, None]
    both = both + (shared * parts.slope[:, others]).sum(1)[:, None] * parts.away
    ours, theirs = key.scale, base.scale
    covariance = 0.0
    if len(runs) > PARAMETERS + 1:
        products = one.residuals[-1][runs] * two.residuals[-1][others] * one.weights[runs]
        largest = 0.95 * (ours * theirs) ** 0.5
        covariance = float(np.clip(products.sum() / (len(runs) - PARAMETERS), -largest, largest))
    variance = own * ours + of_base * theirs - 2 * both * covariance
    # the 2 x 2 covariance is that of a Wishart distribution: tr(M S)^2 / tr(M S M S) of its freedom
    first, second = own * ours - both * covariance, of_base * theirs - both * covariance
    across = (own * covariance - both * theirs) * (of_base * covariance - both * ours)
    square = np.maximum(first**2 + second**2 + 2 * across, 1e-30)
    variance = np.maximum(variance, NOISE_FLOOR * (own + of_base))
    freedom = min(key.points.freedom, base.points.freedom)
    return variance, freedom * np.clip(variance**2 / square, 1.0, 2.0)


def _shared(ours: Points, theirs: Points) -> tuple[np.ndarray, np.ndarray]:
    """The positions of the runs that two arms have with the same seed and the same number of labels."""
    there = {place: n for n, place in enumerate(zip(theirs.labels, theirs.seeds))}
    pairs = [(n, there[place]) for n, place in enumerate(zip(ours.labels, ours.seeds)) if place in there]
    one, two = zip(*pairs) if pairs else ((), ())
    return np.array(one, int), np.array(two, int)


# ---- by seeds and test images --------------------------------------------------------------------------


def _by_seed(
    parts: _Sum, points: tuple[Points, Points], seeds: np.ndarray, errors: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """What the runs of each seed add to a difference `fixed - tilt * away`: fixed and tilt, (P, S, B) each.

    errors: of the runs of both arms, (N,) or (N, B).
    """
    one, two = (each.reshape(len(each), -1) for each in errors)
    fixed, tilt = [], []
    for seed in seeds:
        mine, theirs = (each.seeds == seed for each in points)
        fixed.append(parts.ours[:, mine] @ one[mine] - parts.mean[theirs] @ two[theirs])
        tilt.append(parts.slope[:, theirs] @ two[theirs])
    return np.stack(fixed, 1), np.stack(tilt, 1)


def _of_images(
    parts: _Sum, points: tuple[Points, Points], seeds: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The variance of a difference that the seeds share by their test images, and its degrees of freedom."""
    fixed, tilt = _by_seed(parts, points, seeds, tuple(each.resampled for each in points))
    fixed, tilt = (each - each.mean(-1, keepdims=True) for each in (fixed, tilt))
    resamples = fixed.shape[-1]
    # a seed's own number is what its runs add, as often as there are seeds
    of_each = (
        np.mean([_square(fixed[:, s], tilt[:, s], parts.away) for s in range(len(seeds))], axis=0)
        * len(seeds) ** 2
        / (resamples - 1)
    )
    of_mean = _square(fixed.sum(1), tilt.sum(1), parts.away) / (resamples - 1)
    tests = {seed: test for each in points for seed, test in zip(each.seeds, each.tests)}
    shared, _ = of_images(of_each, of_mean, Counter(tests.values()))
    return shared, np.full(shared.shape, min(each.images for each in points) - 1.0)


def _square(fixed: np.ndarray, tilt: np.ndarray, away: np.ndarray) -> np.ndarray:
    """(P, M): the sum of squares of fixed - tilt * away over the last axis of both (P, K)."""
    products = ((one * two).sum(-1)[:, None] for one, two in ((fixed, fixed), (fixed, tilt), (tilt, tilt)))
    plain, across, tilted = products
    return plain - 2 * across * away + tilted * away**2
