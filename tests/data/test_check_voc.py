"""The checker on PASCAL VOC's layout: finds every fault, and no set ready that the reader refuses."""

import numpy as np
import pytest
from PIL import Image

from selftrain.data.check import __main__ as check
from selftrain.data.voc import PALETTE, VOC_CLASSES, encode_mask, read_voc
from tests.data.makers import (
    SHARED,
    add,
    encoded,
    findings,
    label,
    picture,
    run_check,
    stem,
    voc,
    write,
    write_list,
)

SAME = "the same picture more than once"


def dataset(folder):
    root = voc(folder)
    write(root / "classes.txt", "\n".join(VOC_CLASSES[:7]))  # label() makes 0 to 6 of the six
    return root


def test_a_faultless_set_passes_whatever_folder_is_named(tmp_path, capsys):
    root = dataset(tmp_path)
    (tmp_path / "pool").mkdir()
    Image.fromarray(picture()[:20]).save(tmp_path / "pool" / "0.png")
    for folder in (root, root.parent, tmp_path):
        status, report = run_check(folder, *(["--pool", tmp_path / "pool"] if folder == root else []))
        assert status == 0 and findings(report) == {} and report["quarantine"] == []
        for part, count in (("train", 4), ("val", 2)):
            facts = report["parts"][part]
            assert (
                facts["images"] == count
                and facts["categories"] == 7
                and facts["hash"] == read_voc(root, part).hash
            )
            assert facts["ignored"] == pytest.approx(1 - 20 * 28 / (24 * 32))
        if folder == root:
            assert list(report["parts"]) == ["train", "val", "pool"]
    out = capsys.readouterr().out
    assert "0 errors, 0 warnings: ready for training" in out and "27.1 %" in out and "boxes" not in out
    assert findings(report, "note") == {
        ("train", "classes of which there is no pixel"): ["bottle", "bus"],
        ("val", "classes of which there is no pixel"): ["background", "aeroplane", "bicycle", "bird"],
    }


def test_every_bad_file_is_found_and_quarantined(tmp_path, capsys):
    root = dataset(tmp_path)
    for i in range(10, 18):
        add(root, i, label(1))
    write_list(root, "train", [*range(4), *range(10, 18)])
    masks = {i: root / "SegmentationClass" / f"{stem(i)}.png" for i in range(18)}
    photos = {i: root / "JPEGImages" / f"{stem(i)}.jpg" for i in range(18)}
    masks[0].unlink()
    photos[1].unlink()
    photos[2].write_bytes(photos[2].read_bytes()[:200])
    masks[10].write_bytes(masks[10].read_bytes()[:-70])
    masks[11].write_bytes(encoded(Image.fromarray(PALETTE[label(1)])))
    masks[12].write_bytes(encode_mask(label(6)))
    masks[13].write_bytes(encode_mask(label(1, 24, 32)))
    masks[14].write_bytes(encode_mask(np.full((24, 32), 255, np.uint8)))
    masks[15].write_bytes(encoded(Image.fromarray(label(1).astype(np.uint16))))
    status, report = run_check(root)
    assert status == 1
    errors = findings(report, "error")
    assert errors.pop(("train", "stems without a mask in SegmentationClass")) == [stem(0)]
    assert errors.pop(("train", "stems without a photo in JPEGImages")) == [stem(1)]
    assert [case.split(":")[0] for case in errors.pop(("train", "image files missing or damaged"))] == [
        f"{stem(2)}.jpg"
    ]
    refused = errors.pop(("train", "masks damaged or not of class indices"))
    assert [case.split(":")[0] for case in refused] == [f"{stem(i)}.png" for i in (10, 11, 12, 15)]
    for case, reason in zip(
        refused,
        ("truncated", "colour picture (RGB)", "index 7, but there are 7 classes", "16 bits"),
        strict=True,
    ):
        assert reason in case
    (case,) = errors.pop(("train", "photos whose mask is of another size"))
    assert f"{stem(13)}.jpg" in case and "32x24" in case and "24x32" in case and "EXIF" in case
    assert not errors
    assert findings(report, "warning") == {
        ("train", "masks that are ignored everywhere"): [f"{stem(14)}.png"]
    }
    expected = [photos[1], masks[0], photos[2], masks[10], masks[11], masks[12], masks[15], photos[13]]
    assert sorted(q["file"] for q in report["quarantine"]) == sorted(map(str, expected))
    assert "not ready for training" in capsys.readouterr().out


def test_lists_that_overlap(tmp_path):
    root = dataset(tmp_path)
    write_list(root, "trainaug", [0, 1, 2, 3])
    status, report = run_check(root)
    # The fine labels are of some of the photos that have coarse ones.
    assert status == 0 and findings(report) == {} and report["parts"]["train_aug"]["images"] == 4
    write_list(root, "trainaug", [0, 1, 4])
    write_list(root, "test", [5, 0])
    write_list(root, "unlabeled", [3, 5])
    status, report = run_check(root)
    both = "stems in two lists"
    assert status == 1 and findings(report, "error") == {
        ("val, train_aug", both): [stem(4)],
        ("train, test", both): [stem(0)],
        ("val, test", both): [stem(5)],
        ("test, train_aug", both): [stem(0)],
    }
    assert findings(report, "warning") == {
        ("val, unlabeled", both): [stem(5)],
        ("test, unlabeled", both): [stem(5)],
    }
    assert findings(report, "note")["train, unlabeled", both] == [stem(3)]


