"""A study of seconds, and how the tests call it: in their own process, or as the program of a person."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from selftrain.study import command, options
from selftrain.study.graph import Graph, build
from selftrain.study.progress import Progress
from tests.programs import ROOT, load

BENCHMARKS = load("study").BENCHMARKS
RECIPE = [
    *("--warmup-steps", "2", "--batch-size", "4", "--eval-every", "3", "--save-every", "3"),
    *("--shapes.train", "20", "--shapes.val", "10", "--shapes.test", "10", "--shapes.unlabeled", "24"),
    *("--score-threshold", "0.001", "--threads", "1"),
]
TINY = [
    *("coco", "study", "--policies", "S1", "--fractions", "1", "--seeds", "0", "--starts", "random"),
    *("--steps", "6", "--budgets", "1", *RECIPE, "--records", "records"),
]
RECORDS = Path("records", "study")


def main(arguments: list[str]) -> int:
    return command.main(BENCHMARKS, arguments)


def commands_of(arguments: list[str]) -> list[options.Command]:
    study, rest = options.parse(arguments)
    return options.commands(BENCHMARKS[study.task], study, rest)


def graph_of(arguments: list[str], records: Path = RECORDS) -> Graph:
    study, rest = options.parse(arguments)
    benchmark = BENCHMARKS[study.task]
    return build(benchmark, study, options.commands(benchmark, study, rest), records, print)


def progress_of(arguments: list[str], records: Path = RECORDS) -> Progress:
    return Progress(graph_of(arguments, records), Path("runs", "study", "study"))


def begin(folder: Path, *more: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, str(ROOT / "benchmarks" / "study.py"), *TINY, *more],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def call(folder: Path, *more: str) -> tuple[int, str]:
    process = begin(folder, *more)
    out, _ = process.communicate(timeout=400)
    return process.returncode, out


def progress_file(folder: Path) -> dict:
    return json.loads((folder / "runs" / "study" / "study" / "progress.json").read_text())


def logs(folder: Path) -> dict[str, str]:
    """Output of the commands, by kind of node."""
    files = (folder / "runs" / "study" / "study" / "logs").glob("*.log")
    return {file.name.partition("-")[0]: file.read_text() for file in files}


def wait_for(what: Callable[[], bool], process: subprocess.Popen, seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert process.poll() is None and time.monotonic() < end, process.communicate()[0]
        time.sleep(0.05)


def change_json(file: Path, **changed) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changed))


def printed_command(out: str) -> list[str]:
    """The words of the command that trained the student, as it was printed."""
    lines = [line.split() for line in out.splitlines() if "accelerate launch" in line]
    return next(words for words in lines if "--until" not in words)
