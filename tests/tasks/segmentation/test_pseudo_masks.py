"""Pseudo-masks there and back: which pixels are labels, how they lie on the disk, what is refused."""

import base64
import io
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from augment import Sample, build_policy
from selftrain.data.pool import listed_pool, read_pool
from selftrain.data.voc import PALETTE, VocDataset, encode_mask
from selftrain.parts import Parts
from selftrain.recipe import identity
from selftrain.system.errors import UserError
from selftrain.tasks.segmentation import pseudo_masks
from selftrain.tasks.segmentation.labeller import MaskLabeller
from selftrain.tasks.segmentation.task import Segmentation
from tests.tasks.segmentation.small import PASCAL, K, task


@pytest.fixture
def photos(tmp_path):
    """Four photos with human masks, as a data set."""
    rng = np.random.default_rng(0)
    for name in ("photos", "masks"):
        (tmp_path / name).mkdir()
    truths = []
    for i in range(4):
        truth = rng.integers(0, K, (6, 8)).repeat(2, 0).repeat(2, 1).astype(np.uint8)
        cv2.imwrite(str(tmp_path / "photos" / f"p{i}.jpg"), rng.integers(0, 256, (12, 16, 3), np.uint8))
        (tmp_path / "masks" / f"p{i}.png").write_bytes(encode_mask(truth))
        truths.append(truth)
    ids = np.array([f"p{i}" for i in range(4)])
    return VocDataset(
        tmp_path / "photos",
        tmp_path / "masks",
        np.array([f"{i}.jpg".encode() for i in ids]),
        np.array([f"{i}.png".encode() for i in ids]),
        ids,
        tuple("abcd"),
        "h",
    ), truths


