"""One json a cell: what was run, on what, and what came of it.

`measured` holds what differs between two runs of the same cell (seconds, memory, hardware); everything else is equal bit for bit
on the same machine, interrupted or not.
"""

import functools
import hashlib
import importlib.metadata
import json
import os
import platform
from pathlib import Path
from typing import Any

import torch

from selftrain.files import write_json

SCHEMA = 1
PACKAGES = ("torch", "torchvision", "timm", "accelerate", "albumentations", "opencv-python-headless", "numpy", "pycocotools", "faster-coco-eval")
FLAT = 0.02


def flattened(curve: list[dict], metric: str) -> bool | None:
    """Whether the curve had flattened: under 2 % relative gain over the last quarter of the steps.  None for under 4 points."""
    if len(curve) < 4:
        return None
    last = curve[-1]
    before = max((p for p in curve if p["step"] <= 0.75 * last["step"]), key=lambda p: p["step"], default=None)
    if before is None or last[metric] <= 0:
        return None
    return (last[metric] - before[metric]) / last[metric] < FLAT


def arms(records: list[dict]) -> list[str]:
    """The arms in the order of tables and figures: supervised before self-trained, random first."""
    return sorted({r["arm"] for r in records}, key=lambda arm: next((r["round"], r["start"] != "random", r["start"]) for r in records if r["arm"] == arm))


def steps_to(curve: list[dict], metric: str, target: float) -> int | None:
    """First evaluated step at which the curve reaches `target`; never an interpolation."""
    return next((p["step"] for p in curve if p[metric] >= target), None)


@functools.cache
def source_hash() -> str:
    """Of the code that decides a result: augment/ and selftrain/."""
    digest = hashlib.blake2b(digest_size=8)
    root = Path(__file__).resolve().parent.parent
    for path in sorted([*(root / "augment").rglob("*.py"), *(root / "selftrain").rglob("*.py")]):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def hardware(processes: int) -> dict[str, Any]:
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else _processor()
    return {"device": device, "processes": processes, "threads": torch.get_num_threads(), "cores": os.cpu_count(), "system": platform.system()}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in PACKAGES}


def read(path: Path) -> dict | None:
    """A finished cell's record, or None."""
    return json.loads(path.read_text()) if path.exists() else None


def write(path: Path, record: dict) -> None:
    write_json(path, {"schema": SCHEMA, **record})
