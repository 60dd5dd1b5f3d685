"""Predictions kept on the disk as they come.

So labelling a pool, or scoring a large set, goes on where it was interrupted.  A store is a folder of files
`part-*.npz`.  Each holds the predictions of some images: the images' indices, the seconds that predicting
took, and every named array of all of these images in one piece, with its length for each image.
"""

import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import numpy as np

from selftrain.system.errors import UserError
from selftrain.system.files import write_atomic

Prediction = dict[str, np.ndarray]
"""What is kept of one image's prediction: named arrays, small and on the CPU"""
PART = 32  # batches that a process predicts between two writes


class Parts:
    """The parts of one folder.  Reading is lazy: call the readers when all parts have been written."""

    def __init__(self, folder: Path):
        """`folder` need not exist before the first write."""
        self.folder = folder

    def covered(self) -> set[int]:
        """Indices of the images whose predictions are there."""
        return {int(i) for part in self.files() for i in np.load(part)["indices"]}

    def files(self) -> list[Path]:
        """The part files, in the order of their first images."""
        return sorted(self.folder.glob("part-*.npz"))

    def write(self, name: int, predictions: dict[int, Prediction], seconds: float) -> None:
        """Store predictions by image index under a number that no other process uses.

        Raises UserError where the disk refuses.
        """
        indices = np.array(sorted(predictions), np.int64)
        content = {"indices": indices, "seconds": np.float64(seconds)}
        for key in predictions[int(indices[0])]:
            arrays = [np.asarray(predictions[int(i)][key]) for i in indices]
            content[key] = np.concatenate(arrays)
            content[f"{key} lengths"] = np.array([len(array) for array in arrays])
        try:
            write_atomic(self.folder / f"part-{name:08d}.npz", lambda file: np.savez(file, **content))
        except OSError as error:
            raise UserError(
                f"{self.folder}: predictions cannot be written ({error}). Those before are safe: free some "
                "space and give the "
                "same command again"
            ) from error

    @cached_property
    def _loaded(self) -> list[dict[str, np.ndarray]]:
        return [dict(np.load(part)) for part in self.files()]

    @cached_property
    def indices(self) -> np.ndarray:
        """(P,) int64 image index of every stored prediction, in the order of the files."""
        return np.concatenate([np.empty(0, np.int64), *(part["indices"] for part in self._loaded)])

    @property
    def seconds(self) -> float:
        """What all predictions took, added up over processes."""
        return sum(float(np.load(part)["seconds"]) for part in self.files())

    def has(self, key: str) -> bool:
        """Whether every part has this array."""
        return all(key in part for part in self._loaded)

    def flat(self, key: str) -> tuple[np.ndarray, np.ndarray]:
        """(values, (M,) image index of each): the rows of all images, one image after the other, in the order
        of the files.
        """
        lengths = np.concatenate([part[f"{key} lengths"] for part in self._loaded])
        return np.concatenate([part[key] for part in self._loaded]), np.repeat(self.indices, lengths)

    def each(self, key: str) -> np.ndarray:
        """(P, ...) one array an image, by ascending image index; of arrays that have one length for all
        images.
        """
        values, _ = self.flat(key)
        length = len(values) // max(1, len(self.indices))
        return values.reshape(len(self.indices), length, *values.shape[1:])[self.indices.argsort()]

    def by_image(self) -> dict[int, Prediction]:
        """The predictions as they were written, by image index."""
        found: dict[int, Prediction] = {}
        for part in self._loaded:
            keys = [key for key in part if f"{key} lengths" in part]
            ends = {key: np.cumsum(part[f"{key} lengths"])[:-1] for key in keys}
            split = {key: np.split(part[key], ends[key]) for key in keys}
            for place, index in enumerate(part["indices"].tolist()):
                found[index] = {key: split[key][place] for key in keys}
        return found

    def check_whole(self, images: int, cure: str) -> None:
        """Raises UserError unless each of the images 0 to `images` - 1 is there once; after two commands at
        once it might not be.
        """
        if not images:
            raise UserError(f"{self.folder}: there is no photo to predict; give a set that is not empty")
        if not np.array_equal(np.sort(self.indices), np.arange(images)):
            raise UserError(
                f"{self.folder}: its parts do not hold each of the {images} photos once ({len(self.indices)} "
                "predictions of "
                f"{len(np.unique(self.indices))} photos); {cure}"
            )


class PartWriter:
    """Collects predictions, and writes a part whenever enough have come."""

    def __init__(
        self,
        parts: Parts,
        keep: Callable[[dict[int, Prediction]], dict[int, Prediction]] = lambda found: found,
    ):
        """`keep` is called with predictions before they are stored, and returns what is to be stored."""
        self.parts, self.keep = parts, keep
        self._waiting: dict[int, dict[int, Prediction]] = {}
        self._began = time.perf_counter()

    def add(self, item: int, found: dict[int, Prediction]) -> None:
        """The predictions of batch `item`."""
        self._waiting[item] = found
        if len(self._waiting) == PART:
            self.flush()

    def flush(self) -> None:
        """Write what has come since the last part; also when told to stop."""
        if self._waiting:
            now, first = time.perf_counter(), min(self._waiting)
            found = {index: one for batch in self._waiting.values() for index, one in batch.items()}
            self._waiting.clear()
            try:
                found = self.keep(found)
            except OSError as error:
                raise UserError(
                    f"{self.parts.folder}: predictions cannot be written ({error}). Those before are safe: "
                    "free some space and "
                    "give the same command again"
                ) from error
            self.parts.write(first, found, now - self._began)
            self._began = now
