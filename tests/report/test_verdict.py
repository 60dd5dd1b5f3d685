"""The verdict states effect, interval and n, and says no more than the records do."""

import pytest
from msgspec.structs import replace
from scipy import stats

from selftrain.record import RANDOM, Arm
from selftrain.report.comparison import compare
from selftrain.report.matrix import Matrix
from selftrain.report.page import verdict_markdown
from selftrain.report.verdict import against_paper, chance
from tests.records import IMAGENET, made_up
from tests.report.studies import ALL_S1, ladder, said, study


def test_differences_are_paired_by_seed_and_intervals_are_students():
    matrix = study()
    effect = compare(matrix, IMAGENET, RANDOM, ALL_S1)
    half_width = stats.t.ppf(0.975, 2) / 3**0.5
    assert (effect.mean, effect.half_width) == pytest.approx((5, half_width))
    assert effect.p == pytest.approx(stats.ttest_rel([1 + 4, 2 + 5, 3 + 6], [1, 2, 3]).pvalue)
    assert matrix.score(RANDOM, ALL_S1).mean == pytest.approx(41)
    assert compare(matrix, IMAGENET, RANDOM, ALL_S1.but(policy="S2")) is None


def test_resamples_of_the_test_images_are_paired_too_and_widen_the_interval():
    """What all seeds share through the test images is no spread over seeds, and is there all the same."""
    shared = [3.0 * (-1) ** b for b in range(500)]
    records = [
        made_up(arm, seed=seed, score=score, resampled={"AP": [score + wide * each for each in shared]})
        for seed in range(3)
        for arm, score, wide in ((RANDOM, 30.0 + seed, 0.5), (IMAGENET, 35.0 + 2 * seed, 1.0))
    ]
    effect = compare(Matrix("x", records), IMAGENET, RANDOM, ALL_S1)
    alone = compare(Matrix("x", [replace(r, resampled={}) for r in records]), IMAGENET, RANDOM, ALL_S1)
    assert effect.image_variance == pytest.approx(1.5**2, rel=0.01) and effect.mean == alone.mean
    assert effect.half_width > alone.half_width
    assert "other test images" in effect.covers and "other test images" not in alone.covers


def test_the_verdict_states_effect_interval_and_n_in_one_sentence():
    text = said(study())
    assert "Pre-training: **helps**: +5.0 AP, 95 % interval +2.5 to +7.5" in text
    assert "n = 3 seeds" in text and "(by the paper's scores: +0.3 AP)" in text
    assert "Self-training from random: **open**: +0.0 AP" in text
    assert "Self-training from imagenet: **helps**: +1.0 AP, 95 % interval +0.8 to +1.2" in text
    assert "Up to 6,400 images: choose imagenet (46.0 AP) over random: +5.0 AP" in text
    assert "Pre-training: **hurts**: -5.0 AP" in said(study((-4.0, -5.0, -6.0)), "S4, 20 % of the labels")


def test_the_chance_to_be_better_once_more_stands_beside_it():
    text = said(study())
    assert "n = 3 seeds (by the paper's scores: +0.3 AP); better with a further seed: P = 0.98" in text
    assert "better with a further seed: P = 0.50" in text  # of +1, +1 and -2
    assert chance(0.9999) == "P > 0.99" and chance(0.0) == "P < 0.01"


def test_the_verdict_begins_with_itself_at_a_glance_and_says_what_is_a_test():
    text = verdict_markdown(study())
    assert "| ΔAP | Pre-training | Self-training from random | Self-training from imagenet |" in text
    assert "| S1, 100 % of the labels | helps, +5.0 | open, +0.0 | helps, +1.0 |" in text
    assert "No contrast was registered before these runs, so nothing here is a test" in text
    assert "Intervals of 95 % cover other seeds, on these test images." in text


def test_an_arm_that_learned_nothing_is_said_to():
    background = made_up(RANDOM, metric="mIoU", curve=[3.8, 3.8, 3.8, 3.8], score=3.8)
    background = replace(background, metrics=background.metrics | {"chance": 3.8})
    text = said(Matrix("x", [background, made_up(IMAGENET, metric="mIoU", score=20.0)]))
    assert "random learned nothing" in text and "imagenet learned nothing" not in text


def test_all_signs_are_counted_before_those_that_are_sure():
    """Pre-training helps everywhere here: as printed at S1 and with a fifth of the labels, not at S4."""
    text = against_paper(study())
    assert "Comparisons that the paper prints too: 8. Whatever their certainty, " in text
    assert "Where the interval leaves zero out, 4 have its sign, 1 the other one" in text
    assert "(imagenet against random at S4, 100 %)" in text and "converged" not in text
    assert "at budgets at which both starts had converged: 0 have its sign, 0 the other one" in against_paper(
        ladder()
    )


def test_an_interval_that_spans_zero_is_open_and_so_is_one_seed():
    assert "Pre-training: **open**: +2.3 AP" in said(study((4.0, -3.0, 6.0)))
    alone = Matrix("one", [made_up(RANDOM, score=30), made_up(IMAGENET, score=60)])
    assert "Pre-training: **open**: +30.0 AP, one seed: no interval" in said(alone)


def test_an_interval_inside_the_margin_is_equivalent():
    records = [made_up(RANDOM, seed=s, score=30 + s) for s in range(3)]
    records += [made_up(IMAGENET, seed=s, score=30 + s + (0.1, -0.1, 0.05)[s]) for s in range(3)]
    assert "Pre-training: **equivalent**: +0.0 AP" in said(Matrix("x", records))
    assert "Pre-training: **open**: +0.0 AP" in said(Matrix("x", records, margin=0.01))


def test_a_checkpoint_whose_path_speaks_of_self_training_is_no_student():
    path = "checkpoint:/data/a + self-training"
    records = [made_up(RANDOM, seed=seed, score=30.0 + seed) for seed in range(3)]
    records += [made_up(Arm(path), seed=seed, score=40.0 + 2 * seed) for seed in range(3)]
    text = said(Matrix("x", records))
    assert f"Starting from {path}: **helps**" in text and "Self-training" not in text
