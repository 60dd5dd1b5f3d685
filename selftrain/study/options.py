"""The options of a study, and the commands that they ask for: one for each recipe of one start."""

import itertools
import math
import os
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

import tyro
from accelerate.commands.config.config_args import default_config_file, load_config_from_file
from accelerate.commands.launch import launch_command_parser

from selftrain.program import Benchmark
from selftrain.recipe import Policy, Recipe, first_arms, refuse
from selftrain.record import Setting
from selftrain.study.ladder import Ladder
from selftrain.study.places import shortest
from selftrain.study.vary import OPTIONS_OF_A_STUDY, varied_values
from selftrain.system.errors import UserError


@dataclass(frozen=True)
class Slurm:
    """The resources of a cell's job."""

    partition: str | None = None
    """where the jobs go; default: the cluster's"""
    hours: float = 24.0
    """of one job; a cell that needs more is queued again and goes on"""
    requeues: int = 10
    """how often a cell of the base budget may run out of its hours; one of 3T may three times as often"""
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
    redraw: bool = False
    """generated data (--data shapes) is drawn anew for each seed, its test images too: then intervals cover
    other data; without it all seeds share one set, and they cover other seeds on its test images"""
    vary: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """any other option of the recipe, as FIELD=VALUE,VALUE: every cell is run with each of these values;
    given several times, all values are combined: --vary backbone=resnet18,resnet50 --vary alpha=0.5,1"""
    supervised_only: bool = False
    """without students"""
    steps: tuple[str, ...] = ()
    """the base budget T of all cells (2000) or one a policy (S1=1000 S4=3000); default: the recipe's steps"""
    budgets: tuple[float, ...] = (1.0, 3.0)
    """multiples of T: every supervised arm is trained for each, by a schedule of its own.  The gain from T to
    3T says whether T was enough, and the run of 3T is the rival of a student at equal cost (its teacher sees
    the images of T, the student twice as many).  Supervised cells cost four times what they do with
    --budgets 1"""
    student_budgets: tuple[float, ...] = ()
    """those of --budgets that students are trained for too, each by its teacher of the same budget; default:
    the smallest alone"""
    contrasts: str | None = None
    """a file of the few comparisons that the study is made for (TOML), or `none`; they are written beside its
    records before the first cell, and are tested together.  Default: those that stand there, else the usual
    ones of its arms"""
    tune: int | None = None
    """tune learning rate and weight decay first: so many trials of every start, of the smallest of --budgets
    each (T steps with 1 3, half of T with .5 1), with the same values for all, judged on the val split; a
    start is then trained with its best ones everywhere.  Default: as the tuning.toml beside the records says,
    else none"""
    tune_seed: int | None = None
    """of the trials; none that is reported.  Default: 1000"""
    tune_at: tuple[str, ...] = ()
    """where they are run: policy=S1 fraction=0.2; default: the strongest policy and the largest fraction"""
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
        may_be_empty = ("starts", "freeze", "student_budgets")
        for name in ("policies", "fractions", "seeds", "budgets", *may_be_empty):
            values, option = getattr(self, name), f"--{name.replace('_', '-')}"
            refuse(not values and name not in may_be_empty, f"{option} names nothing")
            refuse(len(set(values)) < len(values), f"{option} names one twice: {' '.join(map(str, values))}")
        for fraction in self.fractions:
            refuse(not 0 < fraction <= 1, f"--fractions {fraction} is not in (0, 1]; 10 % is 0.1")
        self._check_budgets()
        self._check_tuning()
        try:
            shlex.split(self.launch)
        except ValueError as error:
            raise UserError(f"--launch {self.launch}: {error}") from error
        for policy in self.policies:
            self.base_steps(policy)
        names = [name for name, _ in self.axes()]
        refuse(len(set(names)) < len(names), f"--vary names one field twice: {' '.join(self.vary)}")
        refuse("freeze" in names and bool(self.freeze), "--freeze is varied by --vary; give one of the two")
        return self

    def _check_budgets(self) -> None:
        for budget in self.budgets:
            refuse(
                not (budget > 0 and math.isfinite(budget)),
                f"--budgets {budget:g} is no multiple of --steps; give numbers above 0, such as 1 3",
            )
        others = [f"{budget:g}" for budget in self.student_budgets if budget not in self.budgets]
        refuse(
            bool(others),
            f"--student-budgets {' '.join(others)}: a student needs a teacher of the same budget; name it in "
            "--budgets too",
        )
        refuse(
            bool(self.student_budgets) and self.supervised_only,
            "--student-budgets says how long students are trained, but --supervised-only trains none; drop "
            "one of the two",
        )

    def _check_tuning(self) -> None:
        """What stands in the study's file of tuning is looked at later (`tuning.py`)."""
        refuse(
            self.tune is not None and self.tune < 2,
            f"--tune {self.tune}: the first trial of a start has the recipe's own values; give at least 2",
        )
        self.tuned_at()

    def tuned_at(self) -> dict[str, Any]:
        """Policy and fraction that --tune-at names.  Raises UserError for anything else that it says."""
        found: dict[str, Any] = {}
        for word in self.tune_at:
            name, _, value = word.partition("=")
            refuse(
                name not in ("policy", "fraction") or not value or name in found,
                f"--tune-at {word}: give policy=POLICY, fraction=SHARE, or both",
            )
            try:
                found[name] = float(value) if name == "fraction" else value
            except ValueError:
                raise UserError(f"--tune-at {word}: a fraction is a number in (0, 1]") from None
        fraction = found.get("fraction", 1.0)
        refuse(not 0 < fraction <= 1, f"--tune-at fraction={fraction} is not in (0, 1]; 10 % is 0.1")
        return found

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

    def ladder(self, steps: int) -> Ladder:
        """The rungs that are asked for; `steps`: of the recipe, where --steps names no others.

        Raises UserError where two of --budgets are the same number of steps, or one is none.
        """
        base = {policy: int(self.base_steps(policy) or steps) for policy in self.policies}
        budgets = tuple(sorted(self.budgets))
        students = tuple(sorted(self.student_budgets)) or budgets[:1]
        ladder = Ladder(base, budgets, () if self.supervised_only else students)
        for policy in self.policies:
            found = [ladder.steps(policy, budget) for budget in budgets]
            refuse(
                len(set(found)) < len(found) or found[0] < 1,
                f"--budgets {' '.join(f'{each:g}' for each in budgets)} are {' '.join(map(str, found))} "
                f"steps of {policy}: each must be another number of steps, and at least 1",
            )
        return ladder

    def base_steps(self, policy: Policy) -> str | None:
        """T, the steps of a policy's cells at budget 1; None where they are the recipe's.

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

    def with_values(self, values: Mapping[str, float]) -> "Command":
        """The same with other values of some numbers; an option that is given twice has its last value.

        Raises UserError for whatever the recipe refuses.
        """
        words = (
            word
            for name, value in values.items()
            for word in (f"--{name.replace('_', '-')}", shortest(value))
        )
        return Command(replace(self.recipe, **values).check(), (*self.options, *words))


def commands(
    benchmark: Benchmark,
    study: Study,
    rest: list[str],
    chosen: Mapping[tuple[str, str], Mapping[str, float]] = {},
) -> list[Command]:
    """The commands of a study, every start at every place: a whole matrix a seed, and of each seed the
    smallest budget first, so that an early end leaves whole tables of fewer seeds.

    chosen: of a (start, freeze) the values that it was tuned to, by field; others keep the recipe's.
    Raises UserError for whatever the recipe refuses.
    """
    base = benchmark.read([study.recipe, *rest])
    base = replace(base, starts=study.starts or base.starts, freeze=study.freeze or base.freeze)
    default_freeze = " ".join(benchmark.read([study.recipe]).freeze)
    combinations = varied_values(benchmark, [study.recipe, *rest], study.axes(), base)
    # this process settles what is stale; a cell refuses code that changed while the study ran
    rest = _without(rest, "--stale") + (["--stale", "keep"] if base.stale == "keep" else [])
    default_precision = launch_precision(study.launch)
    ladder = study.ladder(base.steps)
    found = []
    for seed, budget, combination, setting in itertools.product(
        study.seeds, ladder.budgets, combinations, study.matrix_settings()
    ):
        policy = setting["policy"]
        steps = ladder.steps(policy, budget)
        recipe = replace(base, **setting, seed=seed, steps=steps)
        recipe, drawn = redrawn(recipe) if study.redraw else (recipe, ())
        recipe = replace(recipe, **{each.name: each.value for each in combination})
        poolless = recipe.fraction == 1 and recipe.unlabeled == ("rest",)  # nothing is left to label
        alone = budget not in ladder.students or poolless or not recipe.self_training
        recipe = replace(
            recipe,
            precision=recipe.precision or default_precision,
            self_training=not alone,
            rounds=1 if alone else recipe.rounds,
        )
        options = [
            *("--policy", policy, "--fraction", shortest(setting["fraction"])),
            *("--seed", str(seed), *drawn),
            *(["--steps", str(steps)] if study.steps or budget != 1 else []),
            *rest,
            *(word for each in combination for word in each.words),
            *(["--no-self-training", "--rounds", "1"] if alone else []),
        ]
        for start, freeze in first_arms(base):
            values = chosen.get((start, freeze), {})
            frozen = ["--freeze", freeze] if freeze != default_freeze else []
            of_start = Command(
                replace(recipe, starts=(start,), freeze=(freeze,)), (*options, "--starts", start, *frozen)
            )
            found.append(of_start.with_values(values))
    # what is wrong with them together: a command has one
    replace(found[0].recipe, starts=base.starts, freeze=base.freeze).check()
    return found


def redrawn(recipe: Recipe) -> tuple[Recipe, tuple[str, ...]]:
    """The recipe with a generated set of its own for its seed, and the option that says so.

    Raises UserError where the data are not generated.
    """
    refuse(recipe.data != "shapes", "--redraw is for generated data (--data shapes); leave it out")
    seed = recipe.shapes.seed + recipe.seed
    shapes = replace(recipe.shapes, seed=seed)
    return replace(recipe, shapes=shapes), ("--shapes.seed", str(seed))


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
