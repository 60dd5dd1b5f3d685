"""Records and cells of another recipe, other code, other data: listed, kept, or run again."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from selftrain import record
from selftrain.study.stale import find_stale, settle_stale
from selftrain.system.errors import UserError
from selftrain.system.lock import Lock
from tests.programs import path
from tests.study.tiny import RECORDS, TINY, call, change_json, graph_of, logs, main, printed_command

TEACHER, STUDENT = RECORDS / "random-S1-f1-s0.json", RECORDS / "random-self-training-S1-f1-s0.json"


def cell_file(name: str) -> Path:
    """The record in the folder of the supervised cell (S1) or of the student (student1)."""
    return next(iter(Path("runs", "cells").glob(f"*random-{name}*/record.json")))


def of_other_code(*files: Path) -> None:
    for file in files:
        found = json.loads(file.read_text())
        change_json(file, sources=found["sources"] | {"selftrain/train.py": "0" * 8})


# ---- another recipe, other data -------------------------------------------------------------------------


def test_a_changed_recipe_lists_what_changed_and_reuses_nothing(copy, capsys):
    with pytest.raises(UserError, match=r"random-S1-f1-s0.json: lr 0.008 -> 0.001") as error:
        main([*TINY, "--lr", "0.001"])
    assert "--stale rerun" in str(error.value) and "another --name" in str(error.value)
    with pytest.raises(UserError, match="cannot keep a record of other settings"):
        main([*TINY, "--lr", "0.001", "--stale", "keep"])
    assert main([*TINY, "--lr", "0.001", "--name", "slower", "--dry-run"]) == 0
    assert "1 to do, 2 waiting" in capsys.readouterr().out  # a cell of its own, beside the first


def test_records_of_another_policy_must_have_the_settings_of_this_one(copy, capsys):
    """Its tables would show both as one experiment."""
    other = [word if word != "S1" else "S4" for word in TINY]
    assert main([*other, "--dry-run"]) == 0 and "1 to do, 2 waiting" in capsys.readouterr().out
    for choice in ("refuse", "keep", "rerun"):
        with pytest.raises(UserError, match=r"random-S1-f1-s0.json: lr 0.008 -> 0.001(.|\n)*another --name"):
            main([*other, "--lr", "0.001", "--stale", choice])


def test_values_of_a_varied_field_stand_beside_each_other(copy, capsys):
    """A study that has run with one value goes on with more; without the field, another value is foreign."""
    assert main([*TINY, "--vary", "channels=48,64", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "3 done, 1 to do, 2 waiting" in out and "stale" not in out
    found = json.loads(TEACHER.read_text())
    other = RECORDS / "random-S1-f1-channels-48-s0.json"
    other.write_text(json.dumps(found | {"key": "0" * 12, "settings": found["settings"] | {"channels": 48}}))
    for choice in ("keep", "rerun"):  # its own cell is finished: nothing is run again for this one
        with pytest.raises(UserError, match=r"channels-48-s0.json: channels 48 -> 64(.|\n)*another --name"):
            main([*TINY, "--stale", choice])


def test_changed_data_is_told_apart_from_a_changed_recipe(copy):
    with pytest.raises(UserError, match=r"random-S1-f1-s0.json: data changed") as error:
        main([*TINY, "--shapes.difficulty", "0.5"])
    assert "another test set" not in str(error.value)


def test_a_record_of_another_test_set_is_scored_again_but_not_trained(copy, capsys):
    for file in (TEACHER, STUDENT, cell_file("S1"), cell_file("student1")):
        change_json(file, hashes=json.loads(file.read_text())["hashes"] | {"test": "0" * 16})
    with pytest.raises(UserError, match="random-S1-f1-s0.json: scored on another test set"):
        main(TINY)
    with pytest.raises(UserError, match="cannot keep a record of other settings or data"):
        main([*TINY, "--stale", "keep"])
    assert not find_stale(graph_of(TINY)).retrained
    assert main([*TINY, "--stale", "rerun", "--dry-run"]) == 0
    assert "1 to do, 2 waiting" in capsys.readouterr().out
    graph = graph_of(TINY)
    settle_stale(graph, "rerun", print)
    assert cell_file("S1").exists() and cell_file("student1").exists() and not list(RECORDS.glob("*.json"))
    assert not any(graph.finished(cell) for cell in graph.cells)


@pytest.mark.slow
def test_what_is_scored_again_keeps_its_weights_and_curve(copy):
    before = record.read(STUDENT)
    for file in (TEACHER, STUDENT, cell_file("S1"), cell_file("student1")):
        change_json(file, hashes=json.loads(file.read_text())["hashes"] | {"test": "0" * 16})
    shutil.rmtree(copy / "runs" / "study")
    code, out = call(copy, "--stale", "rerun")
    assert code == 0 and "3 done" in out, out
    assert record.read(STUDENT) == before  # trained anew, it would have taken another time
    assert all(" step " not in text for text in logs(copy).values())


# ---- other code -----------------------------------------------------------------------------------------


def test_changed_code_is_listed_kept_or_run_again(copy, capsys):
    of_other_code(TEACHER, STUDENT, cell_file("S1"), cell_file("student1"))
    with pytest.raises(UserError, match="code changed since: selftrain/train.py"):
        main(TINY)
    assert main([*TINY, "--dry-run"]) == 0 and "selftrain/train.py" in capsys.readouterr().out
    assert main([*TINY, "--stale", "rerun", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "1 to do, 2 waiting" in out and "to do, stale" in out and "to be run again" in out
    assert main([*TINY, "--stale", "keep"]) == 0
    assert "3 done" in capsys.readouterr().out
    graph = graph_of([*TINY, "--stale", "rerun"])
    settle_stale(graph, "rerun", print)
    assert not any(graph.done(node) for node in graph.nodes)
    assert len(list(Path("runs", "stale").iterdir())) == 4


def test_the_benchmark_itself_refuses_stale_cells(copy):
    of_other_code(cell_file("S1"))
    words = printed_command((copy / "out.txt").read_text())
    command = [sys.executable, path("coco"), *words[3:]]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "stale cells:" in done.stderr and "--stale keep" in done.stderr
    done = subprocess.run([*command, "--stale", "keep"], capture_output=True, text=True)
    assert done.returncode == 0 and "kept as they are" in done.stdout


def test_a_student_follows_its_teacher_among_committed_records(copy):
    """A teacher of older code is run again: its student's record, of this code but of that teacher, is not
    kept.
    """
    teacher, student = TEACHER.read_text(), STUDENT.read_text()
    of_other_code(cell_file("S1"), TEACHER)
    graph = graph_of(TINY)
    settle_stale(graph, "rerun", print)
    assert not list(RECORDS.glob("*.json")) and not any(graph.done(node) for node in graph.nodes)
    TEACHER.write_text(teacher)
    change_json(TEACHER, hashes=json.loads(teacher)["hashes"] | {"final": "another"})
    STUDENT.write_text(student)
    with pytest.raises(UserError, match=f"{STUDENT.name}: its teacher was trained anew"):
        settle_stale(graph_of(TINY), "refuse", print)


def test_a_committed_record_of_other_code_gives_way_to_a_finished_cell(copy):
    """The cell was run again, and its record was not yet copied."""
    of_other_code(TEACHER)
    stale = find_stale(graph_of(TINY))
    assert stale.files == [TEACHER] and not stale.retrained
    assert main([*TINY, "--stale", "rerun"]) == 0
    assert record.read(TEACHER) == record.read(cell_file("S1"))


def test_a_cell_that_is_being_trained_is_not_moved_away(copy):
    file = cell_file("S1")
    of_other_code(file)
    with Lock(copy / "runs" / "locks" / f"{file.parent.name}.training") as lock:
        assert lock.take()
        with pytest.raises(UserError, match="is being trained .process"):
            main([*TINY, "--stale", "rerun"])
    assert file.exists()


def test_a_begun_cell_goes_on_where_only_its_committed_record_is_stale(copy):
    """It is what the committed record gives way to."""
    cell_file("S1").unlink()
    of_other_code(TEACHER)
    shutil.rmtree(cell_file("student1").parent)
    stale = find_stale(graph_of(TINY))
    assert stale.files == [TEACHER] and not stale.retrained
