"""Rows about the input pipeline, from file to batch, against PIL and torchvision's transforms v2."""

import functools
import itertools
import random
import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from augment.policies import SCALE_RANGE
from rivals.generated import photo_set, write_pictures
from rivals.measure import Line, Options, alternate, threads
from rivals.training import IMAGENET
from selftrain.data.coco import CocoDataset
from selftrain.data.loader import Group, Share, Stream, TrainBatches, loader
from selftrain.tasks.detection.recipe import DetectionRecipe
from selftrain.tasks.detection.task import Detection

SIZE, BATCH = 640, 8


def input_pipeline(options: Options, policy: str) -> list[Line]:
    """From file to batch of 8: decode, augment with boxes, collate.  One thread."""
    # batches a turn: random operations of two turns cost about the same then
    number = 1 if options.quick else 25
    dataset = photos(options)
    recipe = DetectionRecipe(policy=policy, image_size=SIZE)
    task = Detection(recipe, dataset.class_names).normalised(IMAGENET[0])
    objective = task.objectives["boxes"]
    stream = Stream("human", dataset, BATCH, objective.views, seed=0)
    items = loader(
        TrainBatches({"boxes": Group([stream], objective.collate)}, Share()), range(10**6), workers=0
    )

    def _ours() -> None:
        for _ in range(number):
            next(items)

    def _theirs(tensors: bool) -> Callable[[], None]:
        transform = torchvision_policy(policy, SIZE, task.fill, tensors)
        return _torchvision_turn(dataset, stream, transform, number)

    random.seed(0), torch.manual_seed(0)
    with threads(1):
        ours, theirs, on_tensors = alternate(
            _ours,
            _theirs(tensors=False),
            _theirs(tensors=True),
            repeats=options.repeats,
            units=BATCH * number,
        )
    width, height = np.median(dataset.sizes, axis=0).astype(int)
    size_kb = statistics.median(dataset.path(i).stat().st_size / 1000 for i in range(len(dataset)))
    kind = "photos" if options.photos else "generated pictures"
    remark = (
        f"input pipeline: {len(dataset)} {kind}, median {width} x {height} px and {size_kb:.0f} kB, "
        "7 boxes each"
    )
    work = f"input pipeline, one core, {policy} at {SIZE} px"
    return [
        Line(work, "PIL and torchvision's transforms v2", "ms/image", 1.5, ours, theirs, remark),
        Line(work, "the same, flip, resize and crop on tensors", "ms/image", None, ours, on_tensors),
    ]


@functools.cache
def photos(options: Options) -> CocoDataset:
    """The person's photos with random boxes, or generated pictures where none are given."""
    folder = options.photos or options.folder / "photos"
    if options.photos is None:
        folder.mkdir()
        write_pictures(folder)
    return photo_set(folder)


# ---- torchvision's transforms ---------------------------------------------------------------------------


def _torchvision_turn(
    dataset: CocoDataset, stream: Stream, transform: v2.Compose, number: int
) -> Callable[[], None]:
    """A turn of `number` batches of the stream's photos, in its order."""
    steps = itertools.count()

    def _sample(i: int) -> torch.Tensor:
        image, (boxes, classes, _) = Image.open(dataset.path(i)).convert("RGB"), dataset.labels(i)
        boxes = tv_tensors.BoundingBoxes(torch.from_numpy(boxes), format="XYXY", canvas_size=image.size[::-1])
        return transform(image, {"boxes": boxes, "labels": torch.from_numpy(classes)})[0]

    def _turn() -> None:
        for step in itertools.islice(steps, number):
            torch.stack([_sample(stream.index(step, position)) for position in range(BATCH)])

    return _turn


