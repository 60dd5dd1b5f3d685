"""Rows about training steps of the detector, against torchvision's over the same backbone and pyramid."""

import copy
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn
from torchvision.models.detection import RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.retinanet import RetinaNetHead

from recipes.detection import demo
from rivals.generated import CLASSES, noise_samples
from rivals.measure import Line, Options, alternate, threads
from rivals.training import IMAGENET, fresh_learner, steps
from selftrain.models.anchors import RATIOS, SCALES
from selftrain.models.network import Network
from selftrain.models.retinanet import ANCHORS_PER_CELL
from selftrain.tasks.detection.recipe import DetectionRecipe
from selftrain.tasks.detection.task import Detection
from selftrain.tasks.protocol import Batch
from selftrain.train import Learner

RIVAL = "torchvision's `RetinaNet` with the same backbone, FPN, heads and images"


def step_640(options: Options) -> list[Line]:
    """The step of a detector of usual size: ResNet-50 at 640 px and 80 classes."""
    recipe = DetectionRecipe(backbone="resnet50", image_size=640, batch_size=2)
    if options.quick:
        recipe = replace(recipe, backbone="resnet10t", image_size=129, channels=32)
    return _training_step(options, recipe, CLASSES, objects=7, target=1.0, number=1)


def step_demo(options: Options) -> list[Line]:
    """The step of the demo's small detector, in which fixed costs weigh most."""
    recipe = demo()
    classes = CLASSES[: recipe.shapes.classes]
    number = 2 if options.quick else 20
    return _training_step(options, recipe, classes, objects=3, target=1.3, number=number)


def step_frozen(options: Options) -> list[Line]:
    """The demo's step with a frozen backbone, and with two frozen stages, against its step of everything."""
    recipe = replace(demo(), lr=1e-4)  # a small rate: random pixels must not blow up in many steps
    classes = CLASSES[: recipe.shapes.classes]
    task = Detection(recipe, classes)
    samples = noise_samples(recipe.batch_size, recipe.image_size, 3, len(classes))
    batch = task.objectives["boxes"].collate([(sample,) for sample in samples])
    number = 2 if options.quick else 20

    def _steps(freeze: str) -> Callable[[], None]:
        learner = fresh_learner(task, recipe, freeze).to(memory_format=torch.channels_last)
        return steps(learner, lambda: _loss(learner, batch), recipe, number)

    with threads(options.threads):
        frozen, partly, whole = alternate(
            *map(_steps, ("backbone", "stages:2", "none")), repeats=options.repeats, units=number
        )
    work = f"training step, {recipe.backbone}, {recipe.batch_size} x {recipe.image_size} px"
    against = "the same step, nothing frozen"
    return [
        Line(f"{work}, frozen backbone", against, "ms/step", 2.0, frozen, whole),
        Line(f"{work}, two frozen stages", against, "ms/step", None, partly, whole),
    ]


def _loss(learner: Learner, batch: Batch) -> Tensor:
    loss = learner({"boxes": batch})["boxes"]
    return loss.sum.sum() / (loss.count.sum() + 1)


def _training_step(
    options: Options,
    recipe: DetectionRecipe,
    classes: tuple[str, ...],
    objects: int,
    target: float,
    number: int,
) -> list[Line]:
    """Forward pass, loss, backward pass and optimizer, `number` times a turn.

    Both sides have the same pixels, boxes, backbone and pyramid with the same weights, heads of one size, and
    one optimizer.  torchvision gets what it wants, float images; ours gets uint8 and converts them in its
    turn.  Ours keeps its weights in channels_last.  Nobody does so for torchvision's, but a line of code
    would: the second line shows what remains then.
    """
    # a small rate: random pixels must not blow up in many steps
    recipe = replace(recipe, lr=1e-4, lr_batch=recipe.batch_size)
    torch.manual_seed(0)
    task = Detection(recipe, classes)
    learner = fresh_learner(task, recipe)
    twin = torchvision_twin(copy.deepcopy(learner.network), recipe, len(classes)).train()
    twin_last = copy.deepcopy(twin).to(memory_format=torch.channels_last)
    learner.to(memory_format=torch.channels_last)
    samples = noise_samples(recipe.batch_size, recipe.image_size, objects, len(classes))
    batch = task.objectives["boxes"].collate([(sample,) for sample in samples])
    images = [torch.from_numpy(sample.image).permute(2, 0, 1).contiguous() / 255 for sample in samples]
    targets = [
        {"boxes": torch.from_numpy(sample.boxes), "labels": torch.from_numpy(sample.classes)}
        for sample in samples
    ]

    with threads(options.threads):
        ours, theirs, theirs_last = alternate(
            steps(learner, lambda: _loss(learner, batch), recipe, number),
            steps(twin, lambda: sum(twin(images, targets).values()), recipe, number),
            steps(twin_last, lambda: sum(twin_last(images, targets).values()), recipe, number),
            repeats=options.repeats,
            units=number,
        )
    size = f"{recipe.batch_size} x {recipe.image_size} px, {len(classes)} classes"
    work = f"training step, {recipe.backbone}, {size}"
    return [
        Line(work, RIVAL, "ms/step", target, ours, theirs),
        Line(work, "the same, its weights in `channels_last`", "ms/step", None, ours, theirs_last),
    ]


class Pyramid(nn.Module):
    """The levels of our backbone and neck, named as torchvision wants them."""

    def __init__(self, backbone: nn.Module, neck: nn.Module, channels: int):
        """`channels`: of every level."""
        super().__init__()
        self.backbone, self.neck, self.out_channels = backbone, neck, channels

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        """(B, 3, H, W) float -> (B, channels, H_l, W_l) of each level, finest first."""
        return OrderedDict((str(i), level) for i, level in enumerate(self.neck(self.backbone(images))))


def torchvision_twin(network: Network, recipe: DetectionRecipe, classes: int) -> RetinaNet:
    """torchvision's detector over the backbone and neck of `network`, with the recipe's anchors.

    Its heads are as deep as the recipe's and have batch norm, as ours have.  Left out is what has no
    counterpart here: resizing images to the size that they have, and padding them to multiples of 32.
    """
    head = RetinaNetHead(recipe.channels, ANCHORS_PER_CELL, classes, norm_layer=nn.BatchNorm2d)
    for part in (head.classification_head, head.regression_head):
        part.conv = part.conv[: recipe.head_depth]
    sides = tuple(
        tuple(recipe.anchor_scale * 2**level * scale for scale in SCALES) for level in recipe.levels
    )
    return RetinaNet(
        Pyramid(network.trunk.backbone, network.heads["detection"].neck, recipe.channels),
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
