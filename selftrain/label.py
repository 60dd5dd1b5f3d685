"""A teacher labels a pool: raw predictions, kept as they come, then a label file by thresholds."""

from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from torch import nn

from selftrain.data.loader import EvalBatches
from selftrain.data.pool import Pool
from selftrain.engine import Engine
from selftrain.parts import Parts
from selftrain.predict import predict_into
from selftrain.recipe import Recipe, digest
from selftrain.system.errors import UserError
from selftrain.system.files import write_atomic
from selftrain.tasks.protocol import Labeller


def labels_file(
    labeller: Labeller, recipe: Recipe, teacher_hash: str, pool: Pool, human: Any, folder: Path
) -> Path:
    """Where the labels of `pool` by a teacher lie below that teacher's folder; the file exists when they are
    finished.

    `teacher_hash`: of the teacher's weights; `human`: the data set with people's labels.
    """
    raw_fields = [name for name in labeller.raw_fields if name not in recipe.unused()]
    raw = digest([teacher_hash, pool.hash, *(getattr(recipe, name) for name in raw_fields)])
    selection = digest([*(getattr(recipe, name) for name in labeller.label_fields), human.hash])
    return folder / f"pool-{raw}" / f"labels-{selection}{labeller.suffix}"


def report_file(labels: Path) -> Path:
    """Where the report on a label file lies: beside it."""
    return labels.with_suffix(".report.json")


def label_pool(
    engine: Engine,
    labeller: Labeller,
    recipe: Recipe,
    teacher: nn.Module,
    teacher_hash: str,
    pool: Pool,
    human: Any,
    folder: Path,
    title: str,
) -> tuple[Path, dict[str, Any], float]:
    """Label `pool` with the network `teacher` on all processes; returns the label file, its report, and the
    seconds it took.

    Raw predictions lie under folder/pool-<hash>/; a label file and its report beside them for each choice of
    threshold.  All are found again by the next call.  Raises Stopped, or UserError when the teacher found
    nothing.
    """
    accelerator = engine.accelerator
    labels = labels_file(labeller, recipe, teacher_hash, pool, human, folder)
    folder = labels.parent
    if accelerator.is_main_process:
        folder.mkdir(parents=True, exist_ok=True)
    accelerator.wait_for_everyone()
    parts = Parts(folder)
    if not engine.agree(labels.exists() and report_file(labels).exists()):
        predict_into(
            engine,
            parts,
            teacher.branch(labeller.head),
            partial(labeller.predict, truth=pool.hidden),
            EvalBatches(pool, recipe.eval_batch, labeller.prepare),
            recipe=recipe,
            title=title,
            keep=partial(labeller.keep, folder, pool),
        )
        if accelerator.is_main_process:
            parts.check_whole(len(pool), "delete the folder, and the pool is labelled again")
            info = {
                "teacher": teacher_hash,
                "pool": pool.hash,
                "human": human.hash,
                "folder": "names are relative to the pool's common folder",
            }
            report = labeller.select(labels, parts, pool, human, info)
            content = msgspec.json.encode({"info": info, "report": report}, order="deterministic")
            write_atomic(report_file(labels), lambda file: file.write(content))
    accelerator.wait_for_everyone()
    seconds = parts.seconds / accelerator.num_processes
    try:
        report = msgspec.json.decode(report_file(labels).read_bytes())["report"]
    except (msgspec.DecodeError, KeyError, TypeError) as error:
        raise UserError(
            f"{report_file(labels)}: not a report ({error}); delete it, and it is written again"
        ) from None
    return labels, report, seconds
