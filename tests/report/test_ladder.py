"""The ladder says by measurement whether a training was long enough."""

import pytest

from selftrain.record import RANDOM, Setting
from selftrain.report.comparison import Question, answer, questions, rival_place, seconds_of_seed
from selftrain.report.ladder import converged, ladder_table, steps
from selftrain.report.matrix import Matrix
from tests.records import IMAGENET, IMAGENET_STUDENT, RANDOM_STUDENT, made_up
from tests.report.studies import ladder, said, study

AT_T = Setting(policy="S1", fraction=1.0, labels="train", budget=1.0)


def test_steps_within_a_policy_are_rungs_and_those_of_each_policy_are_none():
    matrix = ladder()
    assert matrix.axes == ("policy", "fraction", "labels", "budget") and matrix.budgets == [1.0, 3.0]
    assert matrix.ladders == [AT_T.without("budget")] and matrix.rungs(matrix.ladders[0])[0] == AT_T
    own = Matrix("x", [made_up(RANDOM, steps=800), made_up(RANDOM, "S4", steps=2400)])
    assert own.budgets == [] and ladder_table(own) is None and steps(own) == []


def test_a_rung_has_converged_where_the_whole_interval_of_the_gain_is_below_the_margin():
    matrix = ladder()
    words = {str(step.arm): (step.name, step.word(matrix.margin)) for step in steps(matrix)}
    assert words == {"random": ("T to 3T", "still gains"), "imagenet": ("T to 3T", "converged")}
    rows = {row[0]: row[1:] for row in ladder_table(matrix).rows}
    assert rows["S1, 100 %: random"][1:] == ["42.0 ± 5.0", "52.0 ± 7.5", "+10.0 ± 2.5", "still gains", "3"]
    assert converged(matrix, IMAGENET, AT_T) and converged(matrix, IMAGENET, AT_T.but(budget=3.0))
    assert (
        converged(matrix, RANDOM, AT_T) is False and converged(matrix, RANDOM, AT_T.but(budget=3.0)) is None
    )
    # with a smaller margin it is open, and nothing is said of a study with one budget
    assert {step.word(0.1) for step in steps(matrix)} == {"still gains", "open"}
    assert converged(study(), RANDOM, AT_T.without("budget")) is None


def test_a_gain_of_one_seed_is_open():
    matrix = Matrix("x", [made_up(RANDOM), made_up(RANDOM, score=30.1, steps=2400)])
    (step,) = steps(matrix)
    assert step.word(1.0) == "open" and converged(matrix, RANDOM, AT_T) is None


def test_only_three_times_the_steps_show_that_a_budget_was_enough():
    """Each rung is compared with the first one that is three times as long."""
    runs = [(800, 40.0), (880, 40.1), (2400, 40.2), (2640, 40.3)]
    records = [
        made_up(RANDOM, seed=s, score=score + s + s * steps / 1e5, steps=steps)
        for s in range(3)
        for steps, score in runs
    ]
    words = {each.name: each.word(1.0) for each in steps(Matrix("x", records))}
    assert words == {"T to 3T": "converged", "1.1T to 3.3T": "converged", "3T to 3.3T": "open"}


def test_a_further_seed_takes_what_both_sides_take_with_each_cell_once():
    """A student's cost has its teacher's in it, who is the other side; at equal cost the other side is the
    longer run."""
    matrix = ladder()
    of = {r.key: r.measured.seconds for r in matrix.records if r.seed == 0}
    student, teacher = matrix.at(RANDOM_STUDENT, AT_T)[0], matrix.at(RANDOM, AT_T)[0]
    longer = matrix.at(RANDOM, AT_T.but(budget=3.0))[0]
    one_seed = Matrix("x", [student, teacher, longer])
    same, equal_cost = questions(one_seed)
    assert seconds_of_seed(one_seed, same, AT_T) == of[student.key] + of[teacher.key]
    assert seconds_of_seed(one_seed, equal_cost, AT_T) == sum(of[each.key] for each in one_seed.records)


def test_the_rival_at_equal_cost_is_the_rung_of_as_many_images():
    """A student of T steps sees 2T images, and its teacher T."""
    matrix = ladder()
    same = [each for each in questions(matrix) if each.equal_cost]
    assert [each.arm for each in same] == [RANDOM_STUDENT, IMAGENET_STUDENT]
    assert rival_place(matrix, same[0], AT_T) == AT_T.but(budget=3.0)
    assert answer(matrix, same[0], AT_T).mean == pytest.approx(2.1 - 10)
    assert answer(matrix, same[1], AT_T).mean == pytest.approx(1.1 - 0.2)
    without = [r for r in matrix.records if r.steps == 800 or r.arm != RANDOM]
    assert answer(Matrix("x", without), same[0], AT_T) is None
    assert not any(each.equal_cost for each in questions(study()))
    assert str(same[0]) == "Self-training from random, at equal cost"
    assert str(Question(IMAGENET_STUDENT, IMAGENET)) == "Self-training from imagenet"


def test_the_verdict_says_ladder_comparisons_and_choice_of_a_place_together():
    text = said(ladder())
    assert "random, T to 3T: **still gains**: +10.0 AP, 95 % interval +7.5 to +12.5" in text
    assert "imagenet, T to 3T: **converged**: +0.2 AP" in text
    assert "T: Pre-training: **helps**: +20.0 AP" in text and "3T: Pre-training: **helps**: +10.2 AP" in text
    assert "T: Self-training from random, at equal cost: **hurts**: -7.9 AP" in text
