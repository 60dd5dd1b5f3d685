"""What a study's records say, and with what certainty: pre-training, self-training, and which arm to choose at equal cost.

Every statement rests on differences paired by seed: their mean, its 95 % t interval and the paired t test's p (two-sided, not corrected for the
number of statements).  It is `no evidence either way` when the interval spans zero or there is one seed, and `under-trained` when a curve had not
flattened (under 2 % relative gain, or loss, over the last quarter of the steps): then the schedule, not the arm, may have decided.  A flat curve is the end of
its own schedule, no proof that a longer one brings nothing: at the cost of a self-trained arm a supervised one counts as beaten only where it was given as many images
(another study, with more --steps, beside this one: `matrix.find_longer`).
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from selftrain.report.matrix import Estimate, Matrix, bill
from selftrain.report.places import is_student, of_pool, place_name
from selftrain.report.published import Number, published


@dataclass(frozen=True)
class Comparison:
    """One arm less another at one policy and fraction."""

    effect: Estimate
    p: float
    rising: dict[
        str, str
    ]  # of the two and their teachers, those whose curves had not flattened, and why that is said

    @property
    def clear(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.effect.n > 1 and abs(self.effect.mean) > self.effect.half

    @property
    def word(self) -> str:
        if self.rising:
            return "under-trained"
        if not self.clear:
            return "no evidence either way"
        return "helps" if self.effect.mean > 0 else "hurts"

    def numbers(self, metric: str, digits: int) -> str:
        e = self.effect
        effect = f"{round(e.mean, digits) + 0.0:+.{digits}f} {metric}"
        if e.n < 2:
            return f"{effect}, one seed: no interval"
        if e.half < 1e-9:
            return f"{effect} with every one of n = {e.n} seeds: no spread to test"
        return (
            f"{effect}, 95 % interval {round(e.mean - e.half, digits) + 0.0:+.{digits}f} to {round(e.mean + e.half, digits) + 0.0:+.{digits}f}, "
            f"paired t test over n = {e.n} seeds, {'p < 0.001' if self.p < 0.001 else f'p = {self.p:.3f}'}"
        )


def compare(
    matrix: Matrix, arm: str, base: str, policy: str, fraction: float, labels: str
) -> Comparison | None:
    values = matrix.differences(arm, base, policy, fraction, labels=labels)
    if not values:
        return None
    p = (
        float(stats.ttest_1samp(values, 0.0).pvalue)
        if len(values) > 1 and float(np.std(values)) > 0
        else float("nan")
    )
    return Comparison(Estimate.of(values), p, matrix.under_trained(arm, base, policy, fraction, labels))


def paper(matrix: Matrix, arm: str, base: str, policy: str, fraction: float, labels: str) -> Number | None:
    """The difference of the published scores, where both are published."""
    mine, theirs = (published(matrix.task, each, policy, fraction, labels) for each in (arm, base))
    return mine - theirs if mine and theirs else None


def against_paper(matrix: Matrix) -> str | None:
    """One sentence: in how many of the places that the paper has too the measured effect has its sign, the other one, or is not known."""
    agree, contradict, open_ = [], [], 0
    for policy, fraction, labels in matrix.places():
        for arm, base in pairs(matrix, labels):
            found, theirs = (
                compare(matrix, arm, base, policy, fraction, labels),
                paper(matrix, arm, base, policy, fraction, labels),
            )
            if found is None or theirs is None or theirs.mark == "recalled":
                continue
            place = f"{arm} against {base} at {place_name(policy, fraction, labels)}"
            if found.word not in ("helps", "hurts"):
                open_ += 1
            else:
                (agree if (found.word == "helps") == (theirs.value > 0) else contradict).append(place)
    if not (agree or contradict or open_):
        return None
    return (
        f"Comparisons that the paper prints too: {len(agree) + len(contradict) + open_}. Of these {len(agree)} have its sign, {len(contradict)} the other one"
        f"{' (' + '; '.join(contradict) + ')' if contradict else ''}, and {open_} are without evidence or under-trained here."
    )


def pairs(matrix: Matrix, labels: str = "") -> list[tuple[str, str]]:
    """(arm, base) of every question: each start against random, each student against its start; of a pool's kind of labels only the latter."""
    found = [
        (start, "random")
        for start in matrix.starts
        if start != "random" and "random" in matrix.starts and not of_pool(labels)
    ]
    return found + [
        (arm, start)
        for start in matrix.starts
        for arm in matrix.arms
        if arm.startswith(f"{start} + self-training")
    ]


def question(arm: str, base: str) -> str:
    if base == "random" and not is_student(arm):
        return "Pre-training" if arm == "imagenet" else f"Starting from {arm}"
    return f"Self-training from {base}{arm.removeprefix(f'{base} + self-training')}"


def overview(matrix: Matrix) -> tuple[list[str], list[list[str]]]:
    """The verdict at a glance: (header, rows), a row a policy and fraction, a column a question."""

    def cell(arm: str, base: str, at: tuple) -> str:
        found = compare(matrix, arm, base, *at) if (arm, base) in pairs(matrix, at[2]) else None
        return (
            ""
            if found is None
            else f"{found.word.removesuffix(' either way')}, {round(found.effect.mean, matrix.digits) + 0.0:+.{matrix.digits}f}"
        )

    return [f"Δ{matrix.metric}", *(question(*pair) for pair in pairs(matrix))], [
        [place_name(*at, of=" of the labels"), *(cell(*pair, at) for pair in pairs(matrix))]
        for at in matrix.places()
    ]


