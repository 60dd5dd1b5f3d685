"""From a teacher's probabilities to the masks of a student, one small file for each photo.

A hard mask (Zoph et al. 2020) has the best class where its probability reaches the threshold, and 255
(ignored) elsewhere; it is a palette PNG.  With a threshold for each class it is made later, when the whole
pool has been predicted (`class_balanced.py`).  A soft mask (Xie et al. 2020) has no threshold: the three
channels of its PNG, at a quarter of the photo's side, are the two best classes of each pixel, and the share
of the better one in the sum of both.  All K probabilities at full size would take K x 4 bytes a pixel, a
terabyte for ImageNet; two of them at a quarter take at most 3/16 byte.
"""

import base64
import dataclasses
import math
from pathlib import Path

import cv2
import msgspec
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from augment import Sample
from selftrain.data.image import read_bytes, read_image
from selftrain.data.pool import Pool
from selftrain.data.voc import IGNORED, VocDataset, encode_mask, mask_size_fault
from selftrain.parts import Prediction
from selftrain.system.errors import UserError
from selftrain.tasks.segmentation.class_balanced import mask_file
from selftrain.tasks.segmentation.miou import confusion, iou

WHOLE_SHARE = 254
"""The number that means a share of 1; 255 means ignored"""
SHRINK = 4
"""Side of a photo over the side of its soft mask"""
THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
"""Probabilities at which a teacher's pixels are measured"""
EXAMPLES = 8
"""Masks that a report shows"""
EXAMPLE_SIDE = 96
"""Their longer side in pixels"""


def hard_mask(chances: Tensor, threshold: float) -> Prediction:
    """The hard mask of a photo from its probabilities (K, H, W).

    Returns `png`, the bytes of its file as uint8, and two (K,) int64: `kept`, the pixels that are labels of
    each class, and `best`, the pixels whose best class it is, however unsure.
    """
    probability, label = (t.cpu().numpy() for t in chances.max(0))
    label = label.astype(np.uint8)
    mask = np.where(probability >= threshold, label, np.uint8(IGNORED))
    kept, best = (np.bincount(each.ravel(), minlength=256)[: len(chances)] for each in (mask, label))
    return {"png": np.frombuffer(encode_mask(mask), np.uint8), "kept": kept, "best": best}


def soft_mask(chances: Tensor) -> Prediction:
    """The soft mask of a photo from its probabilities (K, H, W): as `hard_mask`, with all pixels kept.

    The channels of the file (H/4, W/4, 3) are best class, second class, and share of the best one.
    """
    size = [math.ceil(side / SHRINK) for side in chances.shape[1:]]
    two = F.interpolate(chances[None], size, mode="area")[0].topk(2, 0)
    share = (two.values[0] / two.values.sum(0).clamp(min=1e-12) * WHOLE_SHARE).round()
    channels = torch.cat([two.indices, share[None]]).byte().cpu().numpy()
    best = np.bincount(channels[0].ravel(), minlength=256)[: len(chances)] * SHRINK**2
    png = cv2.imencode(".png", channels.transpose(1, 2, 0))[1]
    return {"png": np.frombuffer(png.tobytes(), np.uint8), "kept": best, "best": best}


def by_threshold(chances: Tensor, hidden: VocDataset, index: int) -> np.ndarray:
    """(T + 1, 2) int64, the pixels that are kept, and that are kept and right, at each of THRESHOLDS.

    The last row is without a threshold.  Only pixels that the hidden mask of photo `index` labels count.
    `chances`: probabilities (K, H, W).  Raises UserError when mask and photo are of different size.
    """
    best, label = (t.cpu().numpy() for t in chances.max(0))
    truth = hidden.mask(index)
    if truth.shape != label.shape:
        raise UserError(
            f"{hidden.path(index)}: "
            f"{mask_size_fault(label.shape[::-1], hidden.mask_path(index), truth.shape[::-1])}"
        )
    labelled = truth != IGNORED
    best, right = best[labelled], (label == truth)[labelled]
    return np.array(
        [(np.count_nonzero(best >= t), np.count_nonzero(right & (best >= t))) for t in (*THRESHOLDS, 0.0)],
        np.int64,
    )


def soften(mask: np.ndarray) -> np.ndarray:
    """Hard labels (H, W) uint8 in the form of soft ones (H, W, 3)."""
    return np.stack([mask, mask, np.full_like(mask, WHOLE_SHARE)], 2)


class PseudoDataset(VocDataset):
    """Photos with hard labels of a teacher."""

    def mask(self, i: int) -> np.ndarray:
        """The mask (H, W) uint8 of photo `i`.  Raises UserError for a file that is gone or damaged."""
        try:
            return self._read(i)
        except UserError as error:
            raise UserError(
                f"{str(error).split('. ')[0]}. It is a pseudo-mask: delete the folder {self.mask_folder}, "
                "and the pool is labelled again"
            ) from None

    def _read(self, i: int) -> np.ndarray:
        return super().mask(i)


