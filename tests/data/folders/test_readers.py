"""Folders of classes, csv files and index files give one kind of data set, or a refusal with its cure."""

import gzip
import pickle
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from selftrain.data.folders import read_parts
from selftrain.data.folders.idx import read_array
from selftrain.data.folders.source import FolderSource
from selftrain.data.fractions import fraction_ids
from selftrain.data.pool import listed_pool, read_pool, rest_pool
from tests.data.folders.makers import idx, idx_bytes, table, tree
from tests.data.makers import photo, refuses, write


def test_folders_of_classes(tmp_path):
    train, val, test = read_parts(tree(tmp_path))
    assert train.class_names == val.class_names == ("cat", "dog", "owl")
    assert train.names.tolist()[:5] == [*(f"cat/{i}.png".encode() for i in range(4)), b"dog/0.png"]
    assert train.classes.tolist() == [0] * 4 + [1] * 4 + [2] * 4 and val.class_counts.tolist() == [2, 2, 2]
    assert len(test) == 3 and len({train.hash, val.hash, test.hash}) == 3
    sample = train.sample(5)
    assert sample.image.shape == (24, 32, 3) and sample.target.tolist() == [0, 1, 0]
    assert sample.target.dtype == np.float32 and not len(sample.boxes) and sample.mask is None
    part = train.take(np.array([7, 0]))
    assert part.image_ids.tolist() == ["dog/3.png", "cat/0.png"] and part.classes.tolist() == [1, 0]
    assert part.hash not in (train.hash, train.take(np.array([0, 7])).hash)
    assert train.subset(fraction_ids(train, 0.5, 0)).class_counts.sum() == 6


def test_another_class_another_name_or_another_size_is_another_set(tmp_path):
    before = read_parts(tree(tmp_path))[0].hash
    assert read_parts(tmp_path)[0].hash == before
    path = tmp_path / "train" / "cat" / "0.png"
    content = path.read_bytes()
    path.write_bytes(content + b"\0")
    assert read_parts(tmp_path)[0].hash != before
    path.write_bytes(content)
    path.rename(tmp_path / "train" / "dog" / "9.png")
    assert read_parts(tmp_path)[0].hash != before


def test_without_val_a_part_of_each_class_is_val_whatever_the_seed(tmp_path):
    tree(tmp_path, parts={"train": 15})
    notes = []
    train, val, test = read_parts(tmp_path, notes.append)
    assert val.class_counts.tolist() == [2, 2, 2] and train.class_counts.tolist() == [13, 13, 13]
    assert test is val and "10% of each class's training pictures are val, 6 in all" in notes[0]
    assert not set(train.image_ids) & set(val.image_ids)
    again = read_parts(tmp_path)[1]
    assert again.hash == val.hash and again.image_ids.tolist() == val.image_ids.tolist()


@pytest.mark.parametrize(
    "edit, words",
    [
        (lambda root: photo(root / "train" / "x.png"), ("train/x.png", "lies in no class folder")),
        (lambda root: photo(root / "val" / "cow" / "x.png"), ("val/cow", "no class 'cow'", "cat, dog, owl")),
        (lambda root: shutil.rmtree(root / "val" / "cat"), None),
        (lambda root: (root / "train" / "cow").mkdir(), None),
        (lambda root: [path.unlink() for path in root.glob("test/*/*")], ("test", "no picture in it")),
        (
            lambda root: write(root / "labels.csv", "file,class\n"),
            ("folders of classes", "a csv", "move one"),
        ),
    ],
)
def test_folders_that_do_not_fit_are_refused_by_name(tmp_path, edit, words):
    edit(tree(tmp_path))
    if words is None:  # a class may be without a picture; the run says so
        assert 0 in read_parts(tmp_path)[0].class_counts or 0 in read_parts(tmp_path)[1].class_counts
    else:
        refuses(lambda: read_parts(tmp_path), tmp_path, *words)


def test_a_folder_of_no_layout_shows_what_is_expected_and_what_is_there(tmp_path):
    write(tmp_path / "notes.txt", "x")
    refuses(lambda: read_parts(tmp_path), "train/CLASS/*.jpg", "train.csv", "idx3-ubyte", "notes.txt")
    refuses(lambda: read_parts(tmp_path / "gone"), "no such folder", "train/CLASS/*.jpg")


def test_a_csv_names_files_and_classes(tmp_path):
    train, val, test = read_parts(table(tmp_path))
    assert train.class_names == ("2", "9", "10")  # by number, as all are numbers
    assert train.folder == tmp_path and train.path(0).is_file() and len(train) == 12 and len(test) == 3
    labels = dict(zip(train.image_ids.tolist(), train.classes.tolist()))
    assert labels["photos/0.png"] == 2 and labels["photos/4.png"] == 1 and labels["photos/8.png"] == 0
    (tmp_path / "train.csv").rename(tmp_path / "labels.csv")
    assert read_parts(tmp_path)[0].hash == train.hash


@pytest.mark.parametrize(
    "text, words",
    [
        ("name,class\na.png,1\n", ("no column file", "name, class", "file,class")),
        ("file,class\nphotos/0.png,\n", ("row 2", "file or class is empty")),
        ("file,class\nphotos/0.png,1\nphotos/0.png,2\n", ("photos/0.png is listed twice, as 1 and as 2",)),
        ("file,class\nphotos/gone.png,1\n", ("no file", "photos/gone.png", "remove the row")),
        ("file,class\n", ("no picture is listed",)),
    ],
)
def test_a_csv_that_does_not_fit_is_refused_by_row(tmp_path, text, words):
    path = write(table(tmp_path) / "train.csv", text)
    refuses(lambda: read_parts(tmp_path), path, *words)


