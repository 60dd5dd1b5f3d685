"""Class-balanced pseudo-masks: of each class the surest share of its pixels (Zou et al. 2018, class-balanced
self-training).

One threshold for all classes keeps whole classes that a teacher is sure of, and next to nothing of those that
it is less sure of.  Here the threshold of a class is the probability that the surest share of the pixels with
this best class reaches, counted over the whole pool (their Algorithm 2).  A pixel keeps its best class, as it
does at one threshold; in the paper the class with the highest ratio of probability and threshold takes it.

The thresholds are known only when the whole pool has been predicted: until then every photo keeps, in one
small file, the best class of each pixel and the level of its probability, and every part of the predictions a
histogram of both.  A level is a step of about 1/13 in log2(p / (1 - p)): even steps of p would put most
pixels of a good teacher into the last one.

Shapes: K classes, L = 256 levels.
"""

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from selftrain.data.image import read_bytes
from selftrain.data.pool import Pool
from selftrain.data.voc import IGNORED, encode_mask
from selftrain.parts import Prediction
from selftrain.system.errors import UserError
from selftrain.system.progress import cores
from selftrain.tasks.thresholds import class_thresholds

LEVELS = 256
LEAST = np.concatenate([[0.0], 1 / (1 + 2.0 ** -np.linspace(-5, 15, LEVELS - 1))]).astype(np.float32)
"""(L,) float32, the least probability of each level"""
AT_ONCE = 4096
"""Photos whose masks are waiting to be written; bounds the memory"""


def levelled_mask(chances: Tensor) -> Prediction:
    """Best class and level of each pixel of a photo, from its probabilities (K, H, W).

    Returns `png`, the bytes of a file as uint8: a picture in grey (the class) with transparency (the level);
    `best` (K,) int64, the pixels with each best class; and `levels` (K, L) int64, these by level.
    """
    probability, label = (t.cpu().numpy() for t in chances.max(0))
    label, level = label.astype(np.uint8), levels_of(probability)
    buffer = io.BytesIO()
    Image.fromarray(np.stack([label, level], 2)).save(buffer, "PNG", compress_level=1)
    of_class = label.astype(np.int64) * LEVELS + level
    counts = np.bincount(of_class.ravel(), minlength=len(chances) * LEVELS).reshape(len(chances), LEVELS)
    return {"png": np.frombuffer(buffer.getvalue(), np.uint8), "best": counts.sum(1), "levels": counts}


def levels_of(probability: np.ndarray) -> np.ndarray:
    """The level of each probability, uint8: the highest whose least probability it reaches."""
    return (np.searchsorted(LEAST, probability, side="right") - 1).astype(np.uint8)


def add_up(predictions: dict[int, Prediction]) -> dict[int, Prediction]:
    """The predictions with their histograms added up, in the first of them; the others have none.

    One histogram a photo would take more disk than the photo's mask.
    """
    total = sum(prediction["levels"] for prediction in predictions.values())
    first = min(predictions)
    return {
        index: prediction | {"levels": total if index == first else total[:0]}
        for index, prediction in predictions.items()
    }


def balanced_thresholds(levels: np.ndarray, share: float) -> np.ndarray:
    """(K,) float64, the least probability of each class at which its surest `share` is kept.

    `levels` (K, L): the pixels of the pool by best class and level.  A level is kept or left out as a whole,
    so a little more than the share may be kept.  Infinite for a class that is nowhere the best.
    """
    classes, wanted = np.repeat(np.arange(len(levels)), LEVELS), np.ceil(share * levels.sum(1))
    scores = np.tile(LEAST.astype(np.float64), len(levels))
    return class_thresholds(scores, classes, wanted, counts=levels.ravel())


def write_masks(raw: Path, masks: Path, pool: Pool, thresholds: np.ndarray) -> np.ndarray:
    """Write the mask of every photo below `masks` from what `levelled_mask` left below `raw`.

    A pixel is labelled where its level reaches the `thresholds` (K,) of its class, else 255 (ignored).
    Returns (N, K) int64, the labelled pixels of each photo by class.  The same call writes the same files, so
    one that was interrupted is simply made again.  Raises UserError for a file that is gone or damaged.
    """
    least = np.full(256, LEVELS)  # no level reaches this
    finite = np.isfinite(thresholds)
    least[: len(thresholds)][finite] = np.searchsorted(LEAST, thresholds[finite].astype(np.float32))

    def _write(index: int) -> np.ndarray:
        file = mask_file(pool, index)
        label, level = _read(raw / file, raw)
        mask = np.where(level >= least[label], label, np.uint8(IGNORED))
        (masks / file).parent.mkdir(parents=True, exist_ok=True)
        (masks / file).write_bytes(encode_mask(mask))
        return np.bincount(mask.ravel(), minlength=256)[: len(thresholds)]

    kept = []
    with ThreadPoolExecutor(cores()) as threads:
        for first in range(0, len(pool), AT_ONCE):
            kept += threads.map(_write, range(first, min(first + AT_ONCE, len(pool))))
    return np.array(kept)


def mask_file(pool: Pool, index: int) -> str:
    """Path of a photo's mask below the folder of masks: like the photo's own, so that a person finds it."""
    return f"{pool.names[index].decode()}.png"


def _read(path: Path, raw: Path) -> tuple[np.ndarray, np.ndarray]:
    """Best class and level (H, W) uint8 each."""
    try:
        with Image.open(io.BytesIO(read_bytes(path)), formats=("PNG",)) as picture:
            label, level = (np.asarray(band) for band in picture.split())
    except (UserError, OSError, ValueError, SyntaxError) as error:
        raise UserError(
            f"{path}: cannot be read ({error}). A teacher wrote it: delete the folder {raw.parent}, and the "
            "pool is labelled again"
        ) from None
    return label, level
