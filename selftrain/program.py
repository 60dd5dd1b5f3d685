"""What a person meets in every benchmark: recipe and options, progress, table, exit code.  `coco.py` and `pascal.py` say what is run."""

import difflib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
import tyro
from accelerate import Accelerator
from accelerate.tracking import get_available_trackers
from accelerate.utils import DistributedDataParallelKwargs
from rich.console import Console
from rich.table import Table

from selftrain import run as rounds
from selftrain import splits as data
from selftrain.recipe import Recipe, digest
from selftrain.record import Record
from selftrain.report.places import percent
from selftrain.report.run_table import arms_table, write_report
from selftrain.system.errors import UserError
from selftrain.system.files import file_name
from selftrain.system.launch import ensure_processes
from selftrain.system.progress import cores, duration, peak_memory
from selftrain.system.stop import Stop, Stopped
from selftrain.train import Engine


@dataclass(frozen=True)
class Benchmark:
    """One program: which recipes, which task, which data layout."""

    file: str  # of the program, its __file__
    about: str  # its docstring
    recipes: dict[str, Callable[[], Recipe]]  # demo first
    task: type
    source: type  # CocoSource or VocSource

    @property
    def program(self) -> str:
        """As a person types it: coco.py."""
        return Path(self.file).name

    def parse(self, args: list[str]) -> Recipe:
        """`[RECIPE] [--option value]...`; the recipe defaults to the demo.  Raises UserError for contradictions."""
        return self.read(args).check()

    def read(self, args: list[str]) -> Recipe:
        """The same, contradictions and all."""
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
        return tyro.cli(
            type(preset()),
            default=preset(),
            args=args,
            prog=f"{self.program} {name}",
            description=preset.__doc__,
        )

    def cli(self, args: list[str]) -> int:
        """Exit code: 0 done, 1 a mistake in the input, 143 (130) told to stop by SIGTERM (Ctrl-C) with everything saved."""
        try:
            ensure_processes()
            return main(self, self.parse(args))
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        except Stopped as stopped:
            print("stopped as told; everything is saved, the same command goes on from here", file=sys.stderr)
            return stopped.code

    def run(self) -> None:
        """The program: does not return."""
        code = self.cli(sys.argv[1:])
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(
            code
        )  # other processes of a failed run may be waiting in a collective: do not wait for them in turn


