"""The rows of `speed.py` about segmentation: training step, pseudo-masks, mIoU."""

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from recipes.segmentation import demo as pascal_demo
from rivals.detection import IMAGENET, trained
from rivals.measure import Line, Setting, alternate, threads
from selftrain.data.pool import Pool, read_pool
from selftrain.data.voc import IGNORED, VOC_CLASSES
from selftrain.data.voc.source import VocSource
from selftrain.pseudo import label_pool
from selftrain.system.errors import UserError
from selftrain.tasks.segmentation.miou import confusion, scores
from selftrain.tasks.segmentation.recipe import SegmentationRecipe
from selftrain.tasks.segmentation.task import Segmentation
from selftrain.train import Engine, _optimizer


def step_512(s: Setting) -> list[Line]:
    """Forward, cross-entropy at the input's size, backward, optimizer, of networks of different size: compared is the work a second."""
    try:
        import segmentation_models_pytorch as smp
    except ImportError:
        raise UserError(
            "the row step-512 compares with segmentation_models_pytorch: pip install -e '.[speed]', or leave the row out (--rows)"
        ) from None
    recipe = SegmentationRecipe(
        backbone="resnet50",
        image_size=512,
        neck="nasfpn",
        neck_repeats=7,
        neck_separable=True,
        head_depth=3,
        batch_size=2,
    )
    if s.quick:
        recipe = replace(recipe, backbone="resnet10t", image_size=128, channels=32, neck_repeats=1)
    torch.manual_seed(0)
    task = Segmentation(replace(recipe, lr=1e-4, lr_batch=2), VOC_CLASSES)
    ours = task.model(*IMAGENET).train().to(memory_format=torch.channels_last)
    theirs = (
        smp.FPN(f"tu-{recipe.backbone}", encoder_weights=None, classes=len(VOC_CLASSES))
        .train()
        .to(memory_format=torch.channels_last)
    )
    side = recipe.image_size
    images = torch.randint(0, 256, (2, 3, side, side), dtype=torch.uint8).contiguous(
        memory_format=torch.channels_last
    )
    masks = torch.randint(0, len(VOC_CLASSES), (2, side, side), dtype=torch.uint8)

    def our_loss() -> torch.Tensor:
        sums, counts = task.losses(ours, {"images": images, "masks": masks})
        return sums.sum() / counts.sum()

    def their_loss() -> torch.Tensor:
        return F.cross_entropy(theirs(images / 255), masks.long())

    def turn(module, loss):
        optimizer = _optimizer(module, task.recipe)

        def step() -> None:
            loss().backward()
            optimizer.step()
            optimizer.zero_grad()

        return step

    def flops(loss) -> float:
        with FlopCounterMode(display=False) as counter:
            loss()
        return counter.get_total_flops() / 2 / 1e9

    work = [flops(our_loss), flops(their_loss)]  # 1e9 of an image, forward
    with threads(s.cores):
        costs = alternate(turn(ours, our_loss), turn(theirs, their_loss), repeats=s.repeats, units=2)
    per_gflop = [[seconds / gflop for seconds in side] for side, gflop in zip(costs, work)]
    return [
        Line(
            f"training step of the segmenter, {recipe.backbone}, 2 x {side} px, 21 classes",
            "segmentation_models_pytorch's FPN, same timm encoder",
            "images/s x GFLOP",
            0.9,
            *per_gflop,
            f"segmenter: {work[0]:.0f} GFLOP an image forward against {work[1]:.0f}; {np.median(costs[0]):.2f} s an image against {np.median(costs[1]):.2f} s",
        )
    ]


