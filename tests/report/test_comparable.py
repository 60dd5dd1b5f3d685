"""Records that do not belong in one table are refused."""

import pytest
from msgspec.structs import replace

from selftrain.record import RANDOM, Arm, Record, Tuned
from selftrain.report.comparable import check_study
from selftrain.report.matrix import Matrix
from selftrain.report.page import verdict_markdown
from selftrain.report.places import PLACE
from selftrain.report.score_tables import score_tables
from tests.records import ARMS, IMAGENET, IMAGENET_STUDENT, made_up, with_hashes, with_settings
from tests.report.studies import ALL_S1, study


def test_what_would_make_a_table_wrong_is_refused():
    with pytest.raises(ValueError, match="teacher .* is missing"):  # it would look too cheap
        Matrix("x", [made_up(IMAGENET_STUDENT)])
    with pytest.raises(ValueError, match="two records of one place"):
        Matrix("x", [made_up(RANDOM), made_up(RANDOM)])
    with pytest.raises(ValueError, match="not a number"):
        Matrix("x", [made_up(RANDOM, score=float("nan"))])


def test_a_pool_may_be_the_rest_of_each_seeds_own_labels_but_not_two_pools_of_one_seed():
    pools = {0: "p0", 1: "p1"}
    records = [made_up(arm, seed=seed) for seed in pools for arm in ARMS]
    records = [with_hashes(r, pool=pools[r.seed]) if r.arm.rounds else r for r in records]
    assert Matrix("rest", records).score(RANDOM, ALL_S1).n == 2
    records[-1] = with_hashes(records[-1], pool="another")
    with pytest.raises(ValueError, match="pool"):
        Matrix("rest", records)


def test_a_study_may_have_steps_for_each_policy_and_no_other_photos_or_recipe_between_its_places():
    other = made_up(RANDOM, "S4", 0.2)
    assert Matrix("x", [made_up(RANDOM), with_settings(other, steps=3000)]).axes == (
        "policy",
        "fraction",
        "labels",
    )
    for name, changed in (
        ("split", replace(other, split="val")),
        ("test split", with_hashes(other, test="other photos")),
        ("recipe", replace(other, recipe="another")),
    ):
        with pytest.raises(ValueError, match=f"more than policy, fraction, .*: {name}"):
            Matrix("x", [made_up(RANDOM), changed])


@pytest.mark.parametrize("hashed, words", [("val", "val split"), ("train", "training images")])
def test_records_of_other_photos_are_refused(hashed, words):
    with pytest.raises(ValueError, match=words):
        Matrix("x", [made_up(RANDOM), with_hashes(made_up(IMAGENET), **{hashed: "other"})])


def test_two_files_of_weights_by_one_name_are_refused():
    with pytest.raises(ValueError, match="first weights"):
        Matrix("x", [made_up(IMAGENET), with_hashes(made_up(IMAGENET, seed=1), weights="other")])


def test_each_seed_may_have_test_images_of_its_own_and_its_intervals_cover_them():
    """As where each seed draws its own generated set: the spread over seeds then holds that of images."""
    own = [
        with_hashes(made_up(arm, seed=s, score=score + s), test=f"t{s}", val=f"v{s}", train=f"l{s}")
        for s in range(3)
        for arm, score in ((RANDOM, 30.0), (IMAGENET, 35.0))
    ]
    matrix = Matrix("x", own)
    assert matrix.score(RANDOM, ALL_S1).covers == "other seeds and other test images"
    own[-1] = with_hashes(own[-1], test="another")
    with pytest.raises(ValueError, match="test split"):
        Matrix("x", own)


# ---- tuned starts -----------------------------------------------------------------------------------------


def tuned(lr: float, trials: int = 12, hash: str | None = None, **fields) -> Tuned:
    """The tuning of a start that chose a learning rate."""
    made = {"trials": trials, "seed": 1000, "at": {"policy": "S1", "fraction": 1.0, "steps": 800}} | fields
    scores = {"metric": "AP", "score": 41.0, "own_score": 40.0}
    own = {"lr": 0.004, "weight_decay": 1e-4}
    return Tuned(chosen=own | {"lr": lr}, own=own, hash=hash or f"h{lr}", **scores, **made)


