"""What a person meets in every benchmark: recipe and options, progress, table, exit code.

Programs such as `coco.py` say what is run.
"""

import difflib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Column, Table

from selftrain.options import read_options
from selftrain.recipe import Recipe, digest
from selftrain.record import Record
from selftrain.registry import deciding_modules, task_and_source
from selftrain.report.places import percent
from selftrain.system.errors import UserError
from selftrain.system.files import file_name
from selftrain.system.launch import ensure_processes
from selftrain.system.progress import cores, duration, peak_memory
from selftrain.system.refusal import show_refusal
from selftrain.system.stop import Stop, Stopped

# what trains is imported where it is used: torch and timm take seconds, for which no --help should wait
if TYPE_CHECKING:
    from accelerate import Accelerator

    from selftrain.cells import Cell
    from selftrain.engine import Engine
    from selftrain.splits import Splits
    from selftrain.workplace import Workplace


@dataclass(frozen=True)
class Benchmark:
    """One program: which recipes, and so which task and which layout of data."""

    file: str
    """of the program, its __file__"""
    about: str
    """its docstring"""
    recipes: dict[str, Callable[[], Recipe]]
    """the presets by name, demo first"""

    @property
    def task_name(self) -> str:
        """Name of the task of its recipes, as in `registry.py`."""
        return next(iter(self.recipes.values()))().task

    @property
    def task(self) -> Any:
        """The class of its task."""
        return task_and_source(self.task_name)[0]

    @property
    def source(self) -> Any:
        """The class that reads its data sets."""
        return task_and_source(self.task_name)[1]

    @property
    def modules(self) -> tuple[str, ...]:
        """The modules of the code that its cells begin with; see `provenance`."""
        return deciding_modules(self.task, self.source)

    @property
    def program(self) -> str:
        """As a person types it: coco.py."""
        return Path(self.file).name

    def parse(self, args: list[str]) -> Recipe:
        """`[RECIPE] [--option value]...`; the recipe defaults to the demo.

        Raises UserError for contradictions.
        """
        return self.read(args).check()

    def read(self, args: list[str]) -> Recipe:
        """The recipe that the arguments give, without a check for contradictions.

        Raises UserError for an unknown RECIPE; mistakes in the options and `--help` end the program.
        """
        if args and not args[0].startswith("-"):
            name, args = args[0], args[1:]
            if name not in self.recipes:
                near = difflib.get_close_matches(name, self.recipes, n=1, cutoff=0)
                raise UserError(
                    f"no recipe is called {name!r}; nearest: {near[0]} (there are {', '.join(self.recipes)})"
                )
        else:
            name = "demo"
            if args[:1] in (["--help"], ["-h"]):
                print(self.about)
        preset = self.recipes[name]
        return read_options(preset(), args, prog=f"{self.program} {name}", description=preset.__doc__)

    def cli(self, args: list[str]) -> int:
        """Exit code:

        0 done, 1 a mistake in the input, 143 (130) told to stop by SIGTERM (Ctrl-C) with everything saved.
        """
        try:
            ensure_processes()
            return main(self, self.parse(args))
        except UserError as error:
            show_refusal(str(error))
            return 1
        except Stopped as stopped:
            print("stopped as told; everything is saved, the same command goes on from here", file=sys.stderr)
            return stopped.code

    def run(self) -> None:
        """The program: does not return."""
        code = self.cli(sys.argv[1:])
        sys.stdout.flush()
        sys.stderr.flush()
        # other processes of a failed run may be waiting in a collective: do not wait for them in turn
        os._exit(code)


