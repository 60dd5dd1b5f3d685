"""Which arm to choose is said at equal cost alone."""

from msgspec.structs import replace

from selftrain.record import RANDOM, Arm, Need, write
from selftrain.report.longer import read_studies
from selftrain.report.matrix import Matrix
from tests.records import ARMS, IMAGENET, IMAGENET_STUDENT, RANDOM_STUDENT, made_up, with_settings
from tests.report.studies import longer, said, study

COST = "At the cost of a self-trained one (19,200 images, its teacher's included)"


def test_at_the_cost_of_self_training_only_a_supervised_run_of_as_many_images_is_beaten(tmp_path):
    text = said(study())
    assert f"{COST}: undecided: imagenet + self-training is +1.0 AP" in text
    assert "against imagenet, which was given 6,400 images only" in text
    long = [
        made_up(arm, seed=seed, score=score + seed / 10, steps=2400)
        for seed in range(3)
        for arm, score in ((RANDOM, 35.0), (IMAGENET, 43.0 + 2 * seed))
    ]

    def with_longer(**fields) -> str:
        for name, records in (("a", study().records), ("b", [with_settings(r, **fields) for r in long])):
            for n, record in enumerate(records):
                write(tmp_path / name / f"{n}.json", record)
        first, _ = read_studies(tmp_path)
        assert first.arms == list(ARMS)  # the tables show no arm of another study
        return said(first)

    text = with_longer()
    assert f"{COST}: choose imagenet + self-training over imagenet, 3x steps: +1.9 AP" in text
    assert f"{COST}: choose random + self-training over random, 3x steps: +5.9 AP" in text
    assert with_longer(warmup_steps=120) == text  # a share of the steps, as theirs is of fewer
    assert "given 6,400 images only" in with_longer(lr=1.0)  # differs in more than the steps


def test_a_long_run_of_another_start_decides_nothing_for_the_best_one():
    text = said(longer(study(), *(made_up(RANDOM, seed=s, score=35.0 + s, steps=2400) for s in range(3))))
    assert "undecided: imagenet + self-training is +1.0 AP" in text
    assert "against imagenet, which was given 6,400 images only" in text
    assert "choose random + self-training over random, 3x steps: +5.0 AP" in text


def test_arms_are_compared_at_their_own_cost():
    """The student of a student has seen more than the long run was given."""
    twice = Arm("random", ("self-training", "self-training"))
    records = [r for r in study().records if (r.settings["policy"], r.settings["fraction"]) == ("S1", 1.0)]
    for seed in range(3):
        needs = {"teacher": Need(made_up(RANDOM_STUDENT, seed=seed).key, "t")}
        records.append(replace(made_up(twice, seed=seed, score=50.0 + seed), needs=needs))
    long = [made_up(IMAGENET, seed=s, score=44.0 + 2 * s, steps=2400) for s in range(3)]
    text = said(longer(Matrix("rounds", records), *long))
    assert f"{COST}: choose imagenet + self-training over imagenet, 3x steps: +1.0 AP" in text
    assert (
        "one (32,000 images, its teacher's included): undecided: random + self-training x2 is" in text
        and "against imagenet, which was given 6,400 images only" in text
    )


def test_a_student_of_a_teacher_that_still_rose_is_under_trained_too():
    records = [
        made_up(arm, seed=s, score=score + s * s, flat=arm != IMAGENET)
        for s in range(3)
        for arm, score in ((IMAGENET, 40.0), (IMAGENET_STUDENT, 50.0))
    ]
    long = [made_up(IMAGENET, seed=s, score=45.0 + 2 * s, steps=2400) for s in range(3)]
    text = said(longer(Matrix("x", records), *long))
    assert "imagenet + self-training is ahead of imagenet, 3x steps, under-trained" in text


def test_the_choice_never_contradicts_the_verdict_where_arms_have_different_seeds():
    """Random has one lucky seed more: ahead by its own mean, behind on the seeds that both have."""
    records = [made_up(RANDOM, seed=s, score=(30, 31, 90)[s]) for s in range(3)]
    records += [made_up(IMAGENET, seed=s, score=(35, 36.1)[s]) for s in range(2)]
    text = said(Matrix("x", records))
    assert "Pre-training **helps**: +5.1 AP" in text and "choose imagenet over random: +5.1 AP" in text