def pseudo_masks(s: Setting) -> list[Line]:
    """`label_pool` into a fresh folder each turn: decoding, scales and mirror, averaged probabilities, PNGs and label file on the disk."""
    trainer, data = trained(s, pascal_demo(), Segmentation, VocSource)
    recipe, task, teacher = trainer.recipe, trainer.task, trainer.ema.module
    pool = replace(data.pool, hidden=None)  # photos, as a person's pool is; nothing to measure masks by
    passes = []
    for start in range(0, len(pool), recipe.eval_batch):
        images = task.collate(
            [task.prepare(pool.sample(i))[0] for i in range(start, min(start + recipe.eval_batch, len(pool)))]
        )["images"].float()
        for scale in recipe.teacher_scales:
            scaled = F.interpolate(images, (round(recipe.image_size * scale),) * 2, mode="bilinear")
            passes += [scaled, scaled.flip(3)] if recipe.teacher_flip else [scaled]

    def label(pool: Pool) -> None:
        folder = Path(tempfile.mkdtemp(prefix="masks-", dir=s.folder))
        label_pool(
            trainer.engine, task, recipe, teacher, "teacher", pool, data.train, folder, "label the pool"
        )
        shutil.rmtree(folder)

    @torch.inference_mode()
    def theirs() -> None:
        for images in passes:
            teacher(images)

    with threads(s.cores):
        costs = alternate(lambda: label(pool), theirs, repeats=s.repeats, units=len(pool))
        remark = memory(s, pool, trainer.engine, label)
    return [
        Line(
            f"pseudo-masks, demo, {len(pool)} images, {len(recipe.teacher_scales)} scales{' and mirror' if recipe.teacher_flip else ''}",
            "the forward passes alone, on resident batches",
            "images/s",
            0.8,
            *costs,
            remark,
        )
    ]


def memory(s: Setting, pool: Pool, engine: Engine, label: Callable[[Pool], None]) -> str:
    """Most memory of the process, looked at after every batch, while it labels the pool and while it labels ten times as many photos."""
    folder = s.folder / "copies"
    for copy in range(10):
        (folder / str(copy)).mkdir(parents=True)
        for i in range(len(pool)):
            shutil.copyfile(pool.path(i), folder / str(copy) / pool.path(i).name)
    many, peaks = read_pool([folder], labels=False), []
    for photos in (pool, many):
        seen: list[int] = []
        engine.stop.check = lambda: seen.append(psutil.Process().memory_info().rss)
        label(photos)
        peaks.append(max(seen) / 2**20)
    engine.stop.check = lambda: None
    shutil.rmtree(folder)
    return f"pseudo-masks: at most {peaks[0]:.0f} MiB while {len(pool):,} masks are written, {peaks[1]:.0f} MiB while {len(many):,} are"


def miou(s: Setting) -> list[Line]:
    """From class maps to mIoU.  Both must agree."""
    from torchmetrics.classification import MulticlassJaccardIndex

    rng = np.random.default_rng(0)
    count = 20 if s.quick else 1449
    truth = (
        rng.integers(0, 21, (8, 25, 19))
        .repeat(15, 1)
        .repeat(20, 2)[:, :375]
        .copy()
        .astype(np.uint8)[:, :, :500]
        .copy()
    )
    truth = np.pad(truth, ((0, 0), (0, 0), (0, 500 - truth.shape[2])), mode="edge")
    found = np.where(rng.random(truth.shape) < 0.8, truth, rng.integers(0, 21, truth.shape)).astype(np.uint8)
    truth[rng.random(truth.shape) < 0.05] = IGNORED
    tensors = [(torch.from_numpy(f)[None], torch.from_numpy(t)[None]) for f, t in zip(found, truth)]
    results = {}

    def ours() -> None:
        matrix = sum(confusion(*(x[0].numpy() for x in tensors[i % 8]), 21) for i in range(count))
        results["ours"] = scores(matrix, VOC_CLASSES)["mIoU"]

    def theirs() -> None:
        metric = MulticlassJaccardIndex(21, ignore_index=IGNORED, validate_args=False)
        for i in range(count):
            metric.update(*tensors[i % 8])
        results["theirs"] = 100 * float(metric.compute())

    with threads(s.cores):
        costs = alternate(ours, theirs, repeats=min(s.repeats, 5))
    if abs(results["ours"] - results["theirs"]) > 1e-3:
        raise AssertionError(f"mIoU differs: {results}")
    return [
        Line(
            f"mIoU of {count:,} images of 500 x 375 px, 21 classes",
            "torchmetrics on the same tensors",
            "s",
            2,
            *costs,
            f"mIoU: both give {results['ours']:.4f} %",
        )
    ]
