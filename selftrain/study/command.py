"""The program of a study: reads what is asked for, settles what is stale, runs it, says what came of it."""

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

from rich.console import Console

from selftrain.program import Benchmark
from selftrain.study.graph import Graph, build
from selftrain.study.options import Study, commands, parse
from selftrain.study.progress import Progress
from selftrain.study.registered import contrasts_of
from selftrain.study.runner import Runner
from selftrain.study.slurm import look_at_jobs, submit
from selftrain.study.stale import settle_stale, show_stale
from selftrain.system.errors import UserError
from selftrain.system.files import file_name
from selftrain.system.lock import Lock
from selftrain.system.stop import Stopped


def main(benchmarks: dict[str, Benchmark], args: list[str], about: str = "") -> int:
    """Run a study; returns the exit code.  Raises UserError, or Stopped with everything saved."""
    study, rest = parse(args, about)
    if study.task not in benchmarks:
        raise UserError(
            f"there is no program {study.task}.py for studies; there are: {', '.join(benchmarks)}"
        )
    benchmark = benchmarks[study.task]
    console = Console(width=None if sys.stdout.isatty() else 160)
    say = partial(console.print, highlight=False, soft_wrap=True, markup=False)
    asked = commands(benchmark, study, rest)
    recipe = asked[0].recipe
    name = file_name(study.name or recipe.name)
    records = Path(study.records or f"{recipe.out}/records")
    graph = build(benchmark, study, asked, records / name, lambda text: say(f"note: {text}"))
    if len(graph.ladder.budgets) > 1:
        say(str(graph.ladder))
    folder = Path(recipe.out) / "study" / name
    if study.dry_run:
        _show(study, graph, folder, console)
        return 0
    # two calls started at once: what one has moved away is not stale to the other, and both register the same
    with Lock(folder / "stale.lock").wait():
        graph.read_committed()
        settle_stale(graph, recipe.stale, say)
        contrasts = contrasts_of(graph, study.contrasts)
        contrasts.write()
    say(str(contrasts))
    graph = replace(graph, contrasts=contrasts.path)
    progress = Progress(graph, folder)
    if study.on == "slurm":
        look_at_jobs(progress)
    for node in graph.nodes:
        graph.publish(node)
    return _run(study, graph, progress, console)


def _show(study: Study, graph: Graph, folder: Path, console: Console) -> None:
    """The dry run: what is there, what would run, and what would be refused; it changes nothing."""
    say = partial(console.print, highlight=False, soft_wrap=True, markup=False)
    progress = Progress(graph, folder)
    if study.on == "slurm":
        look_at_jobs(progress)
    show_stale(graph, graph.cells[0].recipe.stale, say)
    try:
        say(str(contrasts_of(graph, study.contrasts)))
    except UserError as error:
        say(str(error))
    progress.find_other_calls()
    console.print(progress.listing())
    say(progress.line())


def _run(study: Study, graph: Graph, progress: Progress, console: Console) -> int:
    """What is to do, here or on a cluster; returns the exit code."""
    say = partial(console.print, highlight=False, soft_wrap=True, markup=False)
    progress.at_work = study.on == "here"
    say(progress.line())
    if study.on == "slurm":
        return submit(graph, progress, study.slurm, say)
    runner = Runner(graph, progress, console)
    try:
        code = runner.run()
    finally:
        if runner.command_seconds:
            say(runner.overhead())
    say(progress.line())
    records = graph.records.parent
    results = records.parent / "results" if records.parent.name != "results" else records.parent
    say(
        f"progress and logs: {progress.folder}; records: {graph.records}. Tables and verdict, then figures:\n"
        f"  python benchmarks/tables.py --studies {records} --out {results}\n"
        f"  python benchmarks/figures.py --studies {records} --out {results}/figures"
    )
    return code


def run(benchmarks: dict[str, Benchmark], about: str) -> None:
    """The program: does not return."""
    try:
        sys.exit(main(benchmarks, sys.argv[1:], about))
    except UserError as error:
        sys.exit(f"error: {error}")
    except Stopped as stopped:
        print("stopped as told; everything is saved, the same command goes on from here", file=sys.stderr)
        sys.exit(stopped.code)
