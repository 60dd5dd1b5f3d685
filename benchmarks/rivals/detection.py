"""What the rows of `speed.py` are measured against and on: torchvision's counterparts, then generated pictures, scenes and files."""

import functools
import os
import random
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
from accelerate import Accelerator
from PIL import Image
from torch import nn
from torchvision.models.detection import RetinaNet as TorchvisionRetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from augment import Sample
from augment.policies import SCALE_RANGE
from rivals.measure import Setting, threads
from selftrain import splits
from selftrain.data.coco import CocoDataset
from selftrain.data.image import image_size
from selftrain.data.loader import Stream
from selftrain.data.pool import list_images
from selftrain.models.anchors import RATIOS, SCALES
from selftrain.models.retinanet import ANCHORS_PER_CELL
from selftrain.recipe import Recipe
from selftrain.run import fresh_model
from selftrain.starts.start import normalisation
from selftrain.tasks.detection.recipe import DetectionRecipe
from selftrain.train import Engine, Trainer

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # mean and standard deviation of pixels in 0..1
CLASSES = tuple(f"class{k:02d}" for k in range(80))  # as many as COCO's


# ---- torchvision's detector -------------------------------------------------------------------------------------------------------


class Pyramid(nn.Module):
    """(B, 3, H, W) float -> levels of our backbone and neck, named as torchvision wants them."""

    def __init__(self, backbone: nn.Module, neck: nn.Module, channels: int):
        super().__init__()
        self.backbone, self.neck, self.out_channels = backbone, neck, channels

    def forward(self, images):
        return OrderedDict((str(i), level) for i, level in enumerate(self.neck(self.backbone(images))))


def torchvision_twin(model: nn.Module, recipe: DetectionRecipe, classes: int) -> TorchvisionRetinaNet:
    """torchvision's detector over the backbone and neck of `model`, with the recipe's anchors and heads of its depth.

    Batch norm in the heads, as ours have it.  Spared is what has no counterpart here: resizing images to the size that they
    have, and padding them to multiples of 32.
    """
    head = RetinaNetHead(recipe.channels, ANCHORS_PER_CELL, classes, norm_layer=nn.BatchNorm2d)
    for part in (head.classification_head, head.regression_head):
        part.conv = part.conv[: recipe.head_depth]
    sides = tuple(
        tuple(recipe.anchor_scale * 2**level * scale for scale in SCALES) for level in recipe.levels
    )
    return TorchvisionRetinaNet(
        Pyramid(model.backbone, model.neck, recipe.channels),
        classes,
        min_size=recipe.image_size,
        max_size=recipe.image_size,
        image_mean=IMAGENET[0],
        image_std=IMAGENET[1],
        anchor_generator=AnchorGenerator(sides, (RATIOS,) * len(sides)),
        head=head,
        fg_iou_thresh=0.5,
        bg_iou_thresh=0.5,
        size_divisible=1,
        _skip_resize=True,
    )


# ---- a demo's teacher --------------------------------------------------------------------------------------------------------------


@functools.cache
def trained(s: Setting, recipe: Recipe, task: type, source: type) -> tuple[Trainer, splits.Splits]:
    """A demo's imagenet arm, trained to its end: an untrained teacher finds nothing, and post-processing of nothing costs nothing."""
    shapes = replace(
        recipe.shapes, val=20, test=20, unlabeled=50 if s.quick else recipe.shapes.unlabeled
    )  # the counts do not change what is in an image
    recipe = replace(recipe, shapes=shapes, out=str(s.folder), eval_every=10**6, save_every=10**6)
    if s.quick:
        recipe = replace(recipe, steps=60, warmup_steps=10, ema=0.9)
    data = splits.load(recipe, source, warn=print)
    task = task(recipe, data.train.class_names).normalised(normalisation(recipe.backbone, "imagenet")[0])
    policy = task.policy()
    model, _ = fresh_model(task, recipe, "imagenet", None)
    engine = Engine(
        Accelerator(cpu=True), SimpleNamespace(poll=lambda: False, check=lambda: None)
    )  # Ctrl-C ends a benchmark at once
    stream = Stream("human", data.train, recipe.batch_size, policy, recipe.seed)
    trainer = Trainer(
        engine, task, recipe, model, [stream], s.folder / f"cell-{recipe.name}", recipe.name, "speed"
    )
    with threads(s.cores):
        trainer.run(lambda model: {})
    return trainer, data


# ---- torchvision's transforms -----------------------------------------------------------------------------------------------------


