"""How fast is it?  Ratios against the libraries a person would use instead, both sides measured in one run, on the processor.

    python benchmarks/speed.py                              every row, about 15 minutes on two idle cores; writes results/speed.md
    python benchmarks/speed.py --rows step-640 input-S4     these rows; prints, and writes only where --out says
    python benchmarks/speed.py --quick                      does it run?  tiny sizes, under a minute, no measurement

A row times its two sides in turns (ours, theirs, ours, theirs, ...), so that a machine that slows down slows both.  What is built
before the turns (models, files, batches) and the first turn of each side are not timed.
"""

import argparse
import copy
import functools
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

os.environ["CUDA_VISIBLE_DEVICES"] = ""  # the table is about the processor; without this the header would name an idle accelerator

import cv2
import numpy as np
import torch
from accelerate import Accelerator
from PIL import Image
from torch import nn
from torchvision import tv_tensors
from torchvision.models.detection import RetinaNet as TorchvisionRetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from augment import Sample
from augment.policies import SCALE_RANGE
from recipes import demo
from selftrain import record
from selftrain.data import splits
from selftrain.data.coco import CocoDataset, read_coco
from selftrain.data.image import image_size
from selftrain.data.loader import Share, Stream, TrainBatches, loader
from selftrain.data.pool import list_images, read_pool
from selftrain.files import write_atomic
from selftrain.models.anchors import RATIOS, SCALES
from selftrain.models.retinanet import ANCHORS_PER_CELL
from selftrain.pseudo import label_pool
from selftrain.recipe import Recipe
from selftrain.rounds import fresh_model
from selftrain.starts import normalisation
from selftrain.tasks.coco_ap import coco_ap
from selftrain.tasks.detection import Detection
from selftrain.train import Engine, Trainer, _optimizer

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLASSES = tuple(f"class{k:02d}" for k in range(80))  # as many as COCO's


@dataclass(frozen=True)
class Line:
    """One line of the table.  Costs (seconds or bytes) of one unit of work, a pair a repeat: less is better."""

    work: str
    against: str
    unit: str
    target: float                    # least ratio of their cost to ours
    ours: list[float]
    theirs: list[float]
    remark: str = ""

    def cells(self, quick: bool) -> list[str]:
        ratios = [t / o for o, t in zip(self.ours, self.theirs, strict=True)]
        ratio = statistics.median(ratios)
        verdict = "" if quick else ", met" if ratio >= self.target else ", **missed**"
        return [self.work, self.against, self._shown(self.ours), self._shown(self.theirs), f"{ratio:.2f}x", f"{self.target:g}x{verdict}",
                str(len(ratios)), f"{min(ratios):.2f}-{max(ratios):.2f}"]

    def _shown(self, costs: list[float]) -> str:
        cost = statistics.median(costs)
        value = {"s": cost, "MiB": cost / 2**20, "images/s": 1 / cost}.get(self.unit, cost * 1000)  # the others are ms/something
        return f"{value:.3g} {self.unit}" if value < 1000 else f"{value:.0f} {self.unit}"


@dataclass(frozen=True)
class Setting:
    """What the rows share."""

    folder: Path                     # temporary
    quick: bool
    repeats: int
    photos: Path | None
    cores: int

    @property
    def few(self) -> int:
        """Repeats of a row whose one turn takes a minute."""
        return min(self.repeats, 3)


def alternate(ours: Callable[[], object], theirs: Callable[[], object], repeats: int, units: int = 1, warm_up: bool = True) -> dict[str, list[float]]:
    """Seconds a unit of work of both sides, turn by turn."""
    def timed(work: Callable[[], object]) -> float:
        began = time.perf_counter()
        work()
        return (time.perf_counter() - began) / units

    if warm_up:
        ours(), theirs()
    pairs = [(timed(ours), timed(theirs)) for _ in range(repeats)]
    return {"ours": [o for o, _ in pairs], "theirs": [t for _, t in pairs]}


