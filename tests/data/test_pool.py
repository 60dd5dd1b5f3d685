"""The folder layout, pools, and label fractions."""

import json
import os

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from selftrain.data.coco import CocoDataset, find_layout
from selftrain.data.fractions import (
    fraction_ids,
    import_unbiased_teacher,
    missing_classes,
    read_fraction,
    write_fraction,
)
from selftrain.data.pool import read_pool, rest_pool
from tests.data.test_data import coco, picture, read, refuses, write


def photo(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.roll(picture(), seed, axis=1)).save(path)
    return path


# Layout -------------------------------------------------------------------------------------------------------------------------


def folder(root, *parts):
    for part in parts:
        write(root / "annotations" / f"instances_{part}.json", coco())
        (root / part).mkdir(parents=True, exist_ok=True)
    return root


def test_layout_of_coco_of_any_year_and_of_a_generated_set(tmp_path):
    root = folder(tmp_path / "a", "train2017", "val2017")
    layout = find_layout(root)
    assert (
        layout.train_json == root / "annotations" / "instances_train2017.json"
        and layout.val_images == root / "val2017"
    )
    assert layout.test_json is None and layout.test_images is None
    layout = find_layout(folder(tmp_path / "b", "train", "val", "test2030"))
    assert layout.train_images.name == "train" and layout.test_images.name == "test2030"


def test_layout_missing_shows_the_tree_and_the_options(tmp_path):
    refuses(
        lambda: find_layout(tmp_path / "gone"),
        "gone: no such folder",
        "instances_train2017.json",
        "--train-json",
    )
    (tmp_path / "pictures").mkdir()
    write(tmp_path / "annotations" / "captions_train2017.json", {})
    message = refuses(
        lambda: find_layout(tmp_path),
        "instances_train*.json",
        "--train-json",
        "Expected:",
        "  train2017/*.jpg",
    )
    assert "    captions_train2017.json" in message and "  pictures/" in message
    root = folder(tmp_path / "set", "train2017", "val2017")
    (root / "val2017").rmdir()
    refuses(lambda: find_layout(root), root, "val2017/", "--val-images")


def test_layout_options_replace_what_is_found(tmp_path):
    root = folder(tmp_path, "train2014", "train2017", "val2017")
    refuses(lambda: find_layout(root), "instances_train2014.json, instances_train2017.json", "--train-json")
    layout = find_layout(root, train_json=root / "annotations/instances_train2014.json", val_images=tmp_path)
    assert layout.train_images.name == "train2014" and layout.val_images == tmp_path
    assert (
        find_layout(root, train_json="annotations/instances_train2014.json").train_json == layout.train_json
    )  # below root
    refuses(lambda: find_layout(root, train_json=tmp_path / "gone.json"), "--train-json", "gone.json")
    refuses(
        lambda: find_layout(root, train_json=layout.train_json, val_images=tmp_path / "gone"),
        "--val-images",
        "gone",
    )


# Pools --------------------------------------------------------------------------------------------------------------------------


def test_pool_is_recursive_sorted_and_holds_each_file_once(tmp_path):
    photos = tmp_path / "photos"
    for n, name in enumerate(["b.JPG", "a/z.png", "a/c.webp", ".hidden.jpg", ".cache/x.jpg"]):
        photo(photos / name, n)
    write(photos / "notes.txt", "no picture")
    os.symlink(photos / "b.JPG", photos / "link.jpg")
    os.symlink(photos, photos / "a" / "loop")
    pool = read_pool([photos, photos / "a"])
    assert (
        pool.names.tolist() == [b"a/c.webp", b"a/z.png", b"b.JPG"]
        and pool.folder == photos
        and pool.hidden is None
    )
    assert pool.sizes.tolist() == [pool.path(i).stat().st_size for i in range(3)]
    sample = pool.sample(1)
    assert sample.image.shape == (24, 32, 3) and sample.boxes.shape == (0, 4)
    assert read_pool([photos]).hash == pool.hash
    (photos / "a" / "z.png").write_bytes(b"other")
    assert read_pool([photos]).hash != pool.hash
    refuses(lambda: read_pool([photos]).sample(1), photos / "a/z.png")


