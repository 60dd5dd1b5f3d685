"""How often the intervals of label equivalents hold the true value, in simulated studies.

    python -m selftrain.report.simulate_equivalents --out results/simulations-labels.md

Each simulated study has a base arm and another one whose error curves are known, so that the true exchange of
labels is too."""

import argparse
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from selftrain.report.label_curves import REACH, Curves, Needed
from selftrain.report.label_lines import Points
from selftrain.report.table import tabulate
from selftrain.system.errors import UserError
from selftrain.system.files import write_atomic
from selftrain.system.seeds import generator

STUDIES = 500
FRACTIONS = {4: (0.1, 0.25, 0.5, 1.0), 5: (0.05, 0.1, 0.2, 0.5, 1.0)}
ALL_LABELS = 1000
SIZES = ((3, 4), (5, 5))
"""Seeds and fractions of the studies of most regimes"""
RESAMPLES, IMAGES = 100, 500
"""Of the test images of a study"""
EVERY_SIZE = tuple((seeds, fractions) for seeds in (3, 5) for fractions in FRACTIONS)


@dataclass(frozen=True)
class Regime:
    """How errors come about in a simulated study, in percent; an error falls from `a + b` to a."""

    name: str
    a: float = 20.0
    b: float = 40.0
    """what labels can add, at the fewest of them"""
    exponent: float = 0.5
    factor: float = 1.6
    """one label of the other arm is worth so many of the base arm"""
    other_exponent: float | None = None
    """of the other arm, where it is another one: its curve then crosses at the middle of the labels"""
    noise: float = 0.8
    """standard deviation of an error, in its own right"""
    noise_few: float = 0.0
    """the same, of what is added with the fewest labels and falls as the root of their number"""
    louder: float = 1.0
    """by how much the base arm's noise is larger than the other's"""
    together: float = 0.0
    """correlation of two arms' errors with the same seed and the same labels"""
    of_seed: float = 0.0
    """standard deviation of what all runs of a seed have in common: each seed has its own test images"""
    of_arm: float = 0.0
    """the same, of what the runs of one arm and one seed have in common"""
    of_images: float = 0.0
    """the same, of what the test images do to all seeds of an arm alike: half of its variance with every
    number of labels, half with each its own; a study then has its errors under resamples of them"""

    def error(self, labels: np.ndarray, fewest: float, other: bool) -> np.ndarray:
        """The true error with so many labels."""
        if not other:
            return self.a + self.b * (labels / fewest) ** -self.exponent
        if self.other_exponent is None:
            return self.error(labels * self.factor, fewest, False)
        middle = (fewest * ALL_LABELS) ** 0.5
        there = self.error(middle * self.factor, fewest, False) - self.a
        return self.a + there * (labels / middle) ** -self.other_exponent

    def needed(self, labels: float, fewest: float) -> float:
        """The true number of labels that the base arm needs for what the other one has with these."""
        error = float(self.error(np.array([labels]), fewest, True)[0])
        return fewest * ((error - self.a) / self.b) ** (-1 / self.exponent)


REGIMES = (
    Regime("plain"),
    Regime("noise falls with labels, base arm twice as noisy", noise=0.5, noise_few=1.5, louder=2.0),
    Regime("both arms of a seed together (0.6)", together=0.6),
    Regime("own test images for each seed", of_seed=1.5),
    Regime("luck of an arm's seed at all fractions", noise=0.6, of_arm=0.6),
    Regime("shared test images", of_images=0.6),
    Regime("shared test images, more than seeds", noise=0.5, of_images=1.0),
    Regime("noisy", noise=2.0),
    Regime("exponent 0.3", exponent=0.3, b=60.0, a=5.0),
    Regime("exponent 0.8", exponent=0.8),
    Regime("exponents 0.4 and 0.5", other_exponent=0.4),
    Regime("the other arm is worse", factor=0.6),
    Regime("truth beyond four times the labels", factor=24.0),
    Regime("no difference", factor=1.0),
)