@contextmanager
def threads(number: int) -> Iterator[None]:
    """So many threads in torch and OpenCV."""
    before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(number), cv2.setNumThreads(number)
    yield
    torch.set_num_threads(before[0]), cv2.setNumThreads(before[1])


# ---- training step ----------------------------------------------------------------------------------------------------------------


def step_640(s: Setting) -> list[Line]:
    recipe = Recipe(backbone="resnet50", image_size=640, batch_size=2)
    if s.quick:
        recipe = replace(recipe, backbone="resnet10t", image_size=129, channels=32)
    return [_step(s, recipe, CLASSES, objects=7, target=1.0, repeats=s.repeats, a_turn=1)]


def step_demo(s: Setting) -> list[Line]:
    recipe = demo()
    return [_step(s, recipe, CLASSES[: recipe.shapes.classes], objects=3, target=1.3, repeats=2 * s.repeats, a_turn=2 if s.quick else 10)]


def _step(s: Setting, recipe: Recipe, classes: tuple[str, ...], objects: int, target: float, repeats: int, a_turn: int) -> Line:
    """Forward, loss, backward and optimizer on the same pixels, boxes, weights of backbone and pyramid, heads and optimizer.

    Batch norm in the heads on both sides, as the recipes have it.  torchvision gets what spares it work that has no counterpart
    here: float images (ours converts uint8), no resizing to the size they have, no padding to multiples of 32.
    """
    recipe = replace(recipe, lr=1e-4, lr_batch=recipe.batch_size)
    torch.manual_seed(0)
    task = Detection(recipe, classes)
    model = task.model(*IMAGENET).to(memory_format=torch.channels_last).train()
    twin = torchvision_twin(copy.deepcopy(model), recipe, len(classes)).train()
    samples = _noise(recipe.batch_size, recipe.image_size, objects, len(classes))
    batch = task.collate(samples)
    images = [torch.from_numpy(x.image).permute(2, 0, 1).contiguous() / 255 for x in samples]
    targets = [{"boxes": torch.from_numpy(x.boxes), "labels": torch.from_numpy(x.classes)} for x in samples]
    optimizers = _optimizer(model, recipe), _optimizer(twin, recipe)

    def ours() -> None:
        for _ in range(a_turn):
            sums, positives = task.losses(model, batch)
            (sums.sum() / (positives.sum() + 1)).backward()
            optimizers[0].step()
            optimizers[0].zero_grad()

    def theirs() -> None:
        for _ in range(a_turn):
            sum(twin(images, targets).values()).backward()
            optimizers[1].step()
            optimizers[1].zero_grad()

    with threads(s.cores):
        costs = alternate(ours, theirs, repeats, a_turn)
    work = f"training step, {recipe.backbone}, {recipe.batch_size} x {recipe.image_size} px, {len(classes)} classes"
    return Line(work, "torchvision `RetinaNet`, same backbone, FPN, heads, images", "ms/step", target, **costs)


def _noise(count: int, size: int, objects: int, classes: int) -> list[Sample]:
    rng = np.random.default_rng(0)
    samples = []
    for _ in range(count):
        side = size * np.exp(rng.uniform(np.log(0.08), np.log(0.6), (objects, 2)))
        corner = rng.random((objects, 2)) * (size - side)
        image = rng.integers(0, 256, (size, size, 3), dtype=np.uint8)
        samples.append(Sample(image, np.hstack([corner, corner + side]), rng.integers(0, classes, objects), np.zeros(objects)))
    return samples


class Pyramid(nn.Module):
    """(B, 3, H, W) float -> our backbone's and neck's levels, named as torchvision wants them."""

    def __init__(self, backbone: nn.Module, neck: nn.Module, channels: int):
        super().__init__()
        self.backbone, self.neck, self.out_channels = backbone, neck, channels

    def forward(self, images):
        return OrderedDict((str(i), level) for i, level in enumerate(self.neck(self.backbone(images))))


