"""What every labelled data set is, whatever its labels: photos with names, ids, class names and a hash."""

import difflib
import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Self

import numpy as np

from augment.sample import Sample
from selftrain.data.image import read_image
from selftrain.system.errors import UserError


class Labelled(ABC):
    """N photos with labels. Subclasses are frozen dataclasses that have these fields and add their labels.

    Their arrays become read-only views: workers share their pages, and writing would change the data set for
    one of them only.
    """

    folder: Path
    """folder of the photos"""
    names: np.ndarray
    """(N,) bytes: utf-8 paths below folder"""
    image_ids: np.ndarray
    """(N,) int64, or str where photos are known by their names"""
    class_names: tuple[str, ...]
    """K names"""
    hash: str
    """16 hex digits, of the photos' ids and labels"""
    in_files: ClassVar[bool] = True
    """whether each photo is a file of its own; if not, a subclass reads it by `image`"""

    def __post_init__(self):
        for name, value in list(vars(self).items()):
            if isinstance(value, np.ndarray):
                view = value.view()
                view.setflags(write=False)
                object.__setattr__(self, name, view)

    def __len__(self) -> int:
        return len(self.image_ids)

    def path(self, i: int) -> Path:
        """Return the file of the photo at position i."""
        return self.folder / self.names[i].decode()

    def image(self, i: int) -> np.ndarray:
        """Return the photo at position i, (H, W, 3) uint8 RGB.  Raises UserError for a damaged file."""
        return read_image(self.path(i))

    def file_size(self, i: int) -> int:
        """Return the bytes of the photo at position i.  Raises OSError for a missing file."""
        return os.stat(self.path(i)).st_size

    @abstractmethod
    def sample(self, i: int) -> Sample:
        """Decode photo i and return it with its labels.

        Raises:
            UserError: a file is missing or damaged, or photo and labels are of different sizes.
        """

    @abstractmethod
    def take(self, positions: np.ndarray) -> Self:
        """Return the data set of the photos at these positions (n,) int, in the order given."""

    @property
    @abstractmethod
    def class_counts(self) -> np.ndarray:
        """(K,) int64: how much there is of each class, in boxes or pixels, as the labels are.

        It is 0 where a class cannot be learnt from these photos.
        """

    def of_classes(self, names: Sequence[str]) -> Self:
        """Return the same photos with the labels of these classes alone, in this data set's order of classes.

        A photo without any of them stays, as one that shows none.  All classes give this data set itself.

        Raises:
            UserError: a class does not exist, or the labels of this kind of data set cannot be told apart so.
        """
        raise UserError(f"--classes: not for the labels of {self.folder}; leave it out.")

    def subset(self, image_ids: Sequence | np.ndarray) -> Self:
        """Return the data set of the images with these ids, in this data set's order.

        Raises:
            UserError: an id is not in this data set, or none is given.
        """
        try:
            wanted = np.unique(np.asarray(image_ids, str if self.image_ids.dtype.kind == "U" else np.int64))
        except (ValueError, OverflowError):
            raise UserError(
                f"{self.folder}: the ids wanted are not of the kind of this data set's "
                f"(such as {self.image_ids[0]}). "
                "The list of ids was made for other data; make it anew for this data set."
            ) from None
        unknown = wanted[~np.isin(wanted, self.image_ids)]
        if len(unknown):
            raise UserError(
                f"{self.folder}: the data set has no image with id {unknown[0]} "
                f"({len(unknown)} of {len(wanted)} ids are unknown). "
                "The list of ids was made for other data; make it anew for this data set."
            )
        if not len(wanted):
            raise UserError(f"{self.folder}: a subset without any image. Give at least one image id.")
        if len(wanted) == len(self):
            return self
        return self.take(np.flatnonzero(np.isin(self.image_ids, wanted)))

    def hash_of(self, positions: np.ndarray) -> str:
        """Return the hash of what `take` gives for these positions, made of this hash and the chosen ids."""
        made_from = self.hash.encode() + id_bytes(self.image_ids[positions])
        return hashlib.blake2b(made_from, digest_size=8).hexdigest()


def id_bytes(image_ids: np.ndarray) -> bytes:
    """Return image ids (n,), int or str, as the bytes that hashes are made of: the same on every machine."""
    if image_ids.dtype.kind == "U":
        return "\n".join(image_ids.tolist()).encode()
    return image_ids.astype("<i8").tobytes()


def chosen_classes(names: Sequence[str], known: tuple[str, ...], where: Path) -> list[int]:
    """Return the indices in `known` of the classes called `names`, ascending; `where` is for a message.

    Raises:
        UserError: `known` has no class of such a name; the message has the nearest one.
    """
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0)[0]
            raise UserError(
                f"--classes {name}: the labels of {where} have no such class; nearest: {near} "
                f"(there are {', '.join(known)})."
            )
    return [index for index, name in enumerate(known) if name in names]


def hash_of_classes(hash: str, names: Sequence[str]) -> str:
    """Return the hash of the labels of some classes, made of the hash of all labels and these names."""
    return hashlib.blake2b(repr((hash, list(names))).encode(), digest_size=8).hexdigest()


def class_difference(path: Path, present: tuple[str, ...], wanted: tuple[str, ...]) -> str:
    """Return the message for labels at `path` whose class names are not those wanted."""
    missing, extra = [c for c in wanted if c not in present], [c for c in present if c not in wanted]
    if missing or extra:
        detail = f"missing: {', '.join(missing) or 'none'}; not expected: {', '.join(extra) or 'none'}"
    else:
        at = next(i for i, (a, b) in enumerate(zip(present, wanted, strict=True)) if a != b)
        detail = f"same names in another order: class {at} is {present[at]!r}, expected {wanted[at]!r}"
    return (
        f"{path}: its {len(present)} classes are not the {len(wanted)} expected ones ({detail}). "
        "Use labels with the same categories."
    )
