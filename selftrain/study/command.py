"""The command line of a study: its options, the cells that they ask for, what is shown before and after."""

import os
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro
from accelerate.commands.config.config_args import default_config_file, load_config_from_file
from accelerate.commands.launch import launch_command_parser
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from selftrain.program import Benchmark
from selftrain.recipe import Policy, Recipe, refuse
from selftrain.study.graph import Graph, build, settle_stale, shortest, show_stale
from selftrain.study.run import OVER, Runner
from selftrain.study.slurm import Slurm, queued, submit
from selftrain.system.errors import UserError
from selftrain.system.files import file_name
from selftrain.system.lock import Lock
from selftrain.system.progress import duration
from selftrain.system.stop import Stopped

MINE = {
    "--policy": "--policies",
    "--fraction": "--fractions",
    "--seed": "--seeds",
    "--until": None,
    "--image-ids": None,
    "--no-self-training": "--supervised-only",
}


@dataclass(frozen=True)
class Study:
    task: tyro.conf.Positional[Literal["coco", "pascal"]]
    """detection (coco.py) or segmentation (pascal.py)"""
    recipe: tyro.conf.Positional[str]
    """one of its recipes: demo, mini, paper, of coco also study; any option of the recipe may follow (`accelerate launch benchmarks/coco.py mini --help`)"""
    policies: tuple[Policy, ...] = ("S1", "S2", "S3", "S4")
    """augmentation policies"""
    fractions: tuple[float, ...] = (0.2, 0.5, 1.0)
    """shares of the labelled images"""
    matrix: Literal["paper", "full"] = "paper"
    """paper: every policy with the largest fraction, and every fraction with the strongest policy (Tables 2 and 3); full: all with all"""
    starts: tuple[str, ...] = ()
    """starting points; default: the recipe's"""
    seeds: tuple[int, ...] = (0, 1, 2)
    """runs of every cell; differences are paired by them"""
    supervised_only: bool = False
    """without students"""
    steps: tuple[str, ...] = ()
    """a budget for all cells (2000) or one a policy (S1=1000 S4=3000); default: the recipe's"""
    name: str | None = None
    """of the study: its records stand in RECORDS/NAME; default: the recipe's name"""
    records: str | None = None
    """folder that finished records are copied to, for tables.py and figures.py; default: OUT/records.  Those that are there count as done"""
    launch: str = ""
    """options of `accelerate launch`, in one word after an equals sign: --launch="--multi_gpu --num_processes 8 --mixed_precision bf16\""""
    on: Literal["here", "slurm"] = "here"
    """this machine, one cell at a time; or the jobs of a Slurm cluster"""
    slurm: Slurm = field(default_factory=Slurm)
    """with --on slurm: the resources of a cell's job"""
    dry_run: bool = False
    """list the cells and run none"""

    def check(self) -> "Study":
        for option in ("policies", "fractions", "seeds", "starts"):
            values = getattr(self, option)
            refuse(not values and option != "starts", f"--{option} names nothing")
            refuse(
                len(set(values)) < len(values), f"--{option} names one twice: {' '.join(map(str, values))}"
            )
        for fraction in self.fractions:
            refuse(not 0 < fraction <= 1, f"--fractions {fraction} is not in (0, 1]; 10 % is 0.1")
        try:
            shlex.split(self.launch)
        except ValueError as error:
            raise UserError(f"--launch {self.launch}: {error}") from error
        for policy in self.policies:
            self.budget(policy)
        return self

    def places(self) -> list[tuple[Policy, float, int]]:
        """(policy, fraction, seed) in the order they run: a whole matrix a seed, so that an early end leaves whole tables of fewer seeds."""
        policies, fractions = sorted(self.policies), sorted(self.fractions, reverse=True)
        every = [(policy, fraction) for fraction in fractions for policy in policies]
        paper = [
            (policy, fraction)
            for policy, fraction in every
            if fraction == fractions[0] or policy == policies[-1]
        ]
        return [
            (policy, fraction, seed)
            for seed in self.seeds
            for policy, fraction in (paper if self.matrix == "paper" else every)
        ]

    def budget(self, policy: Policy) -> str | None:
        """Steps of a policy's cells.  Raises UserError for anything but a number, or POLICY=NUMBER for each policy."""
        if not self.steps:
            return None
        given = dict(word.split("=", 1) if "=" in word else ("all", word) for word in self.steps)
        steps = given.get(policy, given.get("all"))
        refuse(
            steps is None
            or not all(value.isdigit() for value in given.values())
            or not given.keys() <= {"all", *self.policies},
            f"--steps {' '.join(self.steps)}: give one number, or POLICY=NUMBER for each of {' '.join(self.policies)}",
        )
        return steps


def parse(args: list[str], about: str = "") -> tuple[Study, list[str]]:
    """(the study, options of the recipe)."""
    study, rest = tyro.cli(
        Annotated[Study, tyro.conf.AvoidSubcommands],
        args=args,
        prog="study.py",
        description=about,
        return_unknown_args=True,
    )
    for word in rest:
        option = word.partition("=")[0].replace("_", "-")
        if option in MINE:
            raise UserError(
                f"{option} is what a study varies{f': give {MINE[option]}' if MINE[option] else '; leave it out'}"
            )
    return study.check(), rest


