"""The segmentation task: mIoU by three implementations, losses and averaged probabilities by hand, pseudo-masks there and back."""

import base64
import io
import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn
from torch.nn import functional as F
from torchmetrics.classification import MulticlassJaccardIndex

from augment import Sample, build_policy
from selftrain.data.pool import listed_pool, read_pool
from selftrain.data.voc import PALETTE, VocDataset, encode_mask
from selftrain.recipe import identity
from selftrain.system.errors import UserError
from selftrain.tasks.segmentation import pseudo_masks
from selftrain.tasks.segmentation.miou import confusion, iou, scores
from selftrain.tasks.segmentation.task import Segmentation
from tests.programs import load

PASCAL = load("recipes.segmentation").PASCAL

K = 4


def maps(seed: int, count: int, void: float = 0.1) -> list[tuple[np.ndarray, np.ndarray]]:
    """`count` pairs (found, truth) of different sizes; class 3 is seldom there."""
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(count):
        size = tuple(rng.integers(1, 30, 2))
        truth = rng.choice(K, size, p=[0.5, 0.3, 0.2, 0.0]).astype(np.uint8)
        found = np.where(rng.random(size) < 0.6, truth, rng.integers(0, K, size)).astype(np.uint8)
        truth[rng.random(size) < void] = 255
        out.append((found, truth))
    return out


# ---- mIoU ---------------------------------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_miou_equals_counting_by_hand_and_torchmetrics(seed):
    pairs = maps(seed, 3)
    matrix = sum(confusion(found, truth, K) for found, truth in pairs)
    hand = []
    for k in range(K):
        inside = sum(int(((f == k) & (t == k)).sum()) for f, t in pairs)
        union = sum(int((((f == k) | (t == k)) & (t != 255)).sum()) for f, t in pairs)
        hand.append(inside / union if union else np.nan)
    np.testing.assert_allclose(iou(matrix), hand)
    metric = MulticlassJaccardIndex(K, average="macro", ignore_index=255)
    for found, truth in pairs:
        metric.update(torch.from_numpy(found).long()[None], torch.from_numpy(truth).long()[None])
    assert scores(matrix, tuple("abcd"))["mIoU"] == pytest.approx(100 * float(metric.compute()), abs=1e-4)


def test_miou_is_of_the_set_and_no_mean_over_photos():
    truth = np.zeros((2, 10), np.uint8)
    truth[1] = 1
    everything, nothing = truth, 1 - truth
    pairs = [(everything, truth), (nothing[:, :2], truth[:, :2])]
    whole = scores(sum(confusion(f, t, 2) for f, t in pairs), ("a", "b"))["mIoU"]
    assert whole == pytest.approx(100 * 10 / 14)  # of each class 10 pixels right, 2 missed and 2 too many
    assert whole != pytest.approx(np.mean([scores(confusion(f, t, 2), ("a", "b"))["mIoU"] for f, t in pairs]))


def test_chance_is_the_best_answer_of_one_class():
    truth = np.array([[0, 0, 0, 1], [0, 0, 2, 255]], np.uint8)
    guesses = [scores(confusion(np.full_like(truth, k), truth, 3), ("a", "b", "c"))["mIoU"] for k in range(3)]
    result = scores(confusion(truth, truth, 3), ("a", "b", "c"))
    assert (
        result["chance"] == pytest.approx(max(guesses))
        and result["mIoU"] == 100
        and result["pixel accuracy"] == 100
    )


def test_a_class_neither_there_nor_found_has_no_iou():
    result = scores(confusion(np.zeros((2, 2), np.uint8), np.zeros((2, 2), np.uint8), 3), ("a", "b", "c"))
    assert result["per_class"] == {"a": 100.0, "b": None, "c": None} and result["mIoU"] == 100
    json.dumps(result, allow_nan=False)


def test_255_classes_do_not_overflow_the_matrix():
    values = np.arange(255, dtype=np.uint8).reshape(15, 17)
    assert (confusion(values, values, 255) == np.eye(255)).all()


# ---- task ---------------------------------------------------------------------------------------------------------------------


def task(**options) -> Segmentation:
    return Segmentation(replace(PASCAL["demo"](), image_size=16, **options), tuple("abcd")).normalised(
        (0.5, 0.5, 0.5)
    )


