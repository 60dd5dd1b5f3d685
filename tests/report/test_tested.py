"""Registered contrasts on made-up records whose numbers are known: effects, tests, and what is missing."""

import math
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import asdict, replace
from statsmodels.stats.multitest import multipletests

from selftrain.record import RANDOM, Record
from selftrain.report.contrasts import Contrast, Term, read_contrasts
from selftrain.report.effect import effect_of
from selftrain.report.matrix import Matrix
from selftrain.report.registered import default_contrasts
from selftrain.report.tested import evaluate, holm, p_of, unit
from selftrain.report.tested import unsigned as unsigned_of
from tests.records import ARMS, IMAGENET, IMAGENET_STUDENT, RANDOM_STUDENT, made_up, with_hashes
from tests.report.studies import study

SIX = read_contrasts(Path(__file__).parent / "contrasts.toml")
GAINS = {("S1", 0.01): 8.0, ("S4", 0.01): 6.0, ("S1", 0.1): 4.0, ("S4", 0.1): 2.0, ("S4", 0.333): -1.0}
BASE = {0.01: 20.0, 0.1: 40.0, 0.333: 60.0}  # of random at T steps
TAUGHT = [(policy, fraction) for policy, fraction in GAINS if fraction < 0.3]  # where there are students


def ladder() -> list[Record]:
    """Three seeds of T and 3T steps.

    Random gains 10 by 3T; imagenet is 5 ahead of it at T and by GAINS at 3T; students are 3 ahead of their
    teachers.  The gains at 3T and those of students differ by 10 % a seed."""
    records = []
    for seed, factor in enumerate((0.9, 1.0, 1.1)):
        for (policy, fraction), gain in GAINS.items():
            base = BASE[fraction]
            scores = {(RANDOM, 3.0): base + 10, (IMAGENET, 3.0): base + 10 + gain * factor}
            if (policy, fraction) in TAUGHT:
                scores |= {(RANDOM, 1.0): base, (IMAGENET, 1.0): base + 5}
                scores |= {
                    (RANDOM_STUDENT, 1.0): base + 3 * factor,
                    (IMAGENET_STUDENT, 1.0): base + 5 + 3 * factor,
                }
            records += [
                made_up(arm, policy, fraction, seed, score, steps=round(800 * budget))
                for (arm, budget), score in scores.items()
            ]
    return records


def without(records: list[Record], arm, policy: str, fraction: float, *seeds: int) -> Matrix:
    """A study that lacks the records of an arm at a place, at 3T, of these seeds."""
    gone = (arm, policy, fraction, 2400)

    def there(r: Record) -> bool:
        return (r.arm, r.settings["policy"], r.settings["fraction"], r.steps) != gone or r.seed not in seeds

    return Matrix("x", list(filter(there, records)))


def test_the_six_contrasts_of_a_study_have_their_numbers():
    found = evaluate(Matrix("x", ladder()), SIX)
    few, weak, reversal, taught, equal_cost, recognition = (each.effect for each in found)
    values = np.array([0.9, 1.0, 1.1])
    for effect, expected in (
        (few, effect_of((4 * values).tolist())),  # (8 + 6) / 2 - (4 + 2) / 2
        (weak, effect_of((2 * values).tolist())),  # (8 + 4) / 2 - (6 + 2) / 2
        (reversal, effect_of((-values).tolist())),
        (taught, effect_of((3 * values).tolist())),
        # students less supervised: (3 - 10) of random, (5 + 3) - (10 + 5) of imagenet, whose mean gain is 5
        (equal_cost, effect_of((0.5 * (3 * values - 10 + 5 + 3 * values - 10 - 5 * values)).tolist())),
    ):
        assert (effect.mean, effect.low, effect.high, effect.p) == pytest.approx(
            (expected.mean, expected.low, expected.high, expected.p), rel=1e-6
        )
        assert effect.n == 3
    # a made-up AP50 is the AP and 5: the same gain is a larger share of the less that is missing
    shares = [
        100 * gain * (1 / (85 - BASE[at]) - 1 / (90 - BASE[at]))
        for (_, at), gain in GAINS.items()
        if at < 0.3
    ]
    assert recognition.mean == pytest.approx(np.mean(shares))
    assert [each.word for each in found] == [
        "above zero", "above zero", "below zero", "above zero", "below zero", "above zero"
    ]  # fmt: skip
    assert not any(each.missing for each in found)


