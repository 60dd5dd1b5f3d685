"""Pictures with one class each, as flat arrays."""

import dataclasses
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from augment.sample import Sample
from selftrain.data.dataset import Labelled, id_bytes
from selftrain.system.errors import UserError
from selftrain.system.seeds import derive

HELD_OUT = 0.1
"""share of the training pictures of each class that is val where there is no val part"""


def one_hot(label: int, classes: int) -> np.ndarray:
    """The distribution (K,) float32 that is all on one class."""
    target = np.zeros(classes, np.float32)
    target[label] = 1
    return target


@dataclass(frozen=True, eq=False)
class ClassDataset(Labelled):
    """N pictures, each of one of K classes."""

    folder: Path
    """folder of the pictures"""
    names: np.ndarray
    """(N,) bytes: utf-8 paths below folder"""
    image_ids: np.ndarray
    """(N,) str: the same paths; or int64 where pictures are known by their number"""
    classes: np.ndarray
    """(N,) int64 in 0..K-1"""
    class_names: tuple[str, ...]
    """K names"""
    hash: str = ""
    """16 hex digits: of names, sizes and classes of the pictures, or of the parent's hash and the chosen ids
    """

    def sample(self, i: int) -> Sample:
        """Decode picture i; its target is its class as a distribution (K,) float32.

        Raises UserError for a file that is missing or damaged.
        """
        sample = Sample.unlabelled(self.image(i))
        return dataclasses.replace(sample, target=one_hot(self.classes[i], len(self.class_names)))

    def take(self, positions: np.ndarray) -> "ClassDataset":
        """The data set of the pictures at these positions (n,) int, in the order given."""
        positions = np.asarray(positions, np.int64)
        arrays = {
            name: value[positions]
            for name, value in vars(self).items()
            if name in ("names", "image_ids", "classes", "rows")
        }
        return dataclasses.replace(self, **arrays, hash=self.hash_of(positions))

    @property
    def class_counts(self) -> np.ndarray:
        """(K,) int64: pictures of each class."""
        return np.bincount(self.classes, minlength=len(self.class_names))


def from_files(
    folder: Path, files: Iterable[tuple[str, str, int]], class_names: tuple[str, ...]
) -> ClassDataset:
    """The data set of files below `folder`: path, class and bytes of each.

    Raises UserError for a name that is not UTF-8, since label files could not hold it.
    """
    files = sorted(files)
    names = [name for name, _, _ in files]
    try:
        encoded = [name.encode() for name in names]
    except UnicodeEncodeError as error:
        raise UserError(
            f"{folder}: the file name {error.object!r} is not UTF-8, as from an old archive. Rename the file."
        ) from None
    digest = hashlib.blake2b("\n".join(class_names).encode(), digest_size=8)
    for name, label, size in files:
        digest.update(f"\0{name}\0{label}\0{size}".encode())
    numbers = {name: k for k, name in enumerate(class_names)}
    return ClassDataset(
        folder=folder,
        names=np.array(encoded, bytes),
        image_ids=np.array(names, str),
        classes=np.array([numbers[label] for _, label, _ in files], np.int64),
        class_names=class_names,
        hash=digest.hexdigest(),
    )


def hold_out(dataset: ClassDataset) -> tuple[ClassDataset, ClassDataset]:
    """(train, val) of a data set without a val part: `HELD_OUT` of each class is val, at least one picture.

    Which pictures those are depends on their ids alone, not on a run's seed: every seed has one val part.
    Raises UserError where a class has a single picture.
    """
    places = np.array([derive("val", i) for i in dataset.image_ids.tolist()], np.int64)
    val = np.zeros(len(dataset), bool)
    for k, count in enumerate(dataset.class_counts.tolist()):
        if count == 1:
            raise UserError(
                f"{dataset.folder}: there is no val part, and class {dataset.class_names[k]} has one "
                "picture, "
                "which cannot be both trained on and scored. Add a val part, or more pictures of the class"
            )
        own = np.flatnonzero(dataset.classes == k)
        val[own[places[own].argsort()[: max(1, round(HELD_OUT * count))]]] = count > 0
    return dataset.take(np.flatnonzero(~val)), dataset.take(np.flatnonzero(val))


def arrays_hash(ids: np.ndarray, *arrays: np.ndarray, class_names: tuple[str, ...]) -> str:
    """16 hex digits of ids, arrays and class names."""
    digest = hashlib.blake2b("\n".join(class_names).encode() + id_bytes(ids), digest_size=8)
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
