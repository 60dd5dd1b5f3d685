"""Records made up for tests of tables, verdict and figures.

The scores are those that a test asks for, the rest is plausible.
"""

import zlib
from dataclasses import replace as replace_arm
from typing import Any

from msgspec.structs import replace

from selftrain.record import RANDOM, Arm, Hashes, Measured, Need, Record

IMAGENET, NOISY = Arm("imagenet"), Arm("imagenet++")
RANDOM_STUDENT = Arm("random", ("self-training",))
IMAGENET_STUDENT = Arm("imagenet", ("self-training",))
ARMS = (RANDOM, IMAGENET, RANDOM_STUDENT, IMAGENET_STUDENT)
OF_STUDENTS = ("alpha", "pseudo_threshold")  # recipe fields that no supervised cell has
METRICS = {
    "AP": ("AP", "AP50", "AP75"),
    "mIoU": ("mIoU", "pixel accuracy"),
    "top-1": ("top-1", "top-5", "macro accuracy"),
}
TASKS = {"AP": "coco", "mIoU": "pascal", "top-1": "classify"}


def made_up(
    arm: Arm,
    policy: str = "S1",
    fraction: float = 1.0,
    seed: int = 0,
    score: float = 30.0,
    *,
    flat: bool = True,
    labels: str = "train",
    metric: str = "AP",
    steps: int = 800,
    protocol: str | None = None,
    curve: list[float] | None = None,
    **fields: Any,
) -> Record:
    """A record of an arm; fields: of its recipe.

    A student's teacher is the record of the round before, made up alike.
    """
    teacher = replace_arm(arm, methods=arm.methods[1:])
    place = (policy, fraction, seed, labels, protocol)
    needs = {"teacher": Need(_key(teacher, *place, fields), "t")} if arm.rounds else {}
    settings = {"policy": policy, "fraction": fraction, "seed": seed, "steps": steps, "lr": 0.004, **fields}
    names = METRICS[metric]
    return Record(
        key=_key(arm, *place, fields),
        task=TASKS[metric],
        arm=arm,
        origin=arm.start,
        recipe="made-up",
        settings={name: value for name, value in settings.items() if arm.rounds or name not in OF_STUDENTS},
        protocol=protocol or labels,
        split="test",
        metric=metric,
        metrics={name: score + 5 * n for n, name in enumerate(names)},
        curve=_curve(names, curve or [score * share for share in _shares(flat)], steps),
        steps=steps,
        images=steps * (16 if arm.rounds else 8),
        labelled_images=round(300 * fraction),
        labels=labels,
        needs=needs,
        pseudo_labels={"hash": "l", "by_threshold": _quality()} if arm.rounds else None,
        hashes=_hashes(arm, fraction, fields.get("backbone", "")),
        measured=_measured(steps / 10),
    )


def with_settings(record: Record, **fields: Any) -> Record:
    """The same with other fields of the recipe."""
    return replace(record, settings=record.settings | fields)


def with_hashes(record: Record, **hashes: str | None) -> Record:
    """The same of other data or weights."""
    return replace(record, hashes=replace(record.hashes, **hashes))


def _key(arm: Arm, *place: Any) -> str:
    """Of a cell; its teacher's alike, without the fields that a supervised cell does not have."""
    *place, fields = place
    own = {name: value for name, value in fields.items() if arm.rounds or name not in OF_STUDENTS}
    return f"{zlib.crc32(repr((str(arm), *place, own)).encode()):08x}"


def _hashes(arm: Arm, fraction: float, backbone: str) -> Hashes:
    return Hashes(
        data=f"d{fraction}",
        train="t",
        val="v",
        test="t",
        pool="p" if arm.rounds else None,
        weights=f"{arm.start}{backbone}",
        final="f",
        source="s",
    )


def _measured(seconds: float) -> Measured:
    return Measured(
        seconds=seconds,
        label_seconds=0.0,
        peak_memory_gib=1.0,
        hardware={"device": "a machine"},
        versions={},
        precision="no",
        finished="2026-01-01 00:00:00",
    )


def _shares(flat: bool) -> tuple[float, ...]:
    return (0.5, 0.8, 0.99, 1.0) if flat else (0.3, 0.5, 0.7, 1.0)


def _curve(names: tuple[str, ...], values: list[float], steps: int) -> list[dict[str, float]]:
    return [
        {"step": steps * (n + 1) // len(values), **{name: value + 5 * k for k, name in enumerate(names)}}
        for n, value in enumerate(values)
    ]


def _quality() -> list[dict[str, float]]:
    return [{"threshold": t / 10, "precision": 0.5 + t / 20, "recall": 0.9 - t / 20} for t in range(1, 10)]