def test_ps_are_one_sided_where_a_direction_was_registered_and_corrected_together():
    found = evaluate(Matrix("x", ladder()), SIX)
    one_sided = [each.effect.p / 2 for each in found[:4]]
    assert [each.p for each in found] == pytest.approx([*one_sided, *(each.effect.p for each in found[4:])])
    expected = multipletests([each.p for each in found], method="holm")[1]
    assert [each.p_holm for each in found] == pytest.approx(expected)
    wrong_way = effect_of([-1.0, -2.0, -3.0])
    assert p_of(wrong_way, "above zero") == pytest.approx(1 - wrong_way.p / 2)
    assert p_of(wrong_way, "below zero") == pytest.approx(wrong_way.p / 2)
    assert p_of(wrong_way, "either") == wrong_way.p
    [against] = evaluate(Matrix("x", ladder()), [Contrast(**asdict(SIX[3]) | {"expect": "below zero"})])
    assert (
        against.p > 0.99 and against.word == "open, and the two-sided interval lies on the other side of zero"
    )


@pytest.mark.parametrize("m", [1, 2, 3, 6, 9])
def test_holm_is_that_of_statsmodels(m):
    draw = np.random.default_rng(m)
    for ps in (draw.uniform(size=m), draw.uniform(size=m) ** 6, np.full(m, 0.02), np.linspace(0, 1, m)):
        assert holm(ps.tolist()) == pytest.approx(multipletests(ps, method="holm")[1])


def test_what_cannot_be_tested_counts_among_the_tests():
    assert holm([0.01, math.nan, 0.04])[::2] == pytest.approx([0.03, 0.08])
    assert math.isnan(holm([0.01, math.nan])[1])
    found = evaluate(without(ladder(), IMAGENET, "S4", 0.333, 0, 1, 2), SIX)
    assert found[2].word == "not tested" and found[2].effect is None and math.isnan(found[2].p_holm)
    assert found[2].missing == ["imagenet at S4, 33.3 %, 3T"]
    assert found[2].sentence("AP", 1) == (
        "Does pre-training hurt with strong augmentation and many labels? **not tested**; "
        "missing: imagenet at S4, 33.3 %, 3T"
    )
    complete = evaluate(Matrix("x", ladder()), SIX)
    smallest = min((each for each in found if each.effect), key=lambda each: each.p)
    assert smallest.p_holm == pytest.approx(6 * smallest.p)
    assert [each.p for each in found[:2]] == [each.p for each in complete[:2]]


def test_a_seed_that_lacks_a_record_is_left_out_and_named():
    found = evaluate(without(ladder(), RANDOM, "S4", 0.1, 2), SIX)
    few, reversal = found[0], found[2]
    assert few.effect.n == 2 and few.effect.mean == pytest.approx(4 * 0.95)
    assert few.missing == ["random at S4, 10 %, 3T (seed 2)"]
    assert reversal.effect.n == 3 and not reversal.missing
    # one of the values that `where` lists ran nowhere
    gone = evaluate(without(ladder(), RANDOM, "S4", 0.1, 0, 1, 2), SIX)[1]
    assert gone.effect is None and gone.missing == ["random at S4, 10 %, 3T"]


def test_without_places_a_contrast_is_the_mean_wherever_all_its_arms_ran():
    gain = Contrast(name="g", question="Q?", terms=(Term(weight=1.0, arm=IMAGENET, over=RANDOM),))
    [found] = evaluate(study((4.0, 5.0, 6.0)), [gain])
    assert (found.effect.mean, found.effect.n) == (5.0, 3)
    # at T there are four places of six, and students stand at T alone
    taught = Contrast(name="t", question="Q?", terms=(Term(weight=1.0, arm=RANDOM_STUDENT, over=RANDOM),))
    [found] = evaluate(Matrix("x", ladder()), [taught])
    assert found.effect.mean == pytest.approx(3.0)
    # the places that drop out are named: else they could be chosen after looking
    assert found.missing == [
        f"random + self-training at {policy}, {100 * fraction:g} %, 3T"
        for policy, fraction in sorted(GAINS, key=lambda at: (-at[1], at[0]))
    ]


def test_a_place_of_students_alone_does_not_count_a_supervised_run_twice():
    records = [
        made_up(arm, seed=s, score=30 + s + 5 * (arm == IMAGENET)) for arm in ARMS[:2] for s in range(2)
    ]
    records += [
        made_up(arm, "S4", seed=s, score=30 + 9 * (arm == IMAGENET) + s) for arm in ARMS[:2] for s in (0, 1)
    ]
    for alpha in (0.5, 1.0):
        records += [made_up(RANDOM_STUDENT, seed=s, score=31 + s + alpha, alpha=alpha) for s in range(2)]
    matrix = Matrix("x", records)
    gain = Contrast(name="g", question="Q?", terms=(Term(weight=1.0, arm=IMAGENET, over=RANDOM),))
    assert evaluate(matrix, [gain])[0].effect.mean == 7.0
    taught = Contrast(name="t", question="Q?", terms=(Term(weight=1.0, arm=RANDOM_STUDENT, over=RANDOM),))
    assert evaluate(matrix, [taught])[0].effect.mean == 1.75


