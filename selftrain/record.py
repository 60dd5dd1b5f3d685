"""What a finished cell leaves behind: one json file with what was run, on what, and what came of it.

`Record` is the schema; each field's meaning stands below it.  `measured` holds what differs between two runs
of the same cell; everything else is equal bit for bit on the same machine, interrupted or not."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from selftrain.system.errors import UserError
from selftrain.system.files import write_json

SCHEMA = 4


@dataclass(frozen=True)
class Arm:
    """A row of a table: where the weights come from, and what is done besides supervised training.

    `str(arm)` is for display only and is never parsed back.
    """

    start: str
    """random, imagenet, imagenet++, timm:MODEL.TAG or checkpoint:FILE"""
    methods: tuple[str, ...] = ()
    """such as ("self-training",); one entry for each round"""
    freeze: str = "none"
    """what keeps its first weights: none, stages:N (what makes the N-th map), or backbone"""

    @property
    def rounds(self) -> int:
        """Rounds of self-training: 0 for a supervised arm, 1 for a student, 2 for a student's student."""
        return self.methods.count("self-training")

    @property
    def order(self) -> tuple:
        """Sorts the arms of tables and figures: supervised before self-trained, random first."""
        frozen = (self.freeze != "none", self.freeze == "backbone", len(self.freeze), self.freeze)
        return self.rounds, self.start != "random", self.start, self.methods, frozen

    @property
    def supervised(self) -> "Arm":
        """The same without self-training: the arm of the first teacher; a supervised arm's is itself."""
        methods = tuple(method for method in self.methods if method != "self-training")
        return Arm(self.start, methods, self.freeze)

    @property
    def unfrozen(self) -> "Arm":
        """The same with everything trained; an arm that freezes nothing is its own."""
        return Arm(self.start, self.methods)

    @property
    def words(self) -> list[str]:
        """The start and what of it is frozen, then each method with the number of its rounds:
        `["random", "self-training x2"]`, `["imagenet, frozen"]`, `["imagenet, stages:2 frozen"]`.
        """
        kept = {"none": "", "backbone": ", frozen"}.get(self.freeze, f", {self.freeze} frozen")
        words = [self.start + kept]
        for method in dict.fromkeys(self.methods):
            times = self.methods.count(method)
            words.append(method if times == 1 else f"{method} x{times}")
        return words

    def __str__(self) -> str:
        """`random`, `imagenet + self-training`, `random + self-training x2`."""
        return " + ".join(self.words)


RANDOM = Arm("random")
"""what every other arm is compared with"""


class Setting(Mapping[str, Any]):
    """A place in a study's tables: the value of each of the study's axes, such as policy and fraction, there.

    It is a mapping from the names of recipe fields to their values, and can be a key of a dictionary.  Two
    settings are equal where their axes and values are, in whatever order."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, Any] = {}, /, **more: Any):
        """Values may be anything that json can hold."""
        self._values = {**values, **more}

    def __getitem__(self, axis: str) -> Any:
        return self._values[axis]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __hash__(self) -> int:
        return hash(_hashable(self._values))

    def __repr__(self) -> str:
        return f"Setting({', '.join(f'{axis}={value!r}' for axis, value in self._values.items())})"

    def but(self, **changed: Any) -> "Setting":
        """The same place with some axes changed or added."""
        return Setting(self._values, **changed)

    def without(self, *axes: str) -> "Setting":
        """The same place without these axes."""
        return Setting({axis: value for axis, value in self._values.items() if axis not in axes})

    def within(self, other: Mapping[str, Any]) -> bool:
        """Whether every axis of this place has the same value in `other`, which may have further axes."""
        return all(axis in other and other[axis] == value for axis, value in self._values.items())


def _hashable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return frozenset((name, _hashable(each)) for name, each in value.items())
    return tuple(map(_hashable, value)) if isinstance(value, list | tuple) else value


class Need(msgspec.Struct, frozen=True):
    """Another cell that a cell was made from, such as its teacher."""

    cell: str
    """key of that cell"""
    final: str
    """hash of that cell's final weights, as they were used"""


class Hashes(msgspec.Struct, frozen=True, kw_only=True):
    """Short hashes (hexadecimal) of everything that went into a cell, and of its final weights."""

    data: str
    """of all labelled splits together"""
    train: str
    """of the labelled training images"""
    val: str
    """of the split that the curve was measured on"""
    test: str
    """of the split that the score was measured on"""
    pool: str | None
    """of the unlabelled pool, for cells that learn from it"""
    weights: str
    """of the weights that the arm starts from: a file's hash, a hub name, or `random`"""
    final: str
    """of the final weights"""
    source: str
    """of `Record.sources`"""


class Scored(msgspec.Struct, frozen=True):
    """What a cell scored on a set besides the reported one."""

    hash: str
    """of the set"""
    metrics: dict[str, Any]
    """every score on it"""


