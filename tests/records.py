"""Records made up for tests of tables, verdict and figures: the scores are those a test asks for, the rest is plausible."""

import zlib

from selftrain.record import SCHEMA
from selftrain.report.places import is_student


def made_up(
    arm: str,
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
) -> dict:
    start, student = arm.partition(" + ")[0], is_student(arm)
    names = ("AP", "AP50", "AP75") if metric == "AP" else ("mIoU", "pixel accuracy")
    key = f"{zlib.crc32(repr((arm, policy, fraction, seed, labels, protocol)).encode()):08x}"
    values = curve or [score * share for share in ((0.5, 0.8, 0.99, 1.0) if flat else (0.3, 0.5, 0.7, 1.0))]
    points = [
        {"step": steps * (n + 1) // len(values), **{name: value + 5 * k for k, name in enumerate(names)}}
        for n, value in enumerate(values)
    ]
    teacher = f"{zlib.crc32(repr((start, policy, fraction, seed, labels, protocol)).encode()):08x}"
    settings = {"policy": policy, "fraction": fraction, "seed": seed, "steps": steps, "lr": 0.004}
    return {
        "schema": SCHEMA,
        "key": key,
        "task": "coco" if metric == "AP" else "pascal",
        "arm": arm,
        "start": start,
        "round": int(student),
        "origin": start,
        "recipe": "made-up",
        "settings": settings,
        "protocol": protocol or labels,
        "shapes": None,
        "split": "test",
        "metric": metric,
        "metrics": {name: score + 5 * k for k, name in enumerate(names)},
        "curve": points,
        "flattened": flat,
        "steps": steps,
        "images": steps * (16 if student else 8),
        "labelled_images": round(300 * fraction),
        "labels": labels,
        "pseudo_labels": {
            "teacher_cell": teacher,
            "teacher": "t",
            "hash": "l",
            "by_threshold": [
                {"threshold": t / 10, "precision": 0.5 + t / 20, "recall": 0.9 - t / 20} for t in range(1, 10)
            ],
        }
        if student
        else None,
        "hashes": {
            "data": f"d{fraction}",
            "train": "t",
            "val": "v",
            "test": "t",
            "pool": "p" if student else None,
            "weights": start,
            "final": "f",
            "source": "s",
        },
        "sources": {},
        "sources_changed": [],
        "measured": {
            "seconds": steps / 10,
            "label_seconds": 0.0,
            "energy_kwh": None,
            "peak_memory_gib": 1.0,
            "hardware": {"device": "a machine"},
            "versions": {},
            "precision": "no",
            "finished": "2026-01-01 00:00:00",
        },
    }
