"""Rows about segmentation: training step, pseudo-masks, mIoU."""

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from recipes.segmentation import demo
from rivals.demo import trained
from rivals.measure import Line, Options, alternate, threads
from rivals.training import fresh_learner, steps
from selftrain.data.loader import EvalBatches
from selftrain.data.pool import Pool, read_pool
from selftrain.data.voc import IGNORED, VOC_CLASSES
from selftrain.data.voc.source import VocSource
from selftrain.engine import Engine
from selftrain.label import label_pool
from selftrain.recipe import Recipe
from selftrain.system.errors import UserError
from selftrain.tasks.protocol import Labeller
from selftrain.tasks.segmentation.miou import confusion, scores
from selftrain.tasks.segmentation.recipe import SegmentationRecipe
from selftrain.tasks.segmentation.task import Segmentation

CLASSES = len(VOC_CLASSES)

# ---- training step --------------------------------------------------------------------------------------


def step_512(options: Options) -> list[Line]:
    """Forward pass, cross-entropy at the input's size, backward pass and optimizer.

    The two networks are of different size: compared is the work a second.  Raises UserError where
    segmentation_models_pytorch is not installed.
    """
    recipe = SegmentationRecipe(
        backbone="resnet50",
        image_size=512,
        neck="nasfpn",
        neck_repeats=7,
        neck_separable=True,
        head_depth=3,
        batch_size=2,
    )
    if options.quick:
        recipe = replace(recipe, backbone="resnet10t", image_size=128, channels=32, neck_repeats=1)
    recipe = replace(recipe, lr=1e-4, lr_batch=2)
    torch.manual_seed(0)
    learner = fresh_learner(Segmentation(recipe, VOC_CLASSES), recipe).to(memory_format=torch.channels_last)
    rival = _rival(recipe.backbone)
    side = recipe.image_size
    images = torch.randint(0, 256, (2, 3, side, side), dtype=torch.uint8)
    images = images.contiguous(memory_format=torch.channels_last)
    masks = torch.randint(0, CLASSES, (2, side, side), dtype=torch.uint8)

    def _our_loss() -> Tensor:
        loss = learner({"masks": {"images": [images], "masks": masks}})["masks"]
        return loss.sum.sum() / loss.count.sum()

    def _their_loss() -> Tensor:
        return F.cross_entropy(rival(images / 255), masks.long())

    work = [_gflop(_our_loss), _gflop(_their_loss)]
    with threads(options.threads):
        costs = alternate(
            steps(learner, _our_loss, recipe),
            steps(rival, _their_loss, recipe),
            repeats=options.repeats,
            units=2,
        )
    per_gflop = [[seconds / gflop for seconds in each] for each, gflop in zip(costs, work)]
    name = f"training step of the segmenter, {recipe.backbone}, 2 x {side} px, 21 classes"
    against = "segmentation_models_pytorch's FPN, same timm encoder"
    remark = (
        f"segmenter: {work[0]:.0f} GFLOP an image forward against {work[1]:.0f}; "
        f"{np.median(costs[0]):.2f} s an image against {np.median(costs[1]):.2f} s"
    )
    return [Line(name, against, "images/s x GFLOP", 0.9, *per_gflop, remark)]


def _rival(backbone: str) -> nn.Module:
    """segmentation_models_pytorch's FPN over a timm encoder."""
    try:
        import segmentation_models_pytorch as smp
    except ImportError:
        raise UserError(
            "the row step-512 compares with segmentation_models_pytorch: pip install -e '.[speed]', "
            "or leave the row out (--rows)"
        ) from None
    network = smp.FPN(f"tu-{backbone}", encoder_weights=None, classes=CLASSES)
    return network.train().to(memory_format=torch.channels_last)


def _gflop(loss: Callable[[], Tensor]) -> float:
    """1e9 operations of one of two images, forward."""
    with FlopCounterMode(display=False) as counter:
        loss()
    return counter.get_total_flops() / 2 / 1e9


# ---- pseudo-masks ---------------------------------------------------------------------------------------


