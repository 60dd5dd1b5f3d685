"""What rearranging code must not move: losses, weights, pseudo-labels and records of short runs, bit for bit.

The numbers in tests/golden.json were measured under the versions and the kind of processor that stand in it;
elsewhere sums of floats round
otherwise, and only what no float enters is compared.  `python -m tests.test_golden` measures them anew, for a
change that is meant to move them.
"""

import importlib.metadata
import json
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch

from tests.programs import SHORTENED_DEMO

HERE = Path(__file__).resolve().parent
GOLDEN = HERE / "golden.json"
SHORT = [*SHORTENED_DEMO, "--eval-batch", "5"]
# as much of the loop and of the labels as two short runs of each task can pass through
RUNS = {
    "coco-demo": ["coco", "demo", *SHORT, "--score-threshold", "0.001"],
    "coco-variant": [
        "coco",
        "demo",
        *SHORT,
        "--score-threshold",
        "0.001",
        "--starts",
        "random",
        "--policy",
        "S4",
        "--optimizer",
        "sgd",
        "--lr",
        "0.01",
        "--drop-path",
        "0.2",
        "--accumulate",
        "2",
        "--rounds",
        "2",
        "--student-start",
        "teacher",
        "--pseudo-ignore",
        "0.005",
        "--pseudo-ratio",
        "2",
        "--unlabeled",
        "rest",
        "--fraction",
        "0.5",
    ],
    "pascal-demo": ["pascal", "demo", *SHORT, "--pseudo-threshold", "0.1"],
    "pascal-variant": [
        "pascal",
        "demo",
        *SHORT,
        "--starts",
        "imagenet",
        "--policy",
        "S3",
        "--soft",
        "--student-start",
        "random",
        "--teacher-scales",
        "0.5",
        "1",
        "--eval-scales",
        "1",
        "1.5",
        "--eval-flip",
        "--alpha",
        "2",
    ],
    "classify-demo": ["classify", "demo", *SHORT, "--pseudo-threshold", "0.1"],
    "classify-variant": [
        "classify",
        "demo",
        *SHORT,
        "--starts",
        "imagenet",
        "--policy",
        "S4",
        "--optimizer",
        "sgd",
        "--lr",
        "0.01",
        "--dropout",
        "0.2",
        "--label-smoothing",
        "0.1",
        "--pseudo-labels",
        "soft",
        "--pseudo-threshold",
        "0.1",
        "--pseudo-ratio",
        "2",
        "--unlabeled",
        "rest",
        "--fraction",
        "0.5",
    ],
}
PACKAGES = ("torch", "torchvision", "timm", "albumentations", "opencv-python-headless", "numpy", "pillow")


def machine() -> dict[str, str]:
    """What decides the last bit of a float."""
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {"processor": torch.backends.cpu.get_cpu_capability(), "system": platform.machine(), **versions}


def measure(name: str, folder: Path) -> dict:
    program, *options = RUNS[name]
    done = subprocess.run(
        [sys.executable, "-m", "tests.golden", program, str(folder), *options],
        cwd=HERE.parent,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def exact(found: dict) -> dict:
    """What no float enters: how many steps, which images, which arms."""
    names = ("arm", "origin", "steps", "images", "labelled_images", "labels", "protocol")
    names += ("scored_images", "resampled")
    hashes = ("train", "val", "test", "pool", "weights")
    return {
        "losses": len(found["losses"]),
        **{
            cell: [r[n] for n in names] + [r["hashes"][n] for n in hashes]
            for cell, r in found["records"].items()
        },
    }


SLOW = pytest.mark.slow  # one run is enough while one works


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == "coco-demo" else SLOW) for name in RUNS]
)
def test_losses_weights_labels_and_records_are_what_they_were(name, tmp_path):
    golden = json.loads(GOLDEN.read_text())
    found, wanted = measure(name, tmp_path), golden["runs"][name]
    assert exact(found) == exact(wanted)
    if golden["machine"] == machine():
        assert found == wanted


if __name__ == "__main__":
    from selftrain import provenance
    from tests.revalidate import RECIPES, modules

    runs = {}
    for each in RUNS:
        with tempfile.TemporaryDirectory() as folder:
            runs[each] = measure(each, Path(folder))
    code = {task: provenance.sources(tuple(modules(task))) for task in RECIPES}
    GOLDEN.write_text(json.dumps({"machine": machine(), "code": code, "runs": runs}, indent=1) + "\n")
