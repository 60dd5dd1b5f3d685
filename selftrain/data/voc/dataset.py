"""Photos with masks: a data set, read from one list of a folder in PASCAL VOC's layout."""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from augment.sample import Sample
from selftrain.data.dataset import Labelled, chosen_classes, class_difference, hash_of_classes
from selftrain.data.image import read_bytes, read_image
from selftrain.data.voc.layout import class_names, find_voc, list_file, mask_files, photo_files, read_list
from selftrain.data.voc.masks import IGNORED, MASK_CURE, mask_size_fault, read_mask
from selftrain.system.errors import UserError

BACKGROUND = "background"
"""name of the class of whatever is of no other class"""


@dataclass(frozen=True, eq=False)
class VocDataset(Labelled):
    """N photos, each with a class map of its own size."""

    folder: Path
    """folder of the photos"""
    mask_folder: Path
    """folder of the masks, or of the folders that hold them"""
    names: np.ndarray
    """(N,) bytes: utf-8 paths below folder"""
    mask_names: np.ndarray
    """(N,) bytes: utf-8 paths below mask_folder"""
    image_ids: np.ndarray
    """(N,) str: the stems"""
    class_names: tuple[str, ...]
    """K names by index, at most 255"""
    hash: str = ""
    """16 hex digits: of class names, stems and the masks' bytes, or of the parent's hash and the chosen
    stems or classes"""
    indices: np.ndarray | None = None
    """(k,) uint8: what each of the k indices in the mask files means here, a class or 255; None: itself"""

    def mask_path(self, i: int) -> Path:
        """Return the mask file at position i."""
        return self.mask_folder / self.mask_names[i].decode()

    def mask(self, i: int) -> np.ndarray:
        """Return the class map (H, W) uint8 at position i, 255 = ignored; errors are those of `read_mask`."""
        if self.indices is None:
            return read_mask(self.mask_path(i), len(self.class_names))
        meaning = np.full(256, IGNORED, np.uint8)
        meaning[: len(self.indices)] = self.indices
        return meaning[read_mask(self.mask_path(i), len(self.indices))]

    def sample(self, i: int) -> Sample:
        """Decode photo i and return it with its mask and without boxes.

        Raises:
            UserError: a file is missing, damaged or not what it should be, or photo and mask are of different
                sizes.
        """
        image, mask = read_image(self.path(i)), self.mask(i)
        if image.shape[:2] != mask.shape:
            fault = mask_size_fault(image.shape[1::-1], self.mask_path(i), mask.shape[::-1])
            raise UserError(f"{self.path(i)}: {fault}")
        return replace(Sample.unlabelled(image), mask=mask)

    def take(self, positions: np.ndarray) -> "VocDataset":
        """Return the data set of the photos at these positions (n,) int, in the order given."""
        positions = np.asarray(positions, np.int64)
        columns = {name: getattr(self, name)[positions] for name in ("names", "mask_names", "image_ids")}
        return replace(self, **columns, hash=self.hash_of(positions))

    def of_classes(self, names: Sequence[str]) -> "VocDataset":
        """Return the data set with the pixels of these classes alone; see `Labelled`.

        Pixels of the others become background where the data set has a class of that name, which always
        stays; else they are ignored, as nothing is known to be there.

        Raises:
            UserError: a class does not exist, or fewer than two classes would be left to tell apart.
        """
        background = [name for name in self.class_names if name.lower() == BACKGROUND]
        chosen = chosen_classes([*names, *background], self.class_names, self.folder.parent)
        if len(chosen) == len(self.class_names):
            return self
        if len(chosen) < 2:
            cure = "name one besides it" if background else f"the set has no class {BACKGROUND}; name two"
            raise UserError(f"--classes {' '.join(names)}: one class cannot be told from another: {cure}.")
        kept = tuple(self.class_names[index] for index in chosen)
        indices = np.full(
            len(self.class_names), kept.index(background[0]) if background else IGNORED, np.uint8
        )
        indices[chosen] = np.arange(len(chosen))
        if self.indices is not None:
            indices = np.array([IGNORED if i == IGNORED else indices[i] for i in self.indices], np.uint8)
        return replace(self, class_names=kept, indices=indices, hash=hash_of_classes(self.hash, kept))

    @property
    def class_counts(self) -> np.ndarray:
        """(K,) int64: pixels of each class; every mask is read."""
        return class_pixels(self)


def class_pixels(dataset: VocDataset) -> np.ndarray:
    """Return (K,) int64 pixels of each class, those ignored not counted.

    It reads every mask, with one thread a core: Pillow decodes beside Python.
    """
    classes = len(dataset.class_names)

    def _count(i: int) -> np.ndarray:
        return np.bincount(dataset.mask(i).ravel(), minlength=256)[:classes]

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        return sum(threads.map(_count, range(len(dataset))), np.zeros(classes, np.int64))


