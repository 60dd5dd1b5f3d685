"""Small sets of classified pictures."""

import gzip
import struct

import numpy as np

from tests.data.makers import photo, write

PARTS = {"train": 4, "val": 2, "test": 1}
"""pictures of each class"""


def tree(root, classes=("cat", "dog", "owl"), parts=PARTS):
    """Folders of classes; every picture is another one."""
    number = 0
    for part, count in parts.items():
        for name in classes:
            for i in range(count):
                photo(root / part / name / f"{i}.png", number)
                number += 1
    return root


def table(root, parts=PARTS):
    """The same pictures in one folder, with a csv for each part."""
    number = 0
    for part, count in parts.items():
        lines = ["class, File"]
        for label in ("10", "9", "2"):
            for _ in range(count):
                lines.append(f"{label}, photos/{number}.png")
                photo(root / "photos" / f"{number}.png", number)
                number += 1
        write(root / f"{part}.csv", "\n".join(lines) + "\n")
    return root


def idx_bytes(array):
    """The content of an index file."""
    array = np.asarray(array, np.uint8)
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def idx(root, parts=(("train", 40), ("t10k", 6)), packed=False):
    """Index files of random pictures, (N, 6, 5), of four classes in turn."""
    root.mkdir(parents=True, exist_ok=True)
    for seed, (part, count) in enumerate(parts):
        pixels = np.random.default_rng(seed).integers(0, 256, (count, 6, 5))
        for what, array in (("images-idx3", pixels), ("labels-idx1", np.arange(count) % 4)):
            data, end = idx_bytes(array), ".gz" if packed else ""
            (root / f"{part}-{what}-ubyte{end}").write_bytes(gzip.compress(data) if packed else data)
    return root
