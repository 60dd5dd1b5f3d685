"""The records of a study by arm, place and seed, and what they say of an arm at a place."""

import json
import math
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from selftrain.record import Arm, Record, Setting, arms, read
from selftrain.report.comparable import check_run, check_study, tuned_within
from selftrain.report.contrasts import CONTRASTS, Registered, read_registered
from selftrain.report.cost import Cost, chain, cost
from selftrain.report.effect import Effect, score_of
from selftrain.report.places import BUDGET, OF_STEPS, PLACE, order, place_name, setting_of
from selftrain.report.statistics import decimals
from selftrain.system.errors import UserError

Result = TypeVar("Result")
Seeds = dict[int, Record]  # the records of an arm at a place


def find_axes(records: list[Record]) -> tuple[str, ...]:
    """policy, fraction and labels, then every other recipe field whose values differ between records.

    A field that some recipes do not have, because their policy makes it idle or because no student reads it
    there, is an axis only where those that have it differ.  Steps are no axis where each policy has its own;
    where one policy has several, the study has a ladder, and its axis is the `budget`.  What goes with the
    steps, such as the warm-up, is no axis either; nor is what was tuned for each start.
    """
    values: dict[str, set[tuple]] = {}
    contexts = {"steps": ("policy",)} | {name: ("policy", "steps") for name in OF_STEPS}
    for record in records:
        tuned = tuned_within(record)
        for name, value in record.settings.items():
            within = tuple(record.settings.get(other) for other in contexts.get(name, ()))
            within = tuned.get(name, within)
            values.setdefault(name, set()).add((within, json.dumps(value)))
    varied = [
        name
        for name, seen in values.items()
        if name not in (*PLACE, "seed") and len(seen) > len({within for within, _ in seen})
    ]
    return *PLACE, *(BUDGET if name == "steps" else name for name in varied)


