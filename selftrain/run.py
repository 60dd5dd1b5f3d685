"""Cells and the order they run in: a supervised run of every start, its pseudo-labels, its student, and so on for more rounds.

The supervised cell of a start is the teacher of its self-trained sibling: nothing is trained twice, and a cell whose record
exists is not run again.
"""

import functools
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn

from selftrain import checkpoint, curve, provenance, record
from selftrain.data.loader import Stream
from selftrain.pseudo import label_pool
from selftrain.recipe import Recipe, digest, identity
from selftrain.record import Arm, Hashes, Measured, Need, Record
from selftrain.splits import Splits
from selftrain.starts.weights import identify, normalisation, start_model
from selftrain.system.errors import UserError
from selftrain.system.files import file_hash, read_json, write_json
from selftrain.system.lock import Lock
from selftrain.system.machine import hardware, versions
from selftrain.system.seeds import derive
from selftrain.tasks.protocol import Task
from selftrain.train import Engine, Trainer, check_batch, evaluate


@dataclass(frozen=True)
class Cell:
    """One training run: a start, supervised (teacher None) or self-trained."""

    recipe: Recipe
    start: str
    weights: str  # identity of the weights behind `start`
    data: str  # hash of the labelled splits
    pool: str | None = None
    teacher: "Cell | None" = None

    @property
    def round(self) -> int:
        return 0 if self.teacher is None else self.teacher.round + 1

    @functools.cached_property
    def key(self) -> str:
        """Hash of everything that decides the result; another recipe, data set or weights file gives another cell."""
        student = [self.teacher.key, self.pool] if self.teacher else None
        return digest(
            [
                identity(self.recipe, student=self.teacher is not None),
                self.start.partition(":")[0],
                self.weights,
                self.data,
                student,
            ]
        )

    @property
    def arm(self) -> Arm:
        """The row of a table: `random`, `imagenet + self-training`, ..."""
        return Arm(self.start, ("self-training",) * self.round)

    @property
    def folder(self) -> Path:
        r = self.recipe
        start = "checkpoint" if self.start.startswith("checkpoint:") else self.start.replace("+", "p")
        student = f"-student{self.round}" if self.teacher else ""
        return (
            Path(r.out)
            / "cells"
            / f"{r.task}-{start}{student}-{r.policy}-f{r.fraction:g}-s{r.seed}-{self.key}"
        )

    @property
    def images(self) -> int:
        """Images that its training sees, its teachers' not counted."""
        return self.recipe.steps * (
            self.recipe.batch_size + (pseudo_batch(self.recipe) if self.teacher else 0)
        )


def pseudo_batch(recipe: Recipe) -> int:
    return round(recipe.batch_size * recipe.pseudo_ratio)


def plan(recipe: Recipe, splits: Splits) -> list[Cell]:
    """All cells in the order they run, teachers before their students."""
    cells = []
    for start in recipe.starts:
        cell = Cell(recipe, start, identify(start, recipe.backbone, recipe.weights), splits.hash)
        cells.append(cell)
        for _ in range(recipe.rounds if recipe.self_training else 0):
            cell = Cell(recipe, start, cell.weights, splits.hash, splits.pool.hash, cell)
            cells.append(cell)
    return cells


def fresh_model(
    task: Task, recipe: Recipe, start: str, weights: str | None, arm: str | None = None
) -> tuple[nn.Module, str]:
    """The network of an arm before its first step.  Heads and pyramid are those of the seed, whatever the start.

    arm: the start whose normalisation the arm has, where its student starts from another one.
    """
    mean, std = normalisation(recipe.backbone, arm or start)
    torch.manual_seed(derive(recipe.seed, "init"))
    model = task.model(mean, std)
    return model, start_model(model, start, recipe.backbone, weights)


def preflight(task: Task, cells: list[Cell], processes: int) -> None:
    """What would otherwise come to light when the last arm begins, hours later: weights that do not fit, no network, uneven batches."""
    todo = [cell for cell in cells if not (cell.folder / "record.json").exists()]
    for start in dict.fromkeys(cell.start for cell in todo):
        fresh_model(task, todo[0].recipe, start, todo[0].recipe.weights)
    for cell in todo:
        check_batch("labelled", cell.recipe.batch_size, cell.recipe, processes)
        if cell.teacher:
            check_batch("pseudo-labelled", pseudo_batch(cell.recipe), cell.recipe, processes)


