"""Supervised arms that were given as many images as a self-trained one: its rivals at equal cost."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selftrain.record import Arm, Record
from selftrain.report.matrix import Matrix, read_study
from selftrain.report.places import setting_of
from selftrain.system.errors import UserError


@dataclass(frozen=True)
class Longer(Arm):
    """An arm whose runs are those of another study, with more steps: `imagenet, 3x steps`."""

    times: float = 1.0
    """how many times the images of this study's"""

    def __str__(self) -> str:
        """`imagenet, 3x steps`."""
        return f"{super().__str__()}, {self.times:g}x steps"


def find_longer(matrix: Matrix, others: list[Matrix]) -> None:
    """Put into `matrix.longer` what other studies have for a comparison at equal cost.

    These are supervised arms that differ from this study's in nothing but the steps, and saw as many images
    as one of its self-trained arms and its teachers."""
    students = [r for r in matrix.records if r.arm.rounds]
    costs = {(setting_of(r, matrix.axes), matrix.cost_of(r).images) for r in students}
    for long in (r for other in others for r in other.records if not r.arm.rounds):
        place = setting_of(long, matrix.axes)
        short = matrix.at(long.arm, place).get(long.seed) if matrix.stands(long.arm, place) else None
        if short is None or long.images <= short.images or _but_steps(long) != _but_steps(short):
            continue
        if any(long.images == images and matrix.own(long.arm, at) == place for at, images in costs):
            arm = Longer(long.arm.start, long.arm.methods, long.arm.freeze, times=long.images / short.images)
            matrix.longer.setdefault(arm, {}).setdefault(place, {})[long.seed] = long


def _but_steps(record: Record) -> dict[str, Any]:
    """What two runs that differ in nothing but the steps, and in the warm-up as a share of them, have in
    common."""
    of_schedule = ("steps", "warmup_steps")
    settings = {name: value for name, value in record.settings.items() if name not in of_schedule}
    hashes = record.hashes
    return {
        "settings": settings,
        "labels": record.labels,
        "hashes": (hashes.data, hashes.train, hashes.val, hashes.test, hashes.weights),
    }


def read_studies(folder: Path) -> list[Matrix]:
    """The studies below `folder`, a subfolder of records each, with rivals of equal cost from the others.

    Raises UserError where there are none, or where those of a study do not belong together.
    """
    folders = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    studies = [study for each in folders if (study := read_study(each))]
    if not studies:
        raise UserError(f"{folder}: no records there; python benchmarks/study.py makes them")
    for study in studies:
        find_longer(study, [other for other in studies if other is not study])
    return studies
