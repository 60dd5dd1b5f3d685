"""The feeds of a cell: what it learns from, made first where another cell must make it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from selftrain import checkpoint
from selftrain.cells import Acquired, Cell, Feed, Human, Pseudo, Unlabelled
from selftrain.data.loader import EvalBatches, Photos, Stream
from selftrain.data.pool import Pool
from selftrain.label import label_pool
from selftrain.networks import final_network, task_of
from selftrain.parts import Parts
from selftrain.predict import predict_into
from selftrain.recipe import Recipe, digest
from selftrain.record import Need
from selftrain.starts.start import normalisation
from selftrain.system.errors import UserError
from selftrain.system.files import file_hash
from selftrain.tasks.protocol import Task
from selftrain.train import OpenFeed
from selftrain.workplace import Workplace, exclusively


@dataclass
class Made:
    """What making a cell's feeds brought to light, for its record."""

    needs: dict[str, Need] = field(default_factory=dict)
    pseudo_labels: dict[str, Any] | None = None
    label_seconds: float = 0.0


def labels_of(
    place: Workplace, recipe: Recipe, teacher: Cell, pool: Pool
) -> tuple[Path, Need, dict[str, Any], float]:
    """The pool's labels by a finished cell: file, teacher as used, report, seconds.

    They are made once, whoever asks first.  `recipe`: whose thresholds are used.  Raises Stopped.
    """
    engine, say = place.engine, place.say
    mean, _ = normalisation(teacher.recipe.backbone, teacher.normalised_as)
    task = place.task.normalised(mean, recipe)
    network = final_network(place.task, teacher)
    network = network.to(engine.accelerator.device, memory_format=torch.channels_last)
    weights = checkpoint.weights_hash(network.state_dict())
    if note := task.labeller.announce(pool):
        say(note)
    with exclusively(engine, teacher, "labelling", say):
        file, report, seconds = label_pool(
            engine,
            task.labeller,
            recipe,
            network,
            weights,
            pool,
            place.splits.train,
            teacher.folder,
            f"{teacher.arm}: label the pool",
        )
    say(task.labeller.describe(report))
    return file, Need(teacher.key, weights), report, seconds


def bought(place: Workplace, labels: Acquired, seed: int, data: str) -> tuple[Photos, Need]:
    """The images whose labels a strategy buys from the pool with hash `data`, by a finished cell's
    predictions; and that cell as used.
    """
    task, cell, pool = task_of(place.task, labels.cell), labels.cell, place.splits.by_hash(data)
    if labels.strategy not in task.strategies:
        known = ", ".join(task.strategies) or "none yet"
        raise UserError(f"there is no strategy {labels.strategy!r} to buy labels by; there are: {known}")
    network = final_network(task, cell).to(place.engine.accelerator.device, memory_format=torch.channels_last)
    weights = checkpoint.weights_hash(network.state_dict())
    parts = Parts(cell.folder / f"query-{digest([weights, data])}")
    with exclusively(place.engine, cell, "query", place.say):
        predict_into(
            place.engine,
            parts,
            network.branch(task.labeller.head),
            task.labeller.predict,
            EvalBatches(pool, cell.recipe.eval_batch, task.labeller.prepare),
            recipe=cell.recipe,
            title=f"{cell.arm}: look at the pool",
        )
    positions = task.strategies[labels.strategy](parts, pool, labels.count, seed)
    return pool.hidden.take(positions), Need(cell.key, weights)


def make_feed(place: Workplace, task: Task, cell: Cell, feed: Feed, made: Made) -> OpenFeed:
    """The stream of a declared feed; what it needed goes into `made`.  Raises Stopped."""
    splits = place.splits
    match feed.labels:
        case Human() | Unlabelled():
            data = splits.by_hash(feed.data)
        case Pseudo(teacher):
            pool = splits.by_hash(feed.data)
            file, need, report, seconds = labels_of(place, cell.recipe, teacher, pool)
            made.needs["teacher"], made.label_seconds = need, made.label_seconds + seconds
            made.pseudo_labels = report | {"hash": file_hash(file)}
            data = task.labeller.read(file, pool)
        case Acquired():
            data, made.needs["query"] = bought(place, feed.labels, cell.recipe.seed, feed.data)
    views = task.objectives[feed.objective].views
    return OpenFeed(Stream(feed.name, data, feed.batch, views, cell.recipe.seed), feed.objective)
