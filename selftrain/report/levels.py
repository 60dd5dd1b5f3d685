"""Student's t for a mean whose variance is the sum of two estimated variances: of seeds and of test images.

The sum of two estimated variances has no exact t distribution (this is the Behrens-Fisher problem).  The
usual way out gives it the degrees of freedom of Satterthwaite (1946, Biometrics Bulletin 2, 110-114).  With
three seeds that way covers too little: see `results/simulations.md`.  The estimated degrees of freedom rise
where the seeds happen to lie close together, which is just where the estimated variance is too small; with
two degrees of freedom of the seeds this happens often.  So the quantile of Cochran is used: the mean of the
quantiles of both levels, weighted by the variances (Cochran and Cox 1950, Experimental Designs;
Cochran 1964, Biometrics 20, 191-195).  It errs a little on the careful side (Lee and Gurland 1975,
JASA 70, 933-941), and with one level it is Student's t.  Its p is the one at which this quantile is the
statistic.

scipy is imported where a quantile is asked for, and not with this file, as in `statistics.py`."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

Number = TypeVar("Number", float, np.ndarray)
Level = tuple[Number, Number]  # a variance of the mean, and its degrees of freedom


def of_images(each: Number, of_mean: Number, groups: Counter) -> tuple[Number, Number]:
    """Variances over resamples of the test images, taken apart: (sigma_b^2, e) of `effect.py`.

    sigma_b^2 is of the mean over seeds, by the test images that seeds share, beside what the spread over
    seeds already holds; e is of one seed, by its own reading of them.

    each: of one seed's number, the mean over seeds; of_mean: of the mean over seeds; groups: how many seeds
    have each set of test images.  Of one seed all is shared: nothing tells the two apart, and other test
    images change both.
    """
    seeds = groups.total()
    if seeds == 1:
        return each, 0 * each
    if len(groups) == seeds:
        return 0 * each, each
    k = sum((n / seeds) ** 2 for n in groups.values())
    own = np.maximum(0.0, (k * each - of_mean) / (k - 1 / seeds))
    shared = np.maximum(0.0, (of_mean - own / seeds) / k)
    return shared * (seeds * k - 1) / (seeds - 1), own


def quantile(probability: float, levels: Sequence[Level]) -> Number:
    """The value that the statistic mean / standard error stays below with this probability, if the truth is
    0.

    levels: at least one with a variance above 0; of numbers, or of arrays of one shape.
    """
    from scipy import special

    weights = sum(variance for variance, _ in levels)
    return sum(v * special.stdtrit(df, probability) for v, df in levels) / weights


def upper_tail(statistic: float, levels: Sequence[Level]) -> float:
    """The probability that mean / standard error is above `statistic`, if the truth is 0: a one-sided p.

    levels: at least one with a variance above 0.
    """
    from scipy import optimize, special

    if statistic < 0:
        return 1 - upper_tail(-statistic, levels)
    tails = sorted(float(special.stdtr(df, -statistic)) for variance, df in levels if variance > 0)
    low, high = max(tails[0], 1e-300), tails[-1]

    def _excess(tail: float) -> float:
        return -quantile(tail, levels) - statistic

    # the mean of the levels' quantiles lies between them, and so does its tail between theirs, where one
    # level is next to nothing but for rounding at an end
    if _excess(low) <= 0:
        return low
    if _excess(high) >= 0:
        return high
    # by its logarithm: a tail may be smaller by hundreds of orders of magnitude than the other end
    root = optimize.brentq(lambda log: _excess(math.exp(log)), math.log(low), math.log(high), xtol=1e-11)
    return math.exp(root)


def degrees_of_freedom(probability: float, levels: Sequence[Level]) -> float:
    """Those of the one t distribution that has the same quantile, to show them and to plan with them.

    levels: at least one with a variance above 0.
    """
    from scipy import special

    degrees = [df for variance, df in levels if variance > 0]
    if max(degrees) - min(degrees) < 1e-9:
        return degrees[0]
    df = float(special.stdtridf(probability, quantile(probability, levels)))
    return min(max(df, min(degrees)), max(degrees))