def test_the_same_picture_under_two_names(tmp_path):
    root = dataset(tmp_path)
    photos = root / "JPEGImages"
    (photos / f"{stem(5)}.jpg").write_bytes((photos / f"{stem(1)}.jpg").read_bytes())
    (tmp_path / "pool").mkdir()
    for i in (0, 4):
        (tmp_path / "pool" / f"{i}.jpg").write_bytes((photos / f"{stem(i)}.jpg").read_bytes())
    status, report = run_check(root, "--pool", tmp_path / "pool")
    assert status == 1
    assert findings(report, "error") == {("train, val", SAME): [f"train/{stem(1)}.jpg = val/{stem(5)}.jpg"]}
    assert findings(report, "warning") == {("val, pool", SAME): [f"val/{stem(4)}.jpg = pool/4.jpg"]}
    assert findings(report, "note")["train, pool", SAME] == [f"train/{stem(0)}.jpg = pool/0.jpg"]


def test_a_file_of_the_fine_and_the_coarse_list_is_reported_once(tmp_path):
    root = dataset(tmp_path)
    add(root, 10, label(0))
    photos = root / "JPEGImages"
    (photos / f"{stem(10)}.jpg").write_bytes((photos / f"{stem(0)}.jpg").read_bytes())
    (photos / f"{stem(1)}.jpg").write_bytes(b"x")
    write_list(root, "train_aug", [10, 0, 1])
    status, report = run_check(root)
    assert (
        status == 1
        and list(findings(report, "error")) == [("train", "image files missing or damaged")]
        and len(report["quarantine"]) == 1
    )
    assert findings(report, "warning") == {
        ("train, train_aug", SAME): [f"train/{stem(0)}.jpg = train_aug/{stem(10)}.jpg"]
    }


@pytest.mark.parametrize(
    ("name", "content", "what", "part"),
    [
        ("ImageSets/Segmentation/train.txt", "", "list empty", "train"),
        ("ImageSets/Segmentation/val.txt", None, "list missing", "val"),
        ("ImageSets/Segmentation/val.txt", b"\xff\xfe", "list unreadable", "val"),
        (
            "ImageSets/Segmentation/val.txt",
            f"{stem(4)}\n{stem(5)}\n{stem(4)}",
            "stems listed twice",
            "val",
        ),
        ("classes.txt", "a\nb\na\n", "class names unreadable", "classes"),
        ("classes.txt", "", "class names unreadable", "classes"),
        (f"JPEGImages/{stem(0)}.png", "x", "folder unreadable", "folder"),
    ],
)
def test_what_the_reader_refuses_is_never_ready(name, content, what, part, tmp_path, capsys):
    root = dataset(tmp_path)
    (root / name).unlink() if content is None else (root / name).write_bytes(
        content if isinstance(content, bytes) else content.encode()
    )
    with pytest.raises(ValueError):
        read_voc(root, "train"), read_voc(root, "val")
    status, report = run_check(root)
    assert status == 1 and list(findings(report)) == [(part, what)]
    assert "not ready" in capsys.readouterr().out


def test_lists_of_unlabelled_photos(tmp_path):
    root = dataset(tmp_path)
    for i in (8, 9):
        add(root, i)
        (root / "SegmentationClass" / f"{stem(i)}.png").unlink()
    write_list(root, "test", [8])
    write_list(root, "unlabeled", [9])
    status, report = run_check(root)
    assert status == 0 and list(findings(report)) == [("unlabeled", "list without masks")]
    assert ("test", "list without masks") in findings(report, "note") and "test" not in report["parts"]
    (root / "JPEGImages" / f"{stem(9)}.jpg").write_bytes(b"x")
    write_list(root, "test", [5, 8])
    status, report = run_check(root)
    assert {
        ("unlabeled", "image files missing or damaged"),
        ("test", "stems without a mask in SegmentationClass"),
    } <= set(findings(report, "error"))


def test_many_files_go_through_processes_in_order(tmp_path):
    root = dataset(tmp_path)
    for i in range(100, 230):
        add(root, i, label(2))
        unique = Image.new("RGB", (32, 24), (i, 0, 0))
        (root / "JPEGImages" / f"{stem(i)}.jpg").write_bytes(encoded(unique))
    write_list(root, "train", range(100, 230))
    (root / "SegmentationClass" / f"{stem(177)}.png").write_bytes(b"x")
    (root / "JPEGImages" / f"{stem(188)}.jpg").write_bytes(b"x")
    status, report = run_check(root, "--workers", 2)
    assert status == 1 and [q["file"].rsplit("/", 1)[1] for q in report["quarantine"]] == [
        f"{stem(188)}.jpg",
        f"{stem(177)}.png",
    ]


def test_two_devkits_below_one_folder_and_none(tmp_path, capsys):
    root = dataset(tmp_path)
    (root.parent / "VOC2007" / "ImageSets" / "Segmentation").mkdir(parents=True)
    status, report = run_check(tmp_path)
    assert status == 1 and "VOC2007" in findings(report)["folder", "folder unreadable"][0]
    assert check.main([str(root / "JPEGImages")]) == 1
    out = capsys.readouterr().out
    assert "instances_train" in out and "PASCAL VOC" in out


@pytest.mark.parametrize("name", ["voc-mini", "camvid"])
def test_real_sets_are_ready(name, capsys):
    if not (SHARED / name).is_dir():
        pytest.skip(f"needs the photos in ../shared/data/{name}")
    assert check.main([str(SHARED / name / "VOCdevkit"), "--workers", "1"]) == 0
    assert "0 errors, 0 warnings: ready for training" in capsys.readouterr().out
