"""A task is what the loop does not know: a model, a loss, a prediction, a score and pseudo-labels for one kind of label."""

from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from augment import Sample

Batch = dict[str, Any]


class Task(Protocol):
    metric: str  # the score that curves and tables are drawn from, e.g. "AP"
    columns: tuple[str, ...]  # metrics shown in tables, `metric` first
    raw_fields: tuple[str, ...]  # of the recipe: what a teacher's raw predictions depend on
    label_fields: tuple[str, ...]  # and what their selection depends on

    def model(self, mean: tuple[float, ...], std: tuple[float, ...]) -> nn.Module:
        """A network with fresh weights for inputs normalised by `mean`, `std`."""

    def normalised(self, mean: tuple[float, ...]) -> "Task":
        """The task for networks with that normalisation; before `policy` and `prepare`."""

    def policy(self):
        """sample, seed -> augmented sample of the training size."""

    def prepare(self, sample: Sample) -> tuple[Sample, float]:
        """Un-augmented input for prediction, and its scale against the photo."""

    def collate(self, samples: list[Sample]) -> Batch:
        """Tensors of equal shape, `images` (B, 3, H, W) uint8 among them."""

    def losses(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """((B,) loss sums with gradient, (B,) counts that normalise them: positive anchors or labelled pixels)."""

    def for_prediction(self, model: nn.Module, batch: Batch) -> nn.Module:
        """`model`, or a faster one of the same outputs, to predict many batches like this one with."""

    def assess(self, model: nn.Module, batch: Batch) -> list[Any]:
        """What the score needs of each image's prediction, small and on the CPU: boxes, a confusion matrix."""

    def score(self, assessed: dict[int, Any], dataset) -> dict[str, Any]:
        """Metrics of what `assess` gave by image index; every image of `dataset` exactly once."""

    def announce_labels(self, pool) -> str | None:
        """What a person should know before the pool is labelled, such as the disk it takes."""

    def label(self, model: nn.Module, batch: Batch, truth=None) -> list[Any]:
        """A teacher's raw prediction of each image, small and on the CPU, in the photo's own pixels; measured by `truth`, the pool's hidden
        labels, where only the whole prediction can be."""

    def write_part(self, path: Path, pool, predictions: dict[int, Any], seconds: float) -> None:
        """Store raw predictions of some pool images, their `indices` and the `seconds` they took, so that an interrupted labelling goes on."""

    def write_labels(self, path: Path, parts: list[Path], pool, human, info: dict) -> dict:
        """Raw predictions -> pseudo-label file; returns the report (kept images, boxes, precision, ...)."""

    def describe_labels(self, report: dict) -> str:
        """The report in a few lines, for a person to judge the teacher by."""

    def read_labels(self, path: Path, pool):
        """The pseudo-labelled data set a student trains on."""
