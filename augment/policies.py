"""Augment-S1 to S4 (Zoph et al. 2020, sections 3.1 and 4; appendix on augmentation), weakest first.

| policy | first, on the raw picture     | then            | then scale jitter and crop |
|--------|-------------------------------|-----------------|----------------------------|
| S1     |                               | horizontal flip | 0.8 to 1.2                 |
| S2     | AutoAugment (detection, v0)   | horizontal flip | 0.8 to 1.2                 |
| S3     | AutoAugment (detection, v0)   | horizontal flip | 0.5 to 2.0                 |
| S4     | RandAugment (N 2, magnitude 10) | horizontal flip | 0.5 to 2.0               |

Each is an `albumentations.Compose`. Sources: tensorflow/tpu
`models/official/detection/utils/autoaugment_utils.py` (`policy_v0`, levels) and tensorflow/models
`official/vision/ops/augment.py` (`RandAugment.build_for_detection`).
"""

from __future__ import annotations

import difflib
import random

import albumentations as A
import numpy as np

from augment import geometry, ops
from augment.geometry import IMAGENET_MEAN, JitterCrop
from augment.ops import Cutout, Pixel
from augment.sample import Sample

POLICIES = ("S1", "S2", "S3", "S4")
"""the names of the policies, weakest first"""

SCALE_RANGE = {"S1": (0.8, 1.2), "S2": (0.8, 1.2), "S3": (0.5, 2.0), "S4": (0.5, 2.0)}
"""the range of the scale jitter of each policy, as a share of the target's side"""

# Five sub-policies, of which one is drawn: (operation, probability, level). The zeros are the published ones.
AUTOAUGMENT_V0 = (
    (("TranslateX_BBox", 0.6, 4), ("Equalize", 0.8, 10)),
    (("TranslateY_Only_BBoxes", 0.2, 2), ("Cutout", 0.8, 8)),
    (("Sharpness", 0.0, 8), ("ShearX_BBox", 0.4, 0)),
    (("ShearY_BBox", 1.0, 2), ("TranslateY_Only_BBoxes", 0.6, 6)),
    (("Rotate_BBox", 0.6, 10), ("Color", 1.0, 6)),
)

RANDAUGMENT = (
    "AutoContrast",
    "Equalize",
    "Invert",
    "Rotate_BBox",
    "Posterize",
    "Solarize",
    "Color",
    "Contrast",
    "Brightness",
    "Sharpness",
    "ShearX_BBox",
    "ShearY_BBox",
    "TranslateX_BBox",
    "TranslateY_BBox",
    "Cutout",
    "SolarizeAdd",
    "Identity",
)


def operation(name: str, p: float, level: float, *, translate: int, cutout: int) -> A.BasicTransform:
    """Build the operation `name`, applied with probability `p`, at `level`; ValueError for an unknown name.

    Levels run to 10 in the papers and scale linearly beyond. `translate` (pixels) and `cutout` (half-size in
    pixels), both for a long side of 640, are what level 10 means: AutoAugment and RandAugment differ in them.
    """
    part = level / 10
    match name:
        case "Identity":
            return A.NoOp(p=p)
        case "AutoContrast":
            return Pixel(ops.autocontrast, p=p)
        case "Equalize":
            return Pixel(ops.equalize, p=p)
        case "Invert":
            return A.InvertImg(p=p)
        case "Posterize":
            return Pixel(ops.posterize, (int(part * 4),), p=p)
        case "Solarize":
            return Pixel(ops.solarize, (int(part * 256),), p=p)
        case "SolarizeAdd":
            return Pixel(ops.solarize_add, (int(part * 110),), p=p)
        case "Color" | "Contrast" | "Brightness" | "Sharpness":
            return Pixel(getattr(ops, name.lower()), (0.1 + 1.8 * part,), p=p)
        case "Cutout":
            return Cutout(int(part * cutout), p=p)
        case "Rotate_BBox":
            return geometry.Rotate(30 * part, p=p)
        case "ShearX_BBox":
            return geometry.ShearX(0.3 * part, p=p)
        case "ShearY_BBox":
            return geometry.ShearY(0.3 * part, p=p)
        case "TranslateX_BBox":
            return geometry.TranslateX(translate * part, p=p)
        case "TranslateY_BBox":
            return geometry.TranslateY(translate * part, p=p)
        case "TranslateY_Only_BBoxes":
            return geometry.TranslateYInBoxes(120 * part, box_p=p)  # officially 120 in both
    raise ValueError(f"no operation {name!r}")