def torchvision_twin(model: nn.Module, recipe: Recipe, classes: int) -> TorchvisionRetinaNet:
    """torchvision's detector over the backbone and neck of `model`, with the recipe's anchors and heads of its depth."""
    head = RetinaNetHead(recipe.channels, ANCHORS_PER_CELL, classes, norm_layer=nn.BatchNorm2d)
    for part in (head.classification_head, head.regression_head):
        part.conv = part.conv[: recipe.head_depth]
    sides = tuple(tuple(recipe.anchor_scale * 2**level * scale for scale in SCALES) for level in recipe.levels)
    twin = TorchvisionRetinaNet(
        Pyramid(model.backbone, model.neck, recipe.channels), classes, min_size=recipe.image_size, max_size=recipe.image_size,
        image_mean=IMAGENET[0], image_std=IMAGENET[1], anchor_generator=AnchorGenerator(sides, (RATIOS,) * len(sides)), head=head,
        fg_iou_thresh=0.5, bg_iou_thresh=0.5, size_divisible=1, _skip_resize=True)
    return twin.to(memory_format=torch.channels_last)  # faster for it, too


# ---- input pipeline ---------------------------------------------------------------------------------------------------------------


def input_s1(s: Setting) -> list[Line]:
    return [_input(s, "S1")]


def input_s4(s: Setting) -> list[Line]:
    return [_input(s, "S4")]


def _input(s: Setting, policy: str) -> Line:
    """File to batch of 8: decode, augment with boxes, collate.  One thread."""
    size, batch = 640, 8
    batches = 1 if s.quick else 25  # a turn: enough for the random operations of two turns to cost about the same
    dataset = photo_set(s)
    task = Detection(Recipe(policy=policy, image_size=size), dataset.class_names)
    stream = Stream("human", dataset, batch, task.policy(IMAGENET[0]), seed=0)
    items = TrainBatches(Share([stream]), task.collate)
    transform = torchvision_policy(policy, size, task.fill)
    turn = {"ours": 0, "theirs": 0}

    def ours() -> None:
        for _ in range(batches):
            items[turn["ours"]]
            turn["ours"] += 1

    def theirs() -> None:
        for _ in range(batches):
            found = []
            for position in range(batch):
                i = stream.index(turn["theirs"], position)
                image, (boxes, classes, _) = Image.open(dataset.path(i)).convert("RGB"), dataset.labels(i)
                boxes = tv_tensors.BoundingBoxes(torch.from_numpy(boxes), format="XYXY", canvas_size=image.size[::-1])
                found.append(transform(image, {"boxes": boxes, "labels": torch.from_numpy(classes)}))
            torch.stack([image for image, _ in found])
            turn["theirs"] += 1

    random.seed(0), torch.manual_seed(0)
    with threads(1):
        costs = alternate(ours, theirs, s.repeats, batch * batches)
    sizes = [dataset.path(i).stat().st_size / 1000 for i in range(len(dataset))]
    width, height = np.median(dataset.sizes, axis=0).astype(int)
    return Line(f"input pipeline a core, {policy} at {size} px", "PIL and torchvision transforms v2", "ms/image", 1.5, **costs,
                remark=f"input pipeline: {len(dataset)} {'photos' if s.photos else 'generated pictures'}, median {width} x {height} px "
                       f"and {statistics.median(sizes):.0f} kB, 7 boxes each")


