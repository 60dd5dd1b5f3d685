"""The options of a study, and the commands that they ask for: one for each recipe of one start."""

import contextlib
import difflib
import io
import itertools
import os
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import tyro
from accelerate.commands.config.config_args import default_config_file, load_config_from_file
from accelerate.commands.launch import launch_command_parser

from selftrain.program import Benchmark
from selftrain.recipe import Policy, Recipe, first_arms, identity, refuse
from selftrain.record import Setting
from selftrain.study.places import shortest
from selftrain.system.errors import UserError

OPTIONS_OF_A_STUDY = {
    "policy": "--policies",
    "fraction": "--fractions",
    "seed": "--seeds",
    "starts": "--starts",
    "freeze": "--freeze",
    "until": None,
    "image_ids": None,
    "no_self_training": "--supervised-only",
}
"""Fields of a recipe that a study sets itself, and the option of the study that says how."""


@dataclass(frozen=True)
class Slurm:
    """The resources of a cell's job."""

    partition: str | None = None
    """where the jobs go; default: the cluster's"""
    hours: float = 24.0
    """of one job; a cell that needs more is queued again and goes on"""
    requeues: int = 10
    """how often a cell may run out of its hours"""
    nodes: int = 1
    """hosts of a cell; more than one are joined by accelerate's own launcher: give --launch the processes of
    all of them together"""
    gpus: int = 0
    """accelerators of a host"""
    cpus: int = 8
    """cores of a host"""
    memory: float | None = None
    """GB of a host"""
    parallel: int = 64
    """jobs of one array at once"""
    save_seconds: int = 120
    """before its end a job is told to save"""
    extra: tuple[str, ...] = ()
    """further options of sbatch, as NAME=VALUE or NAME: account=vision exclusive"""


@dataclass(frozen=True)
class Study:
    """What a person asks of a study."""

    task: tyro.conf.Positional[str]
    """which program of benchmarks/ that trains, such as coco (coco.py) or pascal (pascal.py)"""
    recipe: tyro.conf.Positional[str]
    """one of its recipes, such as demo or small; any option of the recipe may follow
    (`accelerate launch benchmarks/coco.py mini --help`)"""
    policies: tuple[Policy, ...] = ("S1", "S2", "S3", "S4")
    """augmentation policies"""
    fractions: tuple[float, ...] = (0.2, 0.5, 1.0)
    """shares of the labelled images"""
    matrix: Literal["paper", "full"] = "paper"
    """paper: every policy with the largest fraction, and every fraction with the strongest policy (Tables 2
    and 3); full: all with all"""
    starts: tuple[str, ...] = ()
    """starting points; default: the recipe's"""
    freeze: tuple[str, ...] = ()
    """what of pre-trained weights stays as it is, an arm each: none, stages:N, backbone; default: the
    recipe's.  --vary freeze=none,stages:1,backbone says the same"""
    seeds: tuple[int, ...] = (0, 1, 2)
    """runs of every cell; differences are paired by them"""
    vary: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """any other option of the recipe, as FIELD=VALUE,VALUE: every cell is run with each of these values;
    given several times, all values are combined: --vary backbone=resnet18,resnet50 --vary alpha=0.5,1"""
    supervised_only: bool = False
    """without students"""
    steps: tuple[str, ...] = ()
    """a budget for all cells (2000) or one a policy (S1=1000 S4=3000); default: the recipe's"""
    name: str | None = None
    """of the study: its records stand in RECORDS/NAME; default: the recipe's name"""
    records: str | None = None
    """folder that finished records are copied to, for tables.py and figures.py; default: OUT/records.  Those
    that are there count as done"""
    launch: str = ""
    """options of `accelerate launch`, in one word after an equals sign: --launch="--multi_gpu
    --num_processes 8 --mixed_precision bf16\""""
    on: Literal["here", "slurm"] = "here"
    """this machine, one cell at a time; or the jobs of a Slurm cluster"""
    slurm: Slurm = field(default_factory=Slurm)
    """with --on slurm: the resources of a cell's job"""
    dry_run: bool = False
    """list the cells and run none"""

    def check(self) -> "Study":
        """Refuse contradictions; the message names the options."""
        for option in ("policies", "fractions", "seeds", "starts", "freeze"):
            values = getattr(self, option)
            refuse(not values and option not in ("starts", "freeze"), f"--{option} names nothing")
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
        names = [name for name, _ in self.axes()]
        refuse(len(set(names)) < len(names), f"--vary names one field twice: {' '.join(self.vary)}")
        refuse("freeze" in names and bool(self.freeze), "--freeze is varied by --vary; give one of the two")
        refuse("steps" in names and bool(self.steps), "--steps is varied by --vary; give one of the two")
        return self

    def axes(self) -> list[tuple[str, list[str]]]:
        """(field of the recipe, its values as they were typed) of each --vary.

        Raises UserError where that is no FIELD=VALUE,VALUE, or names one value twice.
        """
        found = []
        for word in self.vary:
            name, _, values = word.partition("=")
            texts = [text.strip() for text in values.split(",")]
            refuse(
                not name or not all(texts), f"--vary {word}: give a field and its values, FIELD=VALUE,VALUE"
            )
            refuse(len(set(texts)) < len(texts), f"--vary {word} names one twice")
            found.append((name.strip().removeprefix("--").replace("-", "_"), texts))
        return found

    @property
    def varied(self) -> tuple[str, ...]:
        """The fields of the recipe that --vary names."""
        return tuple(name for name, _ in self.axes())

    def freezing_as_arms(self) -> "Study":
        """The study with `--vary freeze=...` said by --freeze: what is frozen names an arm, not a place."""
        depths = next((tuple(texts) for name, texts in self.axes() if name == "freeze"), self.freeze)
        others = tuple(word for word in self.vary if word.partition("=")[0].strip("- ") != "freeze")
        return replace(self, freeze=depths, vary=others)

    def matrix_settings(self) -> list[Setting]:
        """Policies and fractions of the matrix, in the order they run."""
        policies, fractions = sorted(self.policies), sorted(self.fractions, reverse=True)
        return [
            Setting(policy=policy, fraction=fraction)
            for fraction in fractions
            for policy in policies
            if self.matrix == "full" or fraction == fractions[0] or policy == policies[-1]
        ]

    def budget(self, policy: Policy) -> str | None:
        """Steps of a policy's cells.

        Raises UserError for anything but a number, or POLICY=NUMBER for each policy.
        """
        if not self.steps:
            return None
        given = dict(word.split("=", 1) if "=" in word else ("all", word) for word in self.steps)
        steps = given.get(policy, given.get("all"))
        refuse(
            steps is None
            or not all(value.isdigit() for value in given.values())
            or not given.keys() <= {"all", *self.policies},
            f"--steps {' '.join(self.steps)}: give one number, or POLICY=NUMBER for each of "
            f"{' '.join(self.policies)}",
        )
        return steps