def test_what_is_the_same_in_all_records_may_be_named_and_what_no_record_has_is_said():
    matrix = study((4.0, 5.0, 6.0))

    def where(**values):
        term = Term(weight=1.0, arm=IMAGENET, over=RANDOM, where=values)
        return evaluate(matrix, [Contrast(name="g", question="Q?", terms=(term,))])[0]

    assert where(lr=0.004, budget=1.0, policy="S1").effect.mean == 5.0
    assert where(budget=3.0).missing == ["no record with budget other than 1.0"]
    assert where(polcy="S1").missing == ["no record has an axis 'polcy'; did you mean 'policy'?"]
    assert where(policy="S3").missing == ["imagenet at S3", "random at S3"]
    other = Contrast(
        name="g", question="Q?", metric="AP500", terms=(Term(weight=1.0, arm=IMAGENET, over=RANDOM),)
    )
    assert evaluate(matrix, [other])[0].missing == ["no score 'AP500'; did you mean 'AP50'?"]


def resampled(record: Record, shift: float, resamples: int = 50) -> Record:
    """Scores that the same resample moves alike in all records, and further in those of imagenet."""
    draw = np.random.default_rng(0)
    moves = shift * draw.normal(size=resamples) * (1 + (record.arm.start == "imagenet"))
    scores = {name: (value + moves).tolist() for name, value in record.metrics.items()}
    return replace(record, resampled=scores, scored_images=400)


def test_replicates_are_paired_by_resample_through_a_whole_contrast():
    plain = ladder()
    found = evaluate(Matrix("x", [resampled(record, 0.2) for record in plain]), SIX)
    few, reversal = found[0].effect, found[2].effect
    assert few.image_variance == pytest.approx(0, abs=1e-12)  # what both terms share of the images cancels
    moves = 0.2 * np.random.default_rng(0).normal(size=50)
    assert reversal.image_variance == pytest.approx(np.var(moves, ddof=1))
    assert reversal.own_image_variance == pytest.approx(0, abs=1e-12)
    expected = effect_of(
        [-0.9, -1.0, -1.1], np.array([[-f + m for m in moves] for f in (0.9, 1.0, 1.1)]), 400
    )
    assert (reversal.low, reversal.high, reversal.p) == pytest.approx(
        (expected.low, expected.high, expected.p)
    )
    assert reversal.covers == "other seeds and other test images"
    # a share is taken anew under each resample
    assert found[5].effect.image_variance > 0
    # one record without replicates, and the contrast speaks of other seeds alone
    mixed = [record if number == 0 else resampled(record, 0.2) for number, record in enumerate(plain)]
    first = evaluate(Matrix("x", mixed), SIX)[0].effect
    assert first.covers == "other seeds, on these test images" and first.image_variance == 0


@pytest.mark.parametrize(
    "names, covers",
    [("aaa", "on these test images"), ("abb", "on these test images"), ("abc", "and other test images")],
)
def test_seeds_alone_tell_of_other_test_images_where_each_has_its_own(names, covers):
    scored = [
        with_hashes(made_up(arm, seed=s, score=score + s), test=name)
        for arm, score in ((RANDOM, 10.0), (IMAGENET, 12.0))
        for s, name in enumerate(names)
    ]
    term = Term(weight=1.0, arm=IMAGENET, over=RANDOM)
    [found] = evaluate(Matrix("x", scored), [Contrast(name="g", question="Q?", terms=(term,))])
    assert found.effect.covers.endswith(covers)


def test_a_share_of_nothing_is_not_taken():
    records = [made_up(arm, seed=s, score=100.0) for arm in (RANDOM, IMAGENET) for s in range(2)]
    term = Term(weight=1.0, arm=IMAGENET, over=RANDOM, share_of_missing=True)
    [found] = evaluate(Matrix("x", records), [Contrast(name="g", question="Q?", terms=(term,))])
    assert found.effect is None and found.missing == ["a share of what was missing, where nothing was"]