def torchvision_policy(name: str, size: int, fill: tuple[int, int, int], tensors: bool) -> v2.Compose:
    """PIL picture and boxes -> (3, size, size) uint8 and boxes: the content of Augment-S1 or S4.

    tensors: flip, resize, crop and pad a uint8 tensor, not a PIL picture.
    """
    first = [
        DetectionRandAugment() for _ in range(2 if name == "S4" else 0)
    ]  # of PIL pictures: two operations have no tensor form
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
    """One of the 17 operations of Augment-S4 at magnitude 10.  `v2.RandAugment` refuses boxes; v2's functions move them."""

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
    )  # SolarizeAdd, which v2 lacks; identity

    def make_params(self, inputs):
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
            14: dict(shear=[sign * 16.7, 0], center=[0, 0]),
            15: dict(shear=[0, sign * 16.7], center=[0, 0]),
        }[kind]  # 16.7 degrees: 0.3
        return {"move": dict(angle=0, translate=[0, 0], scale=1.0, shear=[0, 0]) | move}

    def transform(self, x, params):
        if "move" in params:
            return F.affine(x, **params["move"], fill=128)
        return params["pixels"](x) if isinstance(x, Image.Image) else x


def _cutout(image: Image.Image, x: int, y: int, half: int) -> Image.Image:
    image = image.copy()
    image.paste((128, 128, 128), (x - half, y - half, x + half, y + half))
    return image


class FixedSizeCrop(v2.Transform):
    """Random crop of what is larger, padding at bottom and right of what is smaller, as in torchvision's detection references."""

    def __init__(self, size: int, fill: tuple[int, int, int]):
        super().__init__()
        self.size, self.fill = size, list(fill)

    def make_params(self, inputs):
        height, width = F.get_size(inputs[0])
        new = min(self.size, height), min(self.size, width)
        return {
            "crop": (random.randint(0, height - new[0]), random.randint(0, width - new[1]), *new),
            "pad": [0, 0, self.size - new[1], self.size - new[0]],
        }

    def transform(self, x, params):
        return F.pad(F.crop(x, *params["crop"]), params["pad"], fill=self.fill)


# ---- generated inputs -------------------------------------------------------------------------------------------------------------


def noise_samples(count: int, size: int, objects: int, classes: int) -> list[Sample]:
    """Images (size, size, 3) of noise with `objects` boxes each, of 8 to 60 % of the side: for work whose time content does not change."""
    rng = np.random.default_rng(0)
    samples = []
    for _ in range(count):
        side = size * np.exp(rng.uniform(np.log(0.08), np.log(0.6), (objects, 2)))
        corner = rng.random((objects, 2)) * (size - side)
        image = rng.integers(0, 256, (size, size, 3), dtype=np.uint8)
        samples.append(
            Sample(
                image,
                np.hstack([corner, corner + side]),
                rng.integers(0, classes, objects),
                np.zeros(objects),
            )
        )
    return samples


def photo_set(folder: Path) -> CocoDataset:
    """The pictures below `folder`, each with 7 random boxes."""
    rng = np.random.default_rng(0)
    names = [name for name, _, _ in list_images(folder)]
    sizes = np.array([image_size(folder / name) for name in names])
    corners = rng.uniform(0, 0.5, (len(names), 7, 2))
    corners = np.concatenate(
        [corners, corners + rng.uniform(0.1, 0.5, corners.shape)], 2
    )  # shares of width and height
    classes = rng.integers(0, len(CLASSES), (len(names), 7))
    return _dataset(
        folder, [os.fsencode(name) for name in names], sizes, corners * np.tile(sizes, 2)[:, None], classes
    )


def write_pictures(folder: Path, count: int = 16) -> None:
    """JPEGs of 640 x 480 px and about 100 kB with structure of all sizes, as photos have it: noise of every octave, hard edges, grain."""
    rng = np.random.default_rng(0)
    for n in range(count):
        image = np.full((480, 640, 3), 128.0)
        for cells in 2 ** np.arange(1, 8):
            noise = rng.normal(0, 20, (3 * cells, 4 * cells, 3))
            image += cv2.resize(noise, (640, 480), interpolation=cv2.INTER_CUBIC) / cells**0.3
        for _ in range(25):
            centre, axes = rng.integers(0, (640, 480)), rng.integers(8, 90, 2)
            cv2.ellipse(
                image,
                centre.tolist(),
                axes.tolist(),
                float(rng.uniform(0, 180)),
                0,
                360,
                rng.uniform(0, 255, 3).tolist(),
                -1,
            )
        image += rng.normal(0, 4, image.shape)
        cv2.imwrite(
            str(folder / f"{n:02d}.jpg"),
            np.clip(image, 0, 255).astype(np.uint8),
            [cv2.IMWRITE_JPEG_QUALITY, 90],
        )