class Quarter(nn.Module):
    """Logits that depend on the pixels alone, at a quarter of the side, as a segmenter's."""

    def forward(self, images):
        x = F.avg_pool2d(images.float() / 64, 4, ceil_mode=True)
        return torch.cat([x, x[:, :1] * x[:, 1:2]], 1) - 1


def test_losses_are_sums_over_the_labelled_pixels_of_each_image():
    torch.manual_seed(0)
    images = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    masks = torch.randint(0, K, (2, 16, 16), dtype=torch.uint8)
    masks[0, :8] = 255
    sums, counts = task().losses(Quarter(), {"images": images, "masks": masks})
    assert counts.tolist() == [128, 256]
    logits = F.interpolate(Quarter()(images), (16, 16), mode="bilinear")
    for i in range(2):
        chances = logits[i].double().softmax(0)
        wanted = sum(
            -chances[int(masks[i, y, x]), y, x].log()
            for y in range(16)
            for x in range(16)
            if masks[i, y, x] != 255
        )
        assert float(sums[i]) == pytest.approx(float(wanted), rel=1e-5)


def test_an_image_without_labelled_pixels_has_a_loss_of_zero():
    masks = torch.full((1, 16, 16), 255, dtype=torch.uint8)
    sums, counts = task().losses(
        Quarter(), {"images": torch.zeros(1, 3, 16, 16, dtype=torch.uint8), "masks": masks}
    )
    assert sums.tolist() == [0.0] and counts.tolist() == [0]


def test_soft_labels_with_all_on_one_class_are_hard_labels():
    rng = np.random.default_rng(0)
    image, mask = rng.integers(0, 256, (16, 16, 3), np.uint8), rng.integers(0, K, (16, 16)).astype(np.uint8)
    mask[:3] = 255
    hard = Sample(image, np.zeros((0, 4)), [], [], mask)
    soft = replace(hard, mask=pseudo_masks.soften(mask))
    one = task().losses(Quarter(), task().collate([hard, hard]))
    two = task().losses(
        Quarter(), task().collate([hard, soft])
    )  # a student's batch: people's labels beside soft ones
    torch.testing.assert_close(one[0], two[0])
    assert one[1].tolist() == two[1].tolist()


def test_soft_labels_weigh_two_classes():
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)

    def loss(mask):
        return task().losses(Quarter(), task().collate([Sample(image, np.zeros((0, 4)), [], [], mask)]))[0]

    def full(k):
        return np.full((16, 16), k, np.uint8)

    half = np.stack([full(1), full(2), full(127)], 2)
    torch.testing.assert_close(loss(half), (loss(full(1)) + loss(full(2))) / 2)


@pytest.mark.parametrize("height, width", [(16, 16), (40, 20), (9, 31)])
def test_a_prediction_has_the_size_of_its_photo_and_no_padding(height, width):
    """Averaged over scales and mirror: against one pass at a time, whose padding is cut off before it is resized."""
    made = task()
    photo = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)
    sample, scale = made.prepare(Sample.unlabelled(photo))
    batch = made.collate([sample]) | {"scales": [scale], "sizes": [(height, width)]}
    (found,) = made._probabilities(Quarter(), batch, (0.5, 1.0), True)
    assert found.shape == (K, height, width)
    torch.testing.assert_close(found.sum(0), torch.ones(height, width))
    passes = []
    for side in (8, 16):
        images = F.interpolate(batch["images"].float(), (side, side), mode="bilinear")
        for turn in (lambda x: x, lambda x: x.flip(-1)):
            passes.append(turn(F.interpolate(Quarter()(turn(images)), (16, 16), mode="bilinear").softmax(1)))
    mean = torch.stack(passes).mean(0)[:, :, : max(1, round(height * scale)), : max(1, round(width * scale))]
    torch.testing.assert_close(found, F.interpolate(mean, (height, width), mode="bilinear")[0])


def test_assess_counts_at_the_photos_own_size():
    made = task()
    photo, truth = np.full((40, 20, 3), 200, np.uint8), np.zeros((40, 20), np.uint8)
    sample, scale = made.prepare(replace(Sample.unlabelled(photo), mask=truth))
    (matrix,) = made.assess(
        Quarter(), made.collate([sample]) | {"scales": [scale], "sizes": [(40, 20)], "truths": [truth]}
    )
    assert matrix.sum() == 800 and matrix[1:].sum() == 0


