"""Real processes, really killed: the same command afterwards ends where an uninterrupted run ends, bit for
bit.
"""

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from selftrain.cells import Cell, Feed, Human, first_weights
from selftrain.data.folders.generated import generate_folders
from selftrain.data.shapes.generate import Shapes, generate
from selftrain.networks import first_network
from tests.programs import ROOT, load
from tests.programs import path as program

SMALL = [
    "demo",
    "--starts",
    "random",
    "--steps",
    "6",
    "--warmup-steps",
    "2",
    "--batch-size",
    "4",
    "--optimizer",
    "sgd",
    "--lr",
    "0.01",
    "--lr-batch",
    "4",
    "--eval-every",
    "3",
    "--eval-batch",
    "4",
    "--save-every",
    "2",
    "--drop-path",
    "0.2",
    "--policy",
    "S4",
]
PYRAMID = ["--channels", "16", "--head-depth", "1"]
OWN = {
    "coco": [*PYRAMID, "--score-threshold", "0.001"],
    "pascal": [*PYRAMID, "--neck-repeats", "1", "--pseudo-threshold", "0.1", "--teacher-scales", "0.5", "1"],
    "classify": ["--pseudo-labels", "soft", "--pseudo-threshold", "0.01"],
}

# The whole of EfficientNet-Lite0 has so many kinks (ReLU6) that weights apart by 1e-6 have gradients apart by
# 2 %: what two processes are compared by is as deep, and smooth.
SMOOTH = {"coco": [], "pascal": [], "classify": ["--backbone", "tf_efficientnet_b0"]}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["coco", "pascal", "classify"])
def task(request):
    return request.param


@pytest.fixture(scope="module")
def arguments(task, tmp_path_factory):
    """The program, a small data set, and the options of a run of two cells on it: teacher, labelling, student
    in a few seconds.
    """
    root, pool = tmp_path_factory.mktemp("data") / "shapes", tmp_path_factory.mktemp("pool") / "shapes"
    spec = Shapes(train=24, val=12, test=12, unlabeled=0, difficulty=0.0)
    if task == "classify":
        generate_folders(root, replace(spec, classes=3, objects=(1, 1)))
    else:
        generate(root, spec, workers=1, layout="voc" if task == "pascal" else "coco")
    generate(pool, Shapes(train=0, val=0, test=0, unlabeled=40, difficulty=0.0), workers=1)
    return [
        task,
        *SMALL,
        *OWN[task],
        "--data",
        str(root),
        "--unlabeled",
        str(pool / "unlabeled2017"),
    ]