def simulate(regime: Regime, seeds: int, fractions: int, study: int) -> dict[str, Points]:
    """The runs of a study: `base` and `other`, both with every seed and every share of the labels."""
    random = generator("label equivalents", regime.name, seeds, fractions, study)
    labels = np.array(FRACTIONS[fractions]) * ALL_LABELS
    size = (2, seeds, fractions)
    own, common = random.standard_normal(size), random.standard_normal((1, seeds, fractions))
    drawn = (1 - regime.together) ** 0.5 * own + regime.together**0.5 * common
    width = (regime.noise**2 + regime.noise_few**2 * labels[0] / labels) ** 0.5
    noise = drawn * width * np.array([regime.louder, 1.0])[:, None, None]
    noise = noise + regime.of_seed * random.standard_normal((1, seeds, 1))
    noise = noise + regime.of_arm * random.standard_normal((2, seeds, 1))
    which, every = np.tile(labels, seeds), np.repeat(np.arange(seeds), fractions)
    found = {}
    for n, name in enumerate(("base", "other")):
        errors = regime.error(which, labels[0], name == "other") + noise[n].ravel()
        if not regime.of_images:
            found[name] = Points(which, every, errors)
            continue
        errors = errors + _by_images(regime, random, seeds, fractions, 1)[:, 0]
        # a seed's own reading of the test images is a part of its noise: a quarter of the variance
        own = regime.noise / 2 * random.standard_normal((len(errors), RESAMPLES))
        resampled = errors[:, None] + _by_images(regime, random, seeds, fractions, RESAMPLES) + own
        found[name] = Points(which, every, errors, resampled, IMAGES, np.zeros(len(errors)))
    return found


def _by_images(
    regime: Regime, random: np.random.Generator, seeds: int, fractions: int, draws: int
) -> np.ndarray:
    """(N, draws): what draws of the test images do to the runs of an arm."""
    moves = random.standard_normal((1, 1, draws)) + random.standard_normal((1, fractions, draws))
    moves = regime.of_images * 0.5**0.5 * np.repeat(moves, seeds, 0)
    return moves.reshape(seeds * fractions, draws)


def holds(needed: Needed, truth: float) -> bool:
    """Whether the interval has the true number of labels in it; an open end holds all beyond it."""
    low = needed.low.beyond < 0 or truth >= needed.low.labels
    high = needed.high.beyond > 0 or truth <= needed.high.labels
    return low and high


@dataclass
class Outcome:
    """What came of the studies of a regime."""

    regime: Regime
    seeds: int
    fractions: int
    tally: Counter
    """studies, readings, those whose interval held the truth, those with an open end, ..."""
    widths: list[float]
    """of the closed intervals, as a factor from end to end"""

    @property
    def coverage(self) -> float:
        """The share of the readings whose interval held the truth."""
        return self.tally["held"] / max(1, self.tally["read"])


