"""The records of a study, by policy, fraction, arm and seed, and what is said of several seeds: means, paired differences, intervals."""

import json
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from scipy import stats

from selftrain.record import arms, flattened, last_quarter
from selftrain.report.places import is_student, place
from selftrain.system.errors import UserError

NOT_THERE = "–"


@dataclass(frozen=True)
class Estimate:
    """Mean of n values and half width of its 95 % t interval (nan of one value)."""

    mean: float
    half: float
    n: int

    @classmethod
    def of(cls, values: list[float]) -> "Estimate | None":
        if not values:
            return None
        n = len(values)
        half = float(stats.t.ppf(0.975, n - 1) * np.std(values, ddof=1) / n**0.5) if n > 1 else float("nan")
        return cls(float(np.mean(values)), half, n)

    def show(self, digits: int, sign: str = "") -> str:
        """`12.3` of one value, `12.3 ± 0.4` of several."""
        mean = f"{round(self.mean, digits) + 0.0:{sign}.{digits}f}"  # + 0.0: no -0.0
        return mean if self.n == 1 else f"{mean} ± {self.half:.{digits}f}"


def mean_interval(values: list[float], digits: int, sign: str = "") -> str:
    return Estimate.of(values).show(digits, sign)


def decimals(records: list[dict]) -> int:
    """How many are printed: one, where a score reaches 10."""
    return 1 if max(r["metrics"][r["metric"]] for r in records) >= 10 else 2


def check_alike(records: list[dict]) -> None:
    """Raises ValueError where records of one policy and fraction differ in more than start, self-training and seed: their mean would mean nothing."""
    _check_same(records, frozenset(), "start, self-training and seed")
    places = [(r["arm"], r["settings"]["seed"]) for r in records]
    if twice := {place for place in places if places.count(place) > 1}:
        raise ValueError(f"two records of one arm and seed: {sorted(twice)}")


VARIED = frozenset(
    ("policy", "magnitude", "randaugment_ops", "fraction", "steps", "human labels")
)  # by a study, besides start, self-training and seed


def _check_same(records: list[dict], but: frozenset[str], what: str) -> None:
    first: dict[tuple, str] = {}
    for r in records:
        seed, fraction, student = r["settings"]["seed"], r["settings"]["fraction"], r["round"] > 0
        known = {
            "recipe": r["recipe"],
            "split": r["split"],
            "val split": r["hashes"]["val"],
            "test split": r["hashes"]["test"],
            "pool": r["hashes"]["pool"],
            "training images": r["hashes"].get("train"),
            "human labels": r.get("labels"),
            "number of labelled images": r.get("labelled_images"),
            "first weights": r["hashes"].get("weights"),
            **r["settings"],
        }
        # what may differ by more than is asked: the pool exists for students alone, and may be the rest of a seed's own labels; weights are a start's
        labels = (r.get("labels"), fraction)
        apart = {
            "pool": (student and r.get("protocol"), seed, fraction),
            "training images": (*labels, seed),
            "number of labelled images": labels,
            "first weights": (r["start"], student and (r["round"], seed, r["settings"]["policy"], *labels)),
        }
        for name in known.keys() - but - {"seed"}:
            value = json.dumps(known[name])
            if first.setdefault((name, apart.get(name)), value) != value:
                raise ValueError(f"these records differ in more than {what}: {name}")


def bill(record: dict, by_key: dict[str, dict]) -> tuple[int, float]:
    """(images, seconds) of a cell and of its teachers.  Raises ValueError where a teacher's record is not there: the cost would look too low."""
    images, seconds = record["images"], record["measured"]["seconds"]
    labels = record["pseudo_labels"]
    if not labels:
        return images, seconds
    if labels["teacher_cell"] not in by_key:
        raise ValueError(
            f"{record['arm']}, {record['settings']['policy']}, {record['settings']['fraction']:g}, seed {record['settings']['seed']}: "
            f"the record of its teacher (cell {labels['teacher_cell']}) is missing"
        )
    more = bill(by_key[labels["teacher_cell"]], by_key)
    return images + more[0], seconds + more[1]


