"""A study from end to end: its records, how far it is, and how long the rest takes."""

import io
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from selftrain import provenance, record
from selftrain.study import progress as progress_module
from selftrain.study.places import record_name
from selftrain.study.progress import Progress
from tests.study.tiny import TINY, graph_of, logs, main, printed_command, progress_file, progress_of

NAMES = ["random-S1-f1-s0.json", "random-self-training-S1-f1-s0.json"]


def records_of(folder: Path) -> dict[str, record.Record]:
    return {file.name: record.read(file) for file in (folder / "records" / "study").glob("*.json")}


def test_a_finished_study_has_records_progress_and_nothing_to_do(finished, monkeypatch, capsys):
    trained = {kind: text.count("learning rate") for kind, text in logs(finished).items()}
    assert trained == {"supervised": 1, "labels": 1, "student": 1}
    out = (finished / "out.txt").read_text()
    assert out.count("accelerate launch") == 3 and "3 done" in out and "were the study's own" in out
    records = records_of(finished)
    assert sorted(records) == NAMES
    for name, done in records.items():
        assert record_name(done) == name and done.schema == record.SCHEMA
        assert done.sources and not provenance.stale(done)
    teacher, student = (records[name] for name in NAMES)
    assert student.needs["teacher"] == record.Need(teacher.key, teacher.hashes.final)
    assert len(student.pseudo_labels["hash"]) == 16
    made = progress_file(finished)
    assert made["commands"] == made["done"] == 3 and made["eta_seconds"] == 0
    monkeypatch.chdir(finished)
    assert main(TINY) == 0
    out = capsys.readouterr().out
    assert "3 done" in out and "accelerate launch" not in out


def test_the_printed_command_is_what_a_person_would_type(finished):
    """It finds the cell finished, since it is that cell."""
    words = printed_command((finished / "out.txt").read_text())
    assert words[:2] == ["accelerate", "launch"] and words[2].endswith("benchmarks/coco.py")
    done = subprocess.run([sys.executable, *words[2:]], cwd=finished, capture_output=True, text=True)
    assert done.returncode == 0 and "finished" in done.stdout, done.stderr


def test_committed_records_are_enough_for_a_finished_study(finished, tmp_path, monkeypatch, capsys):
    """A fresh clone has the records but not the weights: nothing is run.

    But a student that is missing needs its teacher again.
    """
    shutil.copytree(finished / "records", tmp_path / "records")
    monkeypatch.chdir(tmp_path)
    assert main([*TINY, "--dry-run"]) == 0 and "3 done" in capsys.readouterr().out
    (tmp_path / "records" / "study" / NAMES[1]).unlink()
    assert main([*TINY, "--dry-run"]) == 0 and "1 to do, 2 waiting" in capsys.readouterr().out


def test_the_file_of_a_record_names_what_is_varied(finished):
    teacher, student = (records_of(finished)[name] for name in NAMES)
    varied = ("backbone", "alpha")
    assert record_name(teacher, varied) == "random-S1-f1-backbone-tf_efficientnet_lite0-s0.json"
    assert record_name(teacher, ("alpha",)) == NAMES[0]  # no setting of a supervised cell
    half = msgspec.structs.replace(student, settings=student.settings | {"alpha": 0.5, "fraction": 0.2})
    assert record_name(half, ("alpha",)) == "random-self-training-S1-f0.2-alpha-0.5-s0.json"


# ---- the time that is left ------------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    """The time that a study believes it is, in place of the real one."""
    now = [1000.0]
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def half_done(finished, monkeypatch) -> Progress:
    """The finished study, asked for a second seed."""
    monkeypatch.chdir(finished)
    return progress_of([*TINY, "--seeds", "0", "1"])


def test_what_a_node_takes_is_expected_from_the_records_of_its_kind(half_done, clock):
    rows = half_done.summary()["nodes"]
    assert [row["state"] for row in rows] == ["done"] * 3 + ["to do", "waiting", "waiting"]
    for done, new in zip(rows[:3], rows[3:], strict=True):  # of one kind and as many images
        assert new["expected_seconds"] == pytest.approx(done["seconds"]) and done["seconds"] > 0
    first, whole = rows[0]["seconds"], sum(row["seconds"] for row in rows[:3])
    node = half_done.graph.nodes[3]
    half_done.running, half_done.running_since = node, clock[0]
    clock[0] += 0.5 * first
    assert half_done.summary()["eta_seconds"] == pytest.approx(whole - 0.5 * first)
    clock[0] += 10 * first  # it takes longer than expected
    assert half_done.summary()["eta_seconds"] == pytest.approx(whole - first)


def test_the_time_left_is_shared_with_the_calls_that_work(half_done):
    left = sum(row["seconds"] for row in half_done.summary()["nodes"][:3])
    node = half_done.graph.nodes[3]
    half_done.elsewhere = {node.id}  # all of it is another call's: this one is no second pair of hands
    assert half_done.summary()["eta_seconds"] == pytest.approx(left)
    half_done.at_work = True
    assert half_done.summary()["eta_seconds"] == pytest.approx(left / 2)
    half_done.elsewhere, half_done.exit_codes = set(), {node.id: 1}
    assert half_done.summary()["eta_seconds"] == 0  # nothing of it will run in this call


def test_a_person_sees_how_far_it_is(half_done):
    half_done.running, half_done.running_since = half_done.graph.nodes[3], time.monotonic()
    table = Console(width=100, record=True, file=io.StringIO())
    table.print(half_done.table())
    lines = [re.split(r"\s{2,}", line.strip()) for line in table.export_text().splitlines()]
    shown = {"done": "3", "running": "1", "waiting": "2", "time left": "", "now": "starting"}
    assert dict(lines) | {"time left": ""} == shown


def test_before_the_first_has_ended_the_time_goes_by_records_of_other_studies(
    finished, tmp_path, monkeypatch
):
    """Of the same network and image size: those beside this study's, else those in results/."""
    monkeypatch.chdir(tmp_path)
    for records, whose in (
        (finished / "records" / "other", str(finished / "records")),
        (tmp_path / "none" / "other", "results"),
    ):
        progress = Progress(graph_of(TINY, records), tmp_path / "progress")
        assert progress.summary()["eta_seconds"] > 0 and whose in progress.pace_from
    graph = graph_of([*TINY, "--image-size", "97"], tmp_path / "none" / "other")
    assert Progress(graph, tmp_path / "progress").summary()["eta_seconds"] is None


def test_another_network_takes_another_time(half_done, monkeypatch):
    """A study that varies its network knows nothing of those that have not run."""
    progress = progress_of([*TINY, "--vary", "channels=64,48"])
    rows = progress.summary()["nodes"]
    assert [row["state"] for row in rows] == ["done"] * 3 + ["to do", "waiting", "waiting"]
    assert [row["expected_seconds"] is None for row in rows] == [False] * 3 + [True] * 3