def run(
    regime: Regime, seeds: int, fractions: int, studies: int = STUDIES, bootstrap: bool = False
) -> Outcome:
    """Simulate studies and read each at the middle number of labels.

    bootstrap: also count how often a percentile bootstrap over the seeds would have held the truth.
    """
    tally, widths = Counter(studies=studies), []
    labels = np.array(FRACTIONS[fractions]) * ALL_LABELS
    at = float(labels[fractions // 2])
    truth = regime.needed(at, labels[0])
    for study in range(studies):
        points = simulate(regime, seeds, fractions, study)
        curves = Curves(points)
        if any(curves.rises(arm) for arm in points) or not curves.falls("base"):
            tally["not read"] += 1
            continue
        needed = curves.read("other", "base", at)
        tally["read"] += 1
        tally["held"] += holds(needed, truth)
        tally["open"] += bool(needed.low.beyond or needed.high.beyond)
        tally["more than"] += needed.value.beyond > 0
        tally["held by the bootstrap"] += bootstrap and _bootstrap_holds(points, at, truth)
        if not needed.low.beyond and not needed.high.beyond:
            widths.append(needed.high.labels / needed.low.labels)
    return Outcome(regime, seeds, fractions, tally, widths)


def _bootstrap_holds(points: dict[str, Points], at: float, truth: float) -> bool:
    """Whether the 2.5 and 97.5 percentiles over all resamples of three seeds hold the truth."""
    values, shares = [], []
    seeds = sorted(set(points["base"].seeds))
    for counts in np.ndindex(*(len(seeds) + 1,) * len(seeds)):
        if sum(counts) == len(seeds):
            drawn = {name: _resampled(each, dict(zip(seeds, counts))) for name, each in points.items()}
            values.append(Curves(drawn).value("other", "base", at).labels)
            shares.append(1 / np.prod([float(np.prod(np.arange(1, n + 1))) for n in counts]))
    order = np.argsort(values)
    reached = np.cumsum(np.array(shares)[order]) / sum(shares)
    low, high = (np.array(values)[order][np.searchsorted(reached, share)] for share in (0.025, 0.975))
    return low <= truth <= high


def _resampled(points: Points, counts: dict[int, int]) -> Points:
    """The runs of seeds as often as they were drawn; a draw counts as a seed of its own."""
    times = np.array([counts[seed] for seed in points.seeds])
    copy = np.concatenate([np.arange(n) for n in times])
    repeated = (np.repeat(each, times) for each in (points.labels, points.seeds, points.errors))
    labels, seeds, errors = repeated
    return Points(labels, seeds * len(counts) + copy, errors)


def report(studies: int = STUDIES, workers: int = 1) -> str:
    """A page with the coverage of every regime; workers: processes that share the work."""
    tasks = [
        (regime, seeds, fractions, studies, regime == REGIMES[0] and seeds == 3)
        for regime in REGIMES
        for seeds, fractions in (EVERY_SIZE if regime == REGIMES[0] else SIZES)
    ]
    with ProcessPoolExecutor(workers) as pool:
        outcomes = list(pool.map(run, *zip(*tasks)))
    table = tabulate(
        "labels",
        f"Coverage of the 95 % interval of label equivalents, {studies} simulated studies a row",
        outcomes,
        [
            ("regime", lambda row: row.regime.name),
            ("seeds", lambda row: str(row.seeds)),
            ("fractions", lambda row: str(row.fractions)),
            ("coverage", lambda row: f"{row.coverage:.1%}"),
            ("an open end", lambda row: f"{row.tally['open'] / max(1, row.tally['read']):.0%}"),
            ("value: more than", lambda row: f"{row.tally['more than'] / max(1, row.tally['read']):.0%}"),
            ("not read", lambda row: f"{row.tally['not read'] / studies:.0%}"),
            ("width", lambda row: f"{np.median(row.widths):.2f}x" if row.widths else "–"),
        ],
        _note(outcomes),
    )
    return f"# Label equivalents: simulated studies of known exchange\n\n{table.markdown()}"


def _note(outcomes: list[Outcome]) -> str:
    bootstrap = [row for row in outcomes if row.tally["held by the bootstrap"]]
    shares = (
        f"{row.tally['held by the bootstrap'] / row.tally['read']:.0%} with {row.fractions} fractions"
        for row in bootstrap
    )
    return (
        "coverage: the share of intervals that hold the true number of labels, whose standard error is about "
        f"1 %; an open end holds all beyond it, and no curve is read beyond {REACH:g} times its labels; "
        "width: from end to end of a closed interval, the median; not read: the base arm's curve did not "
        "clearly fall, or an arm's clearly rose; a percentile bootstrap over three seeds of the first regime "
        f"would hold the truth in {' and '.join(shares)}"
    )


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="a markdown file; default: print")
    parser.add_argument("--studies", type=int, default=STUDIES, help="of each row (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="processes (default: %(default)s)")
    arguments = parser.parse_args()
    for option in ("studies", "workers"):
        if getattr(arguments, option) < 1:
            raise UserError(f"--{option}: give at least 1")
    page = report(arguments.studies, arguments.workers)
    if arguments.out:
        write_atomic(arguments.out, lambda file: file.write(page.encode()))
    else:
        print(page, end="")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