def teacher_of(truth: np.ndarray, sure: float) -> torch.Tensor:
    """(K, H, W) probabilities: of the right class `sure` in the left half and 0.4 in the right half.

    The next class has the rest.
    """
    height, width = truth.shape
    top = torch.full((height, width), 0.4)
    top[:, : width // 2] = sure
    chances = torch.zeros(K, height, width)
    right = torch.from_numpy(truth).long()
    chances.scatter_(0, right[None], top[None])
    return chances.scatter_(0, (right[None] + 1) % K, (1 - top)[None])


def label(labeller: MaskLabeller, folder: Path, photos, chances: list[torch.Tensor]):
    """The pool of `photos` labelled by a teacher with these probabilities: report, data set, pool."""
    dataset, _ = photos
    pool, recipe = listed_pool(dataset), labeller.recipe
    predictions = {}
    for i, each in enumerate(chances):
        soft, threshold = recipe.soft, recipe.pseudo_threshold
        mask = pseudo_masks.soft_mask(each) if soft else pseudo_masks.hard_mask(each, threshold)
        predictions[i] = mask | {"by_threshold": pseudo_masks.by_threshold(each, dataset, i)}
    parts = Parts(folder)
    for number, images in enumerate([(2, 3), (0, 1)]):  # in any order
        parts.write(number, labeller.keep(folder, pool, {i: predictions[i] for i in images}), 1.0)
    report = labeller.select(folder / "labels.json", parts, pool, dataset, {"teacher": "t"})
    return report, labeller.read(folder / "labels.json", pool), pool


def test_sure_pixels_are_labels_and_the_others_are_ignored(photos, tmp_path):
    dataset, truths = photos
    chances = [teacher_of(t, 0.9) for t in truths[:3]]
    chances += [torch.full((K, 12, 16), 0.25)]  # of the last photo the teacher knows nothing
    chances[1] = teacher_of((truths[1] + 1) % K, 0.9)  # and of this one the wrong thing
    labeller = task(pseudo_threshold=0.7).labeller
    report, labels, _ = label(labeller, tmp_path / "labels", photos, chances)
    assert [labels.path(i).name for i in range(len(labels))] == ["p0.jpg", "p1.jpg", "p2.jpg"]
    sample = labels.sample(0)
    assert (sample.mask[:, :8] == truths[0][:, :8]).all() and (sample.mask[:, 8:] == 255).all()
    assert report["pool_images"] == 4 and report["kept_images"] == 3
    assert report["kept_pixels"] == pytest.approx(3 * 96 / (4 * 192))
    assert report["accuracy"] == pytest.approx(2 / 3) and report["covered"] == pytest.approx(3 / 8)
    at = {row["threshold"]: row for row in report["by_threshold"]}
    assert (
        at[0.7]["precision"] == pytest.approx(2 / 3)
        and at[0.7]["recall"] == pytest.approx(2 * 96 / (4 * 192))
        and at[0.95]["recall"] == 0
    )
    shown = Image.open(io.BytesIO(base64.b64decode(report["examples"][0]["mask"])))
    assert (np.array(shown) == sample.mask).all()
    assert sum(report["share_per_class"].values()) == pytest.approx(1)
    k = 2
    wanted = sum(int((m[:, :8] == k).sum()) for m in (truths[0], (truths[1] + 1) % K, truths[2]))
    best = sum(int((c.argmax(0).numpy() == k).sum()) for c in chances)
    assert report["kept_pixels_per_class"]["c"] == pytest.approx(wanted / best)
    shown = task().labeller.describe(report)
    assert "3 of 4 images kept" in shown and "66.7%" in shown


def test_the_threshold_is_inclusive():
    chances = torch.zeros(K, 1, 2)
    chances[1, 0] = torch.tensor([0.5, 0.4999])
    mask = np.array(Image.open(io.BytesIO(pseudo_masks.hard_mask(chances, 0.5)["png"].tobytes())))
    assert mask.tolist() == [[1, 255]]


def test_the_files_are_palette_pngs_with_a_json_of_what_made_them(photos, tmp_path):
    _, truths = photos
    labeller = task(pseudo_threshold=0.7, teacher_scales=(0.5, 1.0)).labeller
    report, _, _ = label(labeller, tmp_path / "labels", photos, [teacher_of(t, 0.9) for t in truths])
    picture = Image.open(tmp_path / "labels" / "masks" / "p0.jpg.png")
    assert picture.mode == "P" and picture.getpalette()[:9] == PALETTE[:3].ravel().tolist()
    info = json.loads((tmp_path / "labels" / "labels.json").read_text())["info"]
    assert info["teacher"] == "t" and info["threshold"] == 0.7
    assert info["scales"] == [0.5, 1.0] and info["classes"] == list("abcd")
    assert set(report["kept_pixels_per_class"]) == set("abcd") and "report" not in info


def test_soft_labels_keep_two_classes_and_take_the_disk_that_was_announced(photos, tmp_path):
    _, truths = photos
    labeller = task(soft=True).labeller
    chances = [teacher_of(np.full_like(t, i), 0.9) for i, t in enumerate(truths)]
    report, labels, pool = label(labeller, tmp_path / "labels", photos, chances)
    mask = labels.sample(2).mask
    assert mask.shape == (12, 16, 3) and (mask[..., 0] == np.where(np.arange(16) < 8, 2, 3)).all()
    np.testing.assert_allclose(mask[:, :8, 2] / 254, 0.9, atol=1 / 254)
    np.testing.assert_allclose(mask[:, 8:, 2] / 254, 0.6, atol=1 / 254)
    assert report["kept_images"] == 4 and report["threshold"] is None
    announced = labeller.announce(pool)
    assert "36 bytes a photo" in announced and "4 photos" in announced  # 3 x 4 x 3
    assert task().labeller.announce(pool) is None


def test_soft_labels_take_no_more_disk_than_was_announced(tmp_path):
    """On a mask of noise, which cannot be compressed: a PNG's header is all that comes on top."""
    chances = torch.rand(21, 375, 500).softmax(0)
    found = pseudo_masks.soft_mask(chances)
    assert 3 * 94 * 125 * 0.3 < len(found["png"]) < 3 * 94 * 125 * 1.02 + 100


def test_soft_labels_move_with_their_photo():
    """Under every policy the three channels go where a hard mask goes."""
    rng = np.random.default_rng(3)
    image = rng.integers(0, 256, (40, 56, 3), np.uint8)
    planes = [rng.integers(0, K, (40, 56)).astype(np.uint8) for _ in range(3)]
    for policy in ("S1", "S2", "S3", "S4"):
        move = build_policy(policy, 32)
        for seed in range(30):
            together = move(Sample(image, np.zeros((0, 4)), [], [], np.stack(planes, 2)), seed).mask
            for c, plane in enumerate(planes):
                alone = move(Sample(image, np.zeros((0, 4)), [], [], plane), seed).mask
                assert (together[..., c] == alone).all(), (policy, seed)


def test_a_teacher_that_is_sure_of_nothing_stops_with_advice(photos, tmp_path):
    with pytest.raises(UserError, match="sure of no pixel.*--pseudo-threshold 0.5"):
        label(task().labeller, tmp_path / "labels", photos, [torch.full((K, 12, 16), 0.25)] * 4)
    # or the next run would find it and train on nothing
    assert not (tmp_path / "labels" / "labels.json").exists()


def test_a_lost_pseudo_mask_names_the_folder_to_delete(photos, tmp_path):
    _, truths = photos
    for soft in (False, True):
        folder = tmp_path / f"labels{soft}"
        labeller = task(soft=soft).labeller
        _, labels, _ = label(labeller, folder, photos, [teacher_of(t, 0.9) for t in truths])
        labels.mask_path(1).unlink()
        with pytest.raises(
            UserError, match=rf"p1.jpg.png: no such file. It is a pseudo-mask: delete the folder {folder}"
        ):
            labels.sample(1)


def test_a_hidden_mask_of_another_size_is_named(photos, tmp_path):
    dataset, truths = photos
    dataset.mask_path(2).write_bytes(encode_mask(truths[2].T.copy()))
    with pytest.raises(UserError, match="p2.jpg.*p2.png is 12x16"):
        label(task().labeller, tmp_path / "labels", photos, [teacher_of(t, 0.9) for t in truths])


@pytest.mark.parametrize(
    "option, teacher, student, raw",
    [
        ("teacher_scales", True, False, False),
        ("teacher_flip", True, False, False),
        ("soft", True, False, False),
        ("pseudo_threshold", True, False, False),
        ("eval_scales", False, False, True),
        ("eval_flip", False, False, True),
        ("image_size", False, False, False),
        ("neck_repeats", False, False, True),
        ("protocol", True, True, True),
        ("workers", True, True, True),
    ],
)
def test_which_option_changes_which_result(option, teacher, student, raw):
    """Whether a teacher's key, a student's key and one teacher's masks stay the same under another value."""
    one = PASCAL["demo"]()
    value = getattr(one, option)
    values = {
        "teacher_scales": (1.0,),
        "eval_scales": (2.0,),
        "protocol": "train_aug",
        "pseudo_threshold": 0.7,
    }
    changed = values.get(option) or (not value if isinstance(value, bool) else value + 1)
    other = replace(one, **{option: changed})

    def masks(recipe):
        return [getattr(recipe, field) for field in MaskLabeller.raw_fields if field not in recipe.unused()]

    assert (identity(one, student=False) == identity(other, student=False)) is teacher
    assert (identity(one, student=True) == identity(other, student=True)) is student
    assert (masks(one) == masks(other)) is raw
    soft = replace(one, soft=True)
    surer = replace(soft, pseudo_threshold=0.7)
    assert identity(soft, student=True) == identity(surer, student=True)  # soft labels know no threshold


def test_pseudo_labels_of_other_classes_and_damaged_lists_are_refused(photos, tmp_path):
    _, truths = photos
    _, _, pool = label(task().labeller, tmp_path / "labels", photos, [teacher_of(t, 0.9) for t in truths])
    other = Segmentation(PASCAL["demo"](), tuple("abdc")).labeller
    with pytest.raises(UserError, match="labels.json: its classes a, b, c, d are not those"):
        other.read(tmp_path / "labels" / "labels.json", pool)
    (tmp_path / "labels" / "labels.json").write_text("{}")
    with pytest.raises(UserError, match="labels.json: not a list of pseudo-masks"):
        task().labeller.read(tmp_path / "labels" / "labels.json", pool)


def test_a_pool_of_plain_photos_has_no_truth_to_compare_with(photos, tmp_path):
    dataset, truths = photos
    pool = read_pool([dataset.folder])
    labeller, folder = task().labeller, tmp_path / "p"
    predictions = {i: pseudo_masks.hard_mask(teacher_of(t, 0.9), 0.5) for i, t in enumerate(truths)}
    parts = Parts(folder)
    parts.write(0, labeller.keep(folder, pool, predictions), 1.0)
    report = labeller.select(folder / "labels.json", parts, pool, dataset, {})
    assert "accuracy" not in report and "hidden" not in labeller.describe(report)
