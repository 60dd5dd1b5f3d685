"""Which arm to choose is read off the frontier: the best of all that is no dearer."""

from selftrain.record import RANDOM, Arm
from selftrain.report.frontier import choices, frontier
from selftrain.report.matrix import Matrix
from selftrain.report.verdict import described
from tests.records import IMAGENET, made_up
from tests.report.studies import ladder, said


def test_points_are_rungs_with_the_cost_of_their_teachers():
    matrix = ladder()
    points = [(point.name, point.images) for point in frontier(matrix, matrix.ladders[0])]
    assert points == [
        ("random, T", 6400),
        ("imagenet, T", 6400),
        ("random, 3T", 19200),
        ("imagenet, 3T", 19200),
        ("random + self-training, T", 19200),
        ("imagenet + self-training, T", 19200),
    ]


def test_the_choice_at_a_cost_is_among_all_that_is_no_dearer():
    matrix = ladder()
    first, second = choices(matrix, matrix.ladders[0], described)
    assert first.startswith("Up to 6,400 images: choose imagenet, T (62.0 AP) over random, T: +20.0 AP")
    assert second.startswith(
        "Up to 19,200 images: open between imagenet + self-training, T (63.1 AP) and imagenet, 3T: +0.9 AP "
        "with every one of n = 3 seeds: no spread to test"
    )


def test_an_arm_is_chosen_only_over_all_others():
    """The second arm is clearly behind, and the third one, of less mean, may be ahead."""
    third = Arm("coco")
    scores = {IMAGENET: (40.0, 40.1, 40.2), RANDOM: (35.0, 35.2, 35.1), third: (45.0, 30.0, 29.0)}
    records = [made_up(arm, seed=s, score=score) for arm, of in scores.items() for s, score in enumerate(of)]
    text = said(Matrix("x", records))
    assert "Up to 6,400 images: open between imagenet (40.1 AP) and coco: " in text
    assert "choose imagenet (40.1 AP) over random" in said(
        Matrix("x", [r for r in records if r.arm != third])
    )
    wide = said(Matrix("x", records, margin=30.0))
    assert "imagenet (40.1 AP) and each of (random; coco) are equivalent: against random, +5.0 AP" in wide


def test_arms_without_a_common_seed_are_not_ranked():
    records = [made_up(arm, seed=s, score=30 + 9 * s) for s, arm in enumerate((RANDOM, IMAGENET))]
    assert "open between imagenet (39.0 AP) and random: no seed has both" in said(Matrix("x", records))


def test_nothing_is_chosen_where_the_interval_spans_zero():
    records = [made_up(RANDOM, seed=s, score=30 + s) for s in range(3)]
    records += [made_up(IMAGENET, seed=s, score=(35, 28, 34)[s]) for s in range(3)]
    text = said(Matrix("x", records))
    assert "Up to 6,400 images: open between imagenet (32.3 AP) and random" in text


def test_the_choice_never_contradicts_the_verdict_where_arms_have_different_seeds():
    """Random has one lucky seed more: ahead by its own mean, behind on the seeds that both have."""
    records = [made_up(RANDOM, seed=s, score=(30, 31, 90)[s]) for s in range(3)]
    records += [made_up(IMAGENET, seed=s, score=(35, 36.1)[s]) for s in range(2)]
    text = said(Matrix("x", records))
    assert (
        "Pre-training: **helps**: +5.1 AP" in text
        and "choose imagenet (35.5 AP) over random: +5.1 AP" in text
    )


def test_a_cheaper_arm_is_not_beaten_before_it_was_given_as_much():
    matrix = ladder()
    short = Matrix("x", [r for r in matrix.records if r.steps == 800])
    first, second = choices(short, short.ladders[0], described)
    assert "choose imagenet (62.0 AP) over random" in first
    assert "imagenet + self-training (63.1 AP) is ahead of imagenet, which saw 6,400 images only" in second