class Matrix:
    """One study's records.

    A place is a Setting of the study's axes.  Where a method takes one without `labels`, it is that of the
    kind of labels that the arm is shown with in tables of one kind.

    Raises ValueError where records are not comparable (`comparable.py`), where two have one place and seed,
    where a student's teacher is missing, and where a score is not a number."""

    def __init__(
        self, name: str, records: list[Record], margin: float = 1.0, registered: Registered | None = None
    ):
        """name: of the study; records: at least one; registered: its contrasts, if it has any.

        margin: differences within it, in points of the main score, count as none.
        """
        self.name, self.records, self.margin, self.registered = name, records, margin, registered
        self._cache: dict[str, Any] = {}
        self.task, self.metric = records[0].task, records[0].metric
        self.by_key = {r.key: r for r in records}
        self.axes = find_axes(records)
        self._records: dict[Arm, dict[Setting, Seeds]] = {}
        for r in records:
            place = self.place_of(r)
            seeds = self._records.setdefault(r.arm, {}).setdefault(place, {})
            shown = f"{r.arm}, {place_name(place)}, seed {r.seed}"
            if r.seed in seeds:
                raise ValueError(f"two records of one place: {shown}")
            if not all(math.isfinite(r.metrics[name]) for name in self.metrics):
                raise ValueError(f"a score of {shown} is not a number")
            seeds[r.seed] = r
            chain(r, self.by_key)
        check_study(records, self.axes)
        for place in self.places:
            check_run([r for arm in self.arms for r in self.at(arm, place).values()])

    @cached_property
    def base_steps(self) -> dict[str, int]:
        """Of each policy the steps of the lowest rung of the ladder, T."""
        return {
            policy: min(r.steps for r in self.records if r.settings["policy"] == policy)
            for policy in {r.settings["policy"] for r in self.records}
        }

    def place_of(self, record: Record) -> Setting:
        """Where a record stands."""
        return setting_of(record, self.axes, self.base_steps)

    # ---- what there is -----------------------------------------------------------------------------

    @cached_property
    def places(self) -> list[Setting]:
        """Where anything ran: all policies at the largest fraction first."""
        return sorted({place for there in self._records.values() for place in there}, key=order)

    @cached_property
    def kinds(self) -> list[str]:
        """The kinds of labels, the usual one first."""
        return sorted({place["labels"] for place in self.places}, key=lambda kind: (kind != "train", kind))

    @cached_property
    def policies(self) -> list[str]:
        """The augmentation policies, from weak to strong."""
        return sorted({place["policy"] for place in self.places})

    @cached_property
    def fractions(self) -> list[float]:
        """The shares of the labels, from small to large."""
        return sorted({place["fraction"] for place in self.places})

    @cached_property
    def variants(self) -> list[Setting]:
        """The values of further axes that ran together.

        They are one empty setting where the study has no further axis.
        """
        return _widest([place.without(*PLACE) for place in self.places])

    @cached_property
    def arms(self) -> list[Arm]:
        """In the order of tables and figures."""
        return arms(self.records)

    @cached_property
    def starts(self) -> list[Arm]:
        """The arms without self-training."""
        return [arm for arm in self.arms if not arm.rounds]

    @cached_property
    def metrics(self) -> list[str]:
        """The names of the scores along a curve, the main one first."""
        return [name for name in self.records[0].curve[-1] if name != "step"]

    @cached_property
    def digits(self) -> int:
        """Decimals of a score."""
        return decimals(self.records)

    @cached_property
    def seeds(self) -> list[int]:
        """All of them."""
        return sorted({r.seed for r in self.records})

    def columns(self, **fixed: str | float) -> list[Setting]:
        """The places that have these values, without their kind of labels.

        Only those where an arm ran with the kind of labels that tables of one kind show it with.
        """
        there = [place.without("labels") for place in self.places if Setting(fixed).within(place)]
        return [place for place in _widest(there) if any(self.at(arm, place) for arm in self.arms)]

    # ---- the ladder --------------------------------------------------------------------------------

    @cached_property
    def budgets(self) -> list[float]:
        """The rungs, from the lowest; none where the study has one budget."""
        return sorted({place[BUDGET] for place in self.places if BUDGET in place})

    @cached_property
    def ladders(self) -> list[Setting]:
        """The places, the rungs of one together: without their budget."""
        return list(dict.fromkeys(map(self.without_budget, self.places)))

    def without_budget(self, setting: Setting) -> Setting:
        """A place without its rung."""
        return setting.without(BUDGET)

    def rungs(self, ladder: Setting) -> list[Setting]:
        """The places of a ladder at which any arm has records, from the lowest rung."""
        every = [ladder.but(**{BUDGET: budget}) for budget in self.budgets] or [ladder]
        return [place for place in every if any(self.at(arm, place) for arm in self.arms)]

    def cached(self, name: str, make: Callable[["Matrix"], Result]) -> Result:
        """What `make` finds in this study, found once."""
        if name not in self._cache:
            self._cache[name] = make(self)
        return self._cache[name]

    # ---- an arm at a place -------------------------------------------------------------------------

    def at(self, arm: Arm, setting: Setting) -> Seeds:
        """The records by seed of an arm that belong to a place, wherever it stands itself (see `own`)."""
        return self._records.get(arm, {}).get(self.own(arm, setting), {})

    def own(self, arm: Arm, setting: Setting) -> Setting:
        """The place where an arm itself stands, whose records belong to `setting` too.

        A supervised arm stands with its human labels alone, whatever the pool of the students beside it; and
        an arm has no axis that its recipes have no field of: a teacher is the same whatever weight its
        students give its labels."""
        labels = setting.get("labels", self._first_kind.get(arm, self.kinds[0]))
        if not arm.rounds:
            labels = self._human_labels.get(labels, labels)
        wanted = setting.but(labels=labels)
        own = next((place for place in self._records.get(arm, {}) if place.within(wanted)), None)
        return own or Setting({axis: wanted[axis] for axis in self.axes if axis in wanted})

    def stands(self, arm: Arm, setting: Setting) -> bool:
        """Whether an arm's records at a place are of that very place, and not shown there beside others."""
        return self.own(arm, setting) == setting

    @cached_property
    def _human_labels(self) -> dict[str, str]:
        """Of a student's kind of labels those that its teacher learned from."""
        return {r.protocol: r.labels for r in self.records if r.arm.rounds}

    @cached_property
    def _first_kind(self) -> dict[Arm, str]:
        """The kind of labels that tables of one kind show an arm with: the first that it has."""
        return {
            arm: kind
            for kind in reversed(self.kinds)
            for arm, there in self._records.items()
            if any(place["labels"] == kind for place in there)
        }

    def score(self, arm: Arm, setting: Setting, metric: str | None = None) -> Effect | None:
        """An arm's score over seeds, or None where it did not run; metric: default the main one."""
        return score_of(self.at(arm, setting).values(), metric or self.metric)

    def cost(self, arm: Arm, setting: Setting) -> Cost:
        """What the first seed of an arm cost, its teachers included."""
        return self.cost_of(next(iter(self.at(arm, setting).values())))

    def mean_seconds(self, arm: Arm, setting: Setting) -> float:
        """What an arm took with its teachers, the mean over seeds."""
        seconds = [self.cost_of(r).seconds for r in self.at(arm, setting).values()]
        return sum(seconds) / len(seconds)

    def cost_of(self, record: Record) -> Cost:
        """What a cell cost, its teachers included."""
        return cost(record, self.by_key)


def _widest(settings: list[Setting]) -> list[Setting]:
    """Each once, in the order of tables, and only those that no other one holds with a further axis."""
    different = sorted(set(settings), key=order)
    return [
        each
        for each in different
        if not any(each.within(other) and len(other) > len(each) for other in different)
    ]


def read_study(folder: Path, margin: float = 1.0) -> Matrix | None:
    """The study in a folder of records, with the contrasts that stand beside them; None where there are none.

    Raises UserError where they do not belong together.
    """
    records = [read(file) for file in sorted(folder.glob("*.json"))]
    registered = folder / CONTRASTS
    try:
        contrasts = read_registered(registered) if registered.exists() else None
        return Matrix(folder.name, records, margin, contrasts) if records else None
    except ValueError as error:
        raise UserError(f"{folder}: {error}") from error


def read_studies(folder: Path, margin: float = 1.0) -> list[Matrix]:
    """The studies below `folder`, a subfolder of records each.

    Raises UserError where there are none, or where those of a study do not belong together.
    """
    folders = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    studies = [study for each in folders if (study := read_study(each, margin))]
    if not studies:
        raise UserError(f"{folder}: no records there; python benchmarks/study.py makes them")
    return studies