def main(benchmark: Benchmark, recipe: Recipe) -> int:
    """Run all cells of a recipe; returns the exit code.

    Raises UserError, or Stopped with everything saved.
    """
    from selftrain.cells import plan
    from selftrain.feeds import labels_of
    from selftrain.run import preflight, run_cell
    from selftrain.stale import settle_stale
    from selftrain.workplace import Workplace

    engine, recipe = start_engine(recipe)
    accelerator, console = engine.accelerator, engine.console
    say = partial(console.print, highlight=False, soft_wrap=True) if console else lambda *_, **__: None
    splits = read_data(benchmark, recipe, engine, say)
    task = benchmark.task(recipe, splits.train.class_names)
    place = Workplace(engine, task, splits, say, benchmark.source)
    cells = plan(recipe, splits, next(iter(task.objectives)))
    cells = [cell for cell in cells if not (cell.teacher and recipe.until != "students")]
    with accelerator.main_process_first():
        if accelerator.is_main_process:
            settle_stale(cells, place.modules, recipe.stale, say)
    announce(say, recipe, splits, cells, accelerator)
    preflight(task, cells, accelerator.num_processes)
    estimate = engine.on_rate = Estimate(say, cells)

    records = []
    for number, cell in enumerate(cells, 1):
        estimate.cell, engine.steps_before = number - 1, (number - 1) * recipe.steps
        try:
            records.append(run_cell(place, cell, f"[{number}/{len(cells)}] {cell.arm}"))
            if recipe.until == "labels":
                labels_of(place, recipe, cell, splits.pool)
        except Stopped:
            accelerator.end_training()  # trackers write what they hold
            raise
    if accelerator.is_main_process:
        report(console, recipe, records)
    accelerator.end_training()
    return 0


def prepare(recipe: Recipe, say: Callable[..., None] = print) -> "tuple[Workplace, list[Cell]]":
    """What `run_cell` needs to run the cells of a recipe, and these cells, needed ones first: for use from
    Python.

    Raises UserError for anything wrong with recipe or data.
    """
    from selftrain.cells import plan
    from selftrain.splits import load
    from selftrain.workplace import Workplace

    task_class, source = task_and_source(recipe.task)
    engine, recipe = start_engine(recipe.check())
    with engine.accelerator.main_process_first():
        splits = load(recipe, source, warn=say)
    task = task_class(recipe, splits.train.class_names)
    cells = plan(recipe, splits, next(iter(task.objectives)))
    return Workplace(engine, task, splits, say, source), cells


