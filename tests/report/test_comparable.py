"""Records that do not belong in one table are refused."""

import pytest
from msgspec.structs import replace

from selftrain.record import RANDOM
from selftrain.report.matrix import Matrix
from tests.records import ARMS, IMAGENET, IMAGENET_STUDENT, made_up, with_hashes, with_settings
from tests.report.studies import ALL_S1


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
