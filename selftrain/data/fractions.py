"""Which images count as labelled, where only a fraction of the labels is used.

The lists of a seed are nested by construction: a smaller fraction is part of every larger one. They are
published as files of image ids with a hash.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from selftrain.data.dataset import Labelled, id_bytes
from selftrain.data.image import read_bytes
from selftrain.system.errors import UserError
from selftrain.system.files import write_atomic
from selftrain.system.seeds import derive


@dataclass(frozen=True, eq=False)
class Fraction:
    """A list of labelled images as it stands in its file."""

    ids: np.ndarray
    """(n,) int64 or str image ids, ascending"""
    fraction: float
    """share of the data set's images, above 0 and at most 1"""
    seed: int
    """which of the lists of this fraction it is"""
    dataset_hash: str
    """hash of the data set that the images are from"""
    hash: str
    """16 hex digits, of all of the above"""


def fraction_ids(dataset: Labelled, fraction: float, seed: int) -> np.ndarray:
    """Choose round(fraction x N) images and return their ids (n,), ascending and of the data set's type.

    Every image has one place in line per seed, drawn from (seed, image id) alone: a smaller fraction is part
    of every larger one, and the order of the file does not matter. N counts the images without annotation
    too, as they belong to the data set.

    Raises:
        UserError: the fraction is not in (0, 1], or so small that no image is left.
    """
    if not 0 < fraction <= 1:
        raise UserError(f"--fraction {fraction}: a fraction is above 0 and at most 1 (10 % is 0.1).")
    count = round(fraction * len(dataset))
    if count == 0:
        raise UserError(
            f"--fraction {fraction}: no image is left of the {len(dataset)} in {dataset.folder}. "
            "Use a larger fraction."
        )
    places = np.array([derive("fraction", seed, i) for i in dataset.image_ids.tolist()], np.int64)
    order = np.lexsort((dataset.image_ids, places))
    return np.sort(dataset.image_ids[order[:count]])


def missing_classes(dataset: Labelled, ids: np.ndarray) -> list[str]:
    """Return the names of the classes that cannot be learnt from the images with these ids.

    Of such a class they have no box (crowds not counted), or no pixel.
    """
    counts = dataset.subset(ids).class_counts
    return [name for name, count in zip(dataset.class_names, counts, strict=True) if count == 0]


def write_fraction(
    path: str | Path, ids: np.ndarray, dataset_hash: str, fraction: float, seed: int
) -> Fraction:
    """Write the list of ids with what it was made from and a hash over all of it, and return it."""
    ids = np.asarray(ids)
    ids = np.unique(ids if ids.dtype.kind == "U" else ids.astype(np.int64))
    digest = _hash(ids, dataset_hash, fraction, seed)
    content = {
        "fraction": fraction,
        "seed": seed,
        "dataset": dataset_hash,
        "count": len(ids),
        "hash": digest,
        "image_ids": ids.tolist(),
    }
    write_atomic(path, lambda file: file.write(json.dumps(content).encode()))
    return Fraction(ids, fraction, seed, dataset_hash, digest)


def read_fraction(path: str | Path) -> Fraction:
    """Read a list that `write_fraction` wrote.

    Raises:
        UserError: the file is missing, not such a list, or was edited.
    """
    data = read_bytes(path)
    try:
        content = json.loads(data)
        image_ids = content["image_ids"]
        if not isinstance(image_ids, list):
            raise TypeError("image_ids is no list")
        are_names = bool(image_ids) and all(isinstance(image_id, str) for image_id in image_ids)
        ids = np.array(image_ids, str if are_names else np.int64)
        result = Fraction(
            ids,
            float(content["fraction"]),
            int(content["seed"]),
            str(content["dataset"]),
            str(content["hash"]),
        )
        count = content["count"]
    except (ValueError, KeyError, TypeError, OverflowError) as err:
        raise UserError(
            f"{path}: not a list of labelled images ({err!r}). Write it anew, or restore the original."
        ) from None
    if count != len(ids) or result.hash != _hash(ids, result.dataset_hash, result.fraction, result.seed):
        raise UserError(
            f"{path}: the list was edited: its hash does not fit its {len(ids)} ids. "
            "Restore the original, or write a new list."
        )
    return result


def _hash(ids: np.ndarray, dataset_hash: str, fraction: float, seed: int) -> str:
    made_from = repr((dataset_hash, float(fraction), int(seed))).encode()
    return hashlib.blake2b(made_from + id_bytes(ids), digest_size=8).hexdigest()