class Matrix:
    """One study's records.

    Raises ValueError where records differ in more than a study varies, those of one policy and fraction in more than start, self-training and seed; where two have
    one place, where a student's teacher is missing, and where a score is not a number.
    """

    def __init__(self, name: str, records: list[dict]):
        self.name, self.records = name, records
        self.task, self.metric = records[0]["task"], records[0]["metric"]
        self.by_key = {r["key"]: r for r in records}
        self.by_place: dict[tuple, dict[int, dict]] = {}
        self.longer: dict[
            tuple, dict[int, dict]
        ] = {}  # the same of supervised arms of other studies, for as many images as a self-trained arm: see `find_longer`
        for r in records:
            seeds, seed = self.by_place.setdefault(place(r), {}), r["settings"]["seed"]
            if seed in seeds:
                raise ValueError(f"two records of one place: {place(r)}, seed {seed}")
            if not all(math.isfinite(r["metrics"][name]) for name in self.metrics):
                raise ValueError(f"a score of {place(r)}, seed {seed}, is not a number")
            seeds[seed] = r
            bill(r, self.by_key)
        _check_same(records, VARIED, "policy, fraction, steps, start, self-training and seed")
        for at in self.places():
            check_alike([r for arm in self.arms for r in self.at(arm, *at).values()])

    @cached_property
    def kinds(self) -> list[str]:
        return sorted({key[3] for key in self.by_place}, key=lambda kind: (kind != "train", kind))

    @cached_property
    def policies(self) -> list[str]:
        return sorted({r["settings"]["policy"] for r in self.records})

    @cached_property
    def fractions(self) -> list[float]:
        return sorted({r["settings"]["fraction"] for r in self.records})

    @cached_property
    def arms(self) -> list[str]:
        return arms(self.records)

    @cached_property
    def starts(self) -> list[str]:
        return [arm for arm in self.arms if any(r["arm"] == arm and r["round"] == 0 for r in self.records)]

    @cached_property
    def metrics(self) -> list[str]:
        return [name for name in self.records[0]["curve"][-1] if name != "step"]

    @cached_property
    def digits(self) -> int:
        return decimals(self.records)

    def at(self, arm: str, policy: str, fraction: float, labels: str | None = None) -> dict[int, dict]:
        """Records by seed; of a supervised arm those of the human labels, whatever the pool.  labels: default `labels_of`."""
        labels = labels or self.labels_of(arm)
        key = arm, policy, fraction, labels if is_student(arm) else labels.partition("+")[0]
        return self.by_place.get(key) or self.longer.get(key, {})

    def labels_of(self, arm: str) -> str:
        """The kind of labels that tables of one kind show an arm with: the first that it has."""
        return self._first_kind.get(arm, self.kinds[0])

    @cached_property
    def _first_kind(self) -> dict[str, str]:
        return {arm: kind for kind in reversed(self.kinds) for arm, *_, its in self.by_place if its == kind}

    def score(
        self, arm: str, policy: str, fraction: float, metric: str | None = None, labels: str | None = None
    ) -> Estimate | None:
        return Estimate.of(
            [r["metrics"][metric or self.metric] for r in self.at(arm, policy, fraction, labels).values()]
        )

    def differences(
        self,
        arm: str,
        base: str,
        policy: str,
        fraction: float,
        metric: str | None = None,
        labels: str | None = None,
    ) -> list[float]:
        """arm - base, paired by seed."""
        mine, theirs = self.at(arm, policy, fraction, labels), self.at(base, policy, fraction, labels)
        return [
            mine[seed]["metrics"][metric or self.metric] - theirs[seed]["metrics"][metric or self.metric]
            for seed in sorted(mine.keys() & theirs.keys())
        ]

    def rising(
        self, arm: str, policy: str, fraction: float, labels: str | None = None, seeds: set[int] | None = None
    ) -> str | None:
        """Why it cannot be said to have flattened, if one of its seeds (default: all) cannot; judged by the curve itself."""
        reasons = [
            why_not_flat(r)
            for seed, r in self.at(arm, policy, fraction, labels).items()
            if seeds is None or seed in seeds
        ]
        return next(
            (
                why
                for why in ("still rising", "fell at the end", "learned nothing", "too few points to tell")
                if why in reasons
            ),
            None,
        )

    def taught_by(self, arm: str, policy: str, fraction: float, labels: str | None = None) -> list[str]:
        """The arms of a student's teachers, its own first; of a supervised arm none."""
        found, r = [], next(iter(self.at(arm, policy, fraction, labels).values()))
        while r["pseudo_labels"]:
            r = self.by_key[r["pseudo_labels"]["teacher_cell"]]
            found.append(r["arm"])
        return found

    def under_trained(
        self, arm: str, base: str, policy: str, fraction: float, labels: str | None = None
    ) -> dict[str, str]:
        """Of two arms and their teachers those whose curves had not flattened on the seeds that both have, and why that is said: the schedule may have decided between the two."""
        at = policy, fraction, labels
        seeds = self.at(arm, *at).keys() & self.at(base, *at).keys()
        return {
            each: why
            for mine in (arm, base)
            if seeds
            for each in (mine, *self.taught_by(mine, *at))
            if (why := self.rising(each, *at, seeds))
        }

    def places(self) -> list[tuple[str, float, str]]:
        """(policy, fraction, kind of labels) where anything ran: all policies at the largest fraction first."""
        return sorted({key[1:] for key in self.by_place}, key=lambda key: (-key[1], key[0], key[2]))


