"""Two arms of a study at one place: their difference paired by seed, and how sure it is."""

from dataclasses import dataclass

from selftrain.record import RANDOM, Arm, Setting
from selftrain.report.matrix import Matrix
from selftrain.report.published import Number, published
from selftrain.report.statistics import Estimate, paired_p, rounded


@dataclass(frozen=True)
class Comparison:
    """One arm less another at one place."""

    effect: Estimate
    """of the differences, one for each seed that both have"""
    p: float
    """of the paired t test, two-sided"""
    rising: dict[Arm, str]
    """of the two and their teachers, those whose curves had not flattened, and why that is said"""

    @property
    def clear(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.effect.n > 1 and abs(self.effect.mean) > self.effect.half_width

    @property
    def word(self) -> str:
        """What is said of it: under-trained, no evidence either way, helps or hurts."""
        if self.rising:
            return "under-trained"
        if not self.clear:
            return "no evidence either way"
        return "helps" if self.effect.mean > 0 else "hurts"

    def numbers(self, metric: str, digits: int) -> str:
        """Mean, interval, test and n, as a part of a sentence."""
        mean, half_width, n = self.effect.mean, self.effect.half_width, self.effect.n
        effect = f"{rounded(mean, digits, '+')} {metric}"
        if n < 2:
            return f"{effect}, one seed: no interval"
        if half_width < 1e-9:
            return f"{effect} with every one of n = {n} seeds: no spread to test"
        low, high = (rounded(end, digits, "+") for end in (mean - half_width, mean + half_width))
        p = "p < 0.001" if self.p < 0.001 else f"p = {self.p:.3f}"
        return f"{effect}, 95 % interval {low} to {high}, paired t test over n = {n} seeds, {p}"


def compare(matrix: Matrix, arm: Arm, base: Arm, setting: Setting) -> Comparison | None:
    """`arm` less `base` at a place; None where no seed has both."""
    differences = matrix.differences(arm, base, setting)
    if not differences:
        return None
    rising = matrix.under_trained(arm, base, setting)
    return Comparison(Estimate.of(differences), paired_p(differences), rising)


def published_difference(matrix: Matrix, arm: Arm, base: Arm, setting: Setting) -> Number | None:
    """The difference of the published scores, where both are published."""
    score, of_base = (published(matrix.task, each, matrix.own(each, setting)) for each in (arm, base))
    return score - of_base if score and of_base else None


def pairs(matrix: Matrix, setting: Setting | None = None) -> list[tuple[Arm, Arm]]:
    """(arm, base) of every question.

    Each start is compared with random, each frozen arm with the same start trained whole, and each student
    with its own start.

    setting: only the questions that are asked at this place.  Supervised arms are compared where both stand,
    and not again beside each pool, or each weight, of their students."""
    asked = [start for start in matrix.starts if setting is None or matrix.stands(start, setting)]
    return [
        (start, base)
        for base_of in (lambda start: RANDOM, lambda start: start.unfrozen)
        for start in asked
        if (base := base_of(start)) in matrix.starts and base != start
    ] + [
        (arm, start)
        for start in matrix.starts
        for arm in matrix.arms
        if arm.rounds and arm.supervised == start
    ]


def question(arm: Arm, base: Arm) -> str:
    """What a comparison asks about: `Pre-training`, `Self-training from random x2`."""
    if arm.rounds:
        return f"Self-training from {base}{f' x{arm.rounds}' if arm.rounds > 1 else ''}"
    if base == arm.unfrozen != arm:
        return f"Freezing {'the backbone' if arm.freeze == 'backbone' else arm.freeze} of {base}"
    return "Pre-training" if arm == Arm("imagenet") else f"Starting from {arm}"
