"""The program of a study: reads what is asked for, settles what is stale, runs it, says what came of it."""

import functools
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from rich.console import Console

from selftrain.program import Benchmark
from selftrain.study.graph import Graph, build
from selftrain.study.options import Study, commands, parse
from selftrain.study.plans import Cached
from selftrain.study.progress import Progress
from selftrain.study.registered import contrasts_of
from selftrain.study.runner import Runner
from selftrain.study.slurm import look_at_jobs, submit
from selftrain.study.stale import settle_stale, show_stale
from selftrain.study.trials import Request, check_trials, show_trials, tune
from selftrain.study.tuning import Asked, Start, tuning_of
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
    planner = _Planner(benchmark, study, rest, lambda text: say(f"note: {text}"))
    if study.dry_run:
        _show(planner, console)
        return 0
    asked, seconds = planner.tuning(), 0.0
    graph = planner.graph(asked)
    if len(graph.ladder.budgets) > 1:
        say(str(graph.ladder))
    if missing := planner.missing(asked):
        # what is wrong with the contrasts shows before the trials, and these are no reason to choose others
        with Lock(planner.folder / "stale.lock").wait():
            contrasts_of(_without_cells_of(graph, missing), study.contrasts).write()
        code, seconds = tune(planner.trials(asked), console)
        if code is not None:
            return code
        graph = planner.graph(asked := planner.tuning())
    recipe = graph.cells[0].recipe
    # two calls started at once: what one has moved away is not stale to the other, and both register the same
    with Lock(planner.folder / "stale.lock").wait():
        graph.read_committed()
        settle_stale(graph, recipe.stale, say)
        contrasts = contrasts_of(graph, study.contrasts)
        contrasts.write()
    say(str(contrasts))
    if asked is not None:
        say(f"tuning: {asked.place}, as {asked.file} says")
    graph = replace(graph, contrasts=contrasts.path)
    progress = Progress(graph, planner.folder)
    if study.on == "slurm":
        look_at_jobs(progress)
    for node in graph.nodes:
        graph.publish(node)
    return _run(study, graph, progress, console, seconds)


class _Planner:
    """Plans a study with the values that its starts are tuned to, before they are and after."""

    def __init__(self, benchmark: Benchmark, study: Study, rest: list[str], warn: Callable[[str], None]):
        self._benchmark, self.study, self._rest = benchmark, study, rest
        self._warn, self._source = functools.cache(warn), Cached(benchmark.source)
        self._untuned = commands(benchmark, study, rest)
        recipe = self._untuned[0].recipe
        name = file_name(study.name or recipe.name)
        self.starts = list(dict.fromkeys((*c.recipe.starts, *c.recipe.freeze) for c in self._untuned))
        self.records = Path(study.records or f"{recipe.out}/records") / name
        self.folder = Path(recipe.out) / "study" / name

    def tuning(self) -> Asked | None:
        """What is tuned, or is to be; None for a study that is not.

        Raises UserError as `tuning_of` does, and where it was tuned for another study than this one.
        """
        longest_first = sorted((command.recipe for command in self._untuned), key=lambda r: -r.steps)
        found = tuning_of(self.records, self.study, {r.policy: r.steps for r in longest_first})
        if found and found.standing:
            # it says nothing of the data that the study's own plans do not say
            check_trials(replace(self.trials(found), starts=self.starts, warn=lambda text: None))
        return found

    def missing(self, asked: Asked | None) -> list[Start]:
        """The starts that are to be tuned yet."""
        return asked.missing(self.starts) if asked else []

    def trials(self, asked: Asked) -> Request:
        """What their trials are planned from."""
        where = (self.folder, self._source, self._warn)
        return Request(self._benchmark, self.study, self._rest, asked, self.missing(asked), *where)

    def graph(self, asked: Asked | None) -> Graph:
        """The study; starts that are not tuned yet have the recipe's values."""
        chosen = asked.chosen if asked else {}
        made = commands(self._benchmark, self.study, self._rest, chosen) if chosen else self._untuned
        graph = build(self._benchmark, self.study, made, self.records, self._warn, self._source)
        return replace(graph, tuned=asked.signatures if asked else {})


def _without_cells_of(graph: Graph, starts: list[Start]) -> Graph:
    """The study with no finished cells of these starts: cells of the recipe's values may be none of it."""
    untuned = {cell.key for cell in graph.cells if (cell.arm.start, cell.arm.freeze) in starts}
    return replace(graph, unsettled=untuned)


def _show(planner: _Planner, console: Console) -> None:
    """The dry run: what is there, what would run, and what would be refused; it changes nothing."""
    say = partial(console.print, highlight=False, soft_wrap=True, markup=False)
    study, asked = planner.study, None
    try:
        asked = planner.tuning()
    except UserError as error:
        say(str(error))
    graph = planner.graph(asked)
    if len(graph.ladder.budgets) > 1:
        say(str(graph.ladder))
    progress = Progress(graph, planner.folder)
    if study.on == "slurm":
        look_at_jobs(progress)
    show_stale(graph, graph.cells[0].recipe.stale, say)
    try:
        say(str(contrasts_of(graph, study.contrasts)))
        if planner.missing(asked):
            show_trials(planner.trials(asked), console)
    except UserError as error:
        say(str(error))
    progress.find_other_calls()
    console.print(progress.listing())
    say(progress.line())


def _run(study: Study, graph: Graph, progress: Progress, console: Console, earlier: float) -> int:
    """What is to do, here or on a cluster; returns the exit code.

    earlier: seconds that this call took for the trials of a tuning.
    """
    say = partial(console.print, highlight=False, soft_wrap=True, markup=False)
    progress.at_work = study.on == "here"
    say(progress.line())
    if study.on == "slurm":
        return submit(graph, progress, study.slurm, say)
    runner = Runner(graph, progress, console, earlier)
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
