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
    raw_values, label_values = (
        [getattr(recipe, name) for name in names if name not in recipe.unused()]
        for names in (labeller.raw_fields, labeller.label_fields)
    )
    raw, selection = digest([teacher_hash, pool.hash, *raw_values]), digest([*label_values, human.hash])
    return folder / f"pool-{raw}" / f"labels-{selection}{labeller.suffix}"


def report_file(labels: Path) -> Path:
    """Where the report on a label file stands: `report-HASH.json` beside `labels-HASH.json` (or `.csv`).

    It is small whatever the size of the pool, so every process reads it, and the label file stays a matter of
    the labels alone.
    """
    return labels.with_name(f"report-{labels.stem.removeprefix('labels-')}.json")


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

    Raw predictions lie under folder/pool-<hash>/; a label file labels-<hash> beside them for each choice of
    threshold, and its report as report-<hash>.json.  All are found again by the next call.  A label file
    without a report is of a run that was killed between the two, or of code that kept the report within the
    label file: its labels are selected again from the raw predictions.  Raises Stopped, or UserError when the
    teacher found nothing.
    """
    accelerator = engine.accelerator
    labels = labels_file(labeller, recipe, teacher_hash, pool, human, folder)
    folder, beside = labels.parent, report_file(labels)
    if accelerator.is_main_process:
        folder.mkdir(parents=True, exist_ok=True)
    accelerator.wait_for_everyone()
    parts = Parts(folder)
    if not engine.agree(labels.exists() and beside.exists()):
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
            _write_report(beside, info, labeller.select(labels, parts, pool, human, info))
    accelerator.wait_for_everyone()
    return labels, _read_report(beside), parts.seconds / accelerator.num_processes


def _write_report(path: Path, info: dict[str, Any], report: dict[str, Any]) -> None:
    content = msgspec.json.encode({"info": info, "report": report}, order="deterministic")
    content = msgspec.json.format(content, indent=1)
    write_atomic(path, lambda file: file.write(content))


def _read_report(path: Path) -> dict[str, Any]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, dict[str, Any]])["report"]
    except (msgspec.DecodeError, KeyError) as error:
        raise UserError(
            f"{path}: not a report on labels ({error}); delete it, and it is written again"
        ) from None
