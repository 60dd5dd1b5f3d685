"""The trials of a study's tuning: ordinary supervised cells of a seed that is not reported.

They are nodes of a graph of their own, run as those of the study are: resumed where they were interrupted,
shared by two calls, here or on a cluster.  A trial's value is the last one of the main score on the val split
along its curve; what its cell scores on the test split is never looked at.  A data set without a test split
is reported on its val split: then trials are chosen on the images that are reported, and a note says so.
"""

import json
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
from selftrain.study.plans import Planned, make_plans
from selftrain.study.process import last_lines
from selftrain.study.progress import Progress
from selftrain.study.runner import Runner
from selftrain.study.search_space import TUNED, candidates, own_values, ranges
from selftrain.study.slurm import look_at_jobs, submit
from selftrain.study.stale import settle_stale
from selftrain.study.tuning import (
    BASE_STEPS,
    SCORE,
    Asked,
    Start,
    TunedStart,
    Tuning,
    differences,
    read_tuning,
    shown,
    without_score,
)
from selftrain.system.errors import UserError
from selftrain.system.lock import Lock

DIVERGED = "Lower --lr, lengthen"  # what the trainer advises where a loss or a gradient is not finite
OF_A_PLACE = ("policy", "fraction", "seed", "steps")
"""fields of a recipe that the place of the trials says"""
ON_REPORTED = (
    "note: the data set has no test split, so the trials are chosen on the images that are reported, and "
    "what is reported may be a little too good"
)


@dataclass(frozen=True)
class Request:
    """What the trials of a study are planned from."""

    benchmark: Benchmark
    study: Study
    rest: list[str]
    """options of the recipe"""
    asked: Asked
    starts: list[Start]
    """those whose trials are meant, such as all that are not tuned yet"""
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
    settings: dict[str, Any]
    """of all trials alike, as `Tuning.trial` has them"""
    weights: dict[Start, str]
    """identity of what each start's trials begin with"""
    studies: dict[Start, str]
    """name of each start's study in the journal"""
    trials: dict[Start, list[Trial]]
    nodes: dict[Start, list[Node | None]]
    """of each trial; None where it has diverged"""

    @property
    def left(self) -> list[Node]:
        """The nodes that are not done."""
        return [node for node in self.graph.nodes if not self.graph.done(node)]

    @property
    def on_reported(self) -> bool:
        """Whether they are judged by the images that the study reports."""
        return any(splits.val.hash == splits.test.hash for splits in self.graph.splits.values())

    def __str__(self) -> str:
        every = [node for nodes in self.nodes.values() for node in nodes]
        diverged = f", {every.count(None)} diverged" if None in every else ""
        return f"{len(every)} trials, {len(self.left)} left{diverged}"


# ---- planned --------------------------------------------------------------------------------------------


def plan_trials(request: Request, journal: Path) -> Trials:
    """The trials of every start, asked of the journal where they are new.

    Raises UserError without optuna, for data or weights that are not there, and as a recipe does.
    """
    own_plans = _own_plans(request)
    own = {start: planned.command for start, planned in own_plans.items()}
    recipe, standing = next(iter(own.values())).recipe, request.asked.standing
    if standing is None:
        within = ranges(recipe)
        values = candidates(own_values(recipe), within, request.asked.place.seed, request.asked.place.trials)
    else:  # a further start gets the candidates of the others
        within, values = standing.ranges, [without_score(each) for each in standing.starts[0].trials]
    # the key of a start's first cell holds the recipe, the data and the weights: other ones, other trials
    studies = {
        start: f"{start[0]}, {start[1]}: {planned.cells[0].key}" for start, planned in own_plans.items()
    }
    opened = Journal(journal)
    trials = {start: opened.ask(studies[start], values, within) for start in own}
    to_run = [(start, each) for start in own for each in trials[start] if not each.diverged]
    to_plan = [own[start].with_values(each.values) for start, each in to_run]
    plans = make_plans(request.benchmark, to_plan, request.warn, request.source)
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
    settings, weights = _settings(request, own_plans), _weights(own_plans)
    return Trials(graph, within, settings, weights, studies, trials, nodes)


