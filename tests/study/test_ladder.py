"""The ladder of budgets: which cells it plans, what their records are called, and what a second call adds."""

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftrain import record
from selftrain.study.ladder import Ladder
from selftrain.study.places import record_name, setting_title
from selftrain.study.slurm import arrays_of
from selftrain.study.stale import find_stale
from selftrain.system.errors import UserError
from tests.programs import path
from tests.study.tiny import (
    BENCHMARKS,
    RECIPE,
    RECORDS,
    TINY,
    begin,
    call,
    commands_of,
    graph_of,
    main,
    progress_file,
    wait_for,
)

LADDER = ("--budgets", "1", "3")
TEACHER = RECORDS / "random-S1-f1-s0.json"
POLICIES = ("--policies", "S1", "S4", "--steps", "S1=6", "S4=20")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("ladders")


@pytest.fixture(autouse=True)
def folder(data, monkeypatch) -> None:
    """Plans draw their data set where they are made."""
    monkeypatch.chdir(data)


# ---- what is planned ------------------------------------------------------------------------------------


def test_supervised_arms_stand_on_every_rung_and_students_on_the_first():
    found = commands_of(["coco", "study", "--seeds", "0", "1"])
    assert len(found) == 2 * 2 * 6 * 2
    assert [(command.recipe.seed, command.recipe.steps) for command in found] == [
        (seed, steps) for seed in (0, 1) for steps in (2000, 6000) for _ in range(12)
    ]
    for command in found:
        first = command.recipe.steps == 2000
        assert command.recipe.self_training == first
        assert command.recipe.warmup() == (100 if first else 300)  # a share of the steps
        assert command.recipe.eval_every == 250
        again = BENCHMARKS["coco"].parse(["study", *command.options])
        assert replace(again, precision="no") == command.recipe


def test_students_of_a_further_rung_learn_from_the_teacher_of_that_rung():
    graph = graph_of([*TINY, *POLICIES, *LADDER, "--student-budgets", "3"])
    students = [cell for cell in graph.cells if cell.teacher]
    assert sorted((cell.recipe.policy, cell.recipe.steps) for cell in students) == [("S1", 18), ("S4", 60)]
    assert all(cell.teacher.recipe.steps == cell.recipe.steps for cell in students)
    both = graph_of([*TINY, *LADDER, "--student-budgets", "1", "3"])
    assert sorted(cell.recipe.steps for cell in both.cells if cell.teacher) == [6, 18]
    only = graph_of([*TINY, "--budgets", "9", "3"])
    assert sorted((cell.recipe.steps, cell.arm.rounds) for cell in only.cells) == [(18, 0), (18, 1), (54, 0)]


def test_a_single_budget_is_the_study_without_a_ladder():
    """The same commands, word for word, so the same cells with the same names."""
    words = ["--policy", "S1", "--fraction", "1", "--seed", "0"]
    arguments = [
        "coco",
        "study",
        "--policies",
        "S1",
        "--fractions",
        "1",
        "--seeds",
        "0",
        "--starts",
        "random",
    ]
    (alone,) = commands_of([*arguments, "--budgets", "1"])
    assert alone.options == (*words, "--starts", "random")
    first, longer = commands_of(arguments)
    assert first == alone
    assert longer.options == (
        *words,
        *("--steps", "6000", "--no-self-training", "--rounds", "1", "--starts", "random"),
    )
    one, two = graph_of([*TINY]), graph_of([*TINY, *LADDER])
    assert [node.id for node in one.nodes] == [node.id for node in two.nodes if node.setting["budget"] == 1]


@given(
    st.integers(1, 10**6),
    st.lists(st.floats(0.001, 1000).map(lambda value: round(value, 3)), min_size=1, unique=True),
)
def test_the_rung_of_so_many_steps_is_the_budget_that_gave_them(base, budgets):
    ladder = Ladder({"S1": base}, tuple(sorted(budgets)))
    steps = [ladder.steps("S1", budget) for budget in ladder.budgets]
    for budget, number in zip(ladder.budgets, steps, strict=True):
        if steps.count(number) == 1:
            assert ladder.budget("S1", number) == budget
    for times in (1, 2, 9):  # also of a rung that is not asked for
        if times * base not in steps:
            assert ladder.budget("S1", times * base) == times