class SoftDataset(PseudoDataset):
    """Photos with soft labels of a teacher: their masks are (H/4, W/4, 3) uint8, all 255 where ignored."""

    def _read(self, i: int) -> np.ndarray:
        data = read_bytes(self.mask_path(i))
        small = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
        if small is None or small.ndim != 3:
            raise UserError(f"{self.mask_path(i)}: not a soft label")
        return small

    def sample(self, i: int) -> Sample:
        """Photo `i` with its soft labels (H, W, 3) uint8, enlarged to the photo's size."""
        image = read_image(self.path(i))
        mask = cv2.resize(self.mask(i), image.shape[1::-1], interpolation=cv2.INTER_NEAREST_EXACT)
        return dataclasses.replace(Sample.unlabelled(image), mask=mask)


# ---- files ----------------------------------------------------------------------------------------------


def examples(masks: Path, pool: Pool) -> list[dict[str, str]]:
    """The masks of the first photos of the pool, small, for a gallery; `masks`: the folder of the masks."""
    return [
        {"photo": pool.names[i].decode(), "mask": _small(masks / mask_file(pool, i))}
        for i in range(min(EXAMPLES, len(pool)))
    ]


def _small(path: Path) -> str:
    """The picture of a mask file, made small, as base64 of a PNG; of a soft mask its best class."""
    with Image.open(path) as picture:
        mask = np.asarray(picture)
    mask = mask if mask.ndim == 2 else mask[..., 2]  # soft: OpenCV wrote the best class first, as blue
    scale = min(1.0, EXAMPLE_SIDE / max(mask.shape))
    size = [max(1, round(side * scale)) for side in mask.shape[::-1]]
    small = cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST_EXACT)
    return base64.b64encode(encode_mask(small)).decode()


def quality(
    labels: VocDataset, truth: VocDataset, used: np.ndarray
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """How good pseudo-masks are, by the pool's hidden labels: in all, and by class.

    In all: the share of the kept pixels that is right, their mIoU in percent, and `covered`, the share of the
    pixels labelled by people that was kept.  By class, (K,) each: `precision`, the share of the kept pixels
    that is right, and `recall`, that of people's pixels that was found.  `used` (N,) says which photos of the
    pool the N of `labels` are.  Raises UserError when a mask and the hidden one are of different size.
    """
    classes = len(labels.class_names)
    matrix, place = (
        np.zeros((classes, classes), np.int64),
        {index: n for n, index in enumerate(used.tolist())},
    )
    labelled = np.zeros(classes, np.int64)
    for index in range(len(truth)):
        hidden = truth.mask(index)
        labelled += np.bincount(hidden.ravel(), minlength=256)[:classes]
        if index in place:
            mask = labels.mask(place[index])
            if mask.ndim == 3:  # soft: at a quarter of the side
                mask = cv2.resize(mask[..., 0], hidden.shape[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
            if mask.shape != hidden.shape:
                raise UserError(
                    f"{labels.path(place[index])}: "
                    f"{mask_size_fault(mask.shape[::-1], truth.mask_path(index), hidden.shape[::-1])}"
                )
            matrix += confusion(mask, hidden, classes)
    whole = {
        "accuracy": float(np.trace(matrix) / max(1, matrix.sum())),
        "mIoU": 100 * float(np.nanmean(iou(matrix))),
        "covered": float(matrix.sum() / max(1, labelled.sum())),
    }
    with np.errstate(invalid="ignore"):
        right = np.diag(matrix)
        return whole, {"precision": right / matrix.sum(0), "recall": right / labelled}


def read_labels(path: Path, pool: Pool, class_names: tuple[str, ...]) -> VocDataset:
    """The data set that the label file `path` describes.

    Raises UserError where it is of other classes, or is no such file.
    """
    try:
        content = msgspec.json.decode(read_bytes(path))
        info, masks = content["info"], content["masks"]
        classes, soft = tuple(info["classes"]), info["soft"]
    except (msgspec.DecodeError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: not a list of pseudo-masks ({error!r}); delete it, and it is written again"
        ) from None
    if classes != class_names:
        raise UserError(
            f"{path}: its classes {', '.join(classes)} are not those of this run, {', '.join(class_names)}; "
            "label the pool with a teacher of this data"
        )
    return pseudo_dataset(path.parent, pool, masks, class_names, soft)


def pseudo_dataset(
    folder: Path, pool: Pool, masks: list[dict], class_names: tuple[str, ...], soft: bool
) -> VocDataset:
    """The data set of the photos and masks that a label file lists; `folder`: where that file lies."""
    kind = SoftDataset if soft else PseudoDataset
    return kind(
        folder=pool.folder,
        mask_folder=folder,
        names=np.array([m["photo"].encode() for m in masks]),
        mask_names=np.array([m["mask"].encode() for m in masks]),
        image_ids=np.array([m["photo"] for m in masks]),
        class_names=class_names,
    )