def test_a_lost_image_is_noticed():
    with pytest.raises(AssertionError, match="1 predictions for 2 images"):
        task().score({0: np.eye(K, dtype=int)}, [0, 1])


# ---- pseudo-masks -------------------------------------------------------------------------------------------------------------


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
    """(K, H, W) probabilities: `sure` on the right class in the left half, 0.4 in the right half, the rest on the next class."""
    height, width = truth.shape
    top = torch.full((height, width), 0.4)
    top[:, : width // 2] = sure
    chances = torch.zeros(K, height, width)
    right = torch.from_numpy(truth).long()
    chances.scatter_(0, right[None], top[None])
    return chances.scatter_(0, (right[None] + 1) % K, (1 - top)[None])


def label(made: Segmentation, folder, photos, chances: list[torch.Tensor]):
    dataset, _ = photos
    pool = listed_pool(dataset)
    make = (
        pseudo_masks.soft_mask
        if made.recipe.soft
        else lambda c: pseudo_masks.hard_mask(c, made.recipe.pseudo_threshold)
    )
    predictions = {i: make(c) for i, c in enumerate(chances)}
    for i, found in predictions.items():
        found.by_threshold = pseudo_masks.by_threshold(chances[i], dataset, i)
    parts = [folder / "part-b.npz", folder / "part-a.npz"]  # in any order
    made.write_part(parts[0], pool, {i: predictions[i] for i in (2, 3)}, 1.0)
    made.write_part(parts[1], pool, {i: predictions[i] for i in (0, 1)}, 1.0)
    report = made.write_labels(folder / "labels.json", parts, pool, dataset, {"teacher": "t"})
    return report, made.read_labels(folder / "labels.json", pool), pool


def test_sure_pixels_are_labels_and_the_others_are_ignored(photos, tmp_path):
    dataset, truths = photos
    chances = [teacher_of(t, 0.9) for t in truths[:3]] + [
        torch.full((K, 12, 16), 0.25)
    ]  # of the last photo the teacher knows nothing
    chances[1] = teacher_of((truths[1] + 1) % K, 0.9)  # and of this one the wrong thing
    report, labels, _ = label(task(pseudo_threshold=0.7), tmp_path / "labels", photos, chances)
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
    assert "3 of 4 images kept" in task().describe_labels(report) and "66.7%" in task().describe_labels(
        report
    )


def test_the_threshold_is_inclusive():
    chances = torch.zeros(K, 1, 2)
    chances[1, 0] = torch.tensor([0.5, 0.4999])
    mask = np.array(Image.open(io.BytesIO(pseudo_masks.hard_mask(chances, 0.5).png)))
    assert mask.tolist() == [[1, 255]]


def test_the_files_are_palette_pngs_with_a_json_of_what_made_them(photos, tmp_path):
    _, truths = photos
    label(
        task(pseudo_threshold=0.7, teacher_scales=(0.5, 1.0)),
        tmp_path / "labels",
        photos,
        [teacher_of(t, 0.9) for t in truths],
    )
    picture = Image.open(tmp_path / "labels" / "masks" / "p0.jpg.png")
    assert picture.mode == "P" and picture.getpalette()[:9] == PALETTE[:3].ravel().tolist()
    info = json.loads((tmp_path / "labels" / "labels.json").read_text())["info"]
    assert (
        info["teacher"] == "t"
        and info["threshold"] == 0.7
        and info["scales"] == [0.5, 1.0]
        and info["classes"] == list("abcd")
    )
    assert set(info["report"]["kept_pixels_per_class"]) == set("abcd")


def test_soft_labels_keep_two_classes_and_take_the_disk_that_was_announced(photos, tmp_path):
    _, truths = photos
    made = task(soft=True)
    report, labels, pool = label(
        made, tmp_path / "labels", photos, [teacher_of(np.full_like(t, i), 0.9) for i, t in enumerate(truths)]
    )
    mask = labels.sample(2).mask
    assert mask.shape == (12, 16, 3) and (mask[..., 0] == np.where(np.arange(16) < 8, 2, 3)).all()
    np.testing.assert_allclose(mask[:, :8, 2] / 254, 0.9, atol=1 / 254)
    np.testing.assert_allclose(mask[:, 8:, 2] / 254, 0.6, atol=1 / 254)
    assert report["kept_images"] == 4 and report["threshold"] is None
    assert "36 bytes a photo" in made.announce_labels(pool) and "4 photos" in made.announce_labels(
        pool
    )  # 3 x 4 x 3
    assert task().announce_labels(pool) is None


def test_soft_labels_take_no_more_disk_than_was_announced(tmp_path):
    """On a mask of noise, which cannot be compressed: a PNG's header is all that comes on top."""
    chances = torch.rand(21, 375, 500).softmax(0)
    found = pseudo_masks.soft_mask(chances)
    assert 3 * 94 * 125 * 0.3 < len(found.png) < 3 * 94 * 125 * 1.02 + 100


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
                assert (
                    together[..., c] == move(Sample(image, np.zeros((0, 4)), [], [], plane), seed).mask
                ).all(), (policy, seed)


def test_a_teacher_that_is_sure_of_nothing_stops_with_advice(photos, tmp_path):
    with pytest.raises(UserError, match="sure of no pixel.*--pseudo-threshold 0.5"):
        label(task(), tmp_path / "labels", photos, [torch.full((K, 12, 16), 0.25)] * 4)
    assert not (
        tmp_path / "labels" / "labels.json"
    ).exists()  # or the next run would find it and train on nothing


def test_a_lost_pseudo_mask_names_the_folder_to_delete(photos, tmp_path):
    _, truths = photos
    for soft in (False, True):
        folder = tmp_path / f"labels{soft}"
        _, labels, _ = label(task(soft=soft), folder, photos, [teacher_of(t, 0.9) for t in truths])
        labels.mask_path(1).unlink()
        with pytest.raises(
            UserError, match=rf"p1.jpg.png: no such file. It is a pseudo-mask: delete the folder {folder}"
        ):
            labels.sample(1)


def test_a_hidden_mask_of_another_size_is_named(photos, tmp_path):
    dataset, truths = photos
    dataset.mask_path(2).write_bytes(encode_mask(truths[2].T.copy()))
    with pytest.raises(UserError, match="p2.jpg.*p2.png is 12x16"):
        label(task(), tmp_path / "labels", photos, [teacher_of(t, 0.9) for t in truths])


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
    """Whether a teacher's key, a student's key and the masks of one teacher stay the same under another value."""
    one = PASCAL["demo"]()
    other = replace(
        one,
        **{
            option: {
                "teacher_scales": (1.0,),
                "eval_scales": (2.0,),
                "protocol": "train_aug",
                "pseudo_threshold": 0.7,
            }.get(option)
            or (
                not getattr(one, option)
                if isinstance(getattr(one, option), bool)
                else getattr(one, option) + 1
            )
        },
    )

    def masks(recipe):
        return [getattr(recipe, field) for field in Segmentation.raw_fields if field not in recipe.unused()]

    assert (identity(one, student=False) == identity(other, student=False)) is teacher
    assert (identity(one, student=True) == identity(other, student=True)) is student
    assert (masks(one) == masks(other)) is raw
    soft = replace(one, soft=True)
    assert identity(soft, student=True) == identity(
        replace(soft, pseudo_threshold=0.7), student=True
    )  # soft labels know no threshold


def test_pseudo_labels_of_other_classes_and_damaged_lists_are_refused(photos, tmp_path):
    _, truths = photos
    _, _, pool = label(task(), tmp_path / "labels", photos, [teacher_of(t, 0.9) for t in truths])
    other = Segmentation(PASCAL["demo"](), tuple("abdc"))
    with pytest.raises(UserError, match="labels.json: its classes a, b, c, d are not those"):
        other.read_labels(tmp_path / "labels" / "labels.json", pool)
    (tmp_path / "labels" / "labels.json").write_text("{}")
    with pytest.raises(UserError, match="labels.json: not a list of pseudo-masks"):
        task().read_labels(tmp_path / "labels" / "labels.json", pool)


def test_a_pool_of_plain_photos_has_no_truth_to_compare_with(photos, tmp_path):
    dataset, truths = photos
    pool = read_pool([dataset.folder], labels=False)
    made = task()
    made.write_part(
        tmp_path / "p" / "part-0.npz",
        pool,
        {i: pseudo_masks.hard_mask(teacher_of(t, 0.9), 0.5) for i, t in enumerate(truths)},
        1.0,
    )
    report = made.write_labels(
        tmp_path / "p" / "labels.json", [tmp_path / "p" / "part-0.npz"], pool, dataset, {}
    )
    assert "accuracy" not in report and "hidden" not in made.describe_labels(report)
