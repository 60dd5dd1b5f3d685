"""The tuning of a study: how every start was tuned alike, what came of it, and the file that says so.

    records/NAME/tuning.toml    settings, and of every start all trials with their scores

A comparison of starts whose learning rate suits one of them alone is a comparison of learning rates.  So each
start gets the same number of trials of the same values, on the val split, with a seed that is not reported.
A study is tuned once: the same command takes the file that is there, and other settings are refused: those
of the tuning, and those of the recipe, the data and the weights that its trials had.  A start that is added
later is tuned by the same values.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from selftrain.recipe import digest
from selftrain.record import Arm, Record, Setting, Tuned
from selftrain.report.contrasts import to_toml_value
from selftrain.study.graph import read_records
from selftrain.study.options import Study
from selftrain.study.places import setting_title
from selftrain.study.search_space import TUNED, Values
from selftrain.system.errors import UserError
from selftrain.system.files import write_atomic

FILE = "tuning.toml"
"""beside the records of a study; no json, which is what readers of records look for"""
SEED = 1000
"""of the trials, unless --tune-seed says another"""
SCORE = "score"
BASE_STEPS = "base_steps"
"""what a trial's settings call T: its own steps may be another rung's"""
Start = tuple[str, str]
"""(start, what of it is frozen): an arm without self-training"""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where trials are run: at one place of the study's tables, by a seed of their own."""

    trials: int
    """of each start"""
    seed: int
    policy: str
    fraction: float
    steps: int

    def __str__(self) -> str:
        where = setting_title(Setting(policy=self.policy, fraction=self.fraction))
        return f"{self.trials} trials of each start at {where}, {self.steps:,} steps, seed {self.seed}"


class TunedStart(msgspec.Struct, frozen=True, kw_only=True):
    """The trials of one start."""

    start: str
    freeze: str = "none"
    weights: str
    """identity of the weights that its trials began with: `random`, a file's hash, or a hub's name"""
    trials: tuple[Values, ...]
    """of each the values of the tuned fields, and its `score`, which is missing where its loss diverged; the
    recipe's own values are the first"""

    @property
    def name(self) -> Start:
        """What it is the tuning of."""
        return self.start, self.freeze

    def __str__(self) -> str:
        return str(Arm(self.start, freeze=self.freeze))

    @property
    def best(self) -> int:
        """Position of the best trial by the val split, of equals the first.

        Raises UserError where all have diverged.
        """
        scored = [number for number, trial in enumerate(self.trials) if SCORE in trial]
        if not scored:
            raise UserError(f"{self}: every trial diverged; give a smaller --lr, and tune around that")
        return max(scored, key=lambda number: (self.trials[number][SCORE], -number))

    @property
    def chosen(self) -> Values:
        """The values of the best trial."""
        return without_score(self.trials[self.best])


class Tuning(msgspec.Struct, frozen=True, kw_only=True):
    """The content of the file."""

    metric: str
    """the score, on the val split at the end of a trial"""
    place: Place
    ranges: dict[str, tuple[float, float]]
    """field -> lowest and highest value that may be tried"""
    trial: dict[str, Any]
    """what the trials of all starts have in common besides their place: the fields of the recipe that decide
    a result, T, and the hashes of the training images and of the val split"""
    starts: tuple[TunedStart, ...] = msgspec.field(name="start", default=())

    @property
    def chosen(self) -> dict[Start, Values]:
        """The values that each start is trained with."""
        return {each.name: each.chosen for each in self.starts}

    def signatures(self) -> dict[Start, Tuned]:
        """What the records of each start say of its tuning."""
        return {each.name: self._signature(each) for each in self.starts}

    def _signature(self, of: TunedStart) -> Tuned:
        place = msgspec.to_builtins(self.place)
        content = [self.metric, place, self.trial, {name: list(ends) for name, ends in self.ranges.items()}]
        return Tuned(
            trials=self.place.trials,
            seed=self.place.seed,
            at={name: value for name, value in place.items() if name not in ("trials", "seed")},
            metric=self.metric,
            chosen=of.chosen,
            score=of.trials[of.best][SCORE],
            own=without_score(of.trials[0]),
            own_score=of.trials[0].get(SCORE),
            hash=digest([*content, of.start, of.freeze, of.weights, list(of.trials)]),
        )

    def write(self, file: Path) -> None:
        """Write the file, whole or not at all."""
        lines = [
            "# Learning rate and weight decay of this study, tuned for every start alike: the same trials"
        ]
        lines += ["# for each, the best by the val split of a seed that is not reported.  Do not change it:"]
        lines += ["# every record holds the hash of its start's trials."]
        lines += [f"metric = {to_toml_value(self.metric)}", "", "[place]"]
        lines += _entries(msgspec.to_builtins(self.place))
        lines += ["", "[ranges]", *_entries(self.ranges), "", "[trial]", *_entries(self.trial)]
        for each in self.starts:
            chosen = shown(each.chosen)
            named = {"start": each.start, "freeze": each.freeze, "weights": each.weights}
            lines += ["", "[[start]]", *_entries(named)]
            lines += [f"# the best is trial {each.best + 1}: {chosen}", "trials = ["]
            lines += [f"    {to_toml_value(trial)}," for trial in each.trials] + ["]"]
        text = "\n".join(lines) + "\n"
        write_atomic(file, lambda opened: opened.write(text.encode()))


def _entries(values: Mapping[str, Any]) -> list[str]:
    return [f"{name} = {to_toml_value(value)}" for name, value in values.items()]


def shown(values: Values) -> str:
    """`lr 0.008, weight decay 0.0001`."""
    return ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in values.items())


def without_score(trial: Values) -> Values:
    """The values of a trial."""
    return {name: value for name, value in trial.items() if name != SCORE}


