"""The trials of a study's tuning: ordinary supervised cells of a seed that is not reported.

They are nodes of a graph of their own, run as those of the study are: resumed where they were interrupted,
shared by two calls, here or on a cluster.  A trial's value is the last one of the main score on the val split
along its curve; what its cell scores on the test split is never looked at.
"""

import math
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from selftrain.program import Benchmark
from selftrain.recipe import digest
from selftrain.study.graph import Graph, Node, make_nodes
from selftrain.study.journal import Journal, Trial
from selftrain.study.ladder import Ladder
from selftrain.study.options import Command, Study, commands
from selftrain.study.plans import make_plans
from selftrain.study.process import last_lines
from selftrain.study.progress import Progress
from selftrain.study.runner import Runner
from selftrain.study.search_space import TUNED, candidates, own_values, ranges
from selftrain.study.slurm import look_at_jobs, submit
from selftrain.study.stale import settle_stale
from selftrain.study.tuning import SCORE, Asked, Start, TunedStart, Tuning, read_tuning, shown, without_score
from selftrain.system.lock import Lock

DIVERGED = "Lower --lr, lengthen"  # what the trainer advises where a loss or a gradient is not finite


@dataclass(frozen=True)
class Request:
    """What the trials of a study are planned from."""

    benchmark: Benchmark
    study: Study
    rest: list[str]
    """options of the recipe"""
    asked: Asked
    starts: list[Start]
    """those that are not tuned yet"""
    folder: Path
    """of the study's progress, journal and logs"""
    source: Any
    """of the data"""
    warn: Callable[[str], None]

    @property
    def journal(self) -> Path:
        """File that all calls share."""
        return self.folder / "tuning.journal"

    @property
    def trials_folder(self) -> Path:
        """Of the progress and the logs of the trials."""
        return self.folder / "tuning"

    def lock(self) -> Lock:
        """Of the journal and of the file that comes of it."""
        return Lock(self.folder / "tuning.lock")


@dataclass(frozen=True)
class Trials:
    """The trials of a study as far as they are planned, and the cells that they are."""

    graph: Graph
    """of the trials that have not diverged"""
    ranges: dict[str, tuple[float, float]]
    studies: dict[Start, str]
    """name of each start's study in the journal"""
    trials: dict[Start, list[Trial]]
    nodes: dict[Start, list[Node | None]]
    """of each trial; None where it has diverged"""

    @property
    def left(self) -> list[Node]:
        """The nodes that are not done."""
        return [node for node in self.graph.nodes if not self.graph.done(node)]

    def __str__(self) -> str:
        every = [node for nodes in self.nodes.values() for node in nodes]
        diverged = f", {every.count(None)} diverged" if None in every else ""
        return f"{len(every)} trials, {len(self.left)} left{diverged}"


# ---- planned --------------------------------------------------------------------------------------------


def plan_trials(request: Request, journal: Path) -> Trials:
    """The trials of every start, asked of the journal where they are new.

    Raises UserError without optuna, for data or weights that are not there, and as a recipe does.
    """
    own = _own_commands(request)
    recipe, standing = next(iter(own.values())).recipe, request.asked.standing
    if standing is None:
        within = ranges(recipe)
        values = candidates(own_values(recipe), within, request.asked.place.seed, request.asked.place.trials)
    else:  # a further start gets the candidates of the others
        within, values = standing.ranges, [without_score(each) for each in standing.starts[0].trials]
    plan = partial(make_plans, request.benchmark, warn=request.warn, source=request.source)
    # the key of a start's first cell holds the recipe, the data and the weights: other ones, other trials
    studies = {
        start: f"{start[0]}, {start[1]}: {planned.cells[0].key}"
        for start, planned in zip(own, plan(list(own.values())), strict=True)
    }
    opened = Journal(journal)
    trials = {start: opened.ask(studies[start], values, within) for start in own}
    to_run = [(start, each) for start in own for each in trials[start] if not each.diverged]
    plans = plan([own[start].with_values(each.values) for start, each in to_run])
    place = request.asked.place
    ladder = Ladder({place.policy: place.steps}, (1.0,), ())
    made = make_nodes(plans, TUNED, ladder)
    graph = Graph(
        made,
        request.trials_folder / f"records-{digest(sorted(studies.values()))}",
        request.benchmark.file,
        request.study.recipe,
        launch=request.study.launch,
        varied=TUNED,
        ladder=ladder,
        modules=request.benchmark.modules,
    )
    graph.read_committed()
    by_key = {cell.key: node for node in made for cell in node.cells}
    found = {
        (start, each.number): by_key[planned.cells[0].key]
        for (start, each), planned in zip(to_run, plans, strict=True)
    }
    nodes = {start: [found.get((start, each.number)) for each in trials[start]] for start in own}
    return Trials(graph, within, studies, trials, nodes)


def _own_commands(request: Request) -> dict[Start, Command]:
    """The command of each start at the place of the trials, with the recipe's own values."""
    place, study = request.asked.place, request.study
    there = replace(
        study,
        policies=(place.policy,),
        fractions=(place.fraction,),
        matrix="full",
        seeds=(place.seed,),
        steps=(str(place.steps),),
        budgets=(1.0,),
        student_budgets=(),
        supervised_only=True,
        # where a study varies further fields, its starts are tuned at the first value of each
        vary=tuple(f"{name}={texts[0]}" for name, texts in study.axes()),
    )
    found = commands(request.benchmark, there, request.rest)
    by_start = {(command.recipe.starts[0], command.recipe.freeze[0]): command for command in found}
    return {start: by_start[start] for start in request.starts}