def tuned_study(**of_random) -> list[Record]:
    """Two policies and seeds of random weights and of ImageNet's, each with the rate that suits it."""
    rates = {RANDOM.start: tuned(0.016, **of_random), IMAGENET.start: tuned(0.002)}
    records = [
        made_up(arm, policy, seed=seed, lr=rates[arm.start].chosen["lr"])
        for policy in ("S1", "S4")
        for arm in ARMS
        for seed in (0, 1)
    ]
    return [replace(r, tuned=rates[r.arm.start]) for r in records]


def test_what_was_tuned_may_differ_between_starts_and_is_no_axis():
    matrix = Matrix("tuned", tuned_study())
    assert matrix.axes == ("policy", "fraction", "labels")
    assert {arm: len(matrix.at(arm, ALL_S1)) for arm in matrix.arms} == dict.fromkeys(ARMS, 2)
    frozen = [
        replace(r, arm=Arm(r.arm.start, r.arm.methods, "backbone"), key=f"{r.key}f", tuned=tuned(0.03))
        for r in tuned_study()
        if r.arm == IMAGENET
    ]
    frozen = [with_settings(r, lr=0.03) for r in frozen]  # a start of its own
    assert len(Matrix("tuned", [*tuned_study(), *frozen]).arms) == 5


def test_values_of_one_start_and_values_that_were_not_tuned_must_be_the_same():
    records = tuned_study()
    position = next(n for n, r in enumerate(records) if r.arm == RANDOM)
    other = with_settings(records[position], lr=0.03)
    with pytest.raises(ValueError, match="differ in more .*: lr"):
        check_study([other if r is records[position] else r for r in records], PLACE)
    momentum = [with_settings(r, momentum=0.9 if r.arm.start == "random" else 0.8) for r in records]
    with pytest.raises(ValueError, match="momentum"):
        check_study(momentum, PLACE)
    with pytest.raises(ValueError, match="differ in more .*: lr"):
        check_study([replace(r, tuned=None) for r in records], PLACE)


@pytest.mark.parametrize(
    "changed", [{"trials": 6}, {"seed": 7}, {"at": {"policy": "S4", "fraction": 1.0, "steps": 800}}]
)
def test_starts_that_were_not_tuned_alike_are_refused(changed):
    with pytest.raises(ValueError, match="differ in more .*: tuning"):
        Matrix("unequal", tuned_study(**changed))


def test_a_start_that_was_not_tuned_beside_one_that_was_is_refused():
    records = [replace(r, tuned=None) if r.arm.start == "random" else r for r in tuned_study()]
    with pytest.raises(ValueError, match="differ in more .*: tuning"):
        Matrix("unequal", records)


def test_records_of_other_trials_of_one_start_are_refused():
    records = tuned_study()
    records[0] = replace(records[0], tuned=tuned(0.016, hash="other"))
    with pytest.raises(ValueError, match="differ in more .*: trials of its tuning"):
        Matrix("two tunings", records)


def test_verdict_and_tables_say_whether_hyper_parameters_were_tuned():
    matrix = Matrix("tuned", tuned_study())
    assert (
        "Tuned for each start alike: lr and weight decay, 12 trials each, by AP on the val split (S1, 100 % "
        "of the labels, 800 steps, seed 1000); random: lr 0.016, weight decay 0.0001; imagenet: lr 0.002, "
        "weight decay 0.0001."
    ) in verdict_markdown(matrix)
    on_val = Matrix("no test split", [with_hashes(r, test=r.hashes.val) for r in tuned_study()])
    assert "seed 1000), chosen on the images that are reported; random: lr" in verdict_markdown(on_val)
    for table in score_tables(matrix):
        assert table.note.endswith("hyper-parameters tuned for each start alike: 12 trials each")
    plain = study()
    assert "Hyper-parameters are the recipe's, not tuned for each start." in verdict_markdown(plain)
    assert all(table.note.endswith("hyper-parameters not tuned") for table in score_tables(plain))