@functools.cache
def photo_set(s: Setting) -> CocoDataset:
    """The photos of --photos, or 16 generated ones of 640 x 480 px and about 100 kB, each with 7 boxes."""
    rng = np.random.default_rng(0)
    folder = s.photos or s.folder / "photos"
    if s.photos is None:
        folder.mkdir()
        for n in range(16):
            cv2.imwrite(str(folder / f"{n:02d}.jpg"), _picture(rng), [cv2.IMWRITE_JPEG_QUALITY, 90])
    names = [name for name, _, _ in list_images(folder)]
    sizes = np.array([image_size(folder / name) for name in names])
    corners = rng.uniform(0, 0.5, (len(names), 7, 2))
    corners = np.concatenate([corners, corners + rng.uniform(0.1, 0.5, corners.shape)], 2)  # shares of width and height
    return _dataset(folder, [os.fsencode(name) for name in names], sizes, corners * np.tile(sizes, 2)[:, None], rng.integers(0, len(CLASSES), (len(names), 7)))


def _dataset(folder: Path, names: list[bytes], sizes: np.ndarray, boxes, classes) -> CocoDataset:
    """`boxes`: an image's (n, 4), `classes`: an image's (n,)."""
    boxes, counts = np.concatenate(list(boxes)), [len(c) for c in classes]
    return CocoDataset(
        folder=folder, names=np.array(names), image_ids=np.arange(1, len(names) + 1), sizes=np.asarray(sizes, np.int32),
        offsets=np.concatenate([[0], np.cumsum(counts)]), boxes=boxes, classes=np.concatenate(list(classes)).astype(np.int16),
        crowd=np.zeros(len(boxes), bool), areas=(boxes[:, 2:] - boxes[:, :2]).prod(1), scores=np.ones(len(boxes), np.float32), class_names=CLASSES,
        category_ids=tuple(range(1, len(CLASSES) + 1)))


