"""Which photos count as labelled: nested, repeatable, and never silently other ones."""

import json
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from selftrain.data.coco import CocoDataset
from selftrain.data.coco.unbiased_teacher import import_unbiased_teacher
from selftrain.data.fractions import (
    fraction_ids,
    missing_classes,
    read_fraction,
    write_fraction,
)
from selftrain.data.voc import VOC_CLASSES, VocDataset
from tests.data.makers import coco, read, refuses, stem, write

# ---- of COCO's image ids


def bare_coco(ids):
    """A data set of images without boxes."""
    n = len(ids)
    return CocoDataset(
        folder="data",
        names=np.array([b"%d.jpg" % i for i in ids]),
        image_ids=np.array(ids, np.int64),
        sizes=np.ones((n, 2), np.int32),
        offsets=np.zeros(n + 1, np.int64),
        boxes=np.zeros((0, 4)),
        classes=np.zeros(0, np.int16),
        crowd=np.zeros(0, bool),
        areas=np.zeros(0),
        scores=np.zeros(0, np.float32),
        class_names=("cat",),
        category_ids=(1,),
    )


image_ids = st.lists(st.integers(0, 2**40), min_size=1, max_size=200, unique=True)


fractions = st.floats(0, 1, exclude_min=True)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(image_ids, fractions, fractions, st.integers(0, 2**32), st.randoms())
@example(list(range(200)), 0.01, 0.1, 0, None)
def test_fractions_are_nested_repeatable_and_independent_of_file_order(ids, one, other, seed, random):
    small, large = sorted([one, other])
    data = bare_coco(ids)
    if round(small * len(ids)) == 0:
        refuses(lambda: fraction_ids(data, small, seed), "no image is left")
        return
    inner, outer = fraction_ids(data, small, seed), fraction_ids(data, large, seed)
    assert len(inner) == round(small * len(ids)) and len(outer) == round(large * len(ids))
    assert set(inner.tolist()) <= set(outer.tolist()) <= set(ids)
    assert inner.dtype == np.int64 and (np.diff(inner) > 0).all()
    shuffled = list(reversed(ids)) if random is None else random.sample(ids, len(ids))
    np.testing.assert_array_equal(fraction_ids(bare_coco(shuffled), small, seed), inner)
    np.testing.assert_array_equal(fraction_ids(data, 1, seed), np.sort(ids))


# Were these or PUBLISHED_STEMS to change, published lists could not be made again.
PUBLISHED_IDS = [32, 154, 393, 870, 985]


def test_fractions_differ_by_seed_and_stay_the_published_ones():
    data = bare_coco(range(1000))
    chosen = [fraction_ids(data, 0.1, seed) for seed in range(5)]
    shared = [len(np.intersect1d(a, b)) for n, a in enumerate(chosen) for b in chosen[:n]]
    assert 0 < max(shared) < 30  # 10 expected of two independent tenths
    assert fraction_ids(data, 0.005, 0).tolist() == PUBLISHED_IDS
    for fraction in (0, -0.1, 1.1, 10, float("nan")):
        refuses(lambda f=fraction: fraction_ids(data, f, 0), "--fraction")


def test_classes_without_a_box_are_named(tmp_path):
    content = coco()
    content["annotations"][1]["category_id"] = 3
    content["annotations"][2].update(category_id=3, iscrowd=1)
    data = read(tmp_path, content)
    assert missing_classes(data, [10, 20]) == [] and missing_classes(data, [20]) == ["cat"]
    assert missing_classes(data, [10, 30]) == ["dog"]  # a crowd is no example of its class


def test_fraction_file_round_trip_and_edits(tmp_path):
    path = tmp_path / "lists" / "fraction.json"
    written = write_fraction(path, np.array([30, 10]), "abcd", 0.5, 3)
    back = read_fraction(path)
    assert back.ids.tolist() == [10, 30] and (back.fraction, back.seed, back.dataset_hash) == (0.5, 3, "abcd")
    assert back.hash == written.hash and len(back.hash) == 16
    content = json.loads(path.read_text())
    for change in (
        {"image_ids": [10, 31]},
        {"image_ids": [10]},
        {"seed": 4},
        {"dataset": "abce"},
        {"fraction": 0.4},
        {"count": 3},
    ):
        write(path, {**content, **change})
        refuses(lambda: read_fraction(path), path, "edited")
    for broken in ("{", "[]", {"image_ids": ["x"]}, {**content, "image_ids": [2**80]}):
        write(path, json.dumps(broken) if broken == [] else broken)
        refuses(lambda: read_fraction(path), path, "not a list of labelled images")
    refuses(lambda: read_fraction(tmp_path / "gone.json"), "gone.json", "no such file")