def parse(args: list[str], about: str = "") -> tuple[Study, list[str]]:
    """(the study, options of the recipe).  Raises UserError where both would say one thing."""
    study, rest = tyro.cli(
        Annotated[Study, tyro.conf.AvoidSubcommands],
        args=args,
        prog="study.py",
        description=about,
        return_unknown_args=True,
    )
    study = study.check().freezing_as_arms()
    for word in rest:
        option = word.partition("=")[0].replace("_", "-")
        name = option.removeprefix("--").replace("-", "_")
        if option.startswith("--") and name in OPTIONS_OF_A_STUDY:
            instead = OPTIONS_OF_A_STUDY[name]
            raise UserError(
                f"{option} is what a study varies{f': give {instead}' if instead else '; leave it out'}"
            )
        if option.startswith("--") and {name, name.removeprefix("no_")} & set(study.varied):
            raise UserError(f"{option} is varied by --vary; give one of the two")
    return study, rest


# ---- values of the fields that are varied ---------------------------------------------------------------


@dataclass(frozen=True)
class Value:
    """One value of a field that is varied."""

    name: str
    """of the field"""
    value: Any
    """as the recipe has it"""
    words: tuple[str, ...]
    """the option that sets it"""


def variable_fields(recipe: Recipe) -> list[str]:
    """The fields of a recipe that --vary may name: those that decide a result and have no option in a study.

    `protocol` is one of them although it stands in no cell's settings: the labels themselves do, by their
    hash.
    """
    deciding = identity(recipe, student=True).keys() | recipe.unused() | {"protocol"}
    names = [each.name for each in fields(recipe) if each.name in deciding]
    return [name for name in names if name not in OPTIONS_OF_A_STUDY]


def varied_values(
    benchmark: Benchmark, study: Study, rest: list[str], base: Recipe
) -> list[tuple[Value, ...]]:
    """All combinations of the values that --vary names; a single empty one without --vary.

    Raises UserError for a field or a value that the recipe does not have.
    """
    return list(
        itertools.product(
            *(
                [_value(benchmark, [study.recipe, *rest], base, name, text) for text in texts]
                for name, texts in study.axes()
            )
        )
    )