def load_final(task: Task, cell: Cell) -> nn.Module:
    saved = checkpoint.load(cell.folder / "final.pt")
    if saved is None:
        raise UserError(
            f"{cell.folder}: the teacher's record is there but its final.pt is not. Put it back, or delete record.json to train it again"
        )
    model = task.model(*normalisation(cell.recipe.backbone, cell.start))
    model.load_state_dict(saved["model"])
    return model


# ---- cells of older code ------------------------------------------------------------------------------------------------------


def stale(cell: Cell) -> list[str]:
    """Why what lies in a cell's folder, finished or begun, is no work of the code and the teacher as they are."""
    if (found := record.read(cell.folder / "record.json")) is not None:
        reasons = provenance.stale(found)
        teacher = record.read(cell.teacher.folder / "record.json") if cell.teacher else None
        if teacher and teacher.hashes.final != found.needs["teacher"].final:
            reasons.append("its teacher was trained anew, to other weights")
        return reasons
    if (cell.folder / "last.pt").exists():
        other = provenance.changed(
            read_json(cell.folder / "sources.json") or {}
        )  # without that file: everything
        return [f"code changed since it began: {', '.join(other)}"] if other else []
    return []


def settle_stale(cells: list[Cell], choice: str, say: Callable[[str], None]) -> None:
    """List the stale cells and do as --stale says; on the main process alone.  Raises UserError on `refuse`."""
    found = {cell.key: reasons for cell in cells if (reasons := stale(cell))}
    if not found:
        return
    lines = [f"{cell.folder}: {'; '.join(found[cell.key])}" for cell in cells if cell.key in found]
    if choice == "refuse":
        raise UserError(
            "\n".join(
                [
                    "stale cells:",
                    *lines,
                    "--stale rerun runs them again (the old ones are moved away), --stale keep takes them as they are",
                ]
            )
        )
    say("\n".join([f"stale cells, {'kept as they are' if choice == 'keep' else 'run again'}:", *lines]))
    if choice == "rerun":
        for cell in cells:
            if cell.key in found or (cell.teacher and cell.teacher.key in found):
                found[cell.key] = []  # its students follow it: their teacher will be another
                with training_lock(cell) as lock:
                    if not lock.take():
                        raise UserError(
                            f"{cell.folder}: is being trained ({lock.holder()}); stop that command before its cell is run again"
                        )
                    if cell.folder.exists():
                        away = Path(cell.recipe.out) / "stale" / f"{cell.folder.name}-{time.time_ns()}"
                        away.parent.mkdir(parents=True, exist_ok=True)
                        shutil.move(cell.folder, away)


# ---- one cell -----------------------------------------------------------------------------------------------------------------


def training_lock(cell: Cell, what: str = "training") -> Lock:
    return Lock(Path(cell.recipe.out) / "locks" / f"{cell.folder.name}.{what}")


@contextmanager
def held(engine: Engine, cell: Cell, what: str, say: Callable[[str], None]) -> Iterator[None]:
    """Nobody else works on `what` of this cell meanwhile; waits for another command that does.  Raises Stopped."""
    lock, told = training_lock(cell, what), False
    while not engine.agree(engine.accelerator.is_main_process and lock.take()):
        if not told:
            say(f"{cell.arm}: {what} by {lock.holder()}; waiting for it to end")
            told = True
        engine.stop.check()
        time.sleep(1)
    try:
        yield
    finally:
        lock.release()


def labels_of(
    engine: Engine, task: Task, recipe: Recipe, teacher: Cell, splits: Splits, say: Callable[[str], None]
) -> tuple[Path, dict, float, nn.Module]:
    """The pool's labels by a finished cell (file, report, seconds) and its model; made once, whoever asks first.  Raises Stopped."""
    task = task.normalised(normalisation(recipe.backbone, teacher.start)[0])
    model = load_final(task, teacher).to(engine.accelerator.device, memory_format=torch.channels_last)
    weights = checkpoint.weights_hash(model.state_dict())
    if note := task.announce_labels(splits.pool):
        say(note)
    with held(engine, teacher, "labelling", say):
        labels, report, seconds = label_pool(
            engine,
            task,
            recipe,
            model,
            weights,
            splits.pool,
            splits.train,
            teacher.folder,
            f"{teacher.arm}: label the pool",
        )
    say(task.describe_labels(report))
    return labels, report | {"hash": file_hash(labels)}, seconds, model


