"""mIoU by three implementations, and what it is for."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.classification import MulticlassJaccardIndex

from selftrain.tasks.segmentation.miou import confusion, iou, resampled, scores
from tests.tasks.segmentation.small import K


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


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.1, 0.6, 1.0]))
def test_weights_are_copies_of_photos(seed, void):
    rng = np.random.default_rng(seed)
    pairs = maps(seed, 5, void)
    matrices = np.stack([confusion(found, truth, K) for found, truth in pairs])
    drawn = np.concatenate([np.ones((1, 5), int), rng.multinomial(5, [0.2] * 5, 6)])
    found = resampled(matrices, drawn)
    for b, times in enumerate(drawn):
        copies = np.repeat(np.arange(5), times)
        wanted = scores(sum(confusion(*pairs[i], K) for i in copies), tuple("abcd"))
        for name, values in found.items():
            assert values[b] == pytest.approx(wanted[name], abs=1e-9), name
    assert list(found) == ["mIoU", "pixel accuracy"]


def test_a_class_that_was_not_drawn_is_left_out_of_the_mean():
    photos = [np.zeros((2, 2), np.uint8), np.ones((2, 2), np.uint8)]
    matrices = np.stack([confusion(np.zeros_like(truth), truth, 2) for truth in photos])
    assert resampled(matrices, np.array([[1, 1], [2, 0], [0, 2]]))["mIoU"].tolist() == [25, 100, 0]
