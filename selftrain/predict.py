"""Predictions of a network on a data set, over all processes, with or without keeping them on the disk.

A batch holds the same images whatever the number of processes; processes take the batches in turn.
"""

from collections.abc import Callable
from typing import Any

import torch
from accelerate.utils import gather_object
from torch import nn

from selftrain.data.loader import EvalBatches, Photos, loader
from selftrain.engine import Engine, to_device
from selftrain.models.fold import fold
from selftrain.parts import Parts, PartWriter, Prediction
from selftrain.recipe import Recipe
from selftrain.tasks.protocol import Batch, Scorer

Ask = Callable[[nn.Module, Batch], list[Prediction]]


def predict(
    engine: Engine,
    branch: nn.Module,
    ask: Ask,
    batches: EvalBatches,
    items: list[int],
    done: Callable[[int, dict[int, Prediction]], None],
    *,
    recipe: Recipe,
    title: str,
) -> None:
    """`ask` of the batches `items`, dealt out over the processes; `done(item, {image index: prediction})` on
    the one that made it.

    `branch` maps images to a head's output; its batch norm is folded into its convolutions first.  Raises
    Stopped.
    """
    accelerator = engine.accelerator
    own = items[accelerator.process_index :: accelerator.num_processes]
    stream = loader(batches, own, recipe.workers)
    branch.eval()
    turns = -(-len(items) // accelerator.num_processes)
    seen = 0
    with (
        engine.stage(title, len(items), unit="batch") as bar,
        torch.inference_mode(),
        accelerator.autocast(),
    ):
        for turn in range(turns):
            if turn < len(own):
                batch = to_device(next(stream), accelerator.device)
                branch = fold(branch, batch["images"][:2]) if turn == 0 else branch
                done(own[turn], dict(zip(batch["indices"], ask(branch, batch), strict=True)))
                seen += len(batch["indices"]) * accelerator.num_processes
            bar.update(min(len(items), (turn + 1) * accelerator.num_processes), seen)
            engine.stop.check()  # every process, busy or not, or the others would wait for it


def predict_into(
    engine: Engine,
    parts: Parts,
    branch: nn.Module,
    ask: Ask,
    batches: EvalBatches,
    *,
    recipe: Recipe,
    title: str,
    keep: Callable[[dict[int, Prediction]], dict[int, Prediction]] = lambda found: found,
) -> None:
    """The predictions of a whole data set into `parts`; those that are there are not made again.

    Raises Stopped, or UserError.
    """
    accelerator = engine.accelerator
    covered = parts.covered()
    items = [item for item in range(len(batches)) if item * batches.batch not in covered]
    # a part written by a faster process would change what a slower one finds to do
    accelerator.wait_for_everyone()
    writer = PartWriter(parts, keep)
    if items:
        try:
            predict(engine, branch, ask, batches, items, writer.add, recipe=recipe, title=title)
        finally:
            writer.flush()
    accelerator.wait_for_everyone()


def evaluate(
    engine: Engine, scorer: Scorer, network: nn.Module, data: Photos, recipe: Recipe, title: str
) -> dict[str, Any]:
    """Metrics of `network` on `data`, the same on every process, every image counted once.

    Raises Stopped.
    """
    own: dict[int, Prediction] = {}
    batches = EvalBatches(data, recipe.eval_batch, scorer.prepare)
    predict(
        engine,
        network.branch(scorer.head),
        scorer.assess,
        batches,
        list(range(len(batches))),
        lambda _, found: own.update(found),
        recipe=recipe,
        title=title,
    )
    gathered = gather_object([own])
    if engine.accelerator.num_processes == 1:
        return scorer.score(own, data)
    everything = {index: one for part in gathered for index, one in part.items()}
    assert sum(map(len, gathered)) == len(everything), "an image was predicted by two processes"
    return scorer.score(everything, data)


def score_into(
    engine: Engine,
    scorer: Scorer,
    network: nn.Module,
    data: Photos,
    recipe: Recipe,
    parts: Parts,
    title: str,
) -> dict[str, Any]:
    """As `evaluate`, but predictions are kept in `parts`, so that an interrupted scoring goes on."""
    batches = EvalBatches(data, recipe.eval_batch, scorer.prepare)
    branch = network.branch(scorer.head)
    predict_into(engine, parts, branch, scorer.assess, batches, recipe=recipe, title=title)
    parts.check_whole(len(data), "delete the folder, and the set is scored again")
    return scorer.score(parts.by_image(), data)