def pseudo_masks(options: Options) -> list[Line]:
    """`label_pool` into a fresh folder each turn, against the forward passes on resident batches.

    Ours decodes, predicts at all scales and mirrored, averages, and writes PNGs and the label file.
    """
    trainer, task, data = trained(options, demo(), Segmentation, VocSource)
    recipe, labeller, teacher = trainer.recipe, task.labeller, trainer.ema.module
    # photos, as a person's pool is; nothing to measure masks by
    pool = replace(data.pool, hidden=None)
    passes = _forward_passes(pool, labeller, recipe)
    branch = teacher.branch(labeller.head).eval()

    def _label(pool: Pool) -> None:
        folder = Path(tempfile.mkdtemp(prefix="masks-", dir=options.folder))
        label_pool(
            trainer.engine,
            labeller,
            recipe,
            teacher,
            "teacher",
            pool,
            data.train,
            folder,
            "label the pool",
        )
        shutil.rmtree(folder)

    @torch.inference_mode()
    def _theirs() -> None:
        for images in passes:
            branch(images)

    with threads(options.threads):
        costs = alternate(lambda: _label(pool), _theirs, repeats=options.repeats, units=len(pool))
        remark = memory(options, pool, trainer.engine, _label)
    scales = f"{len(recipe.teacher_scales)} scales{' and mirror' if recipe.teacher_flip else ''}"
    work = f"pseudo-masks, demo, {len(pool)} images, {scales}"
    against = "the forward passes alone, on resident batches"
    return [Line(work, against, "images/s", 0.8, *costs, remark)]


def _forward_passes(pool: Pool, labeller: Labeller, recipe: Recipe) -> list[Tensor]:
    """(B, 3, S, S) float32 of every batch of the pool, at every scale and, where asked for, mirrored."""
    prepared = EvalBatches(pool, recipe.eval_batch, labeller.prepare)
    passes = []
    for n in range(len(prepared)):
        images = prepared[n]["images"].float()
        for scale in recipe.teacher_scales:
            scaled = F.interpolate(images, (round(recipe.image_size * scale),) * 2, mode="bilinear")
            passes += [scaled, scaled.flip(3)] if recipe.teacher_flip else [scaled]
    return passes


def memory(options: Options, pool: Pool, engine: Engine, label: Callable[[Pool], None]) -> str:
    """A remark on the most memory of the process while it labels a pool, and then ten times as many photos.

    Memory is looked at after every batch.
    """
    folder = options.folder / "copies"
    for copy in range(10):
        (folder / str(copy)).mkdir(parents=True)
        for i in range(len(pool)):
            shutil.copyfile(pool.path(i), folder / str(copy) / pool.path(i).name)
    many, peaks = read_pool([folder]), []
    for photos in (pool, many):
        seen: list[int] = []
        engine.stop.check = lambda: seen.append(psutil.Process().memory_info().rss)
        label(photos)
        peaks.append(max(seen) / 2**20)
    engine.stop.check = lambda: None
    shutil.rmtree(folder)
    return (
        f"pseudo-masks: at most {peaks[0]:.0f} MiB while {len(pool):,} masks are written, "
        f"{peaks[1]:.0f} MiB while {len(many):,} are"
    )


# ---- mIoU -----------------------------------------------------------------------------------------------


def miou(options: Options) -> list[Line]:
    """From class maps to mIoU.  Raises AssertionError where the two sides do not agree."""
    from torchmetrics.classification import MulticlassJaccardIndex

    count = 20 if options.quick else 1449
    pairs = _class_maps()
    tensors = [
        (torch.from_numpy(predicted)[None], torch.from_numpy(truth)[None]) for predicted, truth in pairs
    ]
    results = {}

    def _ours() -> None:
        matrix = sum(confusion(*(x[0].numpy() for x in tensors[i % 8]), CLASSES) for i in range(count))
        results["ours"] = scores(matrix, VOC_CLASSES)["mIoU"]

    def _theirs() -> None:
        metric = MulticlassJaccardIndex(CLASSES, ignore_index=IGNORED, validate_args=False)
        for i in range(count):
            metric.update(*tensors[i % 8])
        results["theirs"] = 100 * float(metric.compute())

    with threads(options.threads):
        costs = alternate(_ours, _theirs, repeats=min(options.repeats, 5))
    if abs(results["ours"] - results["theirs"]) > 1e-3:
        raise AssertionError(f"mIoU differs: {results}")
    work = f"mIoU of {count:,} images of 500 x 375 px, 21 classes"
    remark = f"mIoU: both give {results['ours']:.4f} %"
    return [Line(work, "torchmetrics on the same tensors", "s", 2, *costs, remark)]


def _class_maps() -> list[tuple[np.ndarray, np.ndarray]]:
    """Eight pairs (predicted, true) of class maps (375, 500) uint8: 80 % right, 5 % ignored."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, CLASSES, (8, 25, 19)).repeat(15, 1).repeat(20, 2).astype(np.uint8)
    truth = np.pad(truth, ((0, 0), (0, 0), (0, 500 - truth.shape[2])), mode="edge")
    noise = rng.random(truth.shape)
    predicted = np.where(noise < 0.8, truth, rng.integers(0, CLASSES, truth.shape)).astype(np.uint8)
    truth[rng.random(truth.shape) < 0.05] = IGNORED
    return list(zip(predicted, truth, strict=True))