def test_unbiased_teacher_counts_positions_among_images_with_objects(tmp_path):
    content = coco(6)
    content["images"].reverse()  # the original sorts by id, whatever the file's order
    content["annotations"][0]["iscrowd"] = 1  # image 10: only a crowd
    del content["annotations"][3]  # image 40: nothing
    content["annotations"][1]["bbox"] = [1, 1, 5, 0]  # image 20: dropped here, but listed there
    data = read(tmp_path, content)
    path = write(
        tmp_path / "COCO_supervision.txt", {"50.0": {"1": [3, 0], "2": [0, 4], "3": [1]}, "0.1": {"1": []}}
    )
    assert import_unbiased_teacher(path, data, 50, 1).tolist() == [20, 60]  # of 20, 30, 50, 60
    refuses(lambda: import_unbiased_teacher(path, data, 50.0, 2), path, "other images")
    refuses(lambda: import_unbiased_teacher(path, data, 50.0, 3), path, "expected 2 positions below 4")
    refuses(lambda: import_unbiased_teacher(path, data, 10, 1), path, "0.1, 50")
    refuses(lambda: import_unbiased_teacher(path, data, 50, 9), path, "no fold 9", "1, 2, 3")
    refuses(lambda: import_unbiased_teacher(write(path, "[1]"), data, 50, 1), path, "COCO_supervision.txt")


# ---- of VOC's stems


def bare_voc(stems):
    names = np.array([f"{s}.jpg".encode() for s in stems])
    return VocDataset(Path("data"), Path("data"), names, names, np.array(stems), VOC_CLASSES, "ab")


stems = st.lists(
    st.text(
        st.characters(codec="utf-8", exclude_characters="\0/\n", exclude_categories=["Cs"]),
        min_size=1,
        max_size=12,
    ),
    min_size=1,
    max_size=80,
    unique=True,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(stems, st.floats(0.02, 1), st.floats(0.02, 1), st.integers(0, 2**32), st.randoms())
def test_fractions_of_stems_are_nested_repeatable_and_independent_of_order(names, one, other, seed, random):
    small, large = sorted([one, other])
    data = bare_voc(names)
    if round(small * len(names)) == 0:
        refuses(lambda: fraction_ids(data, small, seed), "no image is left")
        return
    inner, outer = fraction_ids(data, small, seed), fraction_ids(data, large, seed)
    assert len(inner) == round(small * len(names)) and inner.tolist() == sorted(inner.tolist())
    assert set(inner.tolist()) <= set(outer.tolist()) <= set(names)
    np.testing.assert_array_equal(
        fraction_ids(bare_voc(random.sample(names, len(names))), small, seed), inner
    )
    np.testing.assert_array_equal(
        data.subset(inner).image_ids, [name for name in names if name in set(inner.tolist())]
    )


PUBLISHED_STEMS = ["2007_000032", "2007_000212", "2007_000397", "2007_000540", "2007_000593"]


def test_fractions_of_stems_stay_the_published_ones():
    assert fraction_ids(bare_voc([stem(i) for i in range(1000)]), 0.005, 0).tolist() == PUBLISHED_STEMS


def test_fraction_file_of_stems_round_trip_and_edits(tmp_path):
    path = tmp_path / "fraction.json"
    written = write_fraction(path, np.array([stem(3), stem(1)]), "abcd", 0.5, 3)
    back = read_fraction(path)
    assert (
        back.ids.tolist() == [stem(1), stem(3)] and back.ids.dtype.kind == "U" and back.hash == written.hash
    )
    assert (
        write_fraction(tmp_path / "other.json", np.array([stem(1), stem(4)]), "abcd", 0.5, 3).hash
        != written.hash
    )
    content = json.loads(path.read_text())
    for change in (
        {"image_ids": [stem(1), stem(4)]},
        {"image_ids": [stem(1)]},
        {"seed": 4},
        {"image_ids": [1, 3]},
    ):
        write(path, {**content, **change})
        refuses(lambda: read_fraction(path), path, "edited")
    for ids in (["x", 3], stem(1), {stem(1): 0}):
        write(path, {**content, "image_ids": ids})
        refuses(lambda: read_fraction(path), path, "not a list of labelled images")