def interrupt(trials: list[dict], arguments: list[str], folder: Path) -> list[dict]:
    (folder / "trials.json").write_text(json.dumps(trials))
    done = subprocess.run(
        [sys.executable, "-m", "tests.interrupt", str(folder / "trials.json"), *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def products(out: Path) -> dict[str, object]:
    """All that a run leaves which must not depend on interruptions: weights, pseudo-labels, records without
    what was measured.
    """
    found: dict[str, object] = {}
    for path in sorted(out.rglob("*")):
        name = str(path.relative_to(out))
        if path.name == "final.pt":
            found[name] = {k: v.numpy().tobytes() for k, v in torch.load(path)["model"].items()}
        elif path.name.startswith(("labels-", "report-")) or path.parent.name == "masks":
            found[name] = path.read_bytes()
        elif path.name == "record.json":
            found[name] = {k: v for k, v in json.loads(path.read_text()).items() if k != "measured"}
    return found


@pytest.fixture(scope="module")
def uninterrupted(arguments, task, tmp_path_factory):
    folder = tmp_path_factory.mktemp("straight")
    (result,) = interrupt([{"out": str(folder / "out")}], arguments, folder)
    assert result["first"] == 0, (folder / "out.log").read_text()[-3000:]
    whole = products(folder / "out")
    masks = sum("masks/" in name for name in whole)
    # two cells' weights and records, one label file with its report
    assert len(whole) == 6 + masks and masks == (40 if task == "pascal" else 0)
    assert not list((folder / "out").rglob("last.pt")) and not list((folder / "out").rglob("*.tmp"))
    return whole, result["counts"]


def test_twenty_kills_at_random_moments_change_nothing(arguments, uninterrupted, tmp_path):
    whole, counts = uninterrupted
    rng = random.Random(20)
    trials = [
        {
            "out": str(tmp_path / f"{event}{n}"),
            "event": event,
            "at": rng.randint(1, counts[event]),
            "signal": signal.SIGKILL,
        }
        for event in ("step", "save", "evaluate", "label")
        for n in range(4)
    ]
    trials += [
        {"out": str(tmp_path / f"time{n}"), "after": rng.uniform(0.3, 2.5), "signal": signal.SIGKILL}
        for n in range(4)
    ]
    for trial, result in zip(trials, interrupt(trials, arguments, tmp_path), strict=True):
        where = f"{Path(trial['out']).name} at {trial.get('at', trial.get('after'))}"
        assert result["first"] == -signal.SIGKILL or ("after" in trial and result["first"] == 0), where
        assert result.get("second", 0) == 0, where + Path(f"{trial['out']}.log").read_text()[-2000:]
        assert products(Path(trial["out"])) == whole, where


def test_sigterm_saves_at_once_and_exits_143(arguments, uninterrupted, tmp_path):
    whole, _ = uninterrupted
    trials = [
        {"out": str(tmp_path / event), "event": event, "at": at, "signal": signal.SIGTERM}
        for event, at in (("step", 3), ("evaluate", 2), ("label", 5))
    ]
    step, evaluate, label = interrupt(trials, arguments, tmp_path)
    assert step["first"] == evaluate["first"] == label["first"] == 143
    assert step["counts"]["step"] == 3  # not one step more; 3 is no multiple of --save-every
    assert any(name.endswith("last.pt") for name in step["left"]) and any(
        name.endswith("last.pt") for name in evaluate["left"]
    )
    assert (
        evaluate["counts"]["evaluate"] == 2 and label["counts"]["label"] == 5
    )  # the next batch did not begin
    assert any("part-" in name for name in label["left"])  # what was labelled is kept
    for trial in trials:
        assert products(Path(trial["out"])) == whole


def launch(
    *arguments: str, log: Path, options: tuple[str, ...] = ("--num_processes", "1")
) -> subprocess.Popen:
    """`accelerate launch benchmarks/coco.py ...` in a process group of its own; the first argument is the
    program.
    """
    command = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        *options,
        program(arguments[0]),
        *arguments[1:],
    ]
    return subprocess.Popen(command, stdout=log.open("w"), stderr=subprocess.STDOUT, start_new_session=True)


def wait_for(log: Path, text: str, process: subprocess.Popen, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while text not in log.read_text():
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-3000:]
        time.sleep(0.05)


def test_killing_the_launcher_stops_its_child_with_everything_saved(arguments, uninterrupted, tmp_path):
    log, out = tmp_path / "log", tmp_path / "out"
    process = launch(*arguments, "--out", str(out), log=log)
    wait_for(log, "evaluate: batch", process)
    process.kill()  # the launcher alone; SIGKILL reaches no child
    wait_deadline = time.monotonic() + 60
    while "everything is saved" not in log.read_text():
        assert time.monotonic() < wait_deadline, log.read_text()[-3000:]
        time.sleep(0.1)
    assert launch(*arguments, "--out", str(out), log=log).wait(timeout=180) == 0, log.read_text()[-3000:]
    assert products(out) == uninterrupted[0]


def compare(task: str, start: str, one: Path, two: Path, arm: str) -> None:
    """The weights of two runs are far nearer to each other than training moved them."""
    path = next(
        p for p in two.rglob("cells/*/final.pt") if ("student" in p.parent.name) == (arm == "student")
    )
    assert json.loads((path.parent / "record.json").read_text())["measured"]["hardware"]["processes"] == 2
    a, b = (torch.load(out / path.relative_to(two))["model"] for out in (one, two))
    before = initial_weights(task, start, path)  # the trainable ones
    moved = sum((a[k] - w).pow(2).sum() for k, w in before.items()) ** 0.5
    apart = sum((a[k] - b[k]).pow(2).sum() for k in before) ** 0.5
    assert apart < 0.01 * moved and moved > 0.001, (apart, moved)


def test_two_processes_are_one(arguments, task, tmp_path):
    """Same global batches, hence weights far nearer to one process's than training moved them; one teacher,
    one set of labels.
    """
    # Stochastic depth draws by process, and an average would hide a wrong step.  Few steps: a batch norm over
    # four images doubles a
    # rounding error every half step, so that after six steps networks apart by 1e-6 would be apart by 4 %.
    # Segmentation goes through
    # maps of one cell: at random weights 1e-7 changes its first gradient by 1 % already, at ImageNet's by 0.1
    # %.
    start, steps = ("imagenet", "1") if task == "pascal" else ("random", "2")
    steady = [
        *arguments,
        *SMOOTH[task],
        "--starts",
        start,
        "--drop-path",
        "0",
        "--ema",
        "0",
        "--steps",
        steps,
        "--warmup-steps",
        "0",
        "--out",
    ]
    one, two = tmp_path / "one", tmp_path / "two"
    done = subprocess.run(
        [sys.executable, program(task), *steady[1:], str(one)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]

    def run_two(*options: str) -> None:
        log = tmp_path / "log"
        process = launch(*steady, str(two), *options, log=log, options=("--cpu", "--num_processes", "2"))
        assert process.wait(timeout=300) == 0, log.read_text()[-3000:]

    run_two("--no-self-training")
    compare(task, start, one, two, "teacher")
    # Teachers that agree within float tolerance may still rank two equal scores differently: labels are
    # compared for one teacher.
    shutil.rmtree(two)
    shutil.copytree(one, two, ignore=shutil.ignore_patterns("*student*", "pool-*"))
    run_two()
    compare(task, start, one, two, "student")
    labels = [label_file(out).read_bytes() for out in (one, two)]
    assert labels[0] == labels[1]
    if task == "classify":
        assert labels[0].count(b"\n") > 10
    else:
        assert len(json.loads(labels[0]).get("annotations", "") or json.loads(labels[0])["masks"]) > 10
    masks = [{p.name: p.read_bytes() for p in out.rglob("masks/*.png")} for out in (one, two)]
    assert masks[0] == masks[1] and len(masks[0]) == (40 if task == "pascal" else 0)


def label_file(out: Path) -> Path:
    """The only label file of a run, without its report."""
    (file,) = out.rglob("labels-*")
    return file


def initial_weights(task: str, start: str, final: Path) -> dict[str, torch.Tensor]:
    """The trainable weights before the first step, by name."""
    made = load(task).BENCHMARK
    recipe = made.parse([*SMALL, *OWN[task], *SMOOTH[task], "--drop-path", "0"])
    classes = tuple(json.loads((final.parent / "record.json").read_text())["metrics"]["per_class"])
    task = made.task(recipe, classes)
    human = Feed("human", "data", Human(), next(iter(task.objectives)), 4)
    cell = Cell(recipe, first_weights(recipe, start), (human,), "val")
    return dict(first_network(task, cell)[0].named_parameters())
