"""A task is a bundle of small things that the loop does not know: objectives, a scorer, a labeller, trunk and
heads.

An objective says what one feed asks of the network in training; a scorer measures a network on a labelled
set; a labeller turns a teacher's predictions into labels for a student.  The loop sees maps, heads and
losses, and never asks what a label is.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
from torch import Tensor, nn

from selftrain.parts import Prediction

Batch = dict[str, Any]
"""What a collate function makes: tensors, lists of anything, and `images`"""
S = TypeVar("S")


class Loss(NamedTuple):
    """What an objective says of a batch: sums with gradient, and the counts that divide them."""

    sum: Tensor
    """(B,), or () where the samples of a batch cannot be told apart"""
    count: Tensor
    """of the same shape: positive anchors, labelled pixels, samples ..."""


class Objective(Protocol[S]):
    """What one feed asks of the network.

    Feeds of one objective share one call of its head, and so its batch norm's statistics.
    """

    head: str
    """name of the network's head that it trains"""
    floor: float
    """is added to the count of the whole batch before it divides; the official RetinaNet adds 1, so that it
    is never zero
    """
    whole_batch: bool
    """whether a sample's loss depends on the others: gradient accumulation would compute something else, and
    is refused
    """

    def views(self, sample: S, seed: int) -> tuple[S, ...]:
        """What the network gets to see of a sample, a pure function of sample and seed: one view, or the
        several of a contrast.
        """

    def collate(self, views: list[tuple[S, ...]]) -> Batch:
        """B samples with their V views each -> a batch; `images` is a list of V tensors (B, 3, H_v, W_v)
        uint8.
        """

    def loss(self, maps: list[list[Tensor]], head: nn.Module, batch: Batch) -> Loss:
        """The loss of B samples from the trunk's maps of each view:

        `maps[v][l]` is (B, C_l, H_l, W_l), finest level first.
        """


class Metric(NamedTuple):
    """One of a scorer's numbers."""

    name: str
    higher_is_better: bool = True
    """tables, verdict and figures take it for granted today"""
    chance: float = 0.0
    """what a network that has learned nothing scores"""


class Scorer(Protocol[S]):
    """How good a network is on a labelled set."""

    head: str
    metrics: tuple[Metric, ...]
    """what tables show, the main one first"""

    def prepare(self, samples: list[S]) -> Batch:
        """Samples as they are -> a batch without augmentation; `images` is (B, 3, H, W) uint8."""

    def assess(self, model: nn.Module, batch: Batch) -> list[Prediction]:
        """What the score needs of each image, from `model(images)`: the output of trunk and head."""

    def score(self, found: dict[int, Prediction], data: Any) -> dict[str, Any]:
        """Metrics of what `assess` gave, by image index; every image of `data` is there exactly once."""

    def resample(
        self, found: dict[int, Prediction], data: Any, weights: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Each of `metrics` on B sets at once, (B,) float64: set b holds image i `weights[b, i]` times.

        `weights` is (B, n) of whole numbers from 0, `found` as in `score`.  It is what `score` would give of each
        such set, and NaN where that set has no such score.
        """


class Labeller(Protocol[S]):
    """How a teacher labels a pool.

    Raw predictions are kept: a change of `label_fields` needs no second pass over the pool.
    """

    head: str
    raw_fields: tuple[str, ...]
    """of the recipe: what raw predictions depend on"""
    label_fields: tuple[str, ...]
    """and what their selection depends on"""
    suffix: str
    """of a label file's name: .json, .csv"""

    def prepare(self, samples: list[S]) -> Batch:
        """As a scorer's."""

    def predict(self, model: nn.Module, batch: Batch, truth: Any = None) -> list[Prediction]:
        """A teacher's raw prediction of each image; measured by `truth`, the pool's hidden labels, where only
        the whole prediction can be.
        """

    def keep(self, folder: Path, pool: Any, predictions: dict[int, Prediction]) -> dict[int, Prediction]:
        """Write what a student reads file by file below `folder`, and return what is left to store."""

    def select(self, path: Path, parts: Any, pool: Any, human: Any, info: dict[str, Any]) -> dict[str, Any]:
        """Raw predictions (a `Parts` store) -> the label file at `path`, with `info` in it where its format
        can hold that; returns the report (kept images, precision, ...), which is written beside it.
        """

    def read(self, path: Path, pool: Any) -> Any:
        """The pseudo-labelled data set that a student trains on."""

    def announce(self, pool: Any) -> str | None:
        """What a person should know before the pool is labelled, such as the disk it takes."""

    def describe(self, report: dict[str, Any]) -> str:
        """The report in a few lines, for a person to judge the teacher by."""


class Trunk(Protocol):
    """Images to maps: a timm network, or one that brings its own pyramid.  It knows its normalisation."""

    levels: tuple[int, ...]
    """of the maps, finest first: a map of level l has the stride 2**l"""
    channels: list[int]
    """of the maps"""

    def __call__(self, images: Tensor) -> list[Tensor]:
        """RGB (B, 3, H, W), uint8 or float in 0..255 -> maps (B, C_l, H_l, W_l), finest first."""


class Task(Protocol):
    """One kind of label: what it trains, how it is scored, how a teacher labels.

    A program makes it as `task(recipe, class_names)`.
    """

    objectives: dict[str, Objective]
    """by name; the first is the supervised one"""
    scorer: Scorer
    labeller: Labeller
    strategies: dict[str, Callable]
    """by name: (parts, pool, count, seed) -> positions of the images whose labels are bought"""

    def trunk(self, mean: tuple[float, ...], std: tuple[float, ...]) -> nn.Module:
        """A trunk with fresh weights for pixels normalised by `mean` and `std` (of pixels in 0..1)."""

    def head(self, name: str, trunk: Any) -> nn.Module:
        """A head with fresh weights:

        `head(maps, (H, W))`, maps of `trunk` for images of H x W pixels -> what losses and predictions need.
        """

    def normalised(self, mean: tuple[float, ...], recipe: Any = None) -> "Task":
        """The task for networks with that normalisation: what a picture is padded with becomes zero."""
