"""The detection task: COCO's score by two implementations, and pseudo-labels against counting by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selftrain.data.coco import CocoDataset
from selftrain.data.pool import Pool
from selftrain.parts import Parts
from selftrain.system.errors import UserError
from selftrain.tasks.detection.coco_ap import coco_ap
from selftrain.tasks.detection.pseudo_boxes import outcomes, precision_recall
from selftrain.tasks.detection.task import Detection
from tests.programs import load

COCO = load("recipes.detection").COCO


def dataset(rng, images=20, crowd=0.1, classes=("a", "b", "c")) -> CocoDataset:
    counts = rng.integers(0, 6, images)
    total = counts.sum()
    corner = rng.uniform(0, 200, (total, 2))
    size = rng.uniform(5, 150, (total, 2))
    return CocoDataset(
        folder=Path("."),
        names=np.array([f"{i}.jpg".encode() for i in range(images)]),
        image_ids=np.arange(images) * 3 + 7,
        sizes=np.full((images, 2), 400, np.int32),
        offsets=np.concatenate([[0], np.cumsum(counts)]),
        boxes=np.concatenate([corner, corner + size], 1),
        classes=rng.integers(0, len(classes), total).astype(np.int16),
        crowd=rng.random(total) < crowd,
        areas=size.prod(1),
        scores=np.ones(total, np.float32),
        class_names=classes,
        category_ids=(2, 5, 90),
        hash="x",
        dropped={},
    )


def noisy_predictions(rng, data: CocoDataset) -> dict[int, np.ndarray]:
    out = {}
    for i in range(len(data)):
        boxes, classes, _ = data.labels(i)
        boxes = np.concatenate(
            [boxes + rng.normal(0, 6, boxes.shape), rng.uniform(0, 150, (3, 4)) + [0, 0, 160, 160]]
        )
        boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
        classes = np.concatenate([classes, rng.integers(0, 3, 3)])
        out[i] = np.concatenate([boxes, rng.random((len(boxes), 1)), classes[:, None]], 1).astype(np.float32)
    return out


def test_perfect_predictions_score_100_and_none_score_0():
    data = dataset(np.random.default_rng(0), crowd=0.0)
    perfect = {
        i: np.concatenate(
            [data.labels(i)[0], np.ones((len(data.labels(i)[0]), 1)), data.labels(i)[1][:, None]], 1
        )
        for i in range(len(data))
    }
    assert coco_ap(perfect, data)["AP"] == pytest.approx(100)
    assert coco_ap({i: np.zeros((0, 6)) for i in range(len(data))}, data)["AP"] == 0


def test_a_lost_image_is_noticed():
    data = dataset(np.random.default_rng(0))
    with pytest.raises(AssertionError, match="19 predictions for 20 images"):
        coco_ap({i: np.zeros((0, 6)) for i in range(19)}, data)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_precision_and_recall_are_those_of_pycocotools_matching(seed):
    """COCOeval's own matches at IoU 0.5, with no cap on detections, crowds ignored."""
    from pycocotools.coco import COCO as Reference
    from pycocotools.cocoeval import COCOeval

    rng = np.random.default_rng(seed)
    data = dataset(rng, images=4, crowd=0.2)
    predictions = noisy_predictions(rng, data)
    images = np.repeat(np.arange(4), [len(predictions[i]) for i in range(4)])
    rows = np.concatenate([predictions[i] for i in range(4)])
    outcome = outcomes(rows, images, data)
    got = precision_recall(outcome, data)
    truth = Reference()
    truth.dataset = data.to_coco()
    truth.createIndex()
    results = [
        {
            "image_id": int(data.image_ids[i]),
            "category_id": data.category_ids[int(r[5])],
            "score": float(r[4]),
            "bbox": [float(r[0]), float(r[1]), float(r[2] - r[0]), float(r[3] - r[1])],
        }
        for i, r in zip(images, rows)
    ]
    evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
    evaluation.params.iouThrs = np.array([0.5])
    evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
    evaluation.evaluate()
    found = sum(int(((e["dtMatches"][0] > 0) & ~e["dtIgnore"][0]).sum()) for e in evaluation.evalImgs if e)
    wrong = sum(int(((e["dtMatches"][0] == 0) & ~e["dtIgnore"][0]).sum()) for e in evaluation.evalImgs if e)
    assert got["precision"] == pytest.approx(found / max(1, found + wrong))
    for score in (0.3, 0.7):  # one pass over all boxes serves every threshold
        sure = rows[:, 4] >= score
        assert precision_recall(outcome[sure], data) == precision_recall(
            outcomes(rows[sure], images[sure], data), data
        )
    assert got["recall"] == pytest.approx(found / max(1, (~data.crowd).sum()))


