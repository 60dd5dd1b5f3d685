"""The checker finds every fault planted in classified pictures, names the file and the cure, and no other."""

import shutil

import numpy as np
import pytest

from tests.data.folders.makers import idx, idx_bytes, table, tree
from tests.data.makers import findings, photo, run_check, write


@pytest.mark.parametrize("make, counts", [(tree, (12, 6, 3)), (table, (12, 6, 3)), (idx, (40, None, 6))])
def test_a_faultless_set_passes(tmp_path, capsys, make, counts):
    status, report = run_check(make(tmp_path))
    assert status == 0 and findings(report) == {} and report["quarantine"] == []
    found = [report["parts"].get(part, {}).get("images") for part in ("train", "val", "test")]
    assert tuple(found) == counts and all(len(facts["hash"]) == 16 for facts in report["parts"].values())
    assert "0 errors, 0 warnings: ready for training" in capsys.readouterr().out


def test_files_that_are_damaged_empty_unknown_or_misplaced_are_named(tmp_path, capsys):
    root = tree(tmp_path)
    half = root / "train" / "cat" / "1.png"
    half.write_bytes(half.read_bytes()[:40])
    (root / "train" / "dog" / "2.png").write_bytes(b"")
    write(root / "val" / "owl" / "notes.docx", "x")
    photo(root / "train" / "stray.png", 22)
    photo(root / "val" / "cow" / "0.png", 23)
    photo(root / "validation" / "cat" / "0.png", 24)
    (root / "train" / "bee").mkdir()
    status, report = run_check(root)
    assert status == 1
    found = findings(report)
    assert [case.split(":")[0] for case in found.pop(("train", "image files missing or damaged"))] == [
        "cat/1.png",
        "dog/2.png",
    ]
    assert found == {
        ("train", "misplaced: pictures in no class folder"): ["train/stray.png"],
        ("train", "empty: class folders without a picture"): ["train/bee/"],
        ("val", "misplaced: classes that train does not have"): ["val/cow/"],
        ("val", "unknown: files that are no pictures"): ["val/owl/notes.docx"],
        ("folder", "misplaced: folders of pictures that are no part"): ["validation/"],
    }
    assert all(finding["cure"] for finding in report["findings"])
    assert "move each into the folder of its class" in " ".join(capsys.readouterr().out.split())
    assert {case["file"] for case in report["quarantine"]} == {str(half), str(root / "train/dog/2.png")}


def test_copies_and_pictures_under_two_classes_are_named(tmp_path):
    root = tree(tmp_path)
    train, pool = root / "train", tmp_path / "unlabeled"
    shutil.copy(train / "cat" / "0.png", train / "cat" / "same.png")
    shutil.copy(train / "cat" / "1.png", train / "dog" / "other.png")
    shutil.copy(train / "owl" / "2.png", root / "val" / "owl" / "leak.png")
    pool.mkdir()
    shutil.copy(root / "test" / "dog" / "0.png", pool / "scored.png")
    status, report = run_check(root, "--pool", pool)
    found = findings(report)
    assert status == 1 and found == {
        ("all parts", "one picture under two classes"): ["train/cat/1.png (cat) = train/dog/other.png (dog)"],
        ("train", "the same picture more than once"): [
            "train/cat/0.png = train/cat/same.png",
            "train/cat/1.png = train/dog/other.png",
        ],
        ("train, val", "the same picture more than once"): ["train/owl/2.png = val/owl/leak.png"],
        ("test, pool", "the same picture more than once"): ["test/dog/0.png = pool/scored.png"],
    }


def test_faults_of_a_csv_are_named(tmp_path):
    root = table(tmp_path)
    lines = (root / "train.csv").read_text()
    lines += "10, photos/0.png\n9, photos/1.png\n2, photos/gone.png\n"
    write(root / "train.csv", lines)
    write(root / "val.csv", "file,class\nphotos/12.png,77\n")
    write(root / "test.csv", "picture,class\n")
    photo(root / "photos" / "more.png", 28)
    status, report = run_check(root)
    found = findings(report)
    assert status == 1
    assert found["train", "duplicated: files listed twice"] == ["photos/0.png"]
    assert found["train", "one picture under two classes"] == ["photos/1.png: 10, 9"]
    assert found["val", "misplaced: classes that train does not have"] == ["77"]
    assert "no column file" in found["test", "csv unreadable"][0]
    assert found["train", "image files missing or damaged"] == ["photos/gone.png: no such file"]
    assert "photos/more.png" in findings(report, "note")["folder", "pictures that no csv lists"]


def test_faults_of_index_files_are_named(tmp_path):
    root = idx(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 6, 5))
    pixels[4], pixels[5], labels = pixels[0], pixels[0], np.arange(40) % 4
    labels[labels == 3] = 4
    (root / "train-images-idx3-ubyte").write_bytes(idx_bytes(pixels))
    (root / "train-labels-idx1-ubyte").write_bytes(idx_bytes(labels))
    status, report = run_check(root)
    assert status == 1 and findings(report) == {
        ("folder", "the same picture more than once"): ["train 0 = train 4"],
        ("folder", "one picture under two classes"): ["train 0 (0) = train 5 (1)"],
        ("train", "empty: classes of which there is no picture"): ["3"],
    }
    (root / "train-images-idx3-ubyte").write_bytes(b"x")
    status, report = run_check(root)
    assert (
        status == 1
        and "not an index file" in findings(report)["folder", "index files damaged or not fitting"][0]
    )


def test_a_picture_of_train_in_test_is_an_error_of_index_files_too(tmp_path):
    root = idx(tmp_path)
    for what in ("images-idx3-ubyte", "labels-idx1-ubyte"):  # the test part is the training part
        shutil.copy(root / f"train-{what}", root / f"t10k-{what}")
    status, report = run_check(root)
    leaks = findings(report)["folder", "the same picture in two parts"]
    assert status == 1 and len(leaks) == 40 and leaks[0] == "train 0 = test 0"