def _picture(rng: np.random.Generator) -> np.ndarray:
    """(480, 640, 3) uint8 with structure of all sizes, as a photo has it: noise of every octave, hard-edged shapes, grain."""
    image = np.full((480, 640, 3), 128.0)
    for octave in range(1, 9):
        noise = rng.normal(0, 22, (15 * 2**octave // 8 + 1, 20 * 2**octave // 8 + 1, 3)).astype(np.float32)
        image += cv2.resize(noise, (640, 480), interpolation=cv2.INTER_CUBIC) * (0.9**octave)
    for _ in range(25):
        centre, axes = rng.integers(0, (640, 480)), rng.integers(8, 90, 2)
        cv2.ellipse(image, centre.tolist(), axes.tolist(), float(rng.uniform(0, 180)), 0, 360, rng.uniform(0, 255, 3).tolist(), -1)
    return np.clip(image + rng.normal(0, 5, image.shape), 0, 255).astype(np.uint8)


class DetectionRandAugment(v2.Transform):
    """One of the 17 operations of Augment-S4 at magnitude 10.  `v2.RandAugment` refuses boxes; its functions move them."""

    PIXEL = (F.autocontrast, F.equalize, F.invert, lambda x: F.posterize(x, 4), lambda x: F.solarize(x, 256), lambda x: F.adjust_saturation(x, 1.9),
             lambda x: F.adjust_contrast(x, 1.9), lambda x: F.adjust_brightness(x, 1.9), lambda x: F.adjust_sharpness(x, 1.9),
             lambda x: x.point([v + 110 if v < 128 else v for v in range(256)] * 3), lambda x: x)  # SolarizeAdd, which v2 lacks; identity

    def make_params(self, inputs):
        height, width = F.get_size(inputs[0])
        kind, sign = random.randrange(17), random.choice((-1, 1))
        if kind < len(self.PIXEL):
            return {"pixels": self.PIXEL[kind]}
        if kind == 16:
            x, y, half = random.randrange(width), random.randrange(height), 40 * max(width, height) // 640
            return {"pixels": lambda image: _cutout(image, x, y, half)}
        shift, shear = sign * 100 * max(width, height) / 640, sign * 16.7
        move = {11: dict(angle=sign * 30), 12: dict(translate=[shift, 0]), 13: dict(translate=[0, shift]), 14: dict(shear=[shear, 0], center=[0, 0]),
                15: dict(shear=[0, shear], center=[0, 0])}[kind]
        return {"move": dict(angle=0, translate=[0, 0], scale=1.0, shear=[0, 0], fill=128) | move}

    def transform(self, x, params):
        if "move" in params:
            return F.affine(x, **params["move"])
        return params["pixels"](x) if isinstance(x, Image.Image) else x


def _cutout(image: Image.Image, x: int, y: int, half: int) -> Image.Image:
    image = image.copy()
    image.paste((128, 128, 128), (x - half, y - half, x + half, y + half))
    return image


class FixedSizeCrop(v2.Transform):
    """Random crop of what is larger, padding at bottom and right of what is smaller: torchvision's detection references have it so."""

    def __init__(self, size: int, fill: tuple[int, int, int]):
        super().__init__()
        self.size, self.fill = size, list(fill)

    def make_params(self, inputs):
        height, width = F.get_size(inputs[0])
        new = min(self.size, height), min(self.size, width)
        return {"crop": (random.randint(0, height - new[0]), random.randint(0, width - new[1]), *new), "pad": [0, 0, self.size - new[1], self.size - new[0]]}

    def transform(self, x, params):
        return F.pad(F.crop(x, *params["crop"]), params["pad"], fill=self.fill)


def torchvision_policy(name: str, size: int, fill: tuple[int, int, int]) -> v2.Compose:
    """PIL picture and boxes -> (3, size, size) uint8 and boxes, the content of Augment-S1 or S4."""
    return v2.Compose([
        *[DetectionRandAugment() for _ in range(2 if name == "S4" else 0)], v2.RandomHorizontalFlip(0.5), v2.ScaleJitter((size, size), SCALE_RANGE[name]),
        FixedSizeCrop(size, fill), v2.ClampBoundingBoxes(), v2.SanitizeBoundingBoxes(), v2.PILToTensor()])


# ---- the demo: loader and pseudo-labels -------------------------------------------------------------------------------------------


@functools.cache
def demo_trainer(s: Setting) -> tuple[Trainer, Engine, splits.Splits]:
    """The demo's imagenet arm, trained until its detector finds something."""
    recipe = demo()
    recipe = replace(recipe, shapes=replace(recipe.shapes, val=20, test=20, unlabeled=100 if s.quick else 400), out=str(s.folder), steps=100, warmup_steps=20,
                     ema=0.9, eval_every=10**6, save_every=10**6)
    data = splits.load(recipe, warn=print)
    task = Detection(recipe, data.train.class_names)
    policy = task.policy(normalisation(recipe.backbone, "imagenet")[0])
    stop = SimpleNamespace(poll=lambda: False, check=lambda: None)  # Ctrl-C ends a benchmark at once
    engine = Engine(Accelerator(cpu=True), stop)
    model, _ = fresh_model(task, recipe, "imagenet", None)
    stream = Stream("human", data.train, recipe.batch_size, policy, recipe.seed)
    trainer = Trainer(engine, task, recipe, model, [stream], s.folder / "cell", "demo", "speed")
    with threads(s.cores):
        trainer.run(lambda model: {})
    return trainer, engine, data


def with_loader(s: Setting) -> list[Line]:
    """The trainer's step on batches that its loader brings, against the same steps on batches that lie ready."""
    trainer, _, _ = demo_trainer(s)
    recipe, a_turn = trainer.recipe, 4 if s.quick else 20
    batches = TrainBatches(Share(trainer.streams), trainer.task.collate)
    resident = [batches[n] for n in range(a_turn)]
    loaded = iter(loader(batches, range(10**6), recipe.workers))

    def ours() -> None:
        for _ in range(a_turn):
            trainer._step(loaded)

    def theirs() -> None:
        ready = iter(resident)
        for _ in range(a_turn):
            trainer._step(ready)

    with threads(s.cores):
        costs = alternate(ours, theirs, s.repeats, a_turn)
    return [Line(f"training with loader, demo ({recipe.workers} workers)", "the same steps on resident data", "ms/step", 0.9, **costs)]


def pseudo_labels(s: Setting) -> list[Line]:
    """`label_pool`: decoding, forward pass, NMS, raw predictions and label file on the disk, each turn in a fresh folder."""
    trainer, engine, data = demo_trainer(s)
    recipe, task, teacher = trainer.recipe, trainer.task, trainer.ema.module
    pool = read_pool([data.pool.folder], labels=False)
    samples = [task.prepare(pool.sample(i))[0] for i in range(len(pool))]
    batches = [task.collate(samples[i : i + recipe.eval_batch])["images"] for i in range(0, len(pool), recipe.eval_batch)]

    def ours() -> None:
        label_pool(engine, task, recipe, teacher, "teacher", pool, data.train, Path(tempfile.mkdtemp(dir=s.folder, prefix="labels-")), "label the pool")

    @torch.inference_mode()
    def theirs() -> None:
        for images in batches:
            teacher(images)

    with threads(s.cores):
        costs = alternate(ours, theirs, s.repeats, len(pool))
    found = [np.load(part)["counts"] for part in next(s.folder.glob("labels-*")).rglob("part-*.npz")]
    return [Line(f"pseudo-labelling, {recipe.image_size} px", "the forward pass alone, on resident batches", "images/s", 0.85, **costs,
                 remark=f"pseudo-labelling: {len(pool)} images, {np.concatenate(found).mean():.0f} detections an image")]


# ---- COCO: scores and files -------------------------------------------------------------------------------------------------------


def average_precision(s: Setting) -> list[Line]:
    """100 detections an image, scattered around 7 objects on average; both evaluators must agree."""
    images = 100 if s.quick else 5000
    dataset, predictions = _scene(images), {}
    rng = np.random.default_rng(1)
    for i in range(images):
        boxes, classes, _ = dataset.labels(i)
        pick = rng.integers(0, len(boxes), 100)
        level = rng.exponential(0.15, 100)                              # how far off a detection is; its score tells, roughly
        boxes = boxes[pick] + np.tile(boxes[pick, 2:] - boxes[pick, :2], 2) * rng.normal(0, 1, (100, 4)) * level[:, None]
        boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
        classes = np.where(rng.random(100) < 0.8, classes[pick], rng.integers(0, len(CLASSES), 100))
        predictions[i] = np.column_stack([boxes, np.exp(-4 * level) * rng.uniform(0.5, 1, 100), classes])
    found = {}
    costs = alternate(lambda: found.update(ours=coco_ap(predictions, dataset, "fast")), lambda: found.update(theirs=coco_ap(predictions, dataset, "pycocotools")),
                      s.few, warm_up=s.quick)
    for ours, theirs in ((found["ours"], found["theirs"]), (found["ours"].pop("per_class"), found["theirs"].pop("per_class"))):
        assert max(abs(ours[name] - theirs[name]) for name in theirs if name != "per_class") < 1e-4, (ours, theirs)
    return [Line(f"AP of {images:,} images x 100 detections", "pycocotools", "s", 5, **costs, remark=f"AP: both give {found['ours']['AP']:.4f}")]


def _scene(images: int) -> CocoDataset:
    rng = np.random.default_rng(0)
    boxes, classes = [], []
    for count in 1 + rng.poisson(6, images):
        side = np.exp(rng.uniform(np.log(12), np.log(400), (count, 2)))
        corner = rng.random((count, 2)) * ((640, 480) - np.minimum(side, (640, 480)))
        boxes.append(np.hstack([corner, np.minimum(corner + side, (640, 480))]))
        classes.append(rng.integers(0, len(CLASSES), count))
    return _dataset(Path("."), [b"%012d.jpg" % n for n in range(1, images + 1)], np.tile((640, 480), (images, 1)), boxes, classes)