def cells(benchmark: Benchmark, study: Study, rest: list[str]) -> list[tuple[Recipe, tuple[str, ...]]]:
    """The recipe of every start at every place, and the options that make it of the preset."""
    base = benchmark.read([study.recipe, *rest])
    starts = study.starts or base.starts
    precision = base.precision or launch_precision(
        study.launch
    )  # part of a cell's identity, wherever it was said
    # this process settles what is stale; a cell refuses code that changed while the study ran
    rest = _without(rest, "--stale") + (["--stale", "keep"] if base.stale == "keep" else [])
    found = []
    for policy, fraction, seed in study.places():
        budget = study.budget(policy)
        poolless = fraction == 1 and base.unlabeled == ("rest",)  # all labels: nothing is left to label
        alone = study.supervised_only or poolless or not base.self_training
        recipe = replace(
            base,
            policy=policy,
            fraction=fraction,
            seed=seed,
            steps=int(budget or base.steps),
            precision=precision,
            self_training=not alone,
            rounds=1 if alone else base.rounds,
        )
        shared = [
            "--policy",
            policy,
            "--fraction",
            shortest(fraction),
            "--seed",
            str(seed),
            *(["--steps", budget] if budget else []),
            *rest,
            *(["--no-self-training", "--rounds", "1"] if alone else []),
        ]
        found += [
            (replace(recipe, starts=(start,)).check(), (*shared, "--starts", start)) for start in starts
        ]
    replace(found[0][0], starts=starts).check()  # what is wrong with them together: a cell has one
    return found


def launch_precision(launch: str) -> str:
    """What `accelerate launch` with these options, or else its configuration file, says of mixed precision."""
    args = launch_command_parser().parse_args([*shlex.split(launch), "script"])
    file = args.config_file or default_config_file
    return args.mixed_precision or (
        str(load_config_from_file(file).mixed_precision) if os.path.isfile(file) else "no"
    )


def _without(words: list[str], option: str) -> list[str]:
    kept = [word for word in words if not word.startswith(f"{option}=")]
    if option in kept:
        place = kept.index(option)
        del kept[place : place + 2]
    return kept


def listing(runner: Runner) -> Table:
    """The dry run: every node, its state, whom it waits for, how long it is expected to take."""
    table = Table("cell", "state", "waits for", "expected", box=None, pad_edge=False)
    for row in runner.summary()["nodes"]:
        expected = (
            ""
            if row["state"] == "done"
            else "unknown"
            if row["expected_seconds"] is None
            else duration(row["expected_seconds"])
        )
        table.add_row(
            escape(row["cell"]),
            f"{row['state']}{', failed before' if row['failed_before'] else ', stale' if row['stale'] else ''}",
            escape(row["waits_for"] or ""),
            expected,
        )
    return table


def main(benchmarks: dict[str, Benchmark], args: list[str], about: str = "") -> int:
    study, rest = parse(args, about)
    benchmark = benchmarks[study.task]
    console = Console(width=None if sys.stdout.isatty() else 160)
    say: Callable[[str], None] = lambda text: console.print(
        text, highlight=False, soft_wrap=True, markup=False
    )  # noqa: E731
    wanted = cells(benchmark, study, rest)
    recipe = wanted[0][0]
    name = file_name(study.name or recipe.name)
    records = Path(study.records or f"{recipe.out}/records")
    graph = build(
        benchmark, study.recipe, wanted, records / name, study.launch, lambda text: say(f"note: {text}")
    )
    runner = Runner(graph, Path(recipe.out) / "study" / name, console)
    if study.on == "slurm":
        runner.queued, runner.lost = queued(runner)
    if study.dry_run:
        show_stale(graph, recipe.stale, say)
        runner.look()
        console.print(listing(runner))
        say(summary_line(runner, graph))
        return 0
    with Lock(
        runner.folder / "stale.lock"
    ).wait():  # two calls started at once: what one has moved away is not stale to the other
        graph.read_committed()
        settle_stale(graph, recipe.stale, say)
    for node in graph.nodes:
        graph.publish(node)
    runner.at_work = study.on == "here"
    say(summary_line(runner, graph))
    if study.on == "slurm":
        return submit(graph, runner, study.slurm, say)
    try:
        code = runner.run()
    finally:
        if runner.took:
            say(runner.overhead())
    say(summary_line(runner, graph))
    results = records.parent / "results" if records.parent.name != "results" else records.parent
    say(
        f"progress and logs: {runner.folder}; records: {graph.records}. Tables and verdict, then figures:\n"
        f"  python benchmarks/tables.py --studies {records} --out {results}\n  python benchmarks/figures.py --studies {records} --out {results}/figures"
    )
    return code


def summary_line(runner: Runner, graph: Graph) -> str:
    found = runner.summary()
    names = (
        "done",
        "to do",
        "waiting",
        "running",
        "running elsewhere",
        "queued",
        "failed",
        "stopped by a failure",
    )
    eta = (
        ""
        if sum(found.get(name, 0) for name in OVER) == found["commands"]
        else f"; expected: {'unknown before the first has ended' if found['eta_seconds'] is None else duration(found['eta_seconds'])}{f', going by {runner.pace_from}' if runner.pace_from else ''}"
    )
    return (
        f"{graph.program} {graph.preset}: {len(graph.cells)} cells, {found['commands']} commands: "
        + ", ".join(f"{found[name]} {name}" for name in names if found.get(name))
        + eta
    )


def run(benchmarks: dict[str, Benchmark], about: str) -> None:
    """The program: does not return."""
    try:
        sys.exit(main(benchmarks, sys.argv[1:], about))
    except UserError as error:
        sys.exit(f"error: {error}")
    except Stopped as stopped:
        print("stopped as told; everything is saved, the same command goes on from here", file=sys.stderr)
        sys.exit(stopped.code)
