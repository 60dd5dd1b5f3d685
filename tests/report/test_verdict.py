"""The verdict states effect, interval, test and n, and says no more than the records do."""

import pytest
from msgspec.structs import replace
from scipy import stats

from selftrain.record import RANDOM, Arm
from selftrain.report.comparison import compare
from selftrain.report.matrix import Matrix
from selftrain.report.page import verdict_markdown
from selftrain.report.statistics import Estimate
from selftrain.report.verdict import against_paper
from tests.records import IMAGENET, IMAGENET_STUDENT, made_up
from tests.report.studies import ALL_S1, said, study


def test_differences_are_paired_by_seed_and_intervals_are_students():
    matrix = study()
    comparison = compare(matrix, IMAGENET, RANDOM, ALL_S1)
    half_width = stats.t.ppf(0.975, 2) / 3**0.5
    assert (comparison.effect.mean, comparison.effect.half_width) == pytest.approx((5, half_width))
    assert comparison.p == pytest.approx(stats.ttest_rel([1 + 4, 2 + 5, 3 + 6], [1, 2, 3]).pvalue)
    assert matrix.score(RANDOM, ALL_S1).mean == pytest.approx(41) and Estimate.of([]) is None


def test_the_verdict_states_effect_interval_test_and_n_in_one_sentence():
    text = said(study())
    assert (
        "Pre-training **helps**: +5.0 AP, 95 % interval +2.5 to +7.5, paired t test over n = 3 seeds, "
        "p = 0.013 (by the paper's scores: +0.3 AP)" in text
    )
    assert "Self-training from random: **no evidence either way**: +0.0 AP" in text
    assert (
        "Self-training from imagenet **helps**: +1.0 AP with every one of n = 3 seeds: no spread to test"
        in text
    )
    assert "At the cost of a supervised run (6,400 images): choose imagenet over random: +5.0 AP" in text
    assert "Pre-training **hurts**: -5.0 AP" in said(study((-4.0, -5.0, -6.0)), "S4, 20 % of the labels")


def test_the_verdict_begins_with_itself_at_a_glance():
    lines = verdict_markdown(study()).splitlines()
    assert "| ΔAP | Pre-training | Self-training from random | Self-training from imagenet |" in lines
    assert "| S1, 100 % of the labels | helps, +5.0 | no evidence, +0.0 | helps, +1.0 |" in lines


def test_one_class_everywhere_is_flat_and_nothing_learned():
    background = made_up(RANDOM, metric="mIoU", curve=[3.8, 3.8, 3.8, 3.8], score=3.8)
    background = replace(background, metrics=background.metrics | {"chance": 3.8})
    text = said(Matrix("x", [background, made_up(IMAGENET, metric="mIoU", score=20.0)]))
    assert "**under-trained** (random learned nothing)" in text


def test_the_verdict_says_where_it_agrees_with_the_paper():
    """Pre-training helps everywhere here: as printed at S1 and with a fifth of the labels, not at S4."""
    assert (
        "Comparisons that the paper prints too: 8. Of these 4 have its sign, "
        "1 the other one (imagenet against random at S4, 100 %), and 3 are without evidence"
        in against_paper(study())
    )


def test_an_interval_that_spans_zero_is_no_evidence_and_neither_is_one_seed():
    assert "Pre-training: **no evidence either way**" in said(study((4.0, -3.0, 6.0)))
    text = said(study((4.0, -3.0, 6.0), flat=False))
    assert "no evidence between imagenet and random, under-trained: +2.3 AP" in text
    alone = Matrix("one", [made_up(RANDOM, score=30), made_up(IMAGENET, score=60)])
    assert "**no evidence either way**: +30.0 AP, one seed: no interval" in said(alone)


def test_a_rising_curve_is_under_trained_whatever_the_effect():
    text = said(study(flat=False))
    assert "Pre-training: **under-trained** (imagenet and random still rising): +5.0 AP" in text
    assert "helps" not in text and "choose" not in text
    records = [made_up(RANDOM, seed=s, score=30 + s, flat=s != 1) for s in range(3)]
    records += [made_up(IMAGENET, seed=s, score=50 + s) for s in range(3)]
    assert "(random still rising)" in said(Matrix("one", records))


@pytest.mark.parametrize(
    "curve, why",
    [
        ([10, 30, 30], "too few points to tell"),
        ([0, 0, 0, 0], "learned nothing"),
        ([10, 60, 60, 20], "fell at the end"),
    ],
)
def test_it_is_said_why_a_curve_had_not_flattened(curve, why):
    text = said(Matrix("one", [made_up(RANDOM, curve=curve), made_up(IMAGENET, score=50)]))
    assert f"**under-trained** (random {why})" in text


def test_a_rising_seed_counts_only_in_the_pairs_that_it_is_in():
    unpaired = [made_up(RANDOM, seed=s, score=30 + s, flat=s != 2) for s in range(3)]
    unpaired += [made_up(IMAGENET, seed=s, score=50 + 2 * s) for s in range(2)]
    assert "Pre-training **helps**" in said(Matrix("one", unpaired))
    taught = [made_up(IMAGENET, seed=s, score=50 + s, flat=s != 2) for s in range(3)]
    taught += [made_up(IMAGENET_STUDENT, seed=s, score=60 + 2 * s) for s in range(2)]
    assert "Self-training from imagenet **helps**" in said(Matrix("one", taught))  # neither is its teacher


def test_a_checkpoint_whose_path_speaks_of_self_training_is_no_student():
    path = "checkpoint:/data/a + self-training"
    records = [made_up(RANDOM, seed=seed, score=30.0 + seed) for seed in range(3)]
    records += [made_up(Arm(path), seed=seed, score=40.0 + 2 * seed) for seed in range(3)]
    text = said(Matrix("x", records))
    assert f"Starting from {path} **helps**" in text and "Self-training" not in text
