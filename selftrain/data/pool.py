"""The pool: images whose labels training never sees."""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from augment.sample import Sample
from selftrain.data.dataset import Labelled
from selftrain.data.image import read_image
from selftrain.system.errors import UserError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
"""the endings of a picture's file name, in lower case"""


@dataclass(frozen=True, eq=False)
class Pool:
    """N unlabelled images."""

    folder: Path
    """the common parent of the images"""
    names: np.ndarray
    """(N,) bytes: utf-8 paths below folder"""
    sizes: np.ndarray
    """(N,) int64: bytes of each file"""
    hash: str
    """16 hex digits, of the names and file sizes"""
    hidden: Labelled | None = None
    """the same images in the same order with labels, only to measure pseudo-labels by"""
    image: Callable[[int], np.ndarray] | None = None
    """reads the image (H, W, 3) uint8 at a position, where it is no file of its own"""

    def __len__(self) -> int:
        return len(self.names)

    def path(self, i: int) -> Path:
        """Return the image file at position i."""
        return self.folder / self.names[i].decode()

    def sample(self, i: int) -> Sample:
        """Decode image i, without labels; a file that is missing or damaged is a UserError."""
        return Sample.unlabelled(read_image(self.path(i)) if self.image is None else self.image(i))


def read_pool(folders: Sequence[str | Path]) -> Pool:
    """Make a pool of all pictures below these folders, each real file once, sorted by path.

    Raises:
        UserError: a folder is missing or cannot be read, there is no picture, or a name is not UTF-8.
    """
    roots = [Path(os.path.abspath(folder)) for folder in folders]
    if not roots:
        raise UserError("a pool needs at least one folder of pictures; name one with --unlabeled.")
    common = Path(os.path.commonpath(roots))
    by_real_path: dict[str, tuple[str, int]] = {}
    for root in roots:
        prefix = root.relative_to(common).as_posix()
        for name, real, size in list_images(root):
            by_real_path.setdefault(real, (name if prefix == "." else f"{prefix}/{name}", size))
    if not by_real_path:
        raise UserError(
            f"{', '.join(map(str, roots))}: no picture in the pool. "
            f"Give a folder with files ending in {' '.join(IMAGE_SUFFIXES)}."
        )
    images = sorted((_encoded(name, common), size) for name, size in by_real_path.values())
    return _pool(common, [name for name, _ in images], [size for _, size in images])


def _encoded(name: str, folder: Path) -> bytes:
    """Return the name in UTF-8, or raise a UserError: label files, which are json, could not hold another."""
    try:
        return name.encode()
    except UnicodeEncodeError:
        raise UserError(
            f"{folder}: the file name {os.fsencode(name)!r} is not UTF-8, as from an old archive. "
            "Rename the file."
        ) from None


def rest_pool(dataset: Labelled, image_ids_used: np.ndarray) -> Pool:
    """Make a pool of the images of `dataset` that are not used as labelled ones; their labels are `hidden`.

    Raises:
        UserError: no image is left, or a file is missing.
    """
    positions = np.flatnonzero(~np.isin(dataset.image_ids, image_ids_used))
    if not len(positions):
        raise UserError(
            f"{dataset.folder}: every image is used with its label, none is left for the pool. "
            "Use a fraction below 1, or name a folder of pictures with --unlabeled."
        )
    return listed_pool(dataset.take(positions))


def listed_pool(dataset: Labelled) -> Pool:
    """Make a pool of every image of `dataset`, in its order; their labels are `hidden`.

    Raises:
        UserError: a file is missing.
    """
    sizes = []
    for i in range(len(dataset)):
        try:
            sizes.append(dataset.file_size(i))
        except OSError:
            raise UserError(
                f"{dataset.path(i)}: no such file. Download it again, or correct the folder of the images."
            ) from None
    pool = _pool(dataset.folder, dataset.names.tolist(), sizes, dataset)
    return pool if dataset.in_files else replace(pool, image=dataset.image)


def list_images(root: str | Path) -> list[tuple[str, str, int]]:
    """List all pictures below `root`, known by their suffix, sorted by path.

    Each is a tuple of its path below root with forward slashes, its real path, and its size in bytes. Hidden
    files and folders (a leading dot) are skipped; linked folders are followed, each real folder once.

    Raises:
        UserError: a folder is missing or cannot be read.
    """
    pictures, visited, todo = [], set(), [("", str(root))]
    while todo:
        prefix, folder = todo.pop()
        real = os.path.realpath(folder)
        if real in visited:
            continue
        visited.add(real)
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir():
                        todo.append((f"{prefix}{entry.name}/", entry.path))
                    elif entry.name.lower().endswith(IMAGE_SUFFIXES):
                        # Asking the system for the real path of every file is slow; only a link can differ.
                        path = os.path.realpath(entry.path) if entry.is_symlink() else f"{real}/{entry.name}"
                        # A link to nothing is kept, so that reading or checking names it.
                        size = entry.stat().st_size if entry.is_file() else 0
                        pictures.append((prefix + entry.name, path, size))
        except OSError as err:
            raise UserError(
                f"{folder}: the folder cannot be read ({err.strerror}). Correct the path or its permissions."
            ) from None
    return sorted(pictures)


def _pool(folder: Path, names: list[bytes], sizes: list[int], hidden: Labelled | None = None) -> Pool:
    """Make a pool of these names and file sizes (bytes), with their hash."""
    digest = hashlib.blake2b(digest_size=8)
    for name, size in zip(names, sizes, strict=True):
        digest.update(b"%s\0%d\n" % (name, size))
    return Pool(folder, np.array(names), np.array(sizes, np.int64), digest.hexdigest(), hidden)