class Tuned(msgspec.Struct, frozen=True, kw_only=True):
    """How the values of a start's tuned fields were chosen: as those of all starts of its study."""

    trials: int
    """how many were run for each start"""
    seed: int
    """of the trials; no reported run has it"""
    at: dict[str, Any]
    """where they were run: policy, fraction, steps"""
    metric: str
    """what they were judged by, on the val split at their end"""
    chosen: dict[str, float]
    """field -> value of the best trial, which this run was trained with"""
    score: float
    """of the best trial"""
    own: dict[str, float]
    """the recipe's own values, which were the first trial"""
    own_score: float | None = None
    """of that trial; null where its loss diverged"""
    hash: str
    """of all trials of this start, which stand in tuning.toml beside the record"""


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What differs between two runs of the same cell."""

    seconds: float
    """of training, evaluation of the curve and labelling"""
    label_seconds: float
    """of these, seconds of labelling the pool"""
    energy_kwh: float | None = None
    """of all accelerators, where they report it"""
    peak_memory_gib: float
    """of one process"""
    hardware: dict[str, Any]
    """device, processes, threads, cores, system"""
    versions: dict[str, str]
    """of Python and of the libraries that decide a result"""
    precision: str
    """mixed precision: no, bf16 or fp16"""
    finished: str = ""
    """local time, year first"""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One finished cell."""

    schema: int = SCHEMA
    """version of this list of fields"""
    key: str
    """hash of everything that decides the result"""
    task: str
    """name of its task in registry.py, such as coco (detection) or pascal (segmentation)"""
    arm: Arm
    """the row of a table"""
    origin: str
    """file or hub name of the first weights, or `teacher KEY`"""
    recipe: str
    """name of the recipe"""
    settings: dict[str, Any]
    """every field of the recipe that decides the result: policy, fraction, seed, steps ..."""
    shapes: dict[str, Any] | None = None
    """what a generated data set was drawn from; null for other data"""
    split: str | None
    """which split gave the score: test, or val where there is no labelled test split; null for a
    cell that is not scored"""
    metric: str | None
    """name of the main score; null for a cell that is not scored"""
    metrics: dict[str, Any]
    """every score on that split"""
    scored_images: int = 0
    """how many images that split has; 0 in records of an older schema"""
    resampled: dict[str, list[float]] = {}
    """metric -> what it is under each bootstrap resample of that split's images (`resample.py`), in the unit
    of `metrics`; resample number b is the same for all cells that are scored on a split of one hash.  Empty
    in records of an older schema"""
    scores: dict[str, Scored] = {}
    """what it scored on further sets, by their names"""
    curve: list[dict[str, int | float]]
    """scores on the val split by step"""
    steps: int
    """optimizer steps of its own training"""
    images: int
    """images that its own training saw; those of the cells it needs are not counted"""
    labelled_images: int
    """how many images had human labels"""
    labels: str
    """which human labels, where a data set has several kinds (PASCAL: train or train_aug)"""
    protocol: str
    """which labels and which pool, where a data set has several kinds (PASCAL: also train+pseudo_aug)"""
    needs: dict[str, Need] = {}
    """the cells that it was made from, by their role: teacher, weights ..."""
    pseudo_labels: dict[str, Any] | None = None
    """of a student: report on its pseudo-labels, their hash, people's and the teacher's by class
    (`class_report.py`), quality by threshold, some examples"""
    contrasts: str | None = None
    """hash of the registered contrasts of the study it was run in; null where there were none"""
    tuned: Tuned | None = None
    """in a study's folder of records: how its hyper-parameters were chosen; null where they are the recipe's.
    The record in a cell's own folder does not say, as the cell is the same however its values were found"""
    hashes: Hashes
    modules: list[str] = []
    """the modules that its code begins with"""
    sources: dict[str, str] = {}
    """hash of each file of code that decides a result, as it was when the cell began"""
    sources_changed: list[str] = []
    """files that were different when it ended: an interrupted run that went on with changed code"""
    measured: Measured

    @property
    def seed(self) -> int:
        """The seed of the run."""
        return self.settings["seed"]

    @property
    def score(self) -> float:
        """The main score on the reported split."""
        return self.metrics[self.metric]


def arms(records: list[Record]) -> list[Arm]:
    """The different arms, in the order of tables: supervised before self-trained, random first."""
    return sorted({r.arm for r in records}, key=lambda arm: arm.order)


def parse(content: dict[str, Any], source: str = "record") -> Record:
    """A record from decoded json; older schemas are brought up to today's.

    Raises UserError that names `source`, where a field is missing or is of another type.
    """
    try:
        return msgspec.convert(_upgrade(content), Record)
    except (msgspec.ValidationError, KeyError, TypeError) as error:
        why = f"not a record of this program ({error}); delete it, and the cell is run again"
        raise UserError(f"{source}: {why}") from None


def _upgrade(content: dict[str, Any]) -> dict[str, Any]:
    """A record of schema 1 to 3 as one of schema 4."""
    if content["schema"] >= SCHEMA:
        return content
    made = dict(content, schema=SCHEMA)
    made.pop("flattened", None)  # said of a schedule's end what every cosine shows
    if content["schema"] == 3:
        return made
    made["arm"] = {"start": made.pop("start"), "methods": ["self-training"] * made.pop("round")}
    made.setdefault("task", "pascal" if made["metric"] == "mIoU" else "coco")
    made.setdefault("protocol", made["labels"])
    if labels := made["pseudo_labels"]:
        labels = made["pseudo_labels"] = dict(labels)
        made["needs"] = {"teacher": {"cell": labels.pop("teacher_cell"), "final": labels.pop("teacher")}}
    return made


def read(path: Path) -> Record | None:
    """A finished cell's record, or None where there is none.

    Raises UserError for a file that is not a record.
    """
    return parse(_decode(path), str(path)) if path.exists() else None


def read_many(path: Path) -> list[Record]:
    """The records of one json file: a single one, or a list of them.  Raises UserError for any other file."""
    content = _decode(path)
    return [parse(each, str(path)) for each in (content if isinstance(content, list) else [content])]


def _decode(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: not a record ({error}); delete it, and the cell is run again") from None


def to_json(record: Record) -> dict[str, Any]:
    """What is written to a file."""
    return msgspec.to_builtins(record)


def write(path: Path, record: Record) -> None:
    """Write one record; the file appears whole or not at all."""
    write_json(path, to_json(record))
