"""A teacher's probabilities to the masks of a student, one small file a photo.

Hard (Zoph et al. 2020): the best class where its probability reaches the threshold, 255 (ignored) elsewhere;
a palette PNG. Soft (Xie et al. 2020): no threshold; the two best classes of each pixel and the share of the
better one of their sum, as the three channels of a PNG at a quarter of the photo's side.  All K probabilities
at full size would be K x 4 bytes a pixel, a terabyte for ImageNet; two of them at a quarter are at most 3/16
byte.
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
from selftrain.system.errors import UserError
from selftrain.tasks.protocol import Prediction
from selftrain.tasks.segmentation.miou import confusion, iou

FULL = 254  # the share that means 1; 255 is kept for what is ignored
SHRINK = 4
THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)  # at which a teacher's pixels are measured
EXAMPLES, EXAMPLE_SIDE = 8, 96  # masks that a report shows, and their longer side in pixels


def hard_mask(chances: Tensor, threshold: float) -> Prediction:
    """(K, H, W) probabilities -> `png`: the best class, or 255 where it is below `threshold`; `kept`,
    `found`: see `_prediction`.
    """
    best, label = (t.cpu().numpy() for t in chances.max(0))
    label = label.astype(np.uint8)
    mask = np.where(best >= threshold, label, np.uint8(IGNORED))
    kept, found = (np.bincount(each.ravel(), minlength=256)[: len(chances)] for each in (mask, label))
    return _prediction(encode_mask(mask), kept, found)


def soft_mask(chances: Tensor) -> Prediction:
    """(K, H, W) probabilities -> (H/4, W/4, 3): best class, second class, share of the best one of the two,
    254 = all.
    """
    size = [math.ceil(side / SHRINK) for side in chances.shape[1:]]
    two = F.interpolate(chances[None], size, mode="area")[0].topk(2, 0)
    share = (two.values[0] / two.values.sum(0).clamp(min=1e-12) * FULL).round()
    channels = torch.cat([two.indices, share[None]]).byte().cpu().numpy()
    found = np.bincount(channels[0].ravel(), minlength=256)[: len(chances)] * SHRINK**2
    return _prediction(cv2.imencode(".png", channels.transpose(1, 2, 0))[1].tobytes(), found, found)


def _prediction(png: bytes, kept: np.ndarray, found: np.ndarray) -> Prediction:
    """`png`: bytes of the mask's file; (K,) int64 pixels of each class:

    `kept` are sure enough, `found` have it as the best class.
    """
    return {"png": np.frombuffer(png, np.uint8), "kept": kept, "found": found}


def by_threshold(chances: Tensor, hidden: VocDataset, index: int) -> np.ndarray:
    """(T + 1, 2) int64 of (K, H, W) probabilities against a hidden mask: labelled pixels (kept, right) at
    each of THRESHOLDS, then at none.

    Raises UserError when mask and photo are of different size.
    """
    best, label = (t.cpu().numpy() for t in chances.max(0))
    truth = hidden.mask(index)
    if truth.shape != label.shape:
        raise UserError(
            f"{hidden.path(index)}: "
            f"{mask_size_fault(label.shape[::-1], hidden.mask_path(index), truth.shape[::-1])}"
        )
    known = truth != IGNORED
    best, right = best[known], (label == truth)[known]
    return np.array(
        [(np.count_nonzero(best >= t), np.count_nonzero(right & (best >= t))) for t in (*THRESHOLDS, 0.0)],
        np.int64,
    )


def soften(mask: np.ndarray) -> np.ndarray:
    """Hard labels (H, W) in the form of soft ones (H, W, 3)."""
    return np.stack([mask, mask, np.full_like(mask, FULL)], 2)


class PseudoDataset(VocDataset):
    """Photos with hard labels of a teacher."""

    def mask(self, i: int) -> np.ndarray:
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
    """Photos with soft labels: the mask of a sample is (H, W, 3) uint8, all 255 where ignored."""

    def _read(self, i: int) -> np.ndarray:
        data = read_bytes(self.mask_path(i))
        small = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
        if small is None or small.ndim != 3:
            raise UserError(f"{self.mask_path(i)}: not a soft label")
        return small

    def sample(self, i: int) -> Sample:
        image = read_image(self.path(i))
        mask = cv2.resize(self.mask(i), image.shape[1::-1], interpolation=cv2.INTER_NEAREST_EXACT)
        return dataclasses.replace(Sample.unlabelled(image), mask=mask)


# ---- files --------------------------------------------------------------------------------------------


def mask_file(pool: Pool, index: int) -> str:
    """Path of a photo's mask below the folder of masks: the photo's own, so that a person finds it."""
    return f"{pool.names[index].decode()}.png"


def examples(folder: Path, pool: Pool) -> list[dict[str, str]]:
    """The masks of the first photos of the pool, small, for a gallery; `folder`: where the folder of masks
    lies.
    """
    return [
        {"photo": pool.names[i].decode(), "mask": _small(folder / "masks" / mask_file(pool, i))}
        for i in range(min(EXAMPLES, len(pool)))
    ]


def _small(path: Path) -> str:
    """A mask file, made small, as base64 of a PNG; of a soft one the best class."""
    with Image.open(path) as picture:
        mask = np.asarray(picture)
    mask = mask if mask.ndim == 2 else mask[..., 2]  # soft: OpenCV wrote the best class first, as blue
    scale = min(1.0, EXAMPLE_SIDE / max(mask.shape))
    small = cv2.resize(
        mask,
        [max(1, round(side * scale)) for side in mask.shape[::-1]],
        interpolation=cv2.INTER_NEAREST_EXACT,
    )
    return base64.b64encode(encode_mask(small)).decode()


def quality(labels: VocDataset, truth, used: np.ndarray) -> dict[str, float]:
    """Of the kept pixels: how many are right, and the mIoU; `covered`: how much of what people labelled was
    kept.

    labels: N photos; truth: the pool with its hidden labels; used (N,): which of the pool's photos `labels`
    are.
    """
    matrix, labelled, place = 0, 0, {index: n for n, index in enumerate(used.tolist())}
    for index in range(len(truth)):
        hidden = truth.mask(index)
        labelled += int((hidden != IGNORED).sum())
        if index in place:
            found = labels.mask(place[index])
            if found.ndim == 3:  # soft: at a quarter of the side
                found = cv2.resize(found[..., 0], hidden.shape[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
            if found.shape != hidden.shape:
                raise UserError(
                    f"{labels.path(place[index])}: "
                    f"{mask_size_fault(found.shape[::-1], truth.mask_path(index), hidden.shape[::-1])}"
                )
            matrix = matrix + confusion(found, hidden, len(labels.class_names))
    return {
        "accuracy": float(np.trace(matrix) / max(1, matrix.sum())),
        "mIoU": 100 * float(np.nanmean(iou(matrix))),
        "covered": float(matrix.sum() / max(1, labelled)),
    }


def read_labels(path: Path, pool: Pool, class_names: tuple[str, ...]) -> VocDataset:
    """The data set that a label file describes.

    Raises UserError if it is of other classes or not such a file.
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
    return listed(path.parent, pool, masks, class_names, soft)


def listed(
    folder: Path, pool: Pool, masks: list[dict], class_names: tuple[str, ...], soft: bool
) -> VocDataset:
    """The data set of the photos and masks in a label file's list; `folder`: where that file lies."""
    kind = SoftDataset if soft else PseudoDataset
    return kind(
        folder=pool.folder,
        mask_folder=folder,
        names=np.array([m["photo"].encode() for m in masks]),
        mask_names=np.array([m["mask"].encode() for m in masks]),
        image_ids=np.array([m["photo"] for m in masks]),
        class_names=class_names,
    )
