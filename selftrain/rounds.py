"""Cells and the order they run in: a supervised run of every start, its pseudo-labels, its student, and so on for more rounds.

The supervised cell of a start is the teacher of its self-trained sibling: nothing is trained twice, and a cell whose record
exists is not run again.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from selftrain import checkpoint, record
from selftrain.data.loader import Stream
from selftrain.errors import UserError
from selftrain.splits import Splits
from selftrain.pseudo import label_pool
from selftrain.recipe import Recipe, digest, identity
from selftrain.seeds import derive
from selftrain.starts import identify, normalisation, start_model
from selftrain.tasks import Task
from selftrain.train import Engine, Trainer, check_batch, evaluate


@dataclass(frozen=True)
class Cell:
    """One training run: a start, supervised (teacher None) or self-trained."""

    recipe: Recipe
    start: str
    weights: str                     # identity of the weights behind `start`
    data: str                        # hash of the labelled splits
    pool: str | None = None
    teacher: "Cell | None" = None

    @property
    def round(self) -> int:
        return 0 if self.teacher is None else self.teacher.round + 1

    @functools.cached_property
    def key(self) -> str:
        """Hash of everything that decides the result; another recipe, data set or weights file gives another cell."""
        student = [self.teacher.key, self.pool] if self.teacher else None
        return digest([identity(self.recipe, student=self.teacher is not None), self.start.partition(":")[0], self.weights, self.data, student])

    @property
    def arm(self) -> str:
        """The row of a table: `random`, `imagenet + self-training`, ..."""
        rounds = "" if self.round < 2 else f" x{self.round}"
        return self.start if self.teacher is None else f"{self.start} + self-training{rounds}"

    @property
    def folder(self) -> Path:
        r = self.recipe
        start = "checkpoint" if self.start.startswith("checkpoint:") else self.start.replace("+", "p")
        student = f"-student{self.round}" if self.teacher else ""
        return Path(r.out) / "cells" / f"{r.task}-{start}{student}-{r.policy}-f{r.fraction:g}-s{r.seed}-{self.key}"

    @property
    def images(self) -> int:
        """Images that its training sees, its teachers' not counted."""
        return self.recipe.steps * (self.recipe.batch_size + (pseudo_batch(self.recipe) if self.teacher else 0))


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


def fresh_model(task: Task, recipe: Recipe, start: str, weights: str | None, arm: str | None = None) -> tuple[nn.Module, str]:
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
        raise UserError(f"{cell.folder}: the teacher's record is there but its final.pt is not. Put it back, or delete record.json to train it again")
    model = task.model(*normalisation(cell.recipe.backbone, cell.start))
    model.load_state_dict(saved["model"])
    return model


def run_cell(engine: Engine, task: Task, cell: Cell, splits: Splits, title: str, say: Callable[[str], None]) -> dict:
    """Train, evaluate and record one cell, or return the record it has.  Raises Stopped with everything on the disk."""
    if engine.agree((cell.folder / "record.json").exists()):
        return record.read(cell.folder / "record.json")
    recipe, accelerator = cell.recipe, engine.accelerator
    mean, std = normalisation(recipe.backbone, cell.start)
    policy = task.policy(mean)
    streams = [Stream("human", splits.train, recipe.batch_size, policy, recipe.seed)]
    labelling, label_seconds = None, 0.0
    if cell.teacher:
        teacher = load_final(task, cell.teacher).to(accelerator.device, memory_format=torch.channels_last)
        teacher_hash = checkpoint.weights_hash(teacher.state_dict())
        if note := task.announce_labels(splits.pool):
            say(note)
        labels, labelling, label_seconds = label_pool(engine, task, recipe, teacher, teacher_hash, splits.pool, splits.train, cell.teacher.folder,
                                                      f"{cell.teacher.arm}: label the pool")
        say(task.describe_labels(labelling))
        labelling |= {"teacher": teacher_hash, "teacher_cell": cell.teacher.key}
        streams.append(Stream("pseudo", task.read_labels(labels, splits.pool), pseudo_batch(recipe), policy, recipe.seed))
    model, origin = fresh_model(task, recipe, "random" if cell.teacher and recipe.student_start == "random" else cell.start, recipe.weights, cell.start)
    if cell.teacher and recipe.student_start == "teacher":
        model.load_state_dict(teacher.state_dict())
        origin = f"teacher {cell.teacher.key}"
    cell.folder.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(engine, task, recipe, model, streams, cell.folder, title, cell.key)

    def curve_point(model: nn.Module) -> dict:
        scores = evaluate(engine, task, model, splits.val, recipe, f"{title}: evaluate")
        return {name: scores[name] for name in task.columns}

    final = trainer.run(curve_point)
    scores = evaluate(engine, task, final, splits.test, recipe, f"{title}: {splits.test_name} split")
    state = trainer.state
    result = {
        "key": cell.key, "arm": cell.arm, "start": cell.start, "round": cell.round, "origin": origin, "recipe": recipe.name,
        "settings": identity(recipe, student=cell.teacher is not None), "split": splits.test_name, "metric": task.metric, "metrics": scores,
        "curve": state.curve, "flattened": record.flattened(state.curve, task.metric), "steps": recipe.steps, "images": cell.images,
        "labelled_images": len(splits.train), "labels": recipe.label_source, "pseudo_labels": labelling,
        "hashes": {"data": splits.hash, "val": splits.val.hash, "test": splits.test.hash, "train": splits.train.hash, "pool": cell.pool, "weights": cell.weights, "final": checkpoint.weights_hash(final.state_dict()), "source": record.source_hash()},
        "measured": {"seconds": state.seconds + label_seconds, "label_seconds": label_seconds, "peak_memory_gib": state.peak, "hardware": record.hardware(accelerator.num_processes), "versions": record.versions(),
                     "precision": accelerator.mixed_precision},
    }
    if accelerator.is_main_process:
        checkpoint.save(cell.folder / "final.pt", {"key": cell.key, "model": final.state_dict(), "mean": mean, "std": std})
        record.write(cell.folder / "record.json", result)  # from here on the cell is finished
        trainer.last.unlink(missing_ok=True)
    accelerator.wait_for_everyone()
    accelerator.free_memory()
    return record.read(cell.folder / "record.json")
