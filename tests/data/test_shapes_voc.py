"""The generated set in PASCAL VOC's layout."""

import json
from dataclasses import replace

import numpy as np
import pytest

from selftrain.data.shapes import generate as shapes
from selftrain.data.shapes import textures
from selftrain.data.shapes.generate import SPLITS, Shapes, generate, render
from selftrain.data.voc import read_voc
from tests.data.makers import files

# The pool is of two tasks, so two processes share the work.
SMALL = Shapes(train=12, val=4, test=3, unlabeled=60, image_size=33)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return generate(tmp_path_factory.mktemp("written") / "set", SMALL, workers=1, layout="voc")


def test_generated_masks_are_those_drawn_and_photos_those_of_the_coco_layout(written, tmp_path):
    coco = generate(tmp_path / "coco", SMALL, workers=1)
    ours, theirs = files(written / "VOC2012"), files(coco)
    for split in SPLITS:
        data = read_voc(written, split)
        assert data.class_names == ("background", *textures.NAMES[:6]) and len(data) == getattr(SMALL, split)
        assert data.image_ids[0] == f"{split}_000001"
        for i in range(len(data)):
            _, _, classes, masks = render(SMALL, split, i)
            expected = np.zeros((33, 33), int)
            for k, mask in zip(classes, masks, strict=True):
                expected += (k + 1) * mask  # masks do not overlap
            np.testing.assert_array_equal(data.mask(i), expected)
            assert ours[f"JPEGImages/{split}_{i + 1:06d}.jpg"] == theirs[f"{split}2017/{i + 1:012d}.jpg"]
    assert (
        sum(name.startswith("JPEGImages") for name in ours)
        == 79
        == sum(name.endswith(".jpg") for name in theirs)
    )


def test_same_files_whatever_the_number_of_processes(written, tmp_path):
    assert files(generate(tmp_path / "two", SMALL, workers=2, layout="voc")) == files(written)


def test_the_other_layout_is_another_set_and_the_users_files_are_left_alone(tmp_path):
    spec = Shapes(train=2, val=1, test=1, unlabeled=0, image_size=33)
    root = generate(tmp_path / "set", spec, workers=1)
    assert "layout" not in json.loads((root / shapes.MARK).read_text())
    generate(root, spec, workers=1, layout="voc")
    assert (
        sorted(path.name for path in root.iterdir()) == ["VOC2012", shapes.MARK]
        and len(read_voc(root, "train")) == 2
    )
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    generate(root, spec, workers=1, layout="voc")
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before  # whole: left as it is
    (root / "VOC2012" / "classes.txt").unlink()
    generate(root, spec, workers=1, layout="voc")
    assert read_voc(root, "train").class_names[0] == "background"  # not whole: made anew
    for mine in (
        "VOC2012/SegmentationClassAug",
        "VOC2012/ImageSets/Segmentation/trainaug.txt",
        "VOC2012/ImageSets/Main",
        "notes",
    ):
        (root / mine).mkdir()
        for layout in ("coco", "voc"):
            with pytest.raises(FileExistsError, match=f"set.*{mine}"):
                generate(root, replace(spec, seed=1), workers=1, layout=layout)
        (root / mine).rmdir()
    generate(root, spec, workers=1)
    assert not (root / "VOC2012").exists() and [path.name for path in tmp_path.iterdir()] == ["set"]
    with pytest.raises(ValueError, match="yolo"):
        generate(root, spec, layout="yolo")