# ---- pseudo-labels -------------------------------------------------------------------------------------


@pytest.fixture
def labelled(tmp_path):
    """A pool of four images; the teacher is sure of 0 and 2, unsure of 1, silent on 3."""
    pool = Pool(
        folder=tmp_path,
        names=np.array([b"p0.jpg", b"p1.jpg", b"p2.jpg", b"p3.jpg"]),
        sizes=np.ones(4, np.int64),
        hash="pool",
    )
    found = {
        0: [[10, 10, 50, 50, 0.9, 1], [0, 0, 20, 20, 0.3, 0]],
        1: [[5, 5, 30, 30, 0.35, 2]],
        2: [[1, 1, 9, 9, 0.5, 0], [20, 20, 60, 70, 0.8, 2]],
        3: [],
    }
    predictions = {
        i: {"rows": np.array(rows, np.float32).reshape(-1, 6), "size": np.array((100, 80), np.int32)}
        for i, rows in found.items()
    }
    human = dataset(np.random.default_rng(0), images=10, crowd=0.0)

    def label(**options):
        labeller = Detection(replace(COCO["demo"](), **options), human.class_names).labeller
        parts, path = Parts(tmp_path), tmp_path / "labels.json"
        for number, images in enumerate([(2, 3), (0, 1)]):  # parts in any order give the same file
            kept = labeller.keep(tmp_path, pool, {i: predictions[i] for i in images})
            parts.write(number, kept, 1.0)
        report = labeller.select(path, parts, pool, human, {"teacher": "t"})
        return report, labeller.read(path, pool)

    return label


def test_threshold_keeps_sure_boxes_and_their_images(labelled):
    report, data = labelled(pseudo_threshold=0.5)
    assert (report["kept_images"], report["boxes"], report["boxes_per_image"]) == (2, 3, 0.75)
    assert report["boxes_per_class"] == {"a": 1, "b": 1, "c": 1}
    assert report["images_per_class"] == {"a": 1, "b": 1, "c": 1}
    assert [data.path(i).name for i in range(len(data))] == ["p0.jpg", "p2.jpg"]
    assert data.labels(0)[0].tolist() == [[10, 10, 50, 50]] and data.labels(1)[1].tolist() == [2, 0]
    assert data.scores.tolist() == pytest.approx([0.9, 0.8, 0.5]) and data.sizes.tolist() == [[100, 80]] * 2


def test_uncertain_boxes_are_neither_object_nor_background(labelled):
    report, data = labelled(pseudo_threshold=0.5, pseudo_ignore=0.2)
    assert report["ignored_boxes"] == 1  # the one in the dropped image 1 went with it
    assert data.labels(0)[2].tolist() == [False, True]


def test_empty_images_can_be_kept_as_background(labelled):
    report, data = labelled(pseudo_threshold=0.5, pseudo_empty="keep")
    assert report["kept_images"] == 4 and data.counts.tolist() == [1, 0, 2, 0]


def test_one_threshold_for_all_classes_matches_the_human_labels(labelled):
    report, _ = labelled(pseudo_threshold="auto-global")
    assert report["boxes"] == min(5, round(4 * report["human_boxes_per_image"]))


def test_a_teacher_that_finds_nothing_stops_with_advice(labelled):
    with pytest.raises(
        UserError, match="found nothing in the pool.*best score 0.900.*--pseudo-threshold auto"
    ):
        labelled(pseudo_threshold=0.95)


def test_pseudo_labels_of_other_classes_are_refused(labelled, tmp_path):
    labelled(pseudo_threshold=0.5)
    other = Detection(COCO["demo"](), ("b", "a", "c"))
    with pytest.raises(UserError, match="labels.json"):
        other.labeller.read(
            tmp_path / "labels.json",
            Pool(folder=tmp_path, names=np.array([b"p0.jpg"]), sizes=np.ones(1, np.int64), hash=""),
        )


def test_batches_pad_to_the_fullest_image():
    from augment import Sample

    task = Detection(COCO["demo"](), ("a", "b"))
    image = np.zeros((8, 8, 3), np.uint8)
    one = Sample(image, np.array([[0, 0, 4, 4]], np.float32), np.array([1]), np.array([True]))
    many = Sample(
        image,
        np.tile(np.array([[1, 1, 5, 5]], np.float32), (130, 1)),
        np.zeros(130, np.int64),
        np.zeros(130, bool),
    )
    batch = task.objectives["boxes"].collate([(one,), (many,)])
    assert batch["boxes"].shape == (2, 100, 4)  # the official cap
    assert batch["valid"].sum(1).tolist() == [0, 100] and batch["ignore"].sum(1).tolist() == [1, 0]
    assert [images.shape for images in batch["images"]] == [(2, 3, 8, 8)]
