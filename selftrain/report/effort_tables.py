"""The tables of what an arm costs, how soon it gets somewhere, and what pre-training brings by metric."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from selftrain.record import RANDOM, Arm, Record, Setting
from selftrain.report.comparison import compare
from selftrain.report.effect import Effect
from selftrain.report.matrix import Matrix
from selftrain.report.places import place_name
from selftrain.report.published import HE_GAINS, SPEED_UP
from selftrain.report.reach import speed_up, steps_range, steps_to_final
from selftrain.report.table import NOT_THERE, Table, tabulate
from selftrain.system.progress import duration

# ---- cost ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Spent:
    """What an arm cost at a place where it stands."""

    matrix: Matrix
    arm: Arm
    setting: Setting

    @cached_property
    def records(self) -> list[Record]:
        """One for each seed."""
        return list(self.matrix.at(self.arm, self.setting).values())

    @cached_property
    def seconds(self) -> float:
        """With those of its teachers, the mean over seeds."""
        return self.matrix.mean_seconds(self.arm, self.setting)

    @property
    def images(self) -> int:
        """With those of its teachers."""
        return self.matrix.cost(self.arm, self.setting).images

    @property
    def kwh(self) -> float | None:
        """Of its own training, the mean over seeds; None where a seed does not tell."""
        energy = [r.measured.energy_kwh for r in self.records]
        return None if None in energy else sum(energy) / len(energy)

    @property
    def memory(self) -> float:
        """The largest peak of a process, in GiB."""
        return max(r.measured.peak_memory_gib for r in self.records)

    def numbers(self) -> dict[str, Any]:
        """A row of the csv file."""
        return {
            "arm": str(self.arm),
            **self.setting,
            "images": self.images,
            "seconds": round(self.seconds, 1),
            "energy_kwh_own": "" if self.kwh is None else self.kwh,
            "peak_memory_gib": round(self.memory, 3),
            "n": len(self.records),
        }


def cost_table(matrix: Matrix) -> Table:
    """Images, time, energy and memory of each arm at each place."""
    rows = [
        _Spent(matrix, arm, place)
        for place in matrix.places
        for arm in matrix.arms
        if matrix.at(arm, place) and matrix.stands(arm, place)
    ]
    return tabulate(
        "cost",
        "Cost of an arm, and its score",
        rows,
        [
            ("arm", lambda row: f"{place_name(row.setting)}: {row.arm}"),
            ("images seen", lambda row: f"{row.images:,}"),
            ("time", lambda row: duration(row.seconds)),
            (matrix.metric, lambda row: matrix.score(row.arm, row.setting).show(matrix.digits)),
            ("kWh (own training)", lambda row: NOT_THERE if row.kwh is None else f"{row.kwh:.3f}"),
            ("GiB (own)", lambda row: f"{row.memory:.1f}"),
            ("n", lambda row: str(len(row.records))),
        ],
        "images and time with its teachers' and their labelling; kWh and GiB of its own training; "
        "time: mean over seeds, on the hardware that the records name",
        lambda row: [row.numbers()],
    )


# ---- each start against random ---------------------------------------------------------------------


def _starts(matrix: Matrix) -> Iterator[tuple[Arm, Setting]]:
    """(start, place) of all that is compared with the random arm."""
    for place in matrix.places:
        for start in matrix.starts:
            if start != RANDOM and matrix.stands(start, place):
                yield start, place


def _row_name(start: Arm, place: Setting) -> str:
    return f"{place_name(place)}: {start}"


@dataclass(frozen=True)
class _Reached:
    """When a start's curves reached the final score of the random arm's curve of the same seed."""

    start: Arm
    setting: Setting
    first: int
    """the step of the first evaluation"""
    steps: list[tuple[int, int, int | None]]
    """(seed, steps of the random arm, steps of this one or None)"""

    def faster(self) -> str:
        """The speed-up, smallest to largest over the seeds that reached it."""
        ratios = [
            speed_up(of_random, of_start, self.first)
            for _, of_random, of_start in self.steps
            if of_start is not None
        ]
        if not ratios:
            return "not reached"
        span = " to ".join(dict.fromkeys(text for _, text in (min(ratios), max(ratios))))
        missing = len(self.steps) - len(ratios)
        return span + (f" ({missing} of {len(self.steps)} not)" if missing else "")

    def numbers(self) -> list[dict[str, Any]]:
        """A row of the csv file for each seed."""
        return [
            {
                "start": str(self.start),
                **self.setting,
                "seed": seed,
                "steps_random": of_random,
                "steps": of_start or "",
                "first_evaluated": self.first,
            }
            for seed, of_random, of_start in self.steps
        ]


def _reached(matrix: Matrix, start: Arm, place: Setting) -> _Reached:
    records, base = matrix.at(start, place), matrix.at(RANDOM, place)
    steps = [
        (seed, steps_to_final(base[seed], base[seed]), steps_to_final(records[seed], base[seed]))
        for seed in sorted(records.keys() & base.keys())
        # a random arm that learned nothing is reached before the first step
        if base[seed].curve[-1][matrix.metric] > 0
    ]
    first = next((r.curve[0]["step"] for r in records.values()), 0)
    return _Reached(start, place, first, steps)


def steps_table(matrix: Matrix) -> Table:
    """How soon each start is where the random arm ends, and the speed-up that this is."""
    rows = [reached for which in _starts(matrix) if (reached := _reached(matrix, *which)).steps]
    low, high = (f"{number.value:g}x" for number in SPEED_UP)
    paper = f" [published: {low} to {high}]" if matrix.task == "coco" else ""
    return tabulate(
        "steps",
        f"Steps to the random arm's final {matrix.metric}, and the speed-up from pre-training{paper}",
        rows,
        [
            ("start", lambda row: _row_name(row.start, row.setting)),
            ("random", lambda row: steps_range([of_random for _, of_random, _ in row.steps], row.first)),
            ("this start", lambda row: steps_range([of_start for *_, of_start in row.steps], row.first)),
            ("speed-up", _Reached.faster),
            ("n", lambda row: str(len(row.steps))),
        ],
        "first evaluated step of the curve on the val split, smallest to largest over seeds, never an "
        "interpolation; ≤ it was there when first looked at, which bounds the speed-up on one side, or if "
        "both were there on none",
        _Reached.numbers,
    )


@dataclass(frozen=True)
class _Gain:
    """What a start adds to the random one, by metric."""

    start: Arm
    setting: Setting
    by_metric: dict[str, Effect]

    def numbers(self) -> list[dict[str, Any]]:
        """A row of the csv file for each metric."""
        return [
            {"start": str(self.start), **self.setting, "metric": metric, **gain.csv()}
            for metric, gain in self.by_metric.items()
        ]


def gains_table(matrix: Matrix) -> Table:
    """Does pre-training help classification more than localisation?

    AP50 asks little of a box's place, AP75 much (He et al. 2018).
    """
    rows = [
        _Gain(
            start,
            place,
            {name: compare(matrix, start, RANDOM, place, metric=name) for name in matrix.metrics},
        )
        for start, place in _starts(matrix)
        if compare(matrix, start, RANDOM, place)
    ]
    he = "; ".join(
        f"{net}: " + ", ".join(f"{metric} {number.show('+')}" for metric, number in gains.items())
        for net, gains in HE_GAINS.items()
    )
    paper = f"; published by He et al. 2018, converged: {he}" if matrix.task == "coco" else ""
    return tabulate(
        "gains",
        "What pre-training adds to the random start, by metric",
        rows,
        [
            ("start", lambda row: _row_name(row.start, row.setting)),
            *(
                (f"Δ{name}", lambda row, name=name: row.by_metric[name].show(matrix.digits, "+"))
                for name in matrix.metrics
            ),
            ("n", lambda row: str(row.by_metric[matrix.metric].n)),
        ],
        f"paired by seed, mean ± half width of the 95 % interval{paper}",
        _Gain.numbers,
    )