def _value(benchmark: Benchmark, arguments: list[str], base: Recipe, name: str, text: str) -> Value:
    """A value as the option itself would be read."""
    if instead := OPTIONS_OF_A_STUDY.get(name):
        raise UserError(f"--vary {name}: a study has an option of its own for that; give {instead}")
    possible = variable_fields(base)
    if name not in possible:
        near = difflib.get_close_matches(name, possible, n=1, cutoff=0)
        known = name in {each.name for each in fields(base)}
        raise UserError(
            f"--vary {name}: {'a study does not vary it' if known else 'the recipe has no such field'}; "
            f"nearest: {near[0]} (there are {', '.join(possible)})"
        )
    option = name.replace("_", "-")
    kind = get_type_hints(type(base))[name]
    if kind is bool and text in ("True", "False"):
        words = [f"--{option}" if text == "True" else f"--no-{option}"]
    else:
        words = [f"--{option}", *text.split()]
    try:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            value = getattr(benchmark.read([*arguments, *words]), name)
    except SystemExit:
        raise UserError(f"--vary {name}={text}: give {_possible_values(kind, text)}") from None
    return Value(name, value, tuple(words))


def _possible_values(kind: Any, text: str) -> str:
    """What a field of this type may be set to, for a person."""
    if kind is bool:
        return "True or False"
    each = [kind, *get_args(kind)]
    choices = [str(value) for one in each if get_origin(one) is Literal for value in get_args(one)]
    types = [one.__name__ for one in each if isinstance(one, type) and one is not type(None)]
    if choices and not types:
        near = difflib.get_close_matches(text, choices, n=1, cutoff=0)[0]
        return f"one of {', '.join(choices)}; nearest: {near}"
    return " or ".join([*(f"a value of type {name}" for name in types), *choices])


# ---- commands -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Command:
    """One recipe of one start."""

    recipe: Recipe
    """what the command's options make of its preset, but for the precision, which is part of it wherever it
    was said
    """
    options: tuple[str, ...]
    """of the benchmark, after the name of the preset"""


def commands(benchmark: Benchmark, study: Study, rest: list[str]) -> list[Command]:
    """The commands of a study, every start at every place: a whole matrix a seed, so that an early end leaves
    whole tables of fewer seeds.

    Raises UserError for whatever the recipe refuses.
    """
    base = benchmark.read([study.recipe, *rest])
    base = replace(base, starts=study.starts or base.starts, freeze=study.freeze or base.freeze)
    default_freeze = " ".join(benchmark.read([study.recipe]).freeze)
    combinations = varied_values(benchmark, study, rest, base)
    # this process settles what is stale; a cell refuses code that changed while the study ran
    rest = _without(rest, "--stale") + (["--stale", "keep"] if base.stale == "keep" else [])
    default_precision = launch_precision(study.launch)
    found = []
    for seed, values, setting in itertools.product(study.seeds, combinations, study.matrix_settings()):
        budget = study.budget(setting["policy"])
        recipe = replace(base, **setting, seed=seed, steps=int(budget or base.steps))
        recipe = replace(recipe, **{each.name: each.value for each in values})
        poolless = recipe.fraction == 1 and recipe.unlabeled == ("rest",)  # nothing is left to label
        alone = study.supervised_only or poolless or not recipe.self_training
        recipe = replace(
            recipe,
            precision=recipe.precision or default_precision,
            self_training=not alone,
            rounds=1 if alone else recipe.rounds,
        )
        options = [
            *("--policy", setting["policy"], "--fraction", shortest(setting["fraction"])),
            *("--seed", str(seed)),
            *(["--steps", budget] if budget else []),
            *rest,
            *(word for each in values for word in each.words),
            *(["--no-self-training", "--rounds", "1"] if alone else []),
        ]
        for start, freeze in first_arms(base):
            of_start = replace(recipe, starts=(start,), freeze=(freeze,)).check()
            frozen = ["--freeze", freeze] if freeze != default_freeze else []
            found.append(Command(of_start, (*options, "--starts", start, *frozen)))
    # what is wrong with them together: a command has one
    replace(found[0].recipe, starts=base.starts, freeze=base.freeze).check()
    return found


def launch_precision(launch: str) -> str:
    """What `accelerate launch` with these options, or else its configuration file, says of mixed
    precision.
    """
    args = launch_command_parser().parse_args([*shlex.split(launch), "script"])
    file = args.config_file or default_config_file
    return args.mixed_precision or (
        str(load_config_from_file(file).mixed_precision) if os.path.isfile(file) else "no"
    )


def _without(words: Iterable[str], option: str) -> list[str]:
    kept = [word for word in words if not word.startswith(f"{option}=")]
    if option in kept:
        position = kept.index(option)
        del kept[position : position + 2]
    return kept