def sentence(arm: str, base: str, found: Comparison, matrix: Matrix, theirs: Number | None) -> str:
    what = question(arm, base)
    numbers = found.numbers(matrix.metric, matrix.digits) + (
        f" (by the paper's scores: {theirs.show('+')} {matrix.metric})" if theirs else ""
    )
    if found.word == "under-trained":
        reasons = [
            f"{' and '.join(arm for arm in found.rising if found.rising[arm] == why)} {why}"
            for why in dict.fromkeys(found.rising.values())
        ]
        return f"{what}: **under-trained** ({', '.join(reasons)}): {numbers}; the schedule may have decided"
    if found.word == "no evidence either way":
        return f"{what}: **no evidence either way**: {numbers}"
    return f"{what} **{found.word}**: {numbers}"


def choice(matrix: Matrix, policy: str, fraction: float, labels: str) -> list[str]:
    """Which arm to choose at the cost of a supervised run, and at that of each self-trained one with its teachers.

    At the latter a supervised arm was given its chance where another study ran the best start for as many images; else nothing is decided.
    """
    at = policy, fraction, labels
    lines, arms = [], [arm for arm in matrix.arms if matrix.at(arm, *at)]
    ranked, students = (
        _ranked(matrix, [arm for arm in arms if arm in matrix.starts], *at),
        [arm for arm in arms if arm not in matrix.starts],
    )
    if len(ranked) > 1 and not of_pool(labels):
        lines.append(
            _chosen(
                matrix,
                f"At the cost of a supervised run ({_images(matrix, ranked[0], *at):,} images)",
                *ranked[:2],
                *at,
            )
        )
    for images in sorted({_images(matrix, student, *at) for student in students}):
        cost = f"At the cost of a self-trained one ({images:,} images, its teacher's included)"
        mine = _ranked(
            matrix, [student for student in students if _images(matrix, student, *at) == images], *at
        )
        longer = _ranked(
            matrix,
            [
                arm
                for arm, *where in matrix.longer
                if where == [policy, fraction, labels.partition("+")[0]]
                and _images(matrix, arm, *at) == images
            ],
            *at,
        )
        given = bool(ranked) and any(_start(arm) == ranked[0] for arm in longer)  # the best start was
        rival = next(iter(longer if given else ranked), None)
        found = compare(matrix, mine[0], rival, *at) if rival else None
        if found and not given and found.effect.mean > 0:
            lines.append(
                f"{cost}: undecided: {mine[0]} is {found.numbers(matrix.metric, matrix.digits)} against {rival}, which was given {_images(matrix, rival, *at):,} images only"
            )
        elif found:
            less = "" if given else f"; {rival} was given {_images(matrix, rival, *at):,} images only"
            lines.append(_chosen(matrix, cost, mine[0], rival, *at) + less)
        own = [(student, long) for student in mine for long in longer if _start(student) == _start(long)]
        lines += [_chosen(matrix, cost, *pair, *at) for pair in own if pair != (mine[0], rival)]
    return lines


def _start(arm: str) -> str:
    """Of `imagenet + self-training` and of `imagenet, 3x steps`: imagenet."""
    return arm.partition(" + ")[0].partition(", ")[0]


def _chosen(
    matrix: Matrix, cost: str, best: str, other: str, policy: str, fraction: float, labels: str
) -> str:
    found = compare(matrix, best, other, policy, fraction, labels)
    if found is None:
        return f"{cost}: undecided: no seed has both {best} and {other}"
    if found.effect.mean < 0:  # ranked over all seeds each, compared on those that both have
        best, other, found = other, best, compare(matrix, other, best, policy, fraction, labels)
    said = (
        (f"{best} is ahead of {other}" if found.rising else f"choose {best} over {other}")
        if found.clear
        else f"no evidence between {best} and {other}"
    )
    return f"{cost}: {said}{', under-trained' if found.rising else ''}: {found.numbers(matrix.metric, matrix.digits)}"


def _ranked(matrix: Matrix, arms: list[str], policy: str, fraction: float, labels: str) -> list[str]:
    return sorted(arms, key=lambda arm: -matrix.score(arm, policy, fraction, labels=labels).mean)


def _images(matrix: Matrix, arm: str, policy: str, fraction: float, labels: str) -> int:
    return bill(next(iter(matrix.at(arm, policy, fraction, labels).values())), matrix.by_key)[0]


def verdict(matrix: Matrix) -> list[tuple[str, list[str]]]:
    """(policy and fraction, sentences) for every place of the matrix."""
    found = []
    for at in matrix.places():
        lines = [
            sentence(*pair, c, matrix, paper(matrix, *pair, *at))
            for pair in pairs(matrix, at[2])
            if (c := compare(matrix, *pair, *at))
        ]
        found.append(
            (
                place_name(*at, of=" of the labels"),
                lines + choice(matrix, *at) or ["one arm only: nothing to compare"],
            )
        )
    return found