def autoaugment() -> A.OneOf:
    """Build AutoAugment for detection, v0 (Zoph et al. 2019, arXiv 1906.11172).

    It applies one of five sub-policies, all with the same probability.
    """
    return A.OneOf(
        [
            A.Sequential([operation(*step, translate=250, cutout=100) for step in sub_policy], p=1)
            for sub_policy in AUTOAUGMENT_V0
        ],
        p=1,
    )


def randaugment(magnitude: float) -> A.OneOf:
    """Build one layer of RandAugment for detection (Cubuk et al. 2019, arXiv 1909.13719).

    It applies one of 17 operations, the identity among them, all with the same probability. At magnitude 10
    `Solarize` has threshold 256 and changes nothing, as in the official code.
    """
    return A.OneOf([operation(name, 1.0, magnitude, translate=100, cutout=40) for name in RANDAUGMENT], p=1)


class Policy:
    """An augmentation: `policy(sample, seed)` gives a sample whose image is exactly (size, size, 3) uint8.

    It is a pure function: the same sample and seed give the same bytes in any process and any order, and the
    input is never written to. Boxes are cut at the picture's border; what then has no area is dropped. The
    target stays as it is.
    `transform` is the albumentations pipeline, to print or to take apart. One thread at a time may call one
    policy.
    """

    def __init__(self, name: str, operations: list[A.BasicTransform]):
        self.name = name
        self.transform = A.Compose(
            operations,
            # Under 1/100 pixel counts as no width: at a limit of 0 albumentations keeps boxes of width 0, and
            # then raises. A flip leaves no box outside: where flip and crop are all, it is enough to look at
            # the boxes once, at the end.
            bbox_params=A.BboxParams(
                "pascal_voc",
                label_fields=["classes", "ignore"],
                min_width=0.01,
                min_height=0.01,
                check_each_transform=len(operations) > 2,
            ),
            is_check_shapes=False,  # `Sample` has checked them
        )

    def __call__(self, sample: Sample, seed: int) -> Sample:
        """Return the augmented sample that belongs to this sample and this seed."""
        # Left alone, albumentations repeats one stream in all workers and epochs. Its `set_random_seed` is no
        # remedy: it starts one equal stream in every operation, so that all coins of a pipeline fall alike
        # and RandAugment draws one operation N times. What is meant is one stream shared by all operations.
        seed = int(seed)
        self.transform.set_random_state(np.random.default_rng(seed), random.Random(seed))
        sample = sample.clipped()
        masks = {} if sample.mask is None else {"mask": sample.mask}
        out = self.transform(
            image=sample.image,
            bboxes=sample.boxes,
            classes=sample.classes,
            ignore=sample.ignore.astype(np.int64),
            **masks,
        )
        labels = out["bboxes"], out["classes"], out["ignore"], out.get("mask")
        return Sample(out["image"], *labels, target=sample.target)

    def __repr__(self):
        return f"Augment-{self.name}: {self.transform}"


def build_policy(
    name: str,
    size: int,
    *,
    num_ops: int = 2,
    magnitude: float = 10,
    fill: tuple[int, int, int] = IMAGENET_MEAN,
    scale_range: tuple[float, float] | None = None,
) -> Policy:
    """Build one of `POLICIES` for pictures of (size, size) pixels.

    Args:
        name: "S1" to "S4".
        size: side of the augmented pictures in pixels.
        num_ops: RandAugment's N, used by S4 only. The paper states none; 2 is the official default for
            detection.
        magnitude: RandAugment's M, used by S4 only, in 0..30. The paper's is 10; more is for ablations.
        fill: RGB of the padding, the backbone's mean pixel, so that it is 0 after normalisation.
        scale_range: the range of the scale jitter; None means the policy's own.

    Raises:
        ValueError: the name is unknown or a value is out of range.
    """
    if name not in POLICIES:
        near = difflib.get_close_matches(str(name).upper(), POLICIES, cutoff=0.5) or POLICIES
        raise ValueError(f"no policy {name!r}; did you mean {' or '.join(near)}?")
    low, high = scale_range or SCALE_RANGE[name]
    if not (int(size) == size and size > 0):
        raise ValueError(f"size must be a positive number of pixels, got {size}")
    if not (int(num_ops) == num_ops and num_ops >= 0):
        raise ValueError(f"num_ops must be 0 or more, got {num_ops}")
    if not 0 <= magnitude <= 30:
        raise ValueError(f"magnitude must lie in 0..30 (the paper's is 10), got {magnitude}")
    if not 0 < low <= high:
        raise ValueError(f"scale_range must be 0 < low <= high, got {(low, high)}")
    first = {
        "S1": [],
        "S2": [autoaugment()],
        "S3": [autoaugment()],
        "S4": [randaugment(magnitude) for _ in range(num_ops)],
    }[name]
    return Policy(name, [*first, A.HorizontalFlip(p=0.5), JitterCrop(size, (low, high), fill)])
