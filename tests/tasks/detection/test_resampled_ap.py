"""AP under resamples is pycocotools' AP of a data set in which each image stands as often as it was drawn."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selftrain.data.coco import CocoDataset
from selftrain.resample import weights
from selftrain.tasks.detection import resampled_ap as module
from selftrain.tasks.detection.coco_ap import coco_ap
from selftrain.tasks.detection.resampled_ap import resampled_ap
from tests.tasks.detection.test_coco_ap import cases
from tests.tasks.detection.test_detection import dataset, noisy_predictions

METRICS = ("AP", "AP50", "AP75")
Predictions = dict[int, np.ndarray]


def copied(predictions: Predictions, data: CocoDataset, times: np.ndarray) -> tuple[Predictions, CocoDataset]:
    """The set in which image i stands `times[i]` times; copies follow each other in the evaluator's order."""
    positions = np.repeat(np.arange(len(data)), times)
    number = np.concatenate([np.arange(n) for n in times])
    copies = replace(data.take(positions), image_ids=data.image_ids[positions] * 1000 + number)
    return {n: predictions[position] for n, position in enumerate(positions.tolist())}, copies


def settled(predictions: Predictions, data: CocoDataset) -> Predictions:
    """The same with no two scores equal: ties are settled as the evaluator settles them in this very set.

    It goes through images by their ids, and through an image's detections as they come.
    """
    order = np.argsort(data.image_ids).tolist()
    scores = np.concatenate([predictions[i][:, 4] for i in order])
    ranks = np.empty(len(scores))
    ranks[np.argsort(-scores, kind="stable")] = np.arange(len(scores))
    parts = np.split(1 - ranks / (len(scores) + 1), np.cumsum([len(predictions[i]) for i in order])[:-1])
    return {
        i: np.column_stack([predictions[i][:, :4], part, predictions[i][:, 5]]) for i, part in zip(order, parts)
    }


def by_reference(predictions: Predictions, data: CocoDataset, drawn: np.ndarray) -> dict[str, np.ndarray]:
    """pycocotools' numbers of each copied set; NaN where COCO has none because no object was drawn."""
    rows = []
    for times in drawn:
        found, copies = copied(predictions, data, times)
        numbers = coco_ap(found, copies, "pycocotools")
        there = bool((~copies.crowd).any())
        rows.append([numbers[name] if there else np.nan for name in METRICS])
    return dict(zip(METRICS, np.array(rows).T))


def assert_equal(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    assert list(found) == list(METRICS)
    for name in METRICS:
        np.testing.assert_allclose(found[name], wanted[name], rtol=0, atol=1e-9, err_msg=name)


def draws(rng: np.random.Generator, images: int) -> np.ndarray:
    """Each image once, a bootstrap resample, some images several times, and one image alone."""
    alone = np.zeros(images, int)
    alone[rng.integers(images)] = 2
    some = rng.integers(0, 4, images)
    some[rng.integers(images)] = 1
    return np.stack([np.ones(images, int), weights("set", images, 1)[0], some, alone])


@settings(max_examples=100, deadline=None)
@given(cases(), st.sampled_from(["fast", "pycocotools"]))
def test_each_image_once_is_the_score_itself(case, evaluator):
    predictions, data = case
    score = coco_ap(predictions, data, "pycocotools")
    once = resampled_ap(predictions, data, np.ones((1, len(data)), int), evaluator)
    wanted = {name: np.array([score[name] if score[name] >= 0 else np.nan]) for name in METRICS}
    assert_equal(once, wanted)


@settings(max_examples=100, deadline=None)
@given(cases(), st.integers(0, 2**32 - 1), st.booleans())
def test_weights_are_copies_of_images_whatever_the_data(case, seed, shuffled):
    """With ties settled beforehand, for COCO leaves open in which order equal scores stand."""
    predictions, data = case
    rng = np.random.default_rng(seed)
    if shuffled:
        data = replace(data, image_ids=rng.permutation(data.image_ids))
    drawn = draws(rng, len(data))
    wanted = by_reference(settled(predictions, data), data, drawn)
    assert_equal(resampled_ap(predictions, data, drawn), wanted)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.3]), st.integers(1, 3))