def detections_scene(images: int) -> tuple[CocoDataset, dict[int, np.ndarray]]:
    """(labels with 7 objects an image on average; predictions for `coco_ap`, 100 an image, scattered around the objects)."""
    rng = np.random.default_rng(0)
    objects, classes, predictions = [], [], {}
    for i, count in enumerate(1 + rng.poisson(6, images)):
        side = np.minimum(np.exp(rng.uniform(np.log(12), np.log(600), (count, 2))), (640, 480))
        corner = rng.random((count, 2)) * ((640, 480) - side)
        objects.append(np.hstack([corner, corner + side]))
        classes.append(rng.integers(0, len(CLASSES), count))
        pick, off = (
            rng.integers(0, count, 100),
            rng.exponential(0.15, 100),
        )  # how far off a detection is; its score tells, roughly
        boxes = objects[i][pick] + np.tile(side[pick], 2) * rng.normal(0, 1, (100, 4)) * off[:, None]
        boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
        label = np.where(rng.random(100) < 0.8, classes[i][pick], rng.integers(0, len(CLASSES), 100))
        predictions[i] = np.column_stack([boxes, np.exp(-4 * off) * rng.uniform(0.5, 1, 100), label]).astype(
            np.float32
        )
    names = [b"%012d.jpg" % n for n in range(1, images + 1)]
    return _dataset(Path("."), names, np.tile((640, 480), (images, 1)), objects, classes), predictions


def _dataset(folder: Path, names: list[bytes], sizes: np.ndarray, boxes, classes) -> CocoDataset:
    """`boxes`: (n, 4) of each image, `classes`: (n,) of each image."""
    counts, boxes = [len(c) for c in classes], np.concatenate(list(boxes))
    return CocoDataset(
        folder=folder,
        names=np.array(names),
        image_ids=np.arange(1, len(names) + 1),
        sizes=np.asarray(sizes, np.int32),
        offsets=np.concatenate([[0], np.cumsum(counts)]),
        boxes=boxes,
        classes=np.concatenate(list(classes)).astype(np.int16),
        crowd=np.zeros(len(boxes), bool),
        areas=(boxes[:, 2:] - boxes[:, :2]).prod(1),
        scores=np.ones(len(boxes), np.float32),
        class_names=CLASSES,
        category_ids=tuple(range(1, len(CLASSES) + 1)),
    )


def write_train2017(path: Path, images: int, boxes: int) -> None:
    """A json with the fields of COCO's instances_train2017.json and an eight-cornered polygon a box (COCO's own have 25 on average)."""
    rng = np.random.default_rng(0)
    fields = (
        '{{"license": 3, "file_name": "{0:012d}.jpg", "coco_url": "http://images.cocodataset.org/train2017/{0:012d}.jpg", "height": 480, '
        '"width": 640, "date_captured": "2013-11-14 11:18:45", "flickr_url": "http://farm9.staticflickr.com/8186/{0}_z.jpg", "id": {0}}}'
    )
    with open(path, "w") as file:
        file.write('{"info": {"description": "generated"}, "licenses": [], "images": [')
        file.write(",".join(fields.format(i) for i in range(1, images + 1)))
        file.write('], "annotations": [')
        columns = [
            rng.integers(1, images + 1, boxes),
            rng.integers(1, 81, boxes),
            *rng.uniform(0, (320, 240), (boxes, 2)).round(2).T,
            *rng.uniform(8, (300, 220), (boxes, 2)).round(2).T,
        ]
        for n, (image, category, x, y, w, h) in enumerate(zip(*(c.tolist() for c in columns)), 1):
            a, b, c, d = (f"{v:.2f}" for v in (x + w / 3, y + h / 3, x + w, y + h))
            file.write(
                f'{"," if n > 1 else ""}{{"segmentation": [[{x}, {b}, {a}, {y}, {c}, {y}, {c}, {b}, {c}, {d}, {a}, {d}, {x}, {d}, {a}, {b}]], '
                f'"area": {w * h:.2f}, "iscrowd": 0, "image_id": {image}, "bbox": [{x}, {y}, {w}, {h}], "category_id": {category}, "id": {n}}}'
            )
        categories = ",".join(
            f'{{"supercategory": "thing", "id": {k}, "name": "{name}"}}' for k, name in enumerate(CLASSES, 1)
        )
        file.write(f'], "categories": [{categories}]}}')