def test_sentences():
    found = evaluate(Matrix("x", ladder()), SIX)
    assert found[0].sentence("AP", 1) == (
        "Is pre-training worth more with 300 labels than with 3,000? **above zero**: +4.0 AP, at least +3.3 "
        "with 95 % confidence (other seeds, on these test images), n = 3 seeds; expected above zero, "
        "one-sided p = 0.002; p after Holm = 0.008"
    )
    assert found[4].sentence("AP", 1) == (  # no direction was registered
        "Is a student better than a supervised run of as many images as it and its teacher saw? **below "
        "zero**: -7.0 AP, 95 % interval -7.1 to -6.9 (other seeds, on these test images), n = 3 seeds, "
        "p < 0.001; p after Holm < 0.001"
    )
    assert unit(SIX[5], "AP") == "% of what was missing" and unit(SIX[0], "AP") == "AP"
    same = evaluate(Matrix("x", [r for r in ladder() if r.seed == 1]), SIX)[0]
    assert same.sentence("AP", 1).endswith("**not tested**: +4.0 AP, one seed: no interval")


def test_within_the_margin_is_equivalent():
    gain = Contrast(name="g", question="Q?", terms=(Term(weight=1.0, arm=IMAGENET, over=RANDOM),))
    matrix = study((-0.1, 0.0, 0.1))
    assert [evaluate(matrix, [gain], margin)[0].word for margin in (1.0, 0.1)] == ["equivalent", "open"]


def test_the_contrasts_that_a_study_registers_by_itself_can_be_evaluated():
    matrix = Matrix("x", ladder())
    registered = default_contrasts(matrix.arms, matrix.policies, matrix.fractions, [1.0, 3.0])
    found = {each.contrast.name: each for each in evaluate(matrix, registered)}
    assert all(each.effect for each in found.values())
    assert {name: each.missing for name, each in found.items() if each.missing} == {
        f"self-training at equal cost from {start}": [f"{start} + self-training at S4, 33.3 %, T"]
        for start in ("random", "imagenet")
    }
    means = {name: round(each.effect.mean, 6) for name, each in found.items()}
    assert means == {
        "starting from imagenet": 3.8,  # the mean of GAINS
        "starting from imagenet, S4 and most labels": -1.0,
        "self-training from random": 3.0,
        "self-training from imagenet": 3.0,
        "self-training at equal cost from random": -7.0,
        "self-training at equal cost from imagenet": -7.0,
    }


GAIN = Contrast(
    name="g", question="Q?", expect="above zero", terms=(Term(weight=1.0, arm=IMAGENET, over=RANDOM),)
)


@pytest.mark.parametrize("expect", ["above zero", "below zero", "either"])
def test_one_seed_is_not_tested_by_its_test_images_alone(expect):
    one = [resampled(record, 0.2) for record in ladder() if record.seed == 1]
    found = evaluate(Matrix("x", one), [Contrast(**asdict(each) | {"expect": expect}) for each in SIX])
    assert found[2].effect.p < 1e-3  # by its test images
    for each in found:
        assert each.word == "not tested" and math.isnan(each.p) and math.isnan(each.p_holm)
    assert "p =" not in found[2].sentence("AP", 1) and "p <" not in found[2].sentence("AP", 1)


def test_a_contrast_of_one_seed_counts_among_the_tests():
    lacking = {("S4", 0.333, seed) for seed in (1, 2)}
    places = [r for r in ladder() if (r.settings["policy"], r.settings["fraction"], r.seed) not in lacking]
    found = evaluate(Matrix("x", places), SIX)
    assert found[2].effect.n == 1 and found[2].word == "not tested"
    assert min(each.p_holm for each in found if each.p_holm == each.p_holm) == pytest.approx(
        6 * min(each.p for each in found if each.p == each.p)
    )


def test_seeds_that_do_not_differ_are_open():
    [found] = evaluate(study((4.0, 4.0, 4.0)), [GAIN], margin=10.0)
    assert found.effect.n == 3 and not found.effect.spread
    assert math.isnan(found.p) and math.isnan(found.p_holm) and found.word == "open"


@pytest.mark.parametrize("unsigned", [0, 1, 12])
def test_contrasts_are_tested_only_where_every_record_that_they_use_names_them(unsigned):
    records = study((4.0, 5.0, 6.0)).records
    used_by_it = [record for record in records if not record.arm.rounds]
    late = {record.key for record in used_by_it[:unsigned]}
    signed = [
        replace(record, contrasts="now" if record.key not in late and not record.arm.rounds else None)
        for record in records
    ]
    matrix = Matrix("x", signed)
    [found] = evaluate(matrix, [GAIN], hash_of_file="now")
    assert len(found.records) == len(used_by_it) == 18
    assert len(unsigned_of([found], "now")) == unsigned
    assert found.effect.mean == 5.0
    if unsigned:
        assert found.word == "descriptive" and math.isnan(found.p) and math.isnan(found.p_holm)
    else:
        assert found.word == "above zero" and found.p == found.effect.p / 2