def read_voc(root: str | Path, list_name: str, *, classes: tuple[str, ...] | None = None) -> VocDataset:
    """Read one of LISTS. It reads every mask's bytes for the hash, but decodes nothing.

    Masks come from SegmentationClass; those of train_aug from SegmentationClassAug where it has the stem.

    Args:
        root: as for `find_voc`.
        list_name: "train", "val", "test", "train_aug" (its file may be trainaug.txt), or "unlabeled".
        classes: the class names wanted, in order (labels of other classes or another order would train the
            wrong thing).

    Raises:
        UserError: the folder, list or classes.txt is missing or broken, the list has no stem, has one twice,
            or one without photo or mask, or the classes are not `classes`.
    """
    root = find_voc(root)
    names = class_names(root)
    if classes is not None and names != tuple(classes):
        raise UserError(class_difference(root, names, tuple(classes)))
    path = list_file(root, list_name)
    if path is None:
        there = sorted(entry.name for entry in (root / "ImageSets" / "Segmentation").glob("*.txt"))
        cure = f"Write the stems of its photos there. There is: {', '.join(there) or 'none'}."
        raise UserError(f"{root}: no ImageSets/Segmentation/{list_name}.txt. {cure}")
    stems = _distinct_stems(path)
    photos, masks = photo_files(root), mask_files(root, list_name)
    for files, what, folder in ((photos, "photo", "JPEGImages"), (masks, "mask", "SegmentationClass")):
        missing = [stem for stem in stems if stem not in files]
        if missing:
            raise UserError(
                f"{root / folder}: has no {what} of {missing[0]}, which {path} lists "
                f"({len(missing)} of its {len(stems)} have none). "
                f"Put the {what}s there, or take the stems out of the list."
            )
    digest = hashlib.blake2b(repr(names).encode(), digest_size=8)
    for stem, labels in zip(stems, _file_digests([root / masks[stem] for stem in stems]), strict=True):
        # Other photos under the same masks are another data set.
        size = (root / "JPEGImages" / photos[stem]).stat().st_size
        digest.update(f"\n{stem} {size}\n".encode() + labels)
    return VocDataset(
        folder=root / "JPEGImages",
        mask_folder=root,
        names=np.array([photos[stem].encode() for stem in stems]),
        mask_names=np.array([masks[stem].encode() for stem in stems]),
        image_ids=np.array(stems),
        class_names=names,
        hash=digest.hexdigest(),
    )


def has_labels(root: str | Path, list_name: str) -> bool:
    """Say whether the list exists and one of its photos has a mask: PASCAL publishes none for its test part.

    Raises:
        UserError: the folder or the list is broken.
    """
    root = find_voc(root)
    path = list_file(root, list_name)
    return path is not None and not mask_files(root, list_name).keys().isdisjoint(read_list(path))


def import_ids(path: str | Path, dataset: VocDataset) -> np.ndarray:
    """Return the stems (n,) str, ascending, of a list of labelled photos in one of the forms of `read_list`.

    Such are the 1/2 to 1/16 lists that papers on semi-supervised segmentation (PseudoSeg, CPS, ST++, U2PL)
    publish.

    Raises:
        UserError: the list is missing, empty, names a stem twice, or one that is not in `dataset`.
    """
    stems = np.sort(_distinct_stems(path))
    unknown = stems[~np.isin(stems, dataset.image_ids)]
    if len(unknown):
        raise UserError(
            f"{path}: lists {unknown[0]}, which is not among the {len(dataset)} images of {dataset.folder} "
            f"to choose from ({len(unknown)} of {len(stems)} are not). "
            "A list drawn from the coarse labels (SegmentationClassAug) needs --protocol train_aug; "
            "any other, its own data."
        )
    return stems


def _distinct_stems(path: str | Path) -> list[str]:
    """Return the stems of a list, which must be at least one and each there once."""
    stems = read_list(path)
    if not stems:
        raise UserError(f"{path}: lists no image. Write one stem a line, such as 2007_000032.")
    values, counts = np.unique(stems, return_counts=True)
    twice = values[counts > 1]
    if len(twice):
        raise UserError(
            f"{path}: lists {twice[0]} more than once ({len(twice)} stems are). Remove the repeated lines."
        )
    return stems


def _file_digests(paths: list[Path]) -> list[bytes]:
    """Return blake2b of each file.

    Several threads read: a disk or a network drive serves many small files at once far faster than in turn.
    """

    def _digest(path: Path) -> bytes:
        return hashlib.blake2b(read_bytes(path, MASK_CURE), digest_size=16).digest()

    with ThreadPoolExecutor(8) as threads:
        return list(threads.map(_digest, paths))