def check_trials(request: Request) -> None:
    """Refuse a study whose trials would be others than those that stand.

    Raises UserError, which says in what they differ, and as `make_plans` does.
    """
    asked, plans = request.asked, _own_plans(request)
    found = differences(asked.standing, _settings(request, plans), _weights(plans))
    if found:
        raise UserError(
            f"{asked.file}: was tuned for other settings than are asked for: {'; '.join(found)}; ask for "
            "those again, or give another --name, or delete that file and the records beside it to tune anew"
        )


def _own_plans(request: Request) -> dict[Start, Planned]:
    """What each start trains at the place of the trials with the recipe's own values.

    Where a study varies further fields, its starts are tuned at the first value of each.  A later call may
    name other values first: the trials that stand count as its own where any of its values give them.
    """
    found, standing = _own_commands(request), request.asked.standing
    found = found if standing else found[: len(request.starts)]
    choices: list[dict[Start, Planned]] = []
    for planned in make_plans(request.benchmark, found, request.warn, request.source):
        if not choices or _start_of(planned.command) in choices[-1]:
            choices.append({})
        choices[-1][_start_of(planned.command)] = planned
    for each in choices if standing else ():
        if not differences(standing, _settings(request, each), _weights(each)):
            return each
    return choices[0]


def _own_commands(request: Request) -> list[Command]:
    """The commands of the starts at the place of the trials, with the recipe's own values: those of the first
    values that are varied come first, all starts of them.
    """
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
    )
    found = commands(request.benchmark, there, request.rest)
    return [command for command in found if _start_of(command) in request.starts]


def _start_of(command: Command) -> Start:
    return command.recipe.starts[0], command.recipe.freeze[0]


def _settings(request: Request, plans: dict[Start, Planned]) -> dict[str, Any]:
    """What `Tuning.trial` says of trials with these plans; without T where the command does not say it."""
    cell, study = next(iter(plans.values())).cells[0], request.study
    policy = request.asked.place.policy
    found = {name: value for name, value in cell.settings(neutral=False).items() if name not in OF_A_PLACE}
    if policy in study.policies or not any("=" in word for word in study.steps):
        recipes_own = request.benchmark.recipes[study.recipe]().steps
        found[BASE_STEPS] = int(study.base_steps(policy) or recipes_own)
    found |= {"training_images": cell.feeds[0].data, "val_split": cell.val}
    # as the file gives them back: it has no null, and lists for tuples
    return json.loads(json.dumps({name: value for name, value in found.items() if value is not None}))


def _weights(plans: dict[Start, Planned]) -> dict[Start, str]:
    return {start: planned.cells[0].root_weights for start, planned in plans.items()}


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
    if trials.on_reported:
        say(ON_REPORTED)
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
    if trials.on_reported:
        say(ON_REPORTED)
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
    """The content of the file: what stands there, and these starts; what another call wrote counts.

    Raises UserError where that call tuned otherwise: its trials are none of this call's.
    """
    file, place = request.asked.file, request.asked.place
    standing = read_tuning(file) if file.exists() else None
    if standing:
        others = differences(standing, trials.settings, trials.weights)
        if standing.place != place:
            others.insert(0, f"{standing.place} there, {place} now")
        if others:
            raise UserError(
                f"{file}: another call has tuned this study meanwhile, and otherwise: {'; '.join(others)}; a "
                "study is tuned once: ask for what stands there, or give another --name"
            )
    there = {each.name: each for each in standing.starts} if standing else {}
    for start in scores:
        rows = (
            trial.values | ({} if score is None else {SCORE: score})
            for trial, score in zip(trials.trials[start], scores[start], strict=True)
        )
        weights = trials.weights[start]
        of_start = TunedStart(start=start[0], freeze=start[1], weights=weights, trials=tuple(rows))
        there.setdefault(start, of_start)
    ended = (trials.graph.finished(node.cell) for node in trials.graph.nodes)
    metric = next((done.metric for done in ended if done is not None), "")  # none where every trial diverged
    return Tuning(
        metric=standing.metric if standing else metric,
        place=place,
        ranges=trials.ranges,
        trial=standing.trial if standing else trials.settings,
        starts=tuple(there.values()),
    )
