"""Index files of MNIST's kind (IDX): all pictures of a part in one file, their classes in another.

`train-images-idx3-ubyte` and `train-labels-idx1-ubyte`, and `t10k-...` for the test part, each plain or with
`.gz`.  A plain file is mapped into memory, not read; a packed one is unpacked into it.  Pictures are grey.
"""

import gzip
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from selftrain.data.folders.dataset import ClassDataset, arrays_hash
from selftrain.data.image import read_bytes
from selftrain.system.errors import UserError

PREFIXES = {"train": ("train",), "val": ("val", "validation"), "test": ("t10k", "test")}
"""how the names of a part's files begin"""
NAMES = "classes.txt"
"""names of the classes, one a line; without it they are called 0, 1, 2 ..."""
_UBYTE = 0x08  # the only type of number that such files of pictures have


@dataclass(frozen=True, eq=False)
class IdxDataset(ClassDataset):
    """N pictures of one index file."""

    in_files: ClassVar[bool] = False
    pixels: np.ndarray | None = None
    """(M, H, W) uint8, all pictures of the file"""
    rows: np.ndarray | None = None
    """(N,) int64: which of them these are"""

    def image(self, i: int) -> np.ndarray:
        """The picture at position i, its grey in all three channels: (H, W, 3) uint8."""
        return np.repeat(self.pixels[self.rows[i]][..., None], 3, axis=2)

    def file_size(self, i: int) -> int:
        """Its bytes."""
        return math.prod(self.pixels.shape[1:])


def idx_files(root: Path, part: str) -> tuple[Path, Path] | None:
    """(pictures, classes) of a part, or None where there are no pictures.

    Raises UserError where the file of classes is missing.
    """
    for prefix in PREFIXES[part]:
        if images := _find(root, prefix, "images", 3):
            if labels := _find(root, prefix, "labels", 1):
                return images, labels
            raise UserError(f"{images}: {prefix}-labels-idx1-ubyte is not beside it; put it there")
    return None


def _find(root: Path, prefix: str, what: str, sides: int) -> Path | None:
    names = [f"{prefix}-{what}{dot}idx{sides}-ubyte{end}" for dot in "-." for end in ("", ".gz")]
    return next((root / name for name in names if (root / name).is_file()), None)


def is_idx(root: Path) -> bool:
    """Whether the folder is in this layout."""
    return _find(root, "train", "images", 3) is not None


def read_array(path: Path, sides: int) -> np.ndarray:
    """The numbers of an index file with so many sides, uint8, read-only; a plain file stays on the disk.

    Raises UserError for a file that is no such file, or is cut off.
    """
    packed = path.suffix == ".gz"
    try:
        data = gzip.decompress(read_bytes(path)) if packed else None
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be unpacked ({error}). Download it again") from None
    head = 4 + 4 * sides
    with open(path, "rb") as file:
        start = file.read(head) if data is None else data[:head]
    if len(start) < head or start[:4] != bytes((0, 0, _UBYTE, sides)):
        raise UserError(
            f"{path}: not an index file of bytes with {sides} sides (it begins with {start[:4].hex()}). "
            "Download it again, or give the file of this name"
        )
    shape = struct.unpack(f">{sides}I", start[4:])
    length = path.stat().st_size if data is None else len(data)
    if length != head + math.prod(shape):
        raise UserError(
            f"{path}: {length:,} bytes, where its head says {head + math.prod(shape):,}. Download it again"
        )
    if data is None:
        return np.memmap(path, np.uint8, "r", head, shape)
    return np.frombuffer(data, np.uint8, offset=head).reshape(shape)


def read_idx(root: Path) -> dict[str, ClassDataset]:
    """The parts that are there, by name.  Raises UserError for files that are damaged or do not fit."""
    files = {part: found for part in PREFIXES if (found := idx_files(root, part))}
    arrays = {part: (read_array(a, 3), read_array(b, 1)) for part, (a, b) in files.items()}
    class_names = _class_names(root, int(arrays["train"][1].max(initial=0)) + 1)
    parts = {}
    for part, (pixels, labels) in arrays.items():
        images, of_labels = files[part]
        if len(pixels) != len(labels) or not len(pixels):
            raise UserError(
                f"{of_labels}: {len(labels)} classes for the {len(pixels)} pictures of {images.name}; give "
                "the "
                "two files of one part"
            )
        if labels.max() >= len(class_names):
            raise UserError(
                f"{of_labels}: class {labels.max()}, where the training part has {len(class_names)} classes"
            )
        ids = np.arange(len(pixels), dtype=np.int64)
        parts[part] = IdxDataset(
            folder=root,
            names=np.array([f"{images.name}/{i:06d}".encode() for i in ids.tolist()]),
            image_ids=ids,
            classes=labels.astype(np.int64),
            class_names=class_names,
            hash=arrays_hash(ids, pixels, labels, class_names=class_names),
            pixels=pixels,
            rows=ids,
        )
    return parts


def _class_names(root: Path, classes: int) -> tuple[str, ...]:
    """The names in `classes.txt`, or numbers.  Raises UserError where the file names fewer than there are."""
    if not (root / NAMES).is_file():
        return tuple(map(str, range(classes)))
    try:
        text = (root / NAMES).read_text("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{root / NAMES}: not a text file in UTF-8 ({error}). Save it as UTF-8") from None
    names = tuple(line.strip() for line in text.splitlines() if line.strip())
    if len(names) < classes or len(set(names)) < len(names):
        raise UserError(
            f"{root / NAMES}: {len(set(names))} different names for {classes} classes; give each a name, one "
            "a line"
        )
    return names
