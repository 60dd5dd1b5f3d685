"""Interruption and failure of a study, with real launches and real signals."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from selftrain.study.process import start, stop
from tests.programs import path
from tests.study.tiny import RECIPE, begin, call, logs, progress_file, wait_for

pytestmark = pytest.mark.slow


def begun(folder: Path) -> bool:
    return any((folder / "runs" / "cells").glob("*/sources.json"))


def test_an_interrupted_study_saves_and_goes_on_to_the_same_records(tmp_path):
    # nothing but the signal makes a checkpoint before step 15
    long = ("--steps", "60", "--save-every", "1000", "--eval-every", "15")
    command = [sys.executable, path("coco"), "study", "--starts", "random", *RECIPE, *long, "--policy", "S1"]
    straight = subprocess.run(
        [*command, "--out", "straight", "--no-self-training"], cwd=tmp_path, capture_output=True, text=True
    )
    assert straight.returncode == 0, straight.stderr
    process = begin(tmp_path, *long)
    wait_for(lambda: begun(tmp_path), process)
    os.kill(process.pid, signal.SIGTERM)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 143 and "the same command goes on from here" in out
    assert progress_file(tmp_path)["to do"] == 1 and "running" not in progress_file(tmp_path)
    assert "stopped as told" in logs(tmp_path)["supervised"]
    assert len(list((tmp_path / "runs").rglob("last.pt"))) == 1
    code, out = call(tmp_path, *long)
    assert code == 0 and "3 done" in out, out
    assert "goes on from its checkpoint" in logs(tmp_path)["supervised"], out
    made = json.loads((tmp_path / "records" / "study" / "random-S1-f1-s0.json").read_text())
    wanted = json.loads(next((tmp_path / "straight").glob("cells/*/record.json")).read_text())
    # weights, curve and scores, bit for bit; a study also signs its records with its contrasts
    assert made.pop("contrasts") and wanted.pop("contrasts") is None
    assert {**made, "measured": 0} == {**wanted, "measured": 0} and len(made["curve"]) == 4


def test_a_training_that_hangs_is_killed_when_asked_twice(tmp_path):
    deaf = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); "
        "time.sleep(100)"
    )
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {deaf!r}])"
    process = start([sys.executable, "-c", parent], tmp_path / "log")
    wait_for(lambda: "deaf" in (tmp_path / "log").read_text(), process)
    child = psutil.Process(process.pid).children()[0]
    asked = iter([False, False])
    stop(process, lambda: next(asked, True))
    assert process.poll() == -signal.SIGKILL
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_a_killed_study_leaves_its_cell_to_the_next_call(tmp_path):
    """SIGKILL reaches neither launcher nor training: they end the cell, and the next call waits for it in
    place of running it beside.
    """
    process = begin(tmp_path)
    wait_for(lambda: begun(tmp_path), process)
    process.kill()
    process.communicate()
    code, out = call(tmp_path)
    assert code == 0 and "3 done" in out, out
    assert logs(tmp_path)["supervised"].count("[1/1] random: test split") == 1
    assert len(list((tmp_path / "runs" / "cells").iterdir())) == 2


def test_a_failing_cell_stops_only_what_hangs_on_it_and_is_run_again(tmp_path):
    # no teacher of six steps is that sure: both cannot label
    unsure = ("--starts", "random", "imagenet", "--pseudo-threshold", "0.999")
    code, out = call(tmp_path, *unsure)
    assert code == 1 and "failed with exit code" in out
    assert "| error: the teacher found nothing in the pool" in out
    made = progress_file(tmp_path)
    assert (made["done"], made["failed"], made["stopped by a failure"]) == (2, 2, 2)
    assert sorted(file.name for file in (tmp_path / "records" / "study").glob("*.json")) == [
        "imagenet-S1-f1-s0.json",
        "random-S1-f1-s0.json",
    ]
    code, out = call(tmp_path, *unsure, "--dry-run")
    assert code == 0 and out.count("to do, failed before") == 2
    code, out = call(tmp_path, *unsure)
    # the failed ones alone
    assert code == 1 and out.count("\n  accelerate launch ") == 2 and out.count("--until labels") == 2
