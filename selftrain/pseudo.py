"""Teacher to pool: raw predictions, stored as they come so that an interrupted labelling goes on, then a pseudo-label file."""

import time
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from torch import nn

from selftrain.data.pool import Pool
from selftrain.recipe import Recipe, digest
from selftrain.system.errors import UserError
from selftrain.tasks.protocol import Task
from selftrain.train import Engine, predict

PART = 32  # batches a process predicts between two writes


def labels_file(
    task: type[Task] | Task, recipe: Recipe, teacher_hash: str, pool: Pool, human, folder: Path
) -> Path:
    """Where the labels of `pool` by a teacher lie below that teacher's folder; it exists when they are finished."""
    raw = digest(
        [
            teacher_hash,
            pool.hash,
            *(getattr(recipe, field) for field in task.raw_fields if field not in recipe.unused()),
        ]
    )
    return (
        folder
        / f"pool-{raw}"
        / f"labels-{digest([*(getattr(recipe, field) for field in task.label_fields), human.hash])}.json"
    )


def label_pool(
    engine: Engine,
    task: Task,
    recipe: Recipe,
    teacher: nn.Module,
    teacher_hash: str,
    pool: Pool,
    human,
    folder: Path,
    title: str,
) -> tuple[Path, dict, float]:
    """Label `pool` with `teacher` on all processes; returns the label file, its report and the seconds that prediction took.

    Raw predictions lie under folder/pool-<hash>/; a labels-<hash>.json beside them for each choice of threshold.  Both are found
    again by the next call.  Raises Stopped, or UserError when the teacher found nothing.
    """
    labels = labels_file(task, recipe, teacher_hash, pool, human, folder)
    folder = labels.parent
    if engine.accelerator.is_main_process:
        folder.mkdir(parents=True, exist_ok=True)
    engine.accelerator.wait_for_everyone()
    if not engine.agree(labels.exists()):
        _predict(engine, task, recipe, teacher, pool, folder, title)
        engine.accelerator.wait_for_everyone()
        if engine.accelerator.is_main_process:
            parts = sorted(folder.glob("part-*.npz"))
            indices = np.concatenate([np.load(part)["indices"] for part in parts])
            if not np.array_equal(np.sort(indices), np.arange(len(pool))):  # as after two commands at once
                raise UserError(
                    f"{folder}: its parts do not hold each of the pool's {len(pool)} photos once ({len(indices)} predictions of "
                    f"{len(np.unique(indices))} photos); delete the folder, and the pool is labelled again"
                )
            info = {
                "teacher": teacher_hash,
                "pool": pool.hash,
                "human": human.hash,
                "folder": "names are relative to the pool's common folder",
            }
            task.write_labels(labels, parts, pool, human, info)
    engine.accelerator.wait_for_everyone()
    seconds = (
        sum(float(np.load(part)["seconds"]) for part in folder.glob("part-*.npz"))
        / engine.accelerator.num_processes
    )
    try:
        report = msgspec.json.decode(labels.read_bytes())["info"]["report"]
    except (msgspec.DecodeError, KeyError, TypeError) as error:
        raise UserError(
            f"{labels}: not a label file ({error!r}); delete it, and it is written again"
        ) from None
    return labels, report, seconds


def _predict(
    engine: Engine, task: Task, recipe: Recipe, teacher: nn.Module, pool: Pool, folder: Path, title: str
) -> None:
    covered = {int(i) for part in folder.glob("part-*.npz") for i in np.load(part)["indices"]}
    items = [i for i in range(-(-len(pool) // recipe.eval_batch)) if i * recipe.eval_batch not in covered]
    engine.accelerator.wait_for_everyone()  # a part written by a faster process would change what a slower one finds to do
    waiting: dict[int, dict[int, Any]] = {}
    began = time.perf_counter()

    def write() -> None:
        nonlocal began
        if waiting:
            now, first, found = (
                time.perf_counter(),
                min(waiting),
                {k: v for part in waiting.values() for k, v in part.items()},
            )
            waiting.clear()
            try:
                task.write_part(folder / f"part-{first:08d}.npz", pool, found, now - began)
            except OSError as error:
                raise UserError(
                    f"{folder}: pseudo-labels cannot be written ({error}). Those before are safe: free some space and give the same command again"
                ) from error
            began = now

    def done(item: int, found: dict[int, Any]) -> None:
        waiting[item] = found
        if len(waiting) == PART:
            write()

    if items:
        try:
            predict(
                engine,
                task,
                partial(task.label, truth=pool.hidden),
                teacher,
                pool,
                recipe,
                title,
                items,
                done,
            )
        finally:
            write()  # also when told to stop