def run_cell(
    engine: Engine, task: Task, cell: Cell, splits: Splits, title: str, say: Callable[[str], None]
) -> Record:
    """Train, evaluate and record one cell, or return the record it has.  Raises Stopped with everything on the disk."""
    file = cell.folder / "record.json"
    if not engine.agree(file.exists()):
        with held(engine, cell, "training", say):
            if not engine.agree(file.exists()):
                _run(engine, task, cell, splits, title, say)
    return record.read(file)


def _run(
    engine: Engine, task: Task, cell: Cell, splits: Splits, title: str, say: Callable[[str], None]
) -> None:
    recipe, accelerator = cell.recipe, engine.accelerator
    mean, std = normalisation(recipe.backbone, cell.start)
    task = task.normalised(mean)
    policy = task.policy()
    streams = [Stream("human", splits.train, recipe.batch_size, policy, recipe.seed)]
    labelling, label_seconds, needs = None, 0.0, {}
    if cell.teacher:
        labels, labelling, label_seconds, teacher = labels_of(engine, task, recipe, cell.teacher, splits, say)
        needs["teacher"] = Need(cell.teacher.key, checkpoint.weights_hash(teacher.state_dict()))
        streams.append(
            Stream("pseudo", task.read_labels(labels, splits.pool), pseudo_batch(recipe), policy, recipe.seed)
        )
    model, origin = fresh_model(
        task,
        recipe,
        "random" if cell.teacher and recipe.student_start == "random" else cell.start,
        recipe.weights,
        cell.start,
    )
    if cell.teacher and recipe.student_start == "teacher":
        model.load_state_dict(teacher.state_dict())
        origin = f"teacher {cell.teacher.key}"
    if accelerator.is_main_process and not (cell.folder / "last.pt").exists():
        write_json(cell.folder / "sources.json", provenance.sources())  # of the code that the run begins with
    accelerator.wait_for_everyone()
    trainer = Trainer(engine, task, recipe, model, streams, cell.folder, title, cell.key)

    def curve_point(model: nn.Module) -> dict:
        scores = evaluate(engine, task, model, splits.val, recipe, f"{title}: evaluate")
        return {name: scores[name] for name in task.columns}

    final = trainer.run(curve_point)
    scores = evaluate(engine, task, final, splits.test, recipe, f"{title}: {splits.test_name} split")
    state, sources = trainer.state, read_json(cell.folder / "sources.json")
    if sources is None:
        raise UserError(
            f"{cell.folder}/sources.json: was removed while the cell ran; delete the folder, and it is trained again"
        )
    result = Record(
        key=cell.key,
        task=recipe.task,
        arm=cell.arm,
        origin=origin,
        recipe=recipe.name,
        settings=identity(recipe, student=cell.teacher is not None),
        shapes=asdict(recipe.shapes) if recipe.data == "shapes" else None,
        split=splits.test_name,
        metric=task.metric,
        metrics=scores,
        curve=state.curve,
        flattened=curve.flattened(state.curve, task.metric),
        steps=recipe.steps,
        images=cell.images,
        labelled_images=len(splits.train),
        labels=recipe.label_source,
        protocol=recipe.protocol_name,
        needs=needs,
        pseudo_labels=labelling,
        hashes=Hashes(
            data=splits.hash,
            val=splits.val.hash,
            test=splits.test.hash,
            train=splits.train.hash,
            pool=cell.pool,
            weights=cell.weights,
            final=checkpoint.weights_hash(final.state_dict()),
            source=digest(sources),
        ),
        sources=sources,
        sources_changed=provenance.changed(sources),
        measured=Measured(
            seconds=state.seconds + label_seconds,
            label_seconds=label_seconds,
            energy_kwh=None if state.joules is None else state.joules / 3.6e6,
            peak_memory_gib=state.peak,
            hardware=hardware(accelerator.num_processes),
            versions=versions(),
            precision=accelerator.mixed_precision,
            finished=time.strftime("%Y-%m-%d %H:%M:%S"),
        ),
    )
    if accelerator.is_main_process:
        checkpoint.save(
            cell.folder / "final.pt", {"key": cell.key, "model": final.state_dict(), "mean": mean, "std": std}
        )
        record.write(cell.folder / "record.json", result)  # from here on the cell is finished
        trainer.last.unlink(missing_ok=True)
    accelerator.wait_for_everyone()
    accelerator.free_memory()