def start_engine(recipe: Recipe) -> "tuple[Engine, Recipe]":
    """Processes, threads, trackers and the stop flag; and the recipe with the precision that these processes
    have.

    Raises UserError for a tracker that is not installed.
    """
    import torch
    from accelerate import Accelerator
    from accelerate.tracking import get_available_trackers
    from accelerate.utils import DistributedDataParallelKwargs

    from selftrain.engine import Engine

    trackers = sorted(str(tracker) for tracker in get_available_trackers())
    for name in recipe.track:
        if name not in trackers:
            raise UserError(
                f"--track {name} is unknown or not installed; here are: {', '.join(trackers) or 'none'} "
                "(pip install -e '.[track]' brings tensorboard)"
            )
    accelerator = Accelerator(
        mixed_precision=recipe.precision,
        log_with=list(recipe.track) or None,
        project_dir=recipe.out,
        kwargs_handlers=[DistributedDataParallelKwargs(gradient_as_bucket_view=True)],
    )
    if accelerator.device.type == "cpu":
        hosted = int(os.environ.get("LOCAL_WORLD_SIZE", accelerator.num_processes))
        torch.set_num_threads(recipe.threads or max(1, cores() // hosted))
    stop = Stop(accelerator)
    console = Console(width=None if sys.stdout.isatty() else 120) if accelerator.is_main_process else None
    if recipe.track:
        accelerator.init_trackers(recipe.name)
    # part of a cell's identity, wherever it was said
    return Engine(accelerator, stop, console), replace(recipe, precision=accelerator.mixed_precision)


def read_data(benchmark: Benchmark, recipe: Recipe, engine: "Engine", say: Callable[..., None]) -> "Splits":
    """The recipe's data, generated first where it is the generated set.

    Raises UserError for anything wrong with it.
    """
    from selftrain.splits import load

    shapes = recipe.shapes
    drawn = shapes.train + shapes.val + shapes.test + shapes.unlabeled
    with (
        engine.accelerator.main_process_first(),
        engine.stage("generate the data set", drawn, unit="image") as bar,
    ):
        return load(
            recipe,
            benchmark.source,
            warn=lambda text: say(f"[yellow]note:[/] {text}"),
            progress=lambda done, _: bar.update(done, done),
        )


def announce(
    say: Callable[..., None],
    recipe: Recipe,
    splits: "Splits",
    cells: "list[Cell]",
    accelerator: "Accelerator",
) -> None:
    """Say what will run, before it runs, and under which licence the weights are that somebody chose."""
    from selftrain.starts.timm_hub import licence  # brings timm

    pool = f", pool {len(splits.pool)} photos" if splits.pool else ""
    named = ", ".join(splits.train.class_names)
    share = "listed" if recipe.image_ids else f"{percent(recipe.fraction)} of the set"
    say(
        f"[bold]{recipe.name}[/]: {recipe.backbone} at {recipe.image_size} px, policy {recipe.policy}, "
        f"{len(splits.train)} images with {recipe.label_source} labels "
        f"({share}), {len(splits.val)} for the curve, {len(splits.test)} for the score "
        f"({splits.test_name}){pool}, "
        f"{len(splits.train.class_names)} classes{f' ({named})' if recipe.classes else ''}"
    )
    say(
        f"learning rate {recipe.peak_lr():.4g} = {recipe.lr:g} x {recipe.batch_size} / {recipe.lr_batch} "
        "(global batch / batch it is meant for); "
        f"{accelerator.num_processes} process(es) on {accelerator.device}, precision "
        f"{accelerator.mixed_precision}"
    )
    for start in recipe.starts:
        if start.startswith("timm:"):
            say(f"{start}: timm states the licence of these weights as: {licence(start)}")
    heads = (Column(head, no_wrap=True) for head in ("run", "steps", "images", "state"))
    table = Table(*heads, box=None, pad_edge=False)
    for cell in cells:
        begun = (cell.folder / "last.pt").exists()
        state = "finished" if cell.finished else "goes on from its checkpoint" if begun else "to do"
        table.add_row(str(cell.arm), f"{recipe.steps:,}", f"{cell.images:,}", state)
    say(table)


class Estimate:
    """Time and memory of the whole command, said once after the first steps of the first cell that trains."""

    def __init__(self, say: Callable[..., None], cells: "list[Cell]"):
        """`cells`: all of the command, in the order they run."""
        self.say, self.cells = say, cells
        self.cell = 0
        """which of them is at work"""
        self._done = False

    def __call__(self, seconds: float, steps: int) -> None:
        """`steps` of the cell at work took so many seconds."""
        if self._done:
            return
        self._done = True
        cell = self.cells[self.cell]
        this_run = seconds / steps * cell.recipe.steps
        left = sum(each.images for each in self.cells[self.cell :] if not each.finished)
        self.say(
            f"estimate: {duration(this_run)} for this run, {duration(left * this_run / cell.images)} of "
            "training in all "
            f"(evaluation and pseudo-labelling come on top); peak memory so far {peak_memory():.1f} GiB"
        )


def report(console: Console, recipe: Recipe, records: list[Record]) -> None:
    """Table on the screen; the same as markdown, json and a figure in the run's own folder."""
    # brings matplotlib and scipy, which training does not need
    from selftrain.report.run_table import arms_table, write_report

    folder = Path(recipe.out) / f"{file_name(recipe.name)}-{digest([r.key for r in records])}"
    console.print(arms_table(records).rich(console.width))
    write_report(records, folder)
    console.print(
        f"table, records and figure: {folder}/table.md, records.json, curves.png"
        + ("; labels by class: labels.md" if (folder / "labels.md").exists() else ""),
        highlight=False,
        soft_wrap=True,
    )