def test_rungs_are_named_in_titles_and_in_the_listing(capsys):
    graph = graph_of([*TINY, *POLICIES, "--budgets", "1", "1.5", "--vary", "channels=32"])
    titles = {setting_title(node.setting) for node in graph.nodes if node.kind == "supervised"}
    assert titles == {
        f"S{n}, 100 % of the labels, channels 32{rung}" for n in (1, 4) for rung in ("", ", 1.5T")
    }
    assert (
        str(graph.ladder) == "budgets: T = 6 (S1), 20 (S4) steps; 1.5T = 9 (S1), 30 (S4) steps; students at T"
    )
    assert main([*TINY, *LADDER, "--seeds", "0", "1", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "budgets: T = 6 steps; 3T = 18 steps; students at T" in out
    lines = [line.strip() for line in out.splitlines()]
    first, second = lines.index("T = 6 steps"), lines.index("3T = 18 steps")
    shown = [number for number, line in enumerate(lines) if re.search(r"labels, 3T, seed \d", line)]
    assert shown == [second + 1, second + 2]
    plain = [number for number, line in enumerate(lines) if re.search(r"labels, seed \d", line)]
    assert plain == [*range(first + 1, first + 7)]


def test_the_file_of_a_record_names_its_rung_but_not_the_base(finished):
    done = record.read(finished / TEACHER)
    for base, name in ((6, "random-S1-f1"), (2, "random-S1-f1-3x"), (4, "random-S1-f1-1.5x")):
        ladder = Ladder({"S1": base}, (1.0, 1.5, 3.0))
        assert record_name(done, (), ladder) == f"{name}-s0.json"
        assert record_name(done, ("channels",), ladder) == f"{name}-channels-64-s0.json"


# ---- a study that has run -------------------------------------------------------------------------------


def add_rung(steps: int) -> None:
    """A record that an earlier call with a further rung would have left."""
    found = json.loads(TEACHER.read_text())
    settings = found["settings"] | {"steps": steps}
    content = found | {"key": f"{steps:012}", "settings": settings, "steps": steps}
    (RECORDS / f"random-S1-f1-{steps // 6}x-s0.json").write_text(json.dumps(content))


def test_a_second_call_adds_a_rung_and_keeps_what_is_done(copy, capsys):
    assert main([*TINY, *LADDER, "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "3 cells, 4 commands: 3 done, 1 to do" in out and "stale" not in out


@pytest.mark.parametrize("budgets", [["1"], ["1", "9"], ["9", "1"], ["9"]])
def test_a_call_with_fewer_rungs_leaves_the_others_alone(copy, capsys, budgets):
    add_rung(18)
    assert main([*TINY, "--budgets", *budgets, "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "stale" not in out and "other settings" not in out
    assert ("3 done" in out) == ("1" in budgets)


def test_a_rung_of_other_settings_is_refused(copy):
    """It has the warm-up that its steps give, but was trained by another learning rate."""
    add_rung(18)
    with pytest.raises(UserError, match=r"3x-s0.json: lr 0.008 -> 0.001(.|\n)*give that one, or another"):
        main([*TINY, "--budgets", "1", "9", "--lr", "0.001"])
    with pytest.raises(UserError, match=r"3x-s0.json: lr 0.008 -> 0.001\n.*-f1-s0.json: lr 0.008 -> 0.001"):
        main([*TINY, *LADDER, "--lr", "0.001"])


def test_other_base_steps_make_the_study_stale(copy):
    with pytest.raises(UserError, match=r"random-S1-f1-s0.json: steps 6 -> 9"):
        main([*TINY, "--steps", "9"])
    add_rung(18)
    stale = find_stale(graph_of([*TINY, *LADDER, "--steps", "9"]))
    assert len(stale.files) == 3 and not stale.foreign


def test_another_policy_with_its_own_steps_is_another_part(copy, capsys):
    """Its warm-up, a share of the steps, is another one too."""
    share = [word for word in TINY if word not in ("--warmup-steps", "2")]
    found = json.loads(TEACHER.read_text())
    settings = found["settings"] | {"policy": "S2", "steps": 40, "warmup_steps": 2}
    other = RECORDS / "random-S2-f1-s0.json"
    other.write_text(json.dumps(found | {"key": "0" * 12, "settings": settings, "steps": 40}))
    for file in RECORDS.glob("*S1*"):
        file.unlink()
    assert main([*share, "--dry-run"]) == 0
    assert "other settings" not in capsys.readouterr().out
    settings["warmup_steps"] = 3
    other.write_text(json.dumps(found | {"key": "0" * 12, "settings": settings, "steps": 40}))
    with pytest.raises(UserError, match=r"random-S2-f1-s0.json: warmup_steps 3 -> 2"):
        main(share)


# ---- on a cluster ---------------------------------------------------------------------------------------


def test_tasks_of_one_array_are_of_one_rung():
    """They would take thrice the time of their neighbours, and run out of their hours thrice as often."""
    graph = graph_of([*TINY, *LADDER, "--seeds", "0", "1", "--supervised-only"])
    arrays = arrays_of(graph, graph.nodes, {})
    assert [(array.budget, len(array.nodes)) for array in arrays] == [(1.0, 2), (3.0, 2)]
    with_students = arrays_of(whole := graph_of([*TINY, *LADDER, "--seeds", "0", "1"]), whole.nodes, {})
    assert [(array.nodes[0].kind, array.budget) for array in with_students] == [
        ("supervised", 1.0),
        ("labels", 1.0),
        ("student", 1.0),
        ("supervised", 3.0),
    ]
    jobs = [["1_0", "1_1"], ["2_0", "2_1"], ["3_0", "3_1"]]
    dependencies = [array.dependency(jobs) for array in with_students]
    assert dependencies == [None, "aftercorr:1", "aftercorr:2", None]


# ---- with real launches ---------------------------------------------------------------------------------


def rungs_begun(folder) -> int:
    return len(list((folder / "runs" / "cells").glob("*/sources.json")))


@pytest.mark.slow
def test_two_calls_climb_a_ladder_are_stopped_and_one_goes_on(tmp_path):
    """One rung first; then two more by two calls, told to stop in the middle of a rung."""
    steps = ("--steps", "20", "--save-every", "1000", "--eval-every", "20", "--supervised-only")
    code, out = call(tmp_path, *steps)
    assert code == 0 and "1 done" in out, out
    first = record.read(tmp_path / TEACHER)
    more = (*steps, "--budgets", "1", "2", "3")
    processes = [begin(tmp_path, *more), begin(tmp_path, *more)]
    wait_for(lambda: rungs_begun(tmp_path) == 3, processes[0])
    for process in processes:
        os.kill(process.pid, signal.SIGTERM)
    outs = [process.communicate(timeout=120)[0] for process in processes]
    assert {process.returncode for process in processes} == {143}, outs
    code, out = call(tmp_path, *more)
    assert code == 0 and "3 cells, 3 commands: 3 done" in out, out
    assert progress_file(tmp_path)["done"] == 3
    records = {file.name: record.read(file) for file in (tmp_path / RECORDS).glob("*.json")}
    assert {name: done.steps for name, done in records.items()} == {
        "random-S1-f1-s0.json": 20,
        "random-S1-f1-2x-s0.json": 40,
        "random-S1-f1-3x-s0.json": 60,
    }
    assert records["random-S1-f1-s0.json"] == first  # it was not trained again
    command = [sys.executable, path("coco"), "study", "--starts", "random", *RECIPE, "--policy", "S1"]
    long = ["--steps", "60", "--eval-every", "20", "--no-self-training", "--out", "straight"]
    straight = subprocess.run([*command, *long], cwd=tmp_path, capture_output=True, text=True)
    assert straight.returncode == 0, straight.stderr
    wanted = record.read(next((tmp_path / "straight").glob("cells/*/record.json")))
    made = record.to_json(records["random-S1-f1-3x-s0.json"])
    # a rung is an ordinary run of as many steps, interrupted or not, bit for bit
    assert {**made, "measured": 0} == {**record.to_json(wanted), "measured": 0}
