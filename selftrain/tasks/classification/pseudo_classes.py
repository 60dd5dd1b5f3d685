"""From a teacher's probabilities to the labels of a student: which pictures, in a csv, and how good they are.

Hard labels (Zoph et al. 2020) are the best class where its probability reaches the threshold.  Soft ones
(Xie et al. 2020) are the probabilities of all classes; there pictures whose best class has less than 0.3 are
left out, and each class gets as many pictures: its surest, or all it has more than once.

Shapes: N pictures of a pool, M of them labelled (some more than once), K classes.
"""

import csv
import dataclasses
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from augment import Sample
from selftrain.data.dataset import class_difference
from selftrain.data.folders import one_hot
from selftrain.data.pool import Pool
from selftrain.system.errors import UserError
from selftrain.system.files import write_atomic

FLOOR = 0.3
"""The least probability of a soft label with `auto` (Xie et al. 2020)"""
THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
"""Probabilities at which a teacher's labels are measured"""
COLUMNS = ("file", "class", "score")
_CURE = "delete it, and it is written again"


# ---- which pictures -------------------------------------------------------------------------------------


def auto_floor(classes: int, soft: bool) -> float:
    """The least probability of a label with `auto`: 0.3, of hard labels of many classes twice chance."""
    return FLOOR if soft else min(FLOOR, 2 / classes)


def as_many_of_each(scores: np.ndarray, labels: np.ndarray, each: int, least: float) -> np.ndarray:
    """Positions of `each` pictures of each class: its most probable ones, none below `least`.

    A class that has fewer has them more than once, the surest most often (Xie et al. 2020); one that has none
    stays without.  `scores`, `labels` (N,): the probability of the best class of each picture, and that
    class; of equal ones the first are kept.  Positions are ascending.
    """
    kept = []
    for k in range(int(labels.max(initial=0)) + 1):
        own = np.flatnonzero((labels == k) & (scores >= least))
        kept.append(np.resize(own[np.argsort(-scores[own], kind="stable")], each if len(own) else 0))
    return np.sort(np.concatenate(kept))


# ---- the label file -------------------------------------------------------------------------------------


def write_labels(
    path: Path, pool: Pool, kept: np.ndarray, chances: np.ndarray, class_names: tuple[str, ...], soft: bool
) -> None:
    """Write the labels of the pictures at `kept` (M,), from the probabilities (N, K) of the whole pool.

    The csv has the columns file, class and score; with soft labels one more for each class.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*COLUMNS, *(class_names if soft else ())])
    for i in kept.tolist():
        best = int(chances[i].argmax())
        row = [pool.names[i].decode(), class_names[best], f"{chances[i, best]:.6f}"]
        writer.writerow([*row, *(f"{share:.6f}" for share in chances[i])] if soft else row)
    write_atomic(path, lambda file: file.write(text.getvalue().encode()))


@dataclass(frozen=True, eq=False)
class PseudoPictures:
    """Pictures of a pool with a teacher's labels."""

    pool: Pool
    positions: np.ndarray
    """(M,) int64 in the pool; a picture may be there more than once"""
    classes: np.ndarray
    """(M,) int64"""
    class_names: tuple[str, ...]
    shares: np.ndarray | None
    """(M, K) float32, the probabilities of soft labels"""

    def __len__(self) -> int:
        return len(self.positions)

    def path(self, i: int) -> Path:
        """The file of picture i."""
        return self.pool.path(self.positions[i])

    def sample(self, i: int) -> Sample:
        """Picture i with its label as a distribution (K,) float32.  Raises UserError for a damaged file."""
        hard = self.shares is None
        target = one_hot(self.classes[i], len(self.class_names)) if hard else self.shares[i]
        return dataclasses.replace(self.pool.sample(int(self.positions[i])), target=target)


def read_labels(path: Path, pool: Pool, class_names: tuple[str, ...]) -> PseudoPictures:
    """The labelled pictures that a label file lists.

    Raises UserError where it is of other classes or another pool, or is no such file.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            head, *rows = csv.reader(file)
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{path}: not a csv of pseudo-labels ({error}); {_CURE}") from None
    if tuple(head[:3]) != COLUMNS or not rows or any(len(row) != len(head) for row in rows):
        raise UserError(f"{path}: not a csv of pseudo-labels (columns {', '.join(head[:4])}); {_CURE}")
    if head[3:] and tuple(head[3:]) != class_names:
        raise UserError(class_difference(path, tuple(head[3:]), class_names))
    numbers = {name: k for k, name in enumerate(class_names)}
    places = {name.decode(): i for i, name in enumerate(pool.names.tolist())}
    for name, label, *_ in rows:
        if label not in numbers:
            raise UserError(
                f"{path}: the class {label!r} of {name} is not one of this run, {', '.join(class_names)}; "
                "label the pool with a teacher of this data"
            )
        if name not in places:
            raise UserError(f"{path}: {name} is not in the pool {pool.folder}; {_CURE}")
    try:
        shares = np.array([row[3:] for row in rows], np.float32) if head[3:] else None
    except ValueError as error:
        raise UserError(f"{path}: not a csv of pseudo-labels ({error}); {_CURE}") from None
    return PseudoPictures(
        pool,
        np.array([places[row[0]] for row in rows], np.int64),
        np.array([numbers[row[1]] for row in rows], np.int64),
        class_names,
        None if shares is None else shares / shares.sum(1, keepdims=True),
    )


# ---- how good they are ----------------------------------------------------------------------------------


def by_threshold(scores: np.ndarray, right: np.ndarray) -> list[dict[str, float]]:
    """Precision and recall of labels at each of THRESHOLDS, by which of them (N,) are right."""
    rows = []
    for threshold in THRESHOLDS:
        kept = scores >= threshold
        precision = float(right[kept].mean()) if kept.any() else 0.0
        rows.append({"threshold": threshold, "precision": precision, "recall": float((right & kept).mean())})
    return rows
