"""Rows about the demo's training loop and pseudo-labels, against what cannot be saved of them."""

import functools
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import torch
from accelerate import Accelerator

from recipes.detection import demo
from rivals.measure import Line, Options, alternate, threads
from selftrain.cells import Cell, Feed, Human, first_weights
from selftrain.data.coco.source import CocoSource
from selftrain.data.loader import EvalBatches, Group, Share, TrainBatches, loader
from selftrain.data.pool import read_pool
from selftrain.engine import Engine
from selftrain.feeds import Made, make_feed
from selftrain.label import label_pool
from selftrain.networks import first_network, task_of
from selftrain.parts import Parts
from selftrain.recipe import Recipe
from selftrain.splits import Splits, load
from selftrain.tasks.detection.task import Detection
from selftrain.tasks.protocol import Batch, Task
from selftrain.train import Trainer
from selftrain.workplace import Workplace


class Trained(NamedTuple):
    """A demo whose training has ended."""

    trainer: Trainer
    task: Task
    data: Splits


@functools.cache
def trained(options: Options, recipe: Recipe, task_type: type, source: type) -> Trained:
    """A demo's imagenet arm, trained to its end.

    An untrained teacher finds nothing, and post-processing of nothing costs nothing.
    """
    # the numbers of images do not change what is in an image
    unlabeled = 50 if options.quick else recipe.shapes.unlabeled
    shapes = replace(recipe.shapes, val=20, test=20, unlabeled=unlabeled)
    recipe = replace(recipe, shapes=shapes, out=str(options.folder), eval_every=10**6, save_every=10**6)
    if options.quick:
        recipe = replace(recipe, steps=60, warmup_steps=10, ema=0.9)
    data = load(recipe, source, warn=print)
    task = task_type(recipe, data.train.class_names)
    feed = Feed("human", data.train.hash, Human(), next(iter(task.objectives)), recipe.batch_size)
    cell = Cell(recipe, first_weights(recipe, "imagenet"), (feed,), data.val.hash)
    task = task_of(task, cell)
    # Ctrl-C ends a benchmark at once
    engine = Engine(Accelerator(cpu=True), SimpleNamespace(poll=lambda: False, check=lambda: None))
    feeds = [make_feed(Workplace(engine, task, data, print), task, cell, feed, Made())]
    network, _ = first_network(task, cell)
    folder = options.folder / f"cell-{recipe.name}"
    trainer = Trainer(engine, recipe, network, task.objectives, feeds, folder, recipe.name, "speed")
    with threads(options.threads):
        trainer.run(lambda network: {})
    return Trained(trainer, task, data)


def training_with_loader(options: Options) -> list[Line]:
    """The trainer's own step on batches that the loader brings, and on batches that lie ready."""
    trainer, task, _ = trained(options, demo(), Detection, CocoSource)
    recipe, number = trainer.recipe, 4 if options.quick else 20
    streams = [feed.stream for feed in trainer.feeds]
    batches = TrainBatches({"boxes": Group(streams, task.objectives["boxes"].collate)}, Share())
    resident = [batches[n] for n in range(number)]
    loaded = loader(batches, range(10**6), recipe.workers)

    def _train(source: Iterable[dict[str, Batch]]) -> None:
        for _ in range(number):
            trainer._step(source)

    with threads(options.threads):
        costs = alternate(
            lambda: _train(loaded),
            lambda: _train(iter(resident)),
            repeats=options.repeats,
            units=number,
        )
    workers = f"{recipe.workers} workers" if recipe.workers else "in the training process"
    work = f"training with loader ({workers}), demo"
    return [Line(work, "the same steps on resident data", "ms/step", 0.9, *costs)]


def pseudo_boxes(options: Options) -> list[Line]:
    """`label_pool` into a fresh folder each turn, against the forward pass on resident batches.

    Ours decodes, resizes, predicts, suppresses double boxes, and writes raw predictions and the label file.
    """
    trainer, task, data = trained(options, demo(), Detection, CocoSource)
    recipe, labeller, teacher = trainer.recipe, task.labeller, trainer.ema.module
    # photos, as a person's pool is; nothing to measure precision by
    pool = read_pool([data.pool.folder])
    prepared = EvalBatches(pool, recipe.eval_batch, labeller.prepare)
    batches = [prepared[n]["images"] for n in range(len(prepared))]
    branch = teacher.branch(labeller.head).eval()
    folders: list[Path] = []

    def _ours() -> None:
        folder = Path(tempfile.mkdtemp(prefix="labels-", dir=options.folder))
        file, _, _ = label_pool(
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
        folders.append(file.parent)

    @torch.inference_mode()
    def _theirs() -> None:
        for images in batches:
            branch(images)

    with threads(options.threads):
        costs = alternate(_ours, _theirs, repeats=options.repeats, units=len(pool))
    rows, _ = Parts(folders[0]).flat("rows")
    work = f"pseudo-labelling, demo, {len(pool)} images"
    against = "the forward pass alone, on resident batches"
    remark = f"pseudo-labelling: {len(rows) / len(pool):.0f} detections an image"
    return [Line(work, against, "images/s", 0.85, *costs, remark)]
