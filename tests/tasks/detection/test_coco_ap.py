"""COCO's score by hotcoco is that of pycocotools to the last bit, whatever the data."""

import tomllib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selftrain.data.coco import CocoDataset
from selftrain.tasks.detection.coco_ap import NAMES, coco_ap, evaluate_by_reference, evaluate_fast
from tests.programs import ROOT
from tests.tasks.detection.test_detection import dataset, noisy_predictions


def equal(predictions: dict[int, np.ndarray], data: CocoDataset) -> np.ndarray:
    """Both evaluators agree; returns the twelve numbers."""
    counts = [len(predictions[i]) for i in range(len(data))]
    rows = np.concatenate([predictions[i] for i in range(len(data))]).astype(np.float64)
    (ours, precision), (theirs, wanted) = (
        evaluate(rows, counts, data) for evaluate in (evaluate_fast, evaluate_by_reference)
    )
    assert precision.dtype == wanted.dtype == np.float64 and precision.shape == wanted.shape
    assert np.array_equal(precision, wanted)
    assert ours.shape == (12,) and np.array_equal(ours, theirs)
    assert coco_ap(predictions, data, "fast") == coco_ap(predictions, data, "pycocotools")
    return theirs


@st.composite
def cases(draw) -> tuple[dict[int, np.ndarray], CocoDataset]:
    """Labels and predictions with all that COCO's rules treat apart.

    Crowds, objects of every size with areas that are not their boxes', equal boxes and scores, images without
    objects or without detections, more detections than count, classes that nothing has.
    """
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    data = dataset(rng, images=draw(st.integers(1, 12)), crowd=draw(st.sampled_from([0.0, 0.2, 1.0])))
    if draw(st.booleans()):  # whole pixels: IoUs at the very thresholds, two objects on one place
        data = replace(data, boxes=data.boxes // 20 * 20 + [0, 0, 20, 20])
    if draw(st.booleans()):  # of masks
        data = replace(data, areas=rng.choice([10.0, 32**2, 50**2, 96**2, 1e5], len(data.areas)))
    if draw(st.booleans()):
        data = replace(data, classes=np.zeros_like(data.classes))
    crowded = draw(st.integers(0, len(data) - 1)) if draw(st.booleans()) else -1
    step, silent = draw(st.sampled_from([None, 0.5, 0.1])), draw(st.sampled_from([0.0, 0.3]))
    predictions = {}
    for i, rows in noisy_predictions(rng, data).items():
        if i == crowded:  # far more than the 100 that count
            rows = np.repeat(rows, 60, 0)
            rows[:, :2] -= rng.random((len(rows), 2)) * 20
            rows[:, 4] = rng.random(len(rows))
        if step:
            rows[:, 4] = (rows[:, 4] / step).round() * step
        if rng.random() < 0.3:  # some boxes are exactly the objects'
            boxes, classes, _ = data.labels(i)
            exact = np.column_stack([boxes, np.full(len(boxes), 0.5), classes])
            rows = np.concatenate([rows, exact]).astype(np.float32)
        predictions[i] = rows[:0] if rng.random() < silent else rows
    if not any(len(rows) for rows in predictions.values()):
        predictions[0] = np.array([[0, 0, 50, 50, 0.5, 0]], np.float32)
    return predictions, data


@settings(max_examples=150, deadline=None)
@given(cases())
def test_hotcoco_equals_pycocotools_bit_for_bit(case):
    equal(*case)


@pytest.mark.parametrize("seed", range(4))
def test_the_numbers_are_no_accident(seed):
    rng = np.random.default_rng(seed)
    data = dataset(rng)
    predictions = noisy_predictions(rng, data)
    numbers = equal(predictions, data)
    assert 0.05 < numbers[0] < 0.95 and numbers[1] > numbers[0]
    found = coco_ap(predictions, data)
    assert [found[name] for name in NAMES] == [100 * n if n >= 0 else -1 for n in numbers.tolist()]
    assert np.mean(list(found["per_class"].values())) == pytest.approx(found["AP"], abs=1e-9)


def test_only_the_tested_version_is_installed():
    requirements = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert "hotcoco==1.3.0" in requirements
    assert not any("faster-coco-eval" in requirement for requirement in requirements)
