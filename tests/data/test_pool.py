"""Pools: photos whose labels training never sees."""

import os
from types import SimpleNamespace

import numpy as np
import pytest

from selftrain.data.coco.source import CocoSource
from selftrain.data.pool import listed_pool, read_pool, rest_pool
from selftrain.data.voc import read_voc
from tests.data.makers import coco, label, photo, read, refuses, stem, voc, write


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
    folder, recipe = tmp_path / "unlabeled2017", SimpleNamespace(unlabeled=("unlabeled2017",))
    pool = read_pool([folder])
    hidden = CocoSource.hidden_labels(recipe, pool, ())
    assert [hidden.path(i) for i in range(3)] == [pool.path(i) for i in range(3)]
    assert hidden.image_ids.tolist() == [10, 20, 30] and pool.sample(0).boxes.shape == (0, 4)
    assert CocoSource.own_pool(recipe, tmp_path, hidden).hidden.image_ids.tolist() == [10, 20, 30]
    assert CocoSource.hidden_labels(SimpleNamespace(unlabeled=("unlabeled2017", "more")), pool, ()) is None
    photo(folder / "unknown.jpg", 7)
    assert CocoSource.hidden_labels(recipe, read_pool([folder]), ()) is None
    write(labels, "{")
    refuses(lambda: CocoSource.hidden_labels(recipe, read_pool([folder]), ()), labels, "move the file away")


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


def test_pool_suffixes_are_images_only(tmp_path):
    write(tmp_path / "x.gif", "GIF")
    with pytest.raises(ValueError):
        read_pool([tmp_path])


def test_pools_hide_the_masks(tmp_path):
    data = read_voc(voc(tmp_path), "train")
    pool = rest_pool(data, np.array([stem(0), stem(2)]))
    assert pool.names.tolist() == [f"{stem(i)}.jpg".encode() for i in (1, 3)] and pool.sample(0).mask is None
    assert [pool.path(i) for i in range(2)] == [pool.hidden.path(i) for i in range(2)]
    np.testing.assert_array_equal(pool.hidden.mask(1), label(3))
    refuses(lambda: rest_pool(data, data.image_ids), "none is left", "--unlabeled")
    whole = listed_pool(data)
    assert (
        len(whole) == 4
        and whole.hidden is data
        and whole.sizes.tolist() == [data.path(i).stat().st_size for i in range(4)]
    )
    assert whole.hash != pool.hash and listed_pool(pool.hidden).hash == pool.hash
    data.path(1).unlink()
    refuses(lambda: listed_pool(data), data.path(1), "no such file")