def read_tuning(file: Path) -> Tuning:
    """The content of a file of tuning.  Raises UserError for a file that holds none."""
    try:
        with open(file, "rb") as opened:
            found = msgspec.convert(tomllib.load(opened), Tuning)
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise UserError(
            f"{file}: is no file of a study's tuning ({error}); put the former one back, or give another "
            "--name"
        ) from None
    for each in found.starts:
        if len(each.trials) != found.place.trials or any(
            set(without_score(trial)) != set(found.ranges) for trial in each.trials
        ):
            raise UserError(f"{file}: {each} has other trials than the file says; put the former one back")
    return found


def differences(standing: Tuning, trial: Mapping[str, Any], weights: Mapping[Start, str]) -> list[str]:
    """In what other trials differ from those that stand: `image_size 65 there, 97 now`.

    trial: their settings, as `Tuning.trial` has them, without T where the command does not say it; weights:
    identity of the first weights of each start.
    """
    was = dict(standing.trial)
    if BASE_STEPS not in trial:
        was.pop(BASE_STEPS, None)
    pairs = [(name, was.get(name), trial.get(name)) for name in {**was, **trial}]
    pairs += [
        (f"weights of {each}", each.weights, weights[each.name])
        for each in standing.starts
        if each.name in weights
    ]
    return [
        f"{name} {_or_unset(before)} there, {_or_unset(now)} now"
        for name, before, now in pairs
        if before != now
    ]


def _or_unset(value: Any) -> str:
    return "unset" if value is None else str(value)


# ---- what a study's command asks for, and what stands already -------------------------------------------


@dataclass(frozen=True)
class Asked:
    """A tuning that a study has or wants: its file's content, without starts where nothing was tuned yet."""

    file: Path
    place: Place
    standing: Tuning | None = None

    def missing(self, starts: list[Start]) -> list[Start]:
        """Those of the study's starts that are not tuned yet."""
        return [each for each in starts if each not in self.chosen]

    @property
    def chosen(self) -> dict[Start, Values]:
        """The values of the starts that are tuned."""
        return self.standing.chosen if self.standing else {}

    @property
    def signatures(self) -> dict[Start, Tuned]:
        """What records say of it."""
        return self.standing.signatures() if self.standing else {}


def tuning_of(records: Path, study: Study, steps: Mapping[str, int]) -> Asked | None:
    """The tuning that stands beside a study's records, or that --tune asks for; None for a study without one.

    records: folder of the study's records; steps: of the smallest budget, by policy.
    Raises UserError where that contradicts what stands there or what has been run.
    """
    file, done = records / FILE, read_records(records)
    if file.exists():
        found = Asked(file, (standing := read_tuning(file)).place, standing)
        _check_same(found, study)
    elif study.tune is None:
        found = None
    else:
        found = Asked(file, _asked_place(study, steps))
    _check_records(file, done, found)
    if found is not None:
        _check_study(found.place, study)
    return found


def _asked_place(study: Study, steps: Mapping[str, int]) -> Place:
    """Strongest policy, largest fraction, smallest budget; or as --tune-at says."""
    at = study.tuned_at()
    policy, fraction = at.get("policy", max(study.policies)), at.get("fraction", max(study.fractions))
    if policy not in study.policies:
        raise UserError(
            f"--tune-at policy={policy}: the study has {' '.join(study.policies)}; give one of them"
        )
    return Place(
        trials=study.tune,
        seed=SEED if study.tune_seed is None else study.tune_seed,
        policy=policy,
        fraction=fraction,
        steps=steps[policy],
    )


def _check_same(found: Asked, study: Study) -> None:
    """Refuse settings that a person names and that are others than the file's."""
    asked = {"--tune": study.tune, "--tune-seed": study.tune_seed}
    stands = {"--tune": found.place.trials, "--tune-seed": found.place.seed}
    for name, value in study.tuned_at().items():
        asked[f"--tune-at {name}"], stands[f"--tune-at {name}"] = value, getattr(found.place, name)
    for option, value in asked.items():
        if value not in (None, stands[option]):
            joined = "=" if option.startswith("--tune-at") else " "
            raise UserError(
                f"{option}{joined}{value}: {found.file} was made with {stands[option]}, and a study is tuned "
                "once; leave the option out to keep it, or give another --name"
            )


def _check_study(place: Place, study: Study) -> None:
    """Refuse a reported seed, and fields that --vary and the tuning both set."""
    if place.seed in study.seeds:
        raise UserError(
            f"--seeds {place.seed} is the seed of the tuning, which must not be reported; leave it out, or "
            "give another --tune-seed"
        )
    both = [name for name in TUNED if name in study.varied]
    if both:
        raise UserError(f"--vary {both[0]} is what --tune chooses; drop one of the two")


def _check_records(file: Path, done: list[tuple[Path, Record]], found: Asked | None) -> None:
    """Refuse records of the study that were tuned otherwise, or not at all."""
    signatures = found.signatures if found else {}
    for each, of in done:
        if of.tuned is None and found is not None:
            raise UserError(
                f"{each}: was run without tuning, and one table cannot hold both; give another --name"
                + ("" if found.standing else ", or leave --tune out")
            )
        if of.tuned is None:
            continue
        if found is None or found.standing is None:
            raise UserError(
                f"{each}: was tuned ({of.tuned.hash}), but {file} is missing; put it back, or give another "
                "--name"
            )
        now = signatures.get((of.arm.start, of.arm.freeze))
        if now is None or now.hash != of.tuned.hash:
            raise UserError(
                f"{each}: was tuned by other trials ({of.tuned.hash}) than {file} holds; put the former file "
                "back, or give another --name"
            )
