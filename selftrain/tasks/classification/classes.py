"""Classes in training, in prediction and in scoring: cross-entropy, probabilities, accuracy.

Shapes: B images, K classes.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from augment import Sample
from selftrain.data.folders import ClassDataset
from selftrain.parts import Prediction
from selftrain.tasks.base import Augmented, prepare, stack_images
from selftrain.tasks.classification.recipe import ClassificationRecipe
from selftrain.tasks.protocol import Batch, Loss, Metric

HEAD = "classes"
"""The name of the network's head"""
BEST = 5
"""How many of the best classes are kept of a prediction"""


class ClassObjective(Augmented):
    """Cross-entropy, divided by the number of pictures; labels are distributions over classes."""

    head = HEAD
    floor = 0.0
    """A batch is never without a label"""
    recipe: ClassificationRecipe

    def collate(self, views: list[tuple[Sample, ...]]) -> Batch:
        """A batch of B samples with one view each.

        `images` is a list of one (B, 3, S, S) uint8; `targets` (B, K) float32 are probabilities, of a human
        label 1 and 0.
        """
        samples = [view for (view,) in views]
        targets = torch.from_numpy(np.stack([sample.target for sample in samples]))
        return {"images": [stack_images(samples)], "targets": targets}

    def loss(self, maps: list[list[Tensor]], head: nn.Module, batch: Batch) -> Loss:
        """The loss of each image, (B,), and its count, which is 1, (B,)."""
        logits = head(maps[0], tuple(batch["images"][0].shape[2:]))
        loss = F.cross_entropy(
            logits, batch["targets"], reduction="none", label_smoothing=self.recipe.label_smoothing
        )
        return Loss(loss, torch.ones_like(loss, dtype=torch.long))


class ClassFinder:
    """Predicts classes of pictures, for scorer and labeller alike."""

    head = HEAD

    def __init__(self, recipe: ClassificationRecipe, fill: tuple[int, ...], class_names: tuple[str, ...]):
        """`fill`: RGB of the padding; `class_names`: in the order of the classes' indices."""
        self.recipe, self.fill, self.class_names = recipe, fill, class_names

    def prepare(self, samples: list[Sample]) -> Batch:
        """A batch of pictures that are resized to fit, without augmentation; see `tasks.base.prepare`."""
        return prepare(samples, self.recipe.image_size, self.fill)


class ClassScorer(ClassFinder):
    """Scores a classifier by the share of pictures whose class it names."""

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Top-1, with more than five classes top-5, and the mean of the classes' own accuracies."""
        classes = len(self.class_names)
        best = [Metric("top-5", chance=100 * BEST / classes)] if classes > BEST else []
        chance = 100 / classes
        return Metric("top-1", chance=chance), *best, Metric("macro accuracy", chance=chance)

    def assess(self, model: nn.Module, batch: Batch) -> list[Prediction]:
        """`best` (at most 5,) int64 of each picture: its most probable classes, the first one first."""
        best = model(batch["images"]).topk(min(BEST, len(self.class_names)), 1).indices
        return [{"best": classes} for classes in best.cpu().numpy()]

    def score(self, found: dict[int, Prediction], data: ClassDataset) -> dict[str, Any]:
        """All scores in percent; see `accuracies`.

        Raises AssertionError unless every picture of `data` is there.
        """
        assert len(found) == len(data), f"{len(found)} predictions for {len(data)} images"
        best = np.stack([found[i]["best"] for i in range(len(data))])
        return accuracies(best, data.classes, self.class_names)

    def resample(
        self, found: dict[int, Prediction], data: ClassDataset, weights: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Top-1, top-5 and macro accuracy in percent under each resample; see `resampled`."""
        best = np.stack([found[i]["best"] for i in range(len(data))])
        return resampled(best, data.classes, len(self.class_names), weights)


def accuracies(best: np.ndarray, truth: np.ndarray, class_names: tuple[str, ...]) -> dict[str, Any]:
    """Accuracies in percent, from the best classes (N, at most 5) of N pictures and their true ones (N,).

    `top-1` is the share of pictures whose class is named first, `top-5` (with more than five classes) among
    the first five; `macro accuracy` is the mean of the classes' own, which stand in `per_class`: None of a
    class without a picture.  `chance` is the top-1 of the best answer that is one class everywhere.
    """
    hit = best == truth[:, None]
    counts = np.bincount(truth, minlength=len(class_names))
    right = np.bincount(truth[hit[:, 0]], minlength=len(class_names))
    own = [100 * r / n if n else None for r, n in zip(right.tolist(), counts.tolist(), strict=True)]
    return {
        "top-1": 100 * float(hit[:, 0].mean()),
        **({"top-5": 100 * float(hit.any(1).mean())} if len(class_names) > BEST else {}),
        "macro accuracy": float(np.mean([value for value in own if value is not None])),
        "chance": 100 * float(counts.max() / counts.sum()),
        "per_class": dict(zip(class_names, own, strict=True)),
    }


def resampled(
    best: np.ndarray, truth: np.ndarray, classes: int, weights: np.ndarray
) -> dict[str, np.ndarray]:
    """Accuracies in percent under each of B resamples, (B,) float64 each, as `accuracies` defines them.

    `best` and `truth` are as there, `weights` (B, N) says how often a resample holds each picture.  A class without
    a picture in a resample is left out of that resample's macro accuracy.
    """
    hit, drawn = best == truth[:, None], weights.sum(1)
    counts, right = (
        np.stack([np.bincount(truth, row, minlength=classes) for row in rows])
        for rows in (weights, weights * hit[:, 0])
    )
    own = np.divide(right, counts, out=np.zeros_like(right), where=counts > 0)
    return {
        "top-1": 100 * (weights @ hit[:, 0]) / drawn,
        **({"top-5": 100 * (weights @ hit.any(1)) / drawn} if classes > BEST else {}),
        "macro accuracy": 100 * own.sum(1) / (counts > 0).sum(1),
    }