def test_pool_of_two_folders(tmp_path):
    photo(tmp_path / "one" / "x.jpg")
    photo(tmp_path / "two" / "x.jpg")
    pool = read_pool([tmp_path / "two", tmp_path / "one"])
    assert pool.names.tolist() == [b"one/x.jpg", b"two/x.jpg"] and pool.folder == tmp_path


def test_bad_pools_are_refused_by_name(tmp_path):
    refuses(lambda: read_pool([tmp_path / "gone"]), tmp_path / "gone", "cannot be read")
    refuses(lambda: read_pool([tmp_path]), tmp_path, "no picture in the pool", ".jpg")
    refuses(lambda: read_pool([]), "--unlabeled")
    whole = photo(tmp_path / "half.jpg").read_bytes()
    (tmp_path / "half.jpg").write_bytes(whole[: len(whole) // 2])
    refuses(lambda: read_pool([tmp_path]).sample(0), tmp_path / "half.jpg", "truncated")


def test_labels_beside_the_pool_are_hidden_ones(tmp_path):
    content = coco()
    content["images"].reverse()  # the pool's order is that of its names
    labels = write(tmp_path / "annotations" / "instances_unlabeled2017.json", content)
    for i in range(3):
        photo(tmp_path / "unlabeled2017" / f"{i}.jpg", i)
    pool = read_pool([tmp_path / "unlabeled2017"])
    assert [pool.hidden.path(i) for i in range(3)] == [pool.path(i) for i in range(3)]
    assert pool.hidden.image_ids.tolist() == [10, 20, 30] and pool.sample(0).boxes.shape == (0, 4)
    photo(tmp_path / "unlabeled2017" / "unknown.jpg", 7)
    assert read_pool([tmp_path / "unlabeled2017"]).hidden is None
    write(labels, "{")
    refuses(lambda: read_pool([tmp_path / "unlabeled2017"]), labels, "move the file away")


def test_rest_pool_is_what_the_fraction_leaves(tmp_path):
    data = read(tmp_path, coco())
    for i in range(3):
        photo(data.path(i), i)
    pool = rest_pool(data, np.array([20]))
    assert pool.names.tolist() == [b"0.jpg", b"2.jpg"] and pool.hidden.image_ids.tolist() == [10, 30]
    assert pool.sample(1).boxes.shape == (0, 4) and pool.hidden.labels(1)[0].shape == (1, 4)
    refuses(lambda: rest_pool(data, data.image_ids), "none is left", "--unlabeled")
    data.path(2).unlink()
    refuses(lambda: rest_pool(data, np.array([20])), data.path(2), "no such file")


# Fractions ----------------------------------------------------------------------------------------------------------------------


def bare(ids):
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
    data = bare(ids)
    if round(small * len(ids)) == 0:
        refuses(lambda: fraction_ids(data, small, seed), "no image is left")
        return
    inner, outer = fraction_ids(data, small, seed), fraction_ids(data, large, seed)
    assert len(inner) == round(small * len(ids)) and len(outer) == round(large * len(ids))
    assert set(inner.tolist()) <= set(outer.tolist()) <= set(ids)
    assert inner.dtype == np.int64 and (np.diff(inner) > 0).all()
    shuffled = list(reversed(ids)) if random is None else random.sample(ids, len(ids))
    np.testing.assert_array_equal(fraction_ids(bare(shuffled), small, seed), inner)
    np.testing.assert_array_equal(fraction_ids(data, 1, seed), np.sort(ids))


PUBLISHED = [32, 154, 393, 870, 985]  # were these to change, published lists could not be made again


def test_fractions_differ_by_seed_and_stay_the_published_ones():
    data = bare(range(1000))
    chosen = [fraction_ids(data, 0.1, seed) for seed in range(5)]
    shared = [len(np.intersect1d(a, b)) for n, a in enumerate(chosen) for b in chosen[:n]]
    assert 0 < max(shared) < 30  # 10 expected of two independent tenths
    assert fraction_ids(data, 0.005, 0).tolist() == PUBLISHED
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


def test_pool_suffixes_are_images_only(tmp_path):
    write(tmp_path / "x.gif", "GIF")
    with pytest.raises(ValueError):
        read_pool([tmp_path])