def dagger(rising: object) -> str:
    return " †" if rising else ""


def why_not_flat(r: dict) -> str | None:
    """Why a cell's curve cannot be said to have flattened; None where it had."""
    curve, metric = r["curve"], r["metric"]
    if r["metrics"][metric] <= 1.01 * r["metrics"].get(
        "chance", 0.0
    ):  # mIoU of one class everywhere: flat, and nothing learned
        return "learned nothing"
    if flattened(curve, metric):
        return None
    if (gain := last_quarter(curve, metric)) is None:
        return "learned nothing" if curve[-1][metric] <= 0 else "too few points to tell"
    return "still rising" if gain > 0 else "fell at the end"


def find_longer(matrix: Matrix, others: list[Matrix]) -> None:
    """Take supervised arms of other studies that differ from this one's in nothing but the steps, and saw as many images as a self-trained arm and its teacher.

    They are what self-training is to be compared with at equal cost; their arm is called `imagenet, 3x steps`.
    """
    costs = {
        (r["settings"]["policy"], r["settings"]["fraction"], r["labels"], bill(r, matrix.by_key)[0])
        for r in matrix.records
        if r["round"]
    }
    for long in (r for other in others for r in other.records if r["round"] == 0):
        arm, *at = place(long)
        seed = long["settings"]["seed"]
        short = matrix.by_place.get((arm, *at), {}).get(seed)
        if (
            short
            and (*at, long["images"]) in costs
            and long["images"] > short["images"]
            and _but_steps(long) == _but_steps(short)
        ):
            name = f"{arm}, {long['images'] / short['images']:g}x steps"
            matrix.longer.setdefault((name, *at), {})[seed] = long


def _but_steps(r: dict) -> dict:
    settings = {name: value for name, value in r["settings"].items() if name != "steps"}
    return {
        "settings": settings,
        "labels": r["labels"],
        **{name: r["hashes"][name] for name in ("data", "train", "val", "test", "weights")},
    }


def read_studies(folder: Path) -> list[Matrix]:
    """The studies below `folder`, one a subfolder of records.  Raises UserError where there are none, or where those of a study do not belong together."""
    found = []
    for sub in sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []:
        records = [json.loads(file.read_text()) for file in sorted(sub.glob("*.json"))]
        if records:
            try:
                found.append(Matrix(sub.name, records))
            except ValueError as error:
                raise UserError(f"{sub}: {error}") from error
    if not found:
        raise UserError(f"{folder}: no records there; python benchmarks/study.py makes them")
    for matrix in found:
        find_longer(matrix, [other for other in found if other is not matrix])
    return found
