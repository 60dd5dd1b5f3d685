"""The checker: finds every fault planted in a data set, and only those."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from tests.data.makers import coco, findings, picture, run_check, write


def dataset(root):
    """A faultless folder: train and val with three pictures each, all different, and a pool of two."""
    for shift, part in enumerate(("train2017", "val2017", "pool")):
        for i in range(3 if part != "pool" else 2):
            path = root / part / f"{i}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.roll(picture(), 4 * shift + i, axis=1)).save(path)
        if part != "pool":
            write(root / "annotations" / f"instances_{part}.json", coco())
    return root


def change(root, part, edit):
    path = root / "annotations" / f"instances_{part}.json"
    content = json.loads(path.read_text())
    edit(content)
    write(path, content)


def test_a_faultless_set_passes(tmp_path, capsys):
    root = dataset(tmp_path)
    status, report = run_check(root, "--pool", root / "pool")
    assert status == 0 and findings(report) == {} and report["quarantine"] == []
    assert report["parts"]["train"]["images"] == 3 and len(report["parts"]["train"]["hash"]) == 16
    assert report["parts"]["pool"]["images"] == 2 and len(report["parts"]["pool"]["hash"]) == 16
    assert "0 errors, 0 warnings: ready for training" in capsys.readouterr().out


def test_bad_image_files_are_found_and_quarantined(tmp_path, capsys):
    root = dataset(tmp_path)
    (root / "train2017" / "0.jpg").unlink()
    for path in (root / "train2017" / "1.jpg", root / "pool" / "0.jpg"):
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2])
    write(root / "pool" / "1.jpg", "no picture")
    Image.fromarray(picture(24, 32)).save(root / "val2017" / "2.jpg")
    status, report = run_check(root, "--pool", root / "pool")
    assert status == 1
    faults = findings(report)
    assert [case.split(":")[0] for case in faults["train", "image files missing or damaged"]] == [
        "0.jpg",
        "1.jpg",
    ]
    assert "no such file" in faults["train", "image files missing or damaged"][0]
    assert "truncated" in faults["train", "image files missing or damaged"][1]
    assert [case.split(":")[0] for case in faults["pool", "image files missing or damaged"]] == [
        "0.jpg",
        "1.jpg",
    ]
    assert "24x32 pixels, its json says 32x24" in faults["val", "image sizes that disagree with the json"][0]
    assert len(faults) == 3
    assert [(q["part"], q["file"].rsplit("/", 1)[1]) for q in report["quarantine"]] == [
        ("train", "0.jpg"),
        ("train", "1.jpg"),
        ("val", "2.jpg"),
        ("pool", "0.jpg"),
        ("pool", "1.jpg"),
    ]
    assert "not ready for training" in capsys.readouterr().out


def test_every_fault_of_a_json_is_listed_at_once(tmp_path):
    root = dataset(tmp_path)

    def edit(content):
        extra = [
            {"category_id": 99},
            {"image_id": 77},
            {"id": 1},
            {"bbox": [1, 2, 0, 4]},
            {"bbox": [50, 2, 4, 4]},
            {"bbox": [20, 2, 40, 4]},
            {"bbox": [1, 2]},
            {"bbox": [1, 2, None, 4]},
            {"iscrowd": 1},
        ]
        for n, values in enumerate(extra):
            content["annotations"].append(
                {"id": 100 + n, "image_id": 10, "category_id": 3, "bbox": [1, 2, 3, 4], **values}
            )
        content["images"] += [{"id": 10, "file_name": "2.jpg", "width": 32, "height": 24}]
        content["images"] += [{"id": 40, "file_name": "2.jpg", "width": 32, "height": 24}]
        content["images"] += [{"id": 50, "file_name": "1.jpg", "width": 0, "height": 24}]

    change(root, "train2017", edit)
    status, report = run_check(root)
    faults = findings(report)
    assert status == 1
    train = {what: cases for (part, what), cases in faults.items() if part == "train"}
    assert train["annotations for an unknown category"] == ["annotation 100 (category 99)"]
    assert train["annotations for an unknown image"] == ["annotation 101 (image 77)"]
    assert train["annotation ids used twice"] == ["id 1"] and train["image ids used twice"] == ["id 10"]
    assert train["boxes without area"] == ["annotation 103 (image 10)"]
    assert train["boxes outside their image"] == ["annotation 104 (image 10)"]
    assert train["boxes that stick out of their image"] == ["annotation 105 (image 10)"]
    assert train["images without width or height"] == ["image 50"]
    assert train["files listed twice"] == ["1.jpg", "2.jpg"]
    assert [case.split(":")[0] for case in train["entries that do not fit COCO's form"]] == [
        "annotations[9] (id 106)",
        "annotations[10] (id 107)",
    ]
    assert findings(report, "note")["train", "crowd annotations"] == ["annotation 108"]
    assert len(findings(report, "note")["train", "images without annotation"]) == 2


def test_warnings_alone_do_not_fail(tmp_path):
    root = dataset(tmp_path)
    change(root, "train2017", lambda content: content["annotations"][0].update(bbox=[1, 1, 5, 0]))
    status, report = run_check(root)
    assert status == 0 and list(findings(report)) == [("train", "boxes without area")]


def test_parts_that_do_not_fit_each_other(tmp_path):
    root = dataset(tmp_path)
    change(root, "val2017", lambda content: content["categories"].append({"id": 9, "name": "cow"}))
    (root / "val2017" / "1.jpg").write_bytes((root / "train2017" / "2.jpg").read_bytes())
    (root / "pool" / "0.jpg").write_bytes((root / "val2017" / "0.jpg").read_bytes())
    (root / "pool" / "1.jpg").write_bytes((root / "train2017" / "0.jpg").read_bytes())
    status, report = run_check(root, "--pool", root / "pool")
    assert status == 1
    same = "the same picture more than once"
    assert findings(report, "error") == {
        ("train, val", "categories differ"): ["cow"],
        ("train, val", same): ["train/2.jpg = val/1.jpg"],
    }
    assert findings(report, "warning") == {("val, pool", same): ["val/0.jpg = pool/0.jpg"]}
    assert findings(report, "note")["train, pool", same] == ["train/0.jpg = pool/1.jpg"]


@pytest.mark.parametrize(
    "content",
    ["", '{"images": [', "[]", json.dumps(coco(annotations=[])), json.dumps(coco(0, annotations=[]))],
)
def test_unreadable_annotations_do_not_stop_the_rest(content, tmp_path):
    root = dataset(tmp_path)
    write(root / "annotations" / "instances_train2017.json", content)
    (root / "val2017" / "0.jpg").write_bytes(b"")
    status, report = run_check(root)
    errors = findings(report, "error")
    assert status == 1 and ("val", "image files missing or damaged") in errors
    assert {("train", "annotations unreadable"), ("train", "no annotations")} & set(errors)


def test_missing_parts_are_named_and_the_rest_still_checked(tmp_path, capsys):
    root = dataset(tmp_path)
    (root / "annotations" / "instances_val2017.json").unlink()
    for path in (root / "pool" / "0.jpg", root / "train2017" / "1.jpg"):
        path.write_bytes(b"no picture")
    status, report = run_check(root, "--pool", root / "pool")
    assert status == 1 and set(findings(report)) == {
        ("val", "part missing"),
        ("pool", "image files missing or damaged"),
        ("train", "image files missing or damaged"),
    }
    assert "--val-json" in capsys.readouterr().out
    status, report = run_check(root, "--pool", root / "empty")
    assert status == 1 and ("pool", "pool unreadable") in findings(report)


def test_many_images_go_through_processes_in_order(tmp_path):
    root = dataset(tmp_path)
    for i in range(150):
        Image.new("RGB", (8, 8), (i, 0, 0)).save(root / "pool" / f"{i:03d}.png")
    (root / "pool" / "077.png").write_bytes(b"x")
    _, report = run_check(root, "--pool", root / "pool", "--workers", 2)
    assert [q["file"].rsplit("/", 1)[1] for q in report["quarantine"]] == ["077.png"]


def test_command_line(tmp_path):
    root = dataset(tmp_path)
    command = [sys.executable, "-m", "selftrain.data.check"]
    result = subprocess.run([*command, str(root)], capture_output=True, text=True)
    assert result.returncode == 0 and "ready for training" in result.stdout
    shown = subprocess.run([*command, "--help"], capture_output=True, text=True).stdout
    assert "--train-json" in shown and "--pool" in shown and "--report" in shown