def torchvision_policy(name: str, size: int, fill: tuple[int, int, int], tensors: bool) -> v2.Compose:
    """PIL picture and boxes -> (3, size, size) uint8 and boxes: the content of Augment-S1 or S4.

    With `tensors`, a uint8 tensor is flipped, resized, cropped and padded, not a PIL picture.
    """
    # of PIL pictures: two operations have no tensor form
    first = [DetectionRandAugment() for _ in range(2 if name == "S4" else 0)]
    then = [
        v2.RandomHorizontalFlip(0.5),
        v2.ScaleJitter((size, size), SCALE_RANGE[name]),
        FixedSizeCrop(size, fill),
    ]
    to_tensor = [v2.PILToTensor()]
    return v2.Compose(
        first
        + (to_tensor + then if tensors else then + to_tensor)
        + [v2.ClampBoundingBoxes(), v2.SanitizeBoundingBoxes()]
    )


class DetectionRandAugment(v2.Transform):
    """One of the 17 operations of Augment-S4 at magnitude 10.

    `v2.RandAugment` refuses boxes; v2's functions move them.
    """

    PIXEL = (
        F.autocontrast,
        F.equalize,
        F.invert,
        lambda x: F.posterize(x, 4),
        lambda x: F.solarize(x, 256),
        lambda x: F.adjust_saturation(x, 1.9),
        lambda x: F.adjust_contrast(x, 1.9),
        lambda x: F.adjust_brightness(x, 1.9),
        lambda x: F.adjust_sharpness(x, 1.9),
        lambda x: x.point([v + 110 if v < 128 else v for v in range(256)] * 3),
        lambda x: x,
    )
    """Operations that move nothing; the last two are SolarizeAdd, which v2 lacks, and identity"""

    def make_params(self, inputs: list[Any]) -> dict[str, Any]:
        """Draw the operation and its direction for one picture."""
        height, width = F.get_size(inputs[0])
        kind, sign, unit = random.randrange(17), random.choice((-1, 1)), max(width, height) / 640
        if kind < len(self.PIXEL):
            return {"pixels": self.PIXEL[kind]}
        if kind == 16:
            x, y, half = random.randrange(width), random.randrange(height), int(40 * unit)
            return {"pixels": lambda image: _cutout(image, x, y, half)}
        move = {
            11: dict(angle=sign * 30),
            12: dict(translate=[sign * 100 * unit, 0]),
            13: dict(translate=[0, sign * 100 * unit]),
            14: dict(shear=[sign * 16.7, 0], center=[0, 0]),  # 16.7 degrees: 0.3
            15: dict(shear=[0, sign * 16.7], center=[0, 0]),
        }[kind]
        return {"move": dict(angle=0, translate=[0, 0], scale=1.0, shear=[0, 0]) | move}

    def transform(self, x: Any, params: dict[str, Any]) -> Any:
        """The picture or its boxes after the drawn operation."""
        if "move" in params:
            return F.affine(x, **params["move"], fill=128)
        return params["pixels"](x) if isinstance(x, Image.Image) else x


def _cutout(image: Image.Image, x: int, y: int, half: int) -> Image.Image:
    image = image.copy()
    image.paste((128, 128, 128), (x - half, y - half, x + half, y + half))
    return image


class FixedSizeCrop(v2.Transform):
    """Random crop of what is larger, and padding at bottom and right of what is smaller.

    It is that of torchvision's detection references.
    """

    def __init__(self, size: int, fill: tuple[int, int, int]):
        """`size`: of both sides in pixels; `fill`: RGB of the padding."""
        super().__init__()
        self.size, self.fill = size, list(fill)

    def make_params(self, inputs: list[Any]) -> dict[str, Any]:
        """Draw the place of the crop in one picture."""
        height, width = F.get_size(inputs[0])
        new = min(self.size, height), min(self.size, width)
        return {
            "crop": (random.randint(0, height - new[0]), random.randint(0, width - new[1]), *new),
            "pad": [0, 0, self.size - new[1], self.size - new[0]],
        }

    def transform(self, x: Any, params: dict[str, Any]) -> Any:
        """The picture or its boxes, cropped and padded."""
        return F.pad(F.crop(x, *params["crop"]), params["pad"], fill=self.fill)