def test_a_class_that_train_lacks_is_refused(tmp_path):
    write(table(tmp_path) / "val.csv", "file,class\nphotos/0.png,77\n")
    refuses(lambda: read_parts(tmp_path), tmp_path / "val.csv", "'77'", "2, 9, 10")


# ---- index files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("packed", [False, True])
def test_index_files_are_one_array_whose_pictures_are_grey(tmp_path, packed):
    train, val, test = read_parts(idx(tmp_path, packed=packed))
    assert len(train) == 36 and len(val) == 4 and len(test) == 6 and train.class_names == tuple("0123")
    assert val.class_counts.tolist() == [1] * 4  # a tenth of ten, of each class
    assert np.shares_memory(train.pixels, val.pixels)
    whole = np.random.default_rng(0).integers(0, 256, (40, 6, 5)).astype(np.uint8)
    for i in (0, 17):
        number = int(train.image_ids[i])
        image = train.sample(i).image
        assert image.shape == (6, 5, 3) and (image == whole[number][..., None]).all()
        assert train.sample(i).target.argmax() == number % 4
    assert packed or isinstance(read_array(tmp_path / "t10k-images-idx3-ubyte", 3), np.memmap)
    assert pickle.loads(pickle.dumps(val)).sample(1).image.tolist() == val.sample(1).image.tolist()
    write(tmp_path / "classes.txt", "top\nbag\nboot\ncoat\n")
    assert read_parts(tmp_path)[0].class_names == ("top", "bag", "boot", "coat")
    write(tmp_path / "classes.txt", "top\nbag\n")
    refuses(lambda: read_parts(tmp_path), tmp_path / "classes.txt", "2 different names for 4 classes")


def test_the_pool_of_index_files_reads_their_pictures(tmp_path):
    train = read_parts(idx(tmp_path))[0]
    used = fraction_ids(train, 0.5, 0)
    pool = rest_pool(train, used)
    assert len(pool) == 18 and pool.hidden.classes.tolist() == [i % 4 for i in pool.hidden.image_ids.tolist()]
    for i in (0, 9):
        assert (
            pool.sample(i).image.tolist() == pool.hidden.image(i).tolist() and pool.sample(i).target is None
        )
    assert pool.names[0].decode().startswith("train-images-idx3-ubyte/0")


def test_broken_index_files_are_refused_by_name(tmp_path):
    images = idx(tmp_path) / "train-images-idx3-ubyte"
    labels = tmp_path / "train-labels-idx1-ubyte"
    whole = images.read_bytes()
    images.write_bytes(whole[:-1])
    refuses(lambda: read_parts(tmp_path), images, "Download it again")
    images.write_bytes(b"\0\0\x0d\3" + whole[4:])
    refuses(lambda: read_parts(tmp_path), images, "not an index file of bytes with 3 sides")
    images.write_bytes(whole)
    labels.write_bytes(idx_bytes(np.zeros(7)))
    refuses(lambda: read_parts(tmp_path), labels, "7 classes for the 40 pictures")
    labels.unlink()
    refuses(lambda: read_parts(tmp_path), images, "train-labels-idx1-ubyte is not beside it")
    images.with_suffix(".gz").write_bytes(b"\x1f\x8b")
    refuses(lambda: read_array(images.with_suffix(".gz"), 3), "cannot be unpacked")
    packed = bytearray(gzip.compress(bytes(range(256)) * 9))
    packed[15] ^= 0xFF  # within the stream: neither cut off nor of another kind
    images.with_suffix(".gz").write_bytes(packed)
    refuses(lambda: read_array(images.with_suffix(".gz"), 3), "cannot be unpacked")
    (tmp_path / "classes.txt").write_bytes("é".encode("latin-1"))
    idx(tmp_path)
    refuses(lambda: read_parts(tmp_path), "classes.txt", "Save it as UTF-8")


# ---- pools ----------------------------------------------------------------------------------------------


def test_a_pool_of_class_folders_has_hidden_labels_and_one_of_other_folders_has_none(tmp_path):
    train = read_parts(tree(tmp_path / "data"))[0]
    pool = read_pool([tmp_path / "data" / "val"])
    recipe = SimpleNamespace(unlabeled=("val",))
    hidden = FolderSource.hidden_labels(recipe, pool, train.class_names)
    assert hidden.classes.tolist() == [0, 0, 1, 1, 2, 2] and hidden.names.tolist() == pool.names.tolist()
    assert hidden.class_names == train.class_names and pool.sample(0).target is None
    assert FolderSource.hidden_labels(recipe, pool, ("cat", "dog")) is None
    two = SimpleNamespace(unlabeled=("val", "more"))
    assert FolderSource.hidden_labels(two, pool, train.class_names) is None
    photo(tmp_path / "data" / "val" / "stray.png", 99)
    pool = read_pool([tmp_path / "data" / "val"])
    assert FolderSource.hidden_labels(recipe, pool, train.class_names) is None
    whole = listed_pool(train)
    assert whole.image is None and whole.sizes.tolist() == [train.file_size(i) for i in range(12)]