def test_equal_scores_of_different_images_need_no_settling(seed, crowd, classes):
    """Copies follow each other, so they stand together among equal scores too."""
    rng = np.random.default_rng(seed)
    data = dataset(rng, images=8, crowd=crowd)
    predictions = noisy_predictions(rng, data)
    for rows in predictions.values():  # different within an image, few values over all
        rows[:, 5] %= classes
        rows[:, 4] = (1 + rng.permutation(len(rows))) / 12
    data = replace(data, classes=data.classes % classes)
    drawn = draws(rng, len(data))
    assert_equal(resampled_ap(predictions, data, drawn), by_reference(predictions, data, drawn))


def test_equal_scores_within_an_image_stand_detection_by_detection_and_not_copy_by_copy():
    """Two copies of right and wrong at one score: right right wrong wrong here, right wrong right wrong there."""
    data = one_image(boxes=[[0, 0, 50, 50]])
    predictions = {0: np.array([[0, 0, 50, 50, 0.5, 0], [60, 60, 90, 90, 0.5, 0]])}
    drawn = np.array([[2]])
    assert resampled_ap(predictions, data, drawn)["AP"][0] == pytest.approx(100, abs=1e-9)
    assert 50 < by_reference(predictions, data, drawn)["AP"][0] < 90


def test_a_class_that_was_not_drawn_is_left_out_of_the_mean():
    data = one_image(boxes=[[0, 0, 50, 50]])
    both = replace(
        data,
        names=np.array([b"a", b"b"]),
        image_ids=np.array([1, 2]),
        sizes=np.full((2, 2), 100, np.int32),
        offsets=np.array([0, 1, 2]),
        boxes=np.tile(data.boxes, (2, 1)),
        classes=np.array([0, 1], np.int16),
        crowd=np.array([False, False]),
        areas=np.tile(data.areas, 2),
        scores=np.ones(2, np.float32),
        listed=None,
    )
    predictions = {0: np.array([[0, 0, 50, 50, 0.5, 0]]), 1: np.zeros((0, 6))}  # class b is missed
    found = resampled_ap(predictions, both, np.array([[1, 1], [2, 0], [0, 2]]))
    assert found["AP"].tolist() == pytest.approx([50, 100, 0], abs=1e-9)


def test_where_no_object_was_drawn_there_is_no_score_and_without_detections_it_is_zero():
    rng = np.random.default_rng(3)
    data = dataset(rng, images=6)
    empty = int(np.flatnonzero(~data.has_objects)[0])
    drawn = np.ones((2, 6), int)
    drawn[1] = 6 * (np.arange(6) == empty)
    found = resampled_ap(noisy_predictions(rng, data), data, drawn)
    assert all(np.isfinite(values[0]) and np.isnan(values[1]) for values in found.values())
    nothing = resampled_ap({i: np.zeros((0, 6)) for i in range(6)}, data, drawn)
    assert all(values.tolist() == [0, 0] for values in nothing.values())


def test_many_resamples_are_taken_in_portions_that_change_nothing(monkeypatch):
    rng = np.random.default_rng(1)
    data = dataset(rng, images=15)
    predictions, drawn = noisy_predictions(rng, data), weights("set", 15, 40)
    whole = resampled_ap(predictions, data, drawn)
    assert len(np.unique(whole["AP"])) > 30
    for at_once in (1, 200):
        monkeypatch.setattr(module, "AT_ONCE", at_once)
        for name, values in resampled_ap(predictions, data, drawn).items():
            assert np.array_equal(values, whole[name])


def one_image(boxes: list) -> CocoDataset:
    corners = np.array(boxes, float)
    data = dataset(np.random.default_rng(0), images=1, crowd=0.0)
    return replace(
        data,
        offsets=np.array([0, len(corners)]),
        boxes=corners,
        classes=np.zeros(len(corners), np.int16),
        crowd=np.zeros(len(corners), bool),
        areas=(corners[:, 2:] - corners[:, :2]).prod(1),
        scores=np.ones(len(corners), np.float32),
        listed=None,
    )
