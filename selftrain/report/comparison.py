"""Two arms of a study: their difference paired by seed, and the questions that such differences answer."""

from dataclasses import dataclass

import numpy as np

from selftrain.record import RANDOM, Arm, Setting
from selftrain.report.cost import chain
from selftrain.report.effect import Effect, Scores, effect_of_records
from selftrain.report.matrix import Matrix, Seeds
from selftrain.report.places import BUDGET
from selftrain.report.published import Number, published

SAME_COST = 0.05
"""Two runs count as equally dear where their images differ by at most this share"""


@dataclass(frozen=True)
class Question:
    """What is asked of two arms at a place."""

    arm: Arm
    base: Arm
    equal_cost: bool = False
    """whether the base is given as many images as the arm and its teachers together, as a longer rung of its
    ladder; else it stands at the arm's own rung"""

    def __str__(self) -> str:
        """`Pre-training`, `Self-training from random x2`, `The same at equal cost`."""
        arm, base = self.arm, self.base
        if arm.rounds:
            rounds = f" x{arm.rounds}" if arm.rounds > 1 else ""
            return f"Self-training from {base}{rounds}{', at equal cost' if self.equal_cost else ''}"
        if base == arm.unfrozen != arm:
            return f"Freezing {'the backbone' if arm.freeze == 'backbone' else arm.freeze} of {base}"
        return "Pre-training" if arm == Arm("imagenet") else f"Starting from {arm}"


def questions(matrix: Matrix, setting: Setting | None = None) -> list[Question]:
    """Every question of a study.

    Each start is compared with random, each frozen arm with the same start trained whole, and each student
    with its own start: at the same rung, and at the same cost.

    setting: only those that are asked at this place.  Supervised arms are compared where both stand, and not
    again beside each pool, or each weight, of their students."""
    asked = [start for start in matrix.starts if setting is None or matrix.stands(start, setting)]
    found = [
        Question(start, base)
        for base_of in (lambda start: RANDOM, lambda start: start.unfrozen)
        for start in asked
        if (base := base_of(start)) in matrix.starts and base != start
    ]
    for equal_cost in (False, True) if BUDGET in matrix.axes else (False,):
        found += [
            Question(arm, start, equal_cost)
            for start in matrix.starts
            for arm in matrix.arms
            if arm.rounds and arm.supervised == start
        ]
    return found


def answer(matrix: Matrix, question: Question, setting: Setting) -> Effect | None:
    """The arm less its base at a place; None where no seed has both, or no rung of the base is as dear."""
    of_base = rival_place(matrix, question, setting) if question.equal_cost else setting
    return compare(matrix, question.arm, question.base, setting, of_base) if of_base else None


def rival_place(matrix: Matrix, question: Question, setting: Setting) -> Setting | None:
    """The rung at which the base was given as many images as the arm with its teachers, if there is one."""
    if not matrix.at(question.arm, setting):
        return None
    images = matrix.cost(question.arm, setting).images
    for budget in matrix.budgets:
        place = setting.but(**{BUDGET: budget})
        if matrix.at(question.base, place):
            if abs(matrix.cost(question.base, place).images - images) <= SAME_COST * images:
                return place
    return None


def seconds_of_seed(matrix: Matrix, question: Question, setting: Setting) -> float:
    """What one seed of both sides of an answer took, with all that they were made from, each cell once.

    It is the mean over the seeds that have both.  Only where `answer` has an effect.
    """
    of_base = rival_place(matrix, question, setting) if question.equal_cost else setting
    records, base = matrix.at(question.arm, setting), matrix.at(question.base, of_base)
    shared = records.keys() & base.keys()
    cells = [
        {each.key: each for each in (*chain(records[s], matrix.by_key), *chain(base[s], matrix.by_key))}
        for s in shared
    ]
    return sum(each.measured.seconds for of_seed in cells for each in of_seed.values()) / len(shared)


def compare(
    matrix: Matrix,
    arm: Arm,
    base: Arm,
    setting: Setting,
    base_setting: Setting | None = None,
    metric: str | None = None,
) -> Effect | None:
    """`arm` less `base`, paired by seed; None where no seed has both.

    base_setting: where the base stands; default: the arm's place.  metric: default the main one.
    """
    of_base = matrix.at(base, setting if base_setting is None else base_setting)
    return difference(matrix.at(arm, setting), of_base, metric or matrix.metric)


def difference(records: Seeds, base: Seeds, metric: str) -> Effect | None:
    """The scores of some records less those of others, paired by seed and by resample of the test images."""
    pairs = [(records[seed], base[seed]) for seed in sorted(records.keys() & base.keys())]

    def _difference(seed: int, scores: Scores) -> np.ndarray:
        record, of_base = pairs[seed]
        return scores(record, metric) - scores(of_base, metric)

    return effect_of_records(pairs, [metric], _difference)


def published_difference(matrix: Matrix, question: Question, setting: Setting) -> Number | None:
    """The difference of the published scores, where both are published; the paper has no equal cost."""
    if question.equal_cost:
        return None
    score, of_base = (
        published(matrix.task, each, matrix.own(each, setting)) for each in (question.arm, question.base)
    )
    return score - of_base if score and of_base else None
