"""One json a cell: what was run, on what, and what came of it.  Schema 2:

schema, key, task               version of this list; hash of all that decides the result; coco (detection) or pascal (segmentation)
arm, start, round, origin       row of a table; first weights; 0 supervised, 1 student, 2 its student; file or hub name of the weights
recipe, settings                name; every field that decides the result (policy, fraction, seed, steps ...)
shapes                          what the generated data set was drawn from; null for other data
split, metric, metrics          what was scored; the main score; every score, on that split
curve, flattened                scores on the val split by step; whether the last quarter of the steps changed the main one by under 2 % of its last value
steps, images, labelled_images  of its own training, a teacher's not counted
labels, protocol                which human labels; which labels and pool, where a data set has several kinds (PASCAL)
pseudo_labels                   of a student: report, hashes and cell of its teacher, quality by threshold, some examples; else null
hashes                          data (all labelled splits), train, val, test, pool, weights (first), final (last), source
sources                         hash of each file of code that decides a result, as it was when the cell began
sources_changed                 files that were other when it ended: an interrupted run that went on with changed code
measured                        seconds (label_seconds of them labelling), energy_kwh where the accelerator reports it,
                                peak_memory_gib, hardware, versions, precision, finished

`measured` holds what differs between two runs of the same cell; everything else is equal bit for bit on the same machine,
interrupted or not.
"""

import ast
import functools
import hashlib
import importlib.metadata
import io
import json
import os
import platform
import tokenize
from pathlib import Path
from typing import Any

import torch

from selftrain.system.files import write_json

SCHEMA = 2
PACKAGES = (
    "torch",
    "torchvision",
    "timm",
    "accelerate",
    "albumentations",
    "opencv-python-headless",
    "numpy",
    "pycocotools",
    "faster-coco-eval",
)
FLAT = 0.02
ROOT = Path(__file__).resolve().parent.parent
# of augment/ and selftrain/, what can stop a run or describe it but not change its result
NOT_DECIDING = (
    "augment/show.py",
    "selftrain/record.py",
    "selftrain/program.py",
    "selftrain/system/errors",
    "selftrain/system/files",
    "selftrain/system/launch",
    "selftrain/system/lock",
    "selftrain/system/progress",
    "selftrain/system/stop",
    "selftrain/study/",
    "selftrain/report/",
    "selftrain/data/check/",
)


def flattened(curve: list[dict], metric: str) -> bool | None:
    """Whether the curve had flattened: it gained, or lost, under 2 % of its last value over the last quarter of the steps.

    None for under 4 points, and where nothing was learned.  It is said of this schedule: where the learning rate decays to zero a longer one may still go further.
    """
    gain = last_quarter(curve, metric)
    return None if gain is None else abs(gain) < FLAT


def last_quarter(curve: list[dict], metric: str) -> float | None:
    """Gain over the last quarter of the steps, as a share of the last value; None as above."""
    last = curve[-1]
    before = max(
        (p for p in curve if p["step"] <= 0.75 * last["step"]), key=lambda p: p["step"], default=None
    )
    return (
        None
        if len(curve) < 4 or before is None or last[metric] <= 0
        else (last[metric] - before[metric]) / last[metric]
    )


def arms(records: list[dict]) -> list[str]:
    """The arms in the order of tables and figures: supervised before self-trained, random first."""
    return sorted(
        {r["arm"] for r in records},
        key=lambda arm: next(
            (r["round"], r["start"] != "random", r["start"]) for r in records if r["arm"] == arm
        ),
    )


def steps_to(curve: list[dict], metric: str, target: float) -> int | None:
    """First evaluated step at which the curve reaches `target`; never an interpolation."""
    return next((p["step"] for p in curve if p[metric] >= target), None)


@functools.cache
def sources() -> dict[str, str]:
    """File -> hash (8 hex digits) of the code that decides a result, without comments and docstrings: those may be improved at any time."""
    found = {}
    for path in sorted([*(ROOT / "augment").rglob("*.py"), *(ROOT / "selftrain").rglob("*.py")]):
        name = path.relative_to(ROOT).as_posix()
        if not name.startswith(NOT_DECIDING):
            found[name] = hashlib.blake2b(_bare(path.read_text()).encode(), digest_size=4).hexdigest()
    return found


def _bare(code: str) -> str:
    """The lines of code, cut out of the text itself: a parser's own rendering differs from one Python to the next."""
    lines = code.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(code).readline):
        if token.type == tokenize.COMMENT:
            lines[token.start[0] - 1] = lines[token.start[0] - 1][: token.start[1]]
    for node in ast.walk(ast.parse(code)):
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            first, last = node.lineno - 1, node.end_lineno
            if not lines[first][: node.col_offset].strip():  # a line of its own
                lines[first:last] = [""] * (last - first)
    return "\n".join(line.rstrip() for line in lines if line.strip())


def changed(then: dict[str, str], now: dict[str, str] | None = None) -> list[str]:
    """Files of code that are other now, or new, or gone."""
    now = sources() if now is None else now
    return sorted(name for name in then.keys() | now.keys() if then.get(name) != now.get(name))


def stale(record: dict) -> list[str]:
    """Why a finished record is no result of the code as it is; empty where it is one."""
    if record.get("schema") != SCHEMA:
        return [f"its schema is {record.get('schema')}, now {SCHEMA}"]
    reasons = []
    if other := changed(record["sources"]):
        reasons.append(f"code changed since: {', '.join(other)}")
    if record["sources_changed"]:
        reasons.append(f"code changed while it ran: {', '.join(record['sources_changed'])}")
    return reasons


def hardware(processes: int) -> dict[str, Any]:
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else _processor()
    return {
        "device": device,
        "processes": processes,
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "system": platform.system(),
    }


def energy_joules() -> float | None:
    """What this process's accelerator has used since its driver was loaded, where it says so; differences of it count."""
    if not torch.cuda.is_available():
        return None
    try:
        import pynvml

        pynvml.nvmlInit()
        return (
            pynvml.nvmlDeviceGetTotalEnergyConsumption(
                pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties().uuid}")
            )
            / 1000
        )
    except Exception:  # no NVML, no such counter, no permission: each is "not reported"
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {
        name: importlib.metadata.version(name) for name in PACKAGES
    }


def read(path: Path) -> dict | None:
    """A finished cell's record, or None."""
    return json.loads(path.read_text()) if path.exists() else None


def write(path: Path, record: dict) -> None:
    write_json(path, {"schema": SCHEMA, **record})