def main(benchmark: Benchmark, recipe: Recipe) -> int:
    trackers = sorted(str(tracker) for tracker in get_available_trackers())
    for name in recipe.track:
        if name not in trackers:
            raise UserError(
                f"--track {name} is unknown or not installed; here are: {', '.join(trackers) or 'none'} (pip install -e '.[track]' brings tensorboard)"
            )
    accelerator = Accelerator(
        mixed_precision=recipe.precision,
        log_with=list(recipe.track) or None,
        project_dir=recipe.out,
        kwargs_handlers=[DistributedDataParallelKwargs(gradient_as_bucket_view=True)],
    )
    recipe = replace(
        recipe, precision=accelerator.mixed_precision
    )  # part of a cell's identity, wherever it was said
    if accelerator.device.type == "cpu":
        hosted = int(os.environ.get("LOCAL_WORLD_SIZE", accelerator.num_processes))
        torch.set_num_threads(recipe.threads or max(1, cores() // hosted))
    stop = Stop(accelerator)
    console = Console(width=None if sys.stdout.isatty() else 120) if accelerator.is_main_process else None
    say = partial(console.print, highlight=False, soft_wrap=True) if console else lambda *_, **__: None
    engine = Engine(accelerator, stop, console)
    if recipe.track:
        accelerator.init_trackers(recipe.name)

    drawn = sum((recipe.shapes.train, recipe.shapes.val, recipe.shapes.test, recipe.shapes.unlabeled))
    with accelerator.main_process_first(), engine.stage("generate the data set", drawn, unit="image") as bar:
        splits = data.load(
            recipe,
            benchmark.source,
            warn=lambda text: say(f"[yellow]note:[/] {text}"),
            progress=lambda done, _: bar.update(done, done),
        )
    task = benchmark.task(recipe, splits.train.class_names)
    cells = [
        cell for cell in rounds.plan(recipe, splits) if not (cell.teacher and recipe.until != "students")
    ]
    with accelerator.main_process_first():
        if accelerator.is_main_process:
            rounds.settle_stale(cells, recipe.stale, say)
    announce(say, recipe, splits, cells, accelerator)
    rounds.preflight(task, cells, accelerator.num_processes)
    engine.on_rate = Estimate(say, cells)

    records = []
    for number, cell in enumerate(cells, 1):
        engine.on_rate.cell, engine.steps_before = number - 1, (number - 1) * recipe.steps
        try:
            records.append(
                rounds.run_cell(engine, task, cell, splits, f"[{number}/{len(cells)}] {cell.arm}", say)
            )
            if recipe.until == "labels":
                rounds.labels_of(engine, task, recipe, cell, splits, say)
        except Stopped:
            accelerator.end_training()  # trackers write what they hold
            raise
    if accelerator.is_main_process:
        report(console, recipe, records)
    accelerator.end_training()
    return 0


def announce(
    say, recipe: Recipe, splits: data.Splits, cells: list[rounds.Cell], accelerator: Accelerator
) -> None:
    """What will run, before it runs."""
    pool = f", pool {len(splits.pool)} photos" if splits.pool else ""
    say(
        f"[bold]{recipe.name}[/]: {recipe.backbone} at {recipe.image_size} px, policy {recipe.policy}, {len(splits.train)} images with {recipe.label_source} labels "
        f"({'listed' if recipe.image_ids else f'{percent(recipe.fraction)} of the set'}), {len(splits.val)} for the curve, {len(splits.test)} for the score ({splits.test_name}){pool}, "
        f"{len(splits.train.class_names)} classes"
    )
    say(
        f"learning rate {recipe.peak_lr():.4g} = {recipe.lr:g} x {recipe.batch_size} / {recipe.lr_batch} (global batch / batch it is meant for); "
        f"{accelerator.num_processes} process(es) on {accelerator.device}, precision {accelerator.mixed_precision}"
    )
    table = Table("run", "steps", "images", "state", box=None, pad_edge=False)
    for cell in cells:
        done, begun = (cell.folder / "record.json").exists(), (cell.folder / "last.pt").exists()
        table.add_row(
            str(cell.arm),
            f"{recipe.steps:,}",
            f"{cell.images:,}",
            "finished" if done else "goes on from its checkpoint" if begun else "to do",
        )
    say(table)


class Estimate:
    """Time and memory of the whole command, told once after the first steps of the first cell that trains."""

    def __init__(self, say, cells: list[rounds.Cell]):
        self.say, self.cells, self.cell, self.told = say, cells, 0, False

    def __call__(self, seconds: float, steps: int) -> None:
        if not self.told:
            self.told = True
            a_image = seconds / steps * self.cells[self.cell].recipe.steps / self.cells[self.cell].images
            left = [cell for cell in self.cells[self.cell :] if not (cell.folder / "record.json").exists()]
            total = sum(cell.images for cell in left) * a_image
            self.say(
                f"estimate: {duration(seconds / steps * self.cells[self.cell].recipe.steps)} for this run, {duration(total)} of training in all "
                f"(evaluation and pseudo-labelling come on top); peak memory so far {peak_memory():.1f} GiB"
            )


def report(console: Console, recipe: Recipe, records: list[Record]) -> None:
    """Table on the screen; the same as markdown, json and a figure in the run's own folder."""
    folder = Path(recipe.out) / f"{file_name(recipe.name)}-{digest([r.key for r in records])}"
    console.print(arms_table(records).rich())
    write_report(records, folder)
    console.print(
        f"table, records and figure: {folder}/table.md, records.json, curves.png",
        highlight=False,
        soft_wrap=True,
    )