def test_only_planned_seeds_are_tested_and_those_that_lack_are_named():
    matrix = study((4.0, 5.0, 6.0, 50.0)[:3])
    [found] = evaluate(matrix, [GAIN], seeds=[0, 1])
    assert (found.effect.mean, found.effect.n, found.missing) == (4.5, 2, [])
    [found] = evaluate(matrix, [GAIN], seeds=[1, 2, 7, 8])
    assert (found.effect.mean, found.effect.n, found.missing) == (5.5, 2, ["record of seeds 7, 8"])
    [found] = evaluate(matrix, [GAIN], seeds=[7])
    assert (found.effect, found.word) == (None, "not tested") and "record of seed 7" in found.missing
    # what a seed beyond the plan lacks is no matter, and what a planned one lacks is
    fewer = without(ladder(), RANDOM, "S4", 0.1, 2)
    assert evaluate(fewer, SIX, seeds=[0, 1])[0].missing == []
    assert evaluate(fewer, SIX, seeds=[1, 2])[0].missing == ["random at S4, 10 %, 3T (seed 2)"]


def test_a_place_where_one_arm_is_missing_is_named():
    gone = without(ladder(), IMAGENET, "S4", 0.333, 0, 1, 2)
    [found] = evaluate(gone, [Contrast(**asdict(GAIN) | {"terms": (at(budget=3.0),)})])
    assert found.effect.mean == 5.0 and found.missing == ["imagenet at S4, 33.3 %, 3T"]


def at(**where) -> Term:
    return Term(weight=1.0, arm=IMAGENET, over=RANDOM, where=where)


def test_students_have_labels_of_their_own_kind_and_lack_nothing_for_that():
    records = [
        made_up(arm, seed=s, score=30.0 + s + arm.rounds * (1 + s / 10), protocol="train+pseudo_aug")
        for arm in (RANDOM, RANDOM_STUDENT)
        for s in range(2)
    ]
    taught = Contrast(name="t", question="Q?", terms=(Term(weight=1.0, arm=RANDOM_STUDENT, over=RANDOM),))
    [found] = evaluate(Matrix("x", records), [taught])
    assert found.effect.n == 2 and not found.missing


@pytest.mark.parametrize("gains", [(0.1, 1.0, 1.3), (0.3, 1.0, 1.7), (-0.2, 1.0, 1.3), (-3.0, -2.0, -1.0)])
@pytest.mark.parametrize("expect", ["above zero", "below zero"])
def test_the_bound_leaves_zero_out_exactly_where_the_one_sided_test_is_passed(gains, expect):
    [found] = evaluate(study(gains), [Contrast(**asdict(GAIN) | {"expect": expect})])
    side, end = found.bound
    assert side == {"above zero": "at least", "below zero": "at most"}[expect]
    assert (end > 0 if expect == "above zero" else end < 0) == (found.p <= 0.05) == (found.word == expect)
    assert evaluate(study(gains), [Contrast(**asdict(GAIN) | {"expect": "either"})])[0].bound is None


def test_a_budget_is_looked_up_as_the_tables_round_it():
    records = [
        made_up(arm, seed=s, score=30.0 + s + arm.rounds + budget + 2 * (arm == IMAGENET) * s, steps=steps)
        for arm in (RANDOM, IMAGENET)
        for s in range(3)
        for budget, steps in ((1, 240), (3, 800))
    ]
    matrix = Matrix("x", records)
    assert matrix.budgets == [1.0, 3.333]
    registered = default_contrasts(matrix.arms, matrix.policies, matrix.fractions, [0.3, 1.0])
    assert registered[0].terms[0].where == {"budget": 3.333}
    for budget in (3.333, 10 / 3):
        [found] = evaluate(matrix, [Contrast(**asdict(GAIN) | {"terms": (at(budget=budget),)})])
        assert found.effect.n == 3 and not found.missing


def test_scores_of_each_class_are_no_score_of_a_contrast():
    records = study((4.0, 5.0, 6.0)).records
    by_class = [replace(r, metrics=r.metrics | {"AP by class": {"cat": 1.0}}) for r in records]
    contrast = Contrast(**asdict(GAIN) | {"metric": "AP by class"})
    [found] = evaluate(Matrix("x", by_class), [contrast])
    assert found.effect is None and found.missing[0].startswith("no score 'AP by class'")