def dry_trials(request: Request) -> Trials:
    """The trials as `plan_trials` gives them; the journal stays as it is."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / request.journal.name
        if request.journal.exists():
            shutil.copy(request.journal, copy)
        return plan_trials(request, copy)


def show_trials(request: Request, console: Console) -> None:
    """What a dry run says of them."""
    trials = dry_trials(request)
    progress = Progress(trials.graph, request.trials_folder)
    if request.study.on == "slurm":
        look_at_jobs(progress)
    progress.find_other_calls()
    say = partial(console.print, highlight=False, soft_wrap=True, markup=False)
    say(f"tuning: {request.asked.place}; {trials}; until they have ended the study has the recipe's values")
    console.print(progress.listing())
    say(progress.line())


# ---- run ------------------------------------------------------------------------------------------------


def tune(request: Request, console: Console) -> tuple[int | None, float]:
    """Run the trials that are left, and write what came of them.

    Returns (exit code where the study cannot go on in this call, else None; seconds of the trials).  Raises
    UserError as `plan_trials` does and where stale cells are refused, or Stopped with everything saved.
    """
    say = partial(console.print, highlight=False, soft_wrap=True, markup=False)
    with request.lock().wait():
        trials = plan_trials(request, request.journal)
        progress = Progress(trials.graph, request.trials_folder)
        if any(has_diverged(progress, node) for node in trials.left):  # in a call that was stopped later
            tell(request, trials, progress)
            trials = plan_trials(request, request.journal)
            progress = Progress(trials.graph, request.trials_folder)
        if trials.graph.nodes:
            settle_stale(trials.graph, trials.graph.cells[0].recipe.stale, say)
    say(f"tuning: {request.asked.place}; {trials}; journal: {request.journal}")
    began = time.monotonic()
    if request.study.on == "slurm":
        look_at_jobs(progress)
    for node in trials.graph.nodes:
        trials.graph.publish(node)
    if trials.left:
        say(progress.line())
        if request.study.on == "slurm":
            code = submit(trials.graph, progress, request.study.slurm, say)
            say("these are the trials; give the command again when they have ended, and the study follows")
            return code, 0.0
        Runner(trials.graph, progress, console).run()
    with request.lock().wait():
        scores = tell(request, trials, progress)
        failed = [node for node in trials.left if not has_diverged(progress, node)]
        if failed:
            say(f"tuning: {len(failed)} trials failed; the same command runs them again")
            return 1, time.monotonic() - began
        tuning = merged(request, trials, scores)
        tuning.write(request.asked.file)
    for each in tuning.starts:
        best, own = each.trials[each.best], each.trials[0].get(SCORE)
        before = "diverged" if own is None else f"{own:.4g}"
        say(
            f"tuned: {each}: {shown(each.chosen)} ({tuning.metric} {best[SCORE]:.4g} on the val split; the "
            f"recipe's own values: {before})"
        )
    return None, time.monotonic() - began


def has_diverged(progress: Progress, node: Node) -> bool:
    """Whether a node that is not done ended because its loss was not finite: it would end so again."""
    if progress.graph.done(node):
        return False
    return any(DIVERGED in line for line in last_lines(progress.log(node), 20))


def tell(request: Request, trials: Trials, progress: Progress) -> dict[Start, list[float | None]]:
    """Tell the journal what has ended; returns the scores of all trials, None where there is none."""
    journal, scores = Journal(request.journal), {}
    for start, nodes in trials.nodes.items():
        scores[start] = [None if node is None else _score(trials.graph, node) for node in nodes]
        for trial, node, score in zip(trials.trials[start], nodes, scores[start], strict=True):
            if node is not None and (trials.graph.done(node) or has_diverged(progress, node)):
                journal.tell(trials.studies[start], trial.number, score)
    return scores


def _score(graph: Graph, node: Node) -> float | None:
    """The main score on the val split at the end of the curve of a finished trial; None where it is no
    number.
    """
    done = graph.finished(node.cell)
    score = math.nan if done is None else float(done.curve[-1][done.metric])
    return score if math.isfinite(score) else None


def merged(request: Request, trials: Trials, scores: dict[Start, list[float | None]]) -> Tuning:
    """The content of the file: what stands there, and these starts; what another call wrote counts."""
    standing = read_tuning(request.asked.file) if request.asked.file.exists() else None
    there = {each.name: each for each in standing.starts} if standing else {}
    for start in scores:
        rows = (
            trial.values | ({} if score is None else {SCORE: score})
            for trial, score in zip(trials.trials[start], scores[start], strict=True)
        )
        there.setdefault(start, TunedStart(start=start[0], freeze=start[1], trials=tuple(rows)))
    ended = (trials.graph.finished(node.cell) for node in trials.graph.nodes)
    metric = next((done.metric for done in ended if done is not None), "")  # none where every trial diverged
    return Tuning(
        metric=standing.metric if standing else metric,
        place=request.asked.place,
        ranges=trials.ranges,
        starts=tuple(there.values()),
    )
