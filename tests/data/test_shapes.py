"""The generated set: a function of its fields alone, whole or not there, and as varied as it says."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as rle
from pycocotools.coco import COCO

from selftrain.data.shapes import generate as shapes
from selftrain.data.shapes import textures
from selftrain.data.shapes.generate import CATEGORY_IDS, SPLITS, Shapes, generate, render
from tests.data.makers import files

SMALL = Shapes(train=120, val=8, test=4, unlabeled=60)  # several tasks, so two processes share the work


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return generate(tmp_path_factory.mktemp("written") / "set", SMALL, workers=2)


def test_same_bytes_whatever_the_number_of_processes(written, tmp_path):
    assert files(generate(tmp_path / "alone", SMALL, workers=1)) == files(written)


def test_size_of_the_splits_changes_no_image(written, tmp_path):
    other = generate(tmp_path / "other", replace(SMALL, train=3, val=5, test=0, unlabeled=1), workers=1)
    images = {name: data for name, data in files(other).items() if name.endswith(".jpg")}
    assert len(images) == 9 and images.items() <= files(written).items()
    small, large = (
        json.loads((r / "annotations" / "instances_train2017.json").read_text()) for r in (other, written)
    )
    assert small["images"] == large["images"][:3]
    assert small["annotations"] == large["annotations"][: len(small["annotations"])]


def test_seed_split_and_index_each_give_another_image():
    arguments = [
        (Shapes(), "train", 0),
        (Shapes(), "train", 1),
        (Shapes(seed=1), "train", 0),
        *((Shapes(), s, 0) for s in SPLITS[1:]),
    ]
    assert len({render(*a)[0].tobytes() for a in arguments}) == len(arguments)


@settings(max_examples=40, deadline=None)
@given(
    index=st.integers(0, 10**6),
    split=st.sampled_from(SPLITS),
    difficulty=st.floats(0, 1),
    side=st.sampled_from([33, 65, 97]),
    classes=st.integers(2, 8),
    most=st.integers(0, 9),
)
def test_boxes_are_tight_round_masks_that_do_not_overlap(index, split, difficulty, side, classes, most):
    spec = Shapes(image_size=side, difficulty=difficulty, classes=classes, objects=(0, most))
    image, boxes, labels, masks = render(spec, split, index)
    assert image.shape == (side, side, 3) and image.dtype == np.uint8
    assert (
        boxes.shape == (len(labels), 4)
        and boxes.dtype == np.float32
        and masks.shape == (len(labels), side, side)
        and len(labels) <= most
    )
    assert masks.sum(0).max(initial=0) <= 1
    for (x1, y1, x2, y2), label, mask in zip(boxes.astype(int), labels, masks):
        assert 0 <= label < classes
        assert mask.sum() >= 0.35 * spec.smallest() ** 2
        assert mask.sum() == mask[y1:y2, x1:x2].sum()
        assert mask[y1, :].any() and mask[y2 - 1, :].any() and mask[:, x1].any() and mask[:, x2 - 1].any()


def test_files_load_as_coco_and_masks_agree_with_boxes(written, capsys):
    for split in SPLITS:
        coco = COCO(str(written / "annotations" / f"instances_{split}2017.json"))
        assert [c["name"] for c in coco.loadCats(coco.getCatIds())] == list(textures.NAMES[:6])
        assert coco.getCatIds() == [1, 2, 4, 5, 7, 8]
        assert (
            len(coco.getImgIds()) == getattr(SMALL, split)
            and coco.dataset["info"]["digest"] == SMALL.digest()
        )
        for info in coco.loadImgs(coco.getImgIds()):
            photo = cv2.imread(str(written / f"{split}2017" / info["file_name"]))
            image, boxes, labels, masks = render(SMALL, split, info["id"] - 1)
            assert photo.shape == (info["height"], info["width"], 3) == image.shape
            assert np.abs(photo[..., ::-1].astype(int) - image).mean() < 4  # channels in the right order
            annotations = coco.loadAnns(coco.getAnnIds(info["id"]))
            assert [CATEGORY_IDS[k] for k in labels] == [a["category_id"] for a in annotations]
            for a, box, mask in zip(annotations, boxes, masks):
                assert (
                    np.array_equal(coco.annToMask(a), mask) and a["area"] == mask.sum() and a["iscrowd"] == 0
                )
                assert a["bbox"] == rle.toBbox(a["segmentation"]).tolist() == [*box[:2], *(box[2:] - box[:2])]


def measure(difficulty, count=150):
    """Means over objects: side of the mask, and distance of its mean colour from the ground nearby."""
    sides, contrasts = [], []
    for index in range(count):
        image, _, _, masks = render(Shapes(difficulty=difficulty), "train", index)
        ground = ~masks.any(0)
        for mask in masks:
            near = (cv2.dilate(mask.astype(np.uint8), np.ones((9, 9))) > 0) & ground
            sides.append(mask.sum() ** 0.5)
            if near.any():
                contrasts.append(np.linalg.norm(image[mask].mean(0) - image[near].mean(0)))
    return np.mean(sides), np.mean(contrasts)


def test_difficulty_shrinks_objects_and_contrast():
    sides, contrasts = zip(*(measure(d) for d in (0, 0.33, 0.67, 1)))
    assert all(np.diff(sides) < -0.5), sides
    assert all(np.diff(contrasts) < -5), contrasts


def test_classes_are_balanced_and_some_images_empty():
    labels = [render(Shapes(image_size=33), "test", i)[2] for i in range(600)]
    share = np.bincount(np.concatenate(labels), minlength=6) / sum(map(len, labels))
    assert share == pytest.approx(np.full(6, 1 / 6), abs=0.035)  # about four standard errors
    assert 2 <= sum(len(k) == 0 for k in labels) <= 30  # one in fifty, so twelve expected


def test_mean_colour_does_not_give_the_class_away():
    colours, labels = [], []
    for index in range(400):
        image, _, classes, masks = render(Shapes(), "val", index)
        colours += [image[m].mean(0) for m in masks]
        labels += list(classes)
    colours, labels = np.array(colours), np.array(labels)
    half = len(labels) // 2
    near = np.argsort(np.linalg.norm(colours[half:, None] - colours[:half], axis=2), 1)[:, :25]
    guess = [np.bincount(labels[row], minlength=6).argmax() for row in near]
    assert np.mean(guess == labels[half:]) < 0.25  # blind guessing: 0.17


@pytest.mark.parametrize("name", textures.NAMES)
def test_textures_cover_about_half(name):
    v, u = np.mgrid[-32:33, -32:33].astype(np.float32)
    fields = [textures.weights(name, u, v, 64, np.random.default_rng(i)) for i in range(40)]
    assert all(f.shape == u.shape and f.dtype == np.float32 and f.min() >= 0 and f.max() <= 1 for f in fields)
    assert np.mean(fields) == pytest.approx(0.5, abs=0.1)  # flipped as often as not


def test_silhouettes_have_one_area():
    for i in range(60):
        outline = textures.silhouette(40.0, np.random.default_rng(i)).astype(np.float32)
        assert cv2.contourArea(outline) == pytest.approx(textures.FILL * 40**2, rel=1e-3)


def test_a_finished_set_is_left_as_it_is_and_another_spec_replaces_it(tmp_path):
    spec = replace(SMALL, train=3, val=1, test=0, unlabeled=0)
    seen = []
    root = generate(tmp_path / "set", spec, workers=1, progress=lambda *a: seen.append(a))
    assert seen[-1] == (4, 4)
    before = {p: p.stat().st_mtime_ns for p in root.rglob("*")}
    assert generate(root, spec) == root and {p: p.stat().st_mtime_ns for p in root.rglob("*")} == before
    generate(root, replace(spec, train=2), workers=1)
    assert len(list((root / "train2017").iterdir())) == 2
    assert [p.name for p in tmp_path.iterdir()] == ["set"]


def test_a_folder_of_others_is_refused_by_name(tmp_path):
    spec = replace(SMALL, train=1, val=0, test=0, unlabeled=0)
    foreign = tmp_path / "photos"
    foreign.mkdir()
    (foreign / "holiday.jpg").write_bytes(b"dear")
    with pytest.raises(FileExistsError, match="photos.*holiday.jpg"):
        generate(foreign, spec)
    assert (foreign / "holiday.jpg").read_bytes() == b"dear" and len(list(tmp_path.iterdir())) == 1
    ours = generate(tmp_path / "set", spec, workers=1)
    (ours / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="set.*notes.txt"):
        generate(ours, replace(spec, train=2), workers=1)
    (tmp_path / "empty").mkdir()
    assert generate(tmp_path / "empty", spec, workers=1).exists()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_run_leaves_nothing_that_looks_finished(tmp_path, how):
    root = tmp_path / "set"
    command = [
        sys.executable,
        "-m",
        "selftrain.data.shapes",
        "--out",
        str(root),
        "--train",
        "20000",
        "--workers",
        "2",
    ]
    # a shell's background job, as this test may be, ignores SIGINT, and so would its children
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    run = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, preexec_fn=heed
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".set-*.part/train2017/*.jpg")):
        assert run.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    if how == signal.SIGINT:
        os.killpg(run.pid, how)  # as a terminal does
    else:
        run.kill()
    assert run.wait(30) != 0
    assert not root.exists()
    count = -1
    while count != (count := len(list(tmp_path.rglob("*.jpg")))):  # the orphaned workers end too
        assert time.monotonic() < deadline
        time.sleep(0.5)
    if how == signal.SIGINT:
        assert not list(tmp_path.iterdir())
    assert shapes.MARK in os.listdir(generate(root, replace(SMALL, train=4), workers=1))


@pytest.mark.parametrize(
    "wrong",
    [
        dict(classes=21),
        dict(classes=1),
        dict(difficulty=1.5),
        dict(objects=(3, 1)),
        dict(image_size=8),
        dict(train=-1),
    ],
)
def test_wrong_fields_are_named(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong)) if "train" not in wrong else "count"):
        Shapes(**wrong)


def test_digest_tells_sets_apart_and_not_spellings():
    assert (
        Shapes(difficulty=0).digest() == Shapes(difficulty=0.0).digest()
        and Shapes(objects=[1, 5]) == Shapes()
    )
    assert (
        len(
            {
                Shapes(**{f: v}).digest()
                for f, v in (("seed", 1), ("train", 1), ("classes", 3), ("difficulty", 0.4))
            }
            | {Shapes().digest()}
        )
        == 5
    )
