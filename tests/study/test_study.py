"""The study: who waits for whom, interruption, failure, changed recipes and code, and two calls at once, with
real launches.
"""

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from rich.console import Console

from selftrain import provenance, record
from selftrain.study import command
from selftrain.study.graph import record_name
from selftrain.study.run import start, stop
from selftrain.system.errors import UserError
from selftrain.system.lock import Lock
from tests.programs import ROOT, load

BENCHMARKS = load("study").BENCHMARKS
study = SimpleNamespace(
    BENCHMARKS=BENCHMARKS,
    parse=command.parse,
    build=command.build,
    Runner=command.Runner,
    settle_stale=command.settle_stale,
    cells=lambda made, rest: command.cells(BENCHMARKS[made.task], made, rest),
    main=lambda arguments: command.main(BENCHMARKS, arguments),
)
TINY = [
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
    "--steps",
    "12",
    "--warmup-steps",
    "2",
    "--batch-size",
    "4",
    "--eval-every",
    "4",
    "--save-every",
    "4",
    "--shapes.train",
    "20",
    "--shapes.val",
    "10",
    "--shapes.test",
    "10",
    "--shapes.unlabeled",
    "24",
    "--score-threshold",
    "0.001",
    "--records",
    "records",
]


def begin(folder: Path, *options: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, str(ROOT / "benchmarks" / "study.py"), *TINY, *options],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def call(folder: Path, *options: str) -> tuple[int, str]:
    process = begin(folder, *options)
    out, _ = process.communicate(timeout=400)
    return process.returncode, out


def progress(folder: Path) -> dict:
    return json.loads((folder / "runs" / "study" / "study" / "progress.json").read_text())


def logs(folder: Path) -> dict[str, str]:
    return {
        file.name.partition("-")[0]: file.read_text()
        for file in (folder / "runs" / "study" / "study" / "logs").glob("*.log")
    }


def wait_for(what, process: subprocess.Popen, seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert process.poll() is None and time.monotonic() < end, process.communicate()[0]
        time.sleep(0.05)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A tiny study that two calls, started at once, ran to its end."""
    folder = tmp_path_factory.mktemp("study")
    both = [begin(folder), begin(folder)]
    outs = [process.communicate(timeout=500)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outs
    (folder / "outs.json").write_text(json.dumps(outs))
    return folder


# ---- plans --------------------------------------------------------------------------------------------


def test_the_papers_matrix_is_72_cells_and_the_product_more():
    made, rest = study.parse(["coco", "study"])
    assert rest == [] and len(study.cells(made, rest)) * 2 == 72
    full, _ = study.parse(["coco", "study", "--matrix", "full"])
    assert len(study.cells(full, [])) * 2 == 4 * 3 * 2 * 3 * 2
    places = made.places()
    assert len(set(places)) == len(places) and [seed for *_, seed in places] == sorted(
        seed for *_, seed in places
    )  # a whole matrix a seed


def test_every_cell_is_a_command_that_gives_its_recipe():
    made, rest = study.parse(
        [
            "pascal",
            "mini",
            "--data",
            "d",
            "--unlabeled",
            "rest",
            "--policies",
            "S1",
            "S4",
            "--fractions",
            ".05",
            ".5",
            "--steps",
            "S1=700",
            "S4=900",
            "--lr",
            "0.01",
        ]
    )
    assert rest == ["--data", "d", "--unlabeled", "rest", "--lr", "0.01"]
    for recipe, options in study.cells(made, rest):
        again = study.BENCHMARKS["pascal"].parse(["mini", *options])
        assert (
            replace(again, precision="no") == recipe
            and recipe.steps == {"S1": 700, "S4": 900}[recipe.policy]
            and len(recipe.starts) == 1
        )


def test_a_third_of_the_labels_is_the_same_third_in_the_command():
    made, rest = study.parse(["coco", "study", "--policies", "S1", "--fractions", str(1 / 3), "--seeds", "0"])
    assert all(
        study.BENCHMARKS["coco"].parse(["study", *options]).fraction == 1 / 3
        for _, options in study.cells(made, rest)
    )


def test_precision_is_part_of_a_cell_wherever_it_was_said():
    for arguments, wanted in (
        ([], "no"),
        (["--launch=--mixed_precision bf16 --cpu"], "bf16"),
        (["--precision", "bf16"], "bf16"),
    ):
        made, rest = study.parse(["coco", "study", "--seeds", "0", *arguments])
        assert {recipe.precision for recipe, _ in study.cells(made, rest)} == {wanted}


def test_all_labels_leave_no_rest_to_label():
    made, rest = study.parse(
        [
            "pascal",
            "mini",
            "--data",
            "d",
            "--unlabeled",
            "rest",
            "--policies",
            "S1",
            "--fractions",
            ".5",
            "1",
            "--seeds",
            "0",
        ]
    )
    assert [(recipe.fraction, recipe.self_training) for recipe, _ in study.cells(made, rest)] == [
        (1.0, False)
    ] * 2 + [(0.5, True)] * 2


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--seed", "3"], "give --seeds"),
        (["--policy", "S1"], "give --policies"),
        (["--until", "labels"], "leave it out"),
        (["--fractions", "10"], "10 % is 0.1"),
        (["--seeds", "1", "1"], "names one twice"),
        (["--starts", "random", "random"], "names one twice"),
        (["--steps", "S1=5"], "for each of"),
        (["--batch-size", "0"], "--batch-size 0: at least 1"),
        (["--weights", "w.pth", "--starts", "imagenet", "imagenet++"], "the two arms would be one"),
        (["--launch=--cpu 'x"], "--launch --cpu 'x: No closing quotation"),
    ],
)
def test_contradictions_are_refused_with_the_cure(arguments, words):
    with pytest.raises(UserError, match=re.escape(words)):
        made, rest = study.parse(["coco", "study", *arguments])
        study.cells(made, rest)


def test_the_dry_run_says_who_waits_for_whom_and_runs_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert study.main([*TINY, "--starts", "random", "imagenet", "--dry-run"]) == 0
    lines = [
        re.split(r"\s{2,}", line.strip()) for line in capsys.readouterr().out.splitlines() if "seed 0" in line
    ]
    assert [line[1] for line in lines] == ["to do", "waiting", "waiting"] * 2
    assert lines[2][0].startswith("random + self-training, S1, 100 %") and lines[2][2].startswith(
        "random: label the pool"
    )
    assert not (tmp_path / "runs" / "cells").exists() and not (tmp_path / "records").exists()


def test_every_node_is_a_command_that_its_benchmark_accepts(tmp_path, monkeypatch):
    """Also with further rounds, whose option a supervised node must bear, and without a pool."""
    monkeypatch.chdir(tmp_path)
    few = [
        "--policies",
        "S1",
        "--fractions",
        ".5",
        "1",
        "--seeds",
        "0",
        "--shapes.train",
        "20",
        "--shapes.val",
        "4",
        "--shapes.test",
        "4",
        "--shapes.unlabeled",
        "8",
    ]
    for arguments in (
        [*few, "--rounds", "2"],
        [*few, "--unlabeled", "rest", "--rounds", "2"],
        [*few, "--supervised-only", "--rounds", "2"],
    ):
        made, rest = study.parse(["coco", "study", *arguments])
        wanted = study.cells(made, rest)
        graph = study.build(
            study.BENCHMARKS["coco"], "study", wanted, tmp_path / "records", "", lambda text: None
        )
        for node in graph.nodes:
            recipe = study.BENCHMARKS["coco"].parse(["study", *node.options])
            assert recipe.until == {"labels": "labels", "student": "students"}.get(
                node.kind, "supervised" if recipe.self_training else "students"
            )
            assert replace(recipe, precision="no", until="students") in [each for each, _ in wanted]
        assert {len(node.cells) for node in graph.nodes if node.kind == "student"} == (
            set() if "--supervised-only" in arguments else {2}
        )


def test_what_a_node_takes_is_expected_from_the_records_of_its_kind(finished, monkeypatch):
    monkeypatch.chdir(finished)
    made, rest = study.parse([*TINY, "--seeds", "0", "1"])
    graph = study.build(
        study.BENCHMARKS["coco"], "study", study.cells(made, rest), Path("records/study"), "", print
    )
    runner = study.Runner(graph, Path("runs/study/study"), None)
    rows = runner.summary()["nodes"]
    assert [row["state"] for row in rows] == ["done"] * 3 + ["to do", "waiting", "waiting"]
    for done, new in zip(rows[:3], rows[3:]):  # of one kind and as many images
        assert new["expected_seconds"] == pytest.approx(done["seconds"]) and done["seconds"] > 0
    runner.running, runner.running_since = (
        graph.nodes[3],
        time.monotonic() - 0.5 * rows[0]["seconds"],
    )  # half of the first is over
    assert runner.summary()["eta_seconds"] == pytest.approx(
        sum(row["seconds"] for row in rows[:3]) - 0.5 * rows[0]["seconds"], rel=0.05
    )
    runner.running, runner.elsewhere = (
        None,
        {graph.nodes[3].id},
    )  # all of it is another call's: this one is no second pair of hands
    left = sum(row["seconds"] for row in rows[:3])
    assert runner.summary()["eta_seconds"] == pytest.approx(left)
    runner.at_work = True
    assert runner.summary()["eta_seconds"] == pytest.approx(left / 2)
    runner.elsewhere, runner.failed = set(), {graph.nodes[3].id: 1}
    assert runner.summary()["eta_seconds"] == 0  # nothing of it will run in this call
    runner.failed, runner.running, runner.running_since = {}, graph.nodes[3], time.monotonic()
    table = Console(width=100, record=True, file=io.StringIO())
    table.print(runner.table())
    lines = [re.split(r"\s{2,}", line.strip()) for line in table.export_text().splitlines()]
    assert dict(lines) | {"time left": ""} == {
        "done": "3",
        "running": "1",
        "waiting": "2",
        "time left": "",
        "now": "starting",
    }


def test_before_the_first_has_ended_the_time_goes_by_records_of_other_studies(
    finished, tmp_path, monkeypatch
):
    """Of the same network and image size: those beside this study's, else those in results/."""
    monkeypatch.chdir(tmp_path)
    made, rest = study.parse(TINY)
    for records, whose in (
        (finished / "records" / "other", str(finished / "records")),
        (tmp_path / "none" / "other", "results"),
    ):
        graph = study.build(study.BENCHMARKS["coco"], "study", study.cells(made, rest), records, "", print)
        runner = study.Runner(graph, tmp_path / "progress", None)
        assert runner.summary()["eta_seconds"] > 0 and whose in runner.pace_from
    graph = study.build(
        study.BENCHMARKS["coco"],
        "study",
        study.cells(made, [*rest, "--image-size", "97"]),
        tmp_path / "none" / "other",
        "",
        print,
    )
    assert study.Runner(graph, tmp_path / "progress", None).summary()["eta_seconds"] is None


# ---- two calls at once --------------------------------------------------------------------------------


def test_two_calls_at_once_run_no_cell_twice(finished):
    assert {kind: text.count("learning rate") for kind, text in logs(finished).items()} == {
        "supervised": 1,
        "labels": 1,
        "student": 1,
    }
    outs = json.loads((finished / "outs.json").read_text())
    assert sum(out.count("accelerate launch") for out in outs) == 3 and all("3 done" in out for out in outs)
    for out in outs:
        assert ("were the study's own" in out) == ("accelerate launch" in out)


def test_a_finished_study_has_records_progress_and_nothing_to_do(finished):
    records = {file.name: record.read(file) for file in (finished / "records" / "study").glob("*.json")}
    assert sorted(records) == ["random-S1-f1-s0.json", "random-self-training-S1-f1-s0.json"]
    for name, found in records.items():
        assert (
            record_name(found) == name
            and found.schema == record.SCHEMA
            and not provenance.stale(found)
            and found.sources == provenance.sources()
        )
    student = records["random-self-training-S1-f1-s0.json"]
    assert (
        student.needs["teacher"].final == records["random-S1-f1-s0.json"].hashes.final
        and len(student.pseudo_labels["hash"]) == 16
    )
    made = progress(finished)
    assert made["commands"] == made["done"] == 3 and made["eta_seconds"] == 0
    began = time.monotonic()
    code, out = call(finished)
    assert code == 0 and "3 done" in out and "accelerate launch" not in out and time.monotonic() - began < 60


def test_the_printed_command_is_what_a_person_would_type(finished):
    """It finds the cell finished, since it is that cell."""
    line = next(
        line
        for line in "".join(json.loads((finished / "outs.json").read_text())).splitlines()
        if "accelerate launch" in line and "--until" not in line
    )
    words = line.split()
    assert words[:2] == ["accelerate", "launch"] and words[2].endswith("benchmarks/coco.py")
    done = subprocess.run([sys.executable, *words[2:]], cwd=finished, capture_output=True, text=True)
    assert done.returncode == 0 and "finished" in done.stdout, done.stderr


def test_committed_records_are_enough_for_a_finished_study(finished, tmp_path):
    """A fresh clone has the records but not the weights: nothing is run; but a student that is missing needs
    its teacher again.
    """
    shutil.copytree(finished / "records", tmp_path / "records")
    code, out = call(tmp_path, "--dry-run")
    assert code == 0 and "3 done" in out
    (tmp_path / "records" / "study" / "random-self-training-S1-f1-s0.json").unlink()
    code, out = call(tmp_path, "--dry-run")
    assert code == 0 and "1 to do, 2 waiting" in out


# ---- changed recipe, changed code ---------------------------------------------------------------------


@pytest.fixture
def copy(finished, tmp_path, monkeypatch) -> Path:
    shutil.copytree(finished, tmp_path / "study", symlinks=True)
    monkeypatch.chdir(tmp_path / "study")
    return tmp_path / "study"


def test_a_changed_recipe_lists_what_changed_and_reuses_nothing(copy, capsys):
    with pytest.raises(UserError, match=r"random-S1-f1-s0.json: lr 0.008 -> 0.001") as error:
        study.main([*TINY, "--lr", "0.001"])
    assert "--stale rerun" in str(error.value) and "another --name" in str(error.value)
    with pytest.raises(UserError, match="cannot keep a record of other settings"):
        study.main([*TINY, "--lr", "0.001", "--stale", "keep"])
    assert study.main([*TINY, "--lr", "0.001", "--name", "slower", "--dry-run"]) == 0
    assert "1 to do, 2 waiting" in capsys.readouterr().out  # a cell of its own, beside the first


def test_records_of_another_policy_must_have_the_settings_of_this_one(copy, capsys):
    """Its tables would show both as one experiment."""
    other = [word if word != "S1" else "S4" for word in TINY]
    assert study.main([*other, "--dry-run"]) == 0 and "1 to do, 2 waiting" in capsys.readouterr().out
    for choice in ("refuse", "keep", "rerun"):
        with pytest.raises(UserError, match=r"random-S1-f1-s0.json: lr 0.008 -> 0.001(.|\n)*another --name"):
            study.main([*other, "--lr", "0.001", "--stale", choice])


def test_changed_data_is_told_apart_from_a_changed_recipe(copy):
    with pytest.raises(UserError, match=r"random-S1-f1-s0.json: data changed"):
        study.main([*TINY, "--shapes.difficulty", "0.5"])


def test_changed_code_is_listed_kept_or_run_again(copy, capsys):
    for file in (*copy.glob("runs/cells/*/record.json"), *copy.glob("records/study/*.json")):
        found = json.loads(file.read_text())
        found["sources"]["selftrain/train.py"] = "0" * 8
        file.write_text(json.dumps(found))
    with pytest.raises(UserError, match="code changed since: selftrain/train.py"):
        study.main(TINY)
    assert study.main([*TINY, "--dry-run"]) == 0 and "selftrain/train.py" in capsys.readouterr().out
    assert study.main([*TINY, "--stale", "rerun", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "1 to do, 2 waiting" in out and "to do, stale" in out and "to be run again" in out
    assert study.main([*TINY, "--stale", "keep"]) == 0
    assert "3 done" in capsys.readouterr().out
    made, rest = study.parse([*TINY, "--stale", "rerun"])
    graph = study.build(
        study.BENCHMARKS["coco"], "study", study.cells(made, rest), Path("records/study"), "", print
    )
    study.settle_stale(graph, "rerun", print)
    assert not any(graph.done(node) for node in graph.nodes) and len(list(Path("runs/stale").iterdir())) == 4


def test_the_benchmark_itself_refuses_stale_cells(copy):
    file = next(iter(copy.glob("runs/cells/*random-S1*/record.json")))
    file.write_text(json.dumps(json.loads(file.read_text()) | {"sources": {}}))
    command = json.loads((copy / "outs.json").read_text())
    words = next(
        line
        for line in "".join(command).splitlines()
        if "accelerate launch" in line and "--until" not in line and "--no-self" not in line
    ).split()
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "coco.py"), *words[3:]], capture_output=True, text=True
    )
    assert (
        done.returncode == 1
        and "stale cells:" in done.stderr
        and "--stale keep" in done.stderr
        and "Traceback" not in done.stderr
    )
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "coco.py"), *words[3:], "--stale", "keep"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and "kept as they are" in done.stdout


# ---- interruption and failure -------------------------------------------------------------------------


def test_an_interrupted_study_saves_and_goes_on_to_the_same_records(tmp_path):
    long = (
        "--steps",
        "60",
        "--save-every",
        "1000",
        "--eval-every",
        "15",
    )  # nothing but the signal makes a checkpoint before step 15
    straight = subprocess.run(
        [
            sys.executable,
            str(ROOT / "benchmarks" / "coco.py"),
            "study",
            *TINY[8 : TINY.index("--records")],
            *long,
            "--policy",
            "S1",
            "--out",
            "straight",
            "--no-self-training",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert straight.returncode == 0, straight.stderr
    process = begin(tmp_path, *long)
    wait_for(lambda: any((tmp_path / "runs" / "cells").glob("*/sources.json")), process)
    os.kill(process.pid, signal.SIGTERM)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 143 and "the same command goes on from here" in out
    assert progress(tmp_path)["to do"] == 1 and "running" not in progress(tmp_path)
    assert (
        "stopped as told" in logs(tmp_path)["supervised"]
        and len(list((tmp_path / "runs").rglob("last.pt"))) == 1
    )
    code, out = call(tmp_path, *long)
    assert code == 0 and "3 done" in out and "goes on from its checkpoint" in logs(tmp_path)["supervised"], (
        out
    )
    made = json.loads((tmp_path / "records" / "study" / "random-S1-f1-s0.json").read_text())
    wanted = json.loads(next((tmp_path / "straight").glob("cells/*/record.json")).read_text())
    assert {**made, "measured": 0} == {**wanted, "measured": 0} and len(
        made["curve"]
    ) == 4  # weights, curve and scores, bit for bit


def test_a_training_that_hangs_is_killed_when_asked_twice(tmp_path):
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(100)"
    process = start(
        [sys.executable, "-c", f"import subprocess, sys; subprocess.run([sys.executable, '-c', {deaf!r}])"],
        tmp_path / "log",
    )
    wait_for(lambda: "deaf" in (tmp_path / "log").read_text(), process)
    child = psutil.Process(process.pid).children()[0]
    asked = iter([False, False])
    stop(process, lambda: next(asked, True))
    assert process.poll() == -signal.SIGKILL and (
        not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
    )


def test_a_killed_study_leaves_its_cell_to_the_next_call(tmp_path):
    """SIGKILL reaches neither launcher nor training: they end the cell, and the next call waits for it in
    place of running it beside.
    """
    process = begin(tmp_path)
    wait_for(lambda: any((tmp_path / "runs" / "cells").glob("*/sources.json")), process)
    process.kill()
    process.communicate()
    code, out = call(tmp_path)
    assert code == 0 and "3 done" in out, out
    assert (
        logs(tmp_path)["supervised"].count("[1/1] random: test split") == 1
        and len(list((tmp_path / "runs" / "cells").iterdir())) == 2
    )


def test_a_failing_cell_stops_only_what_hangs_on_it_and_is_run_again(tmp_path):
    unsure = (
        "--starts",
        "random",
        "imagenet",
        "--pseudo-threshold",
        "0.999",
    )  # no teacher of twelve steps is that sure: both cannot label
    code, out = call(tmp_path, *unsure)
    assert (
        code == 1
        and "failed with exit code" in out
        and "| error: the teacher found nothing in the pool" in out
    )
    made = progress(tmp_path)
    assert (made["done"], made["failed"], made["stopped by a failure"]) == (2, 2, 2)
    assert sorted(file.name for file in (tmp_path / "records" / "study").iterdir()) == [
        "imagenet-S1-f1-s0.json",
        "random-S1-f1-s0.json",
    ]
    code, out = call(tmp_path, *unsure, "--dry-run")
    assert code == 0 and out.count("to do, failed before") == 2
    code, out = call(tmp_path, *unsure)
    assert (
        code == 1 and out.count("accelerate launch") == 2 and out.count("--until labels") == 2
    )  # the failed ones alone


def test_a_student_follows_its_teacher_among_committed_records(copy):
    """A teacher of older code is run again: its student's record, of this code but of that teacher, is not
    kept.
    """
    for file in (
        *copy.glob("runs/cells/coco-random-S1*/record.json"),
        copy / "records" / "study" / "random-S1-f1-s0.json",
    ):
        file.write_text(json.dumps(json.loads(file.read_text()) | {"sources": {}}))
    made, rest = study.parse(TINY)
    graph = study.build(
        study.BENCHMARKS["coco"], "study", study.cells(made, rest), Path("records/study"), "", print
    )
    study.settle_stale(graph, "rerun", print)
    assert not list(Path("records/study").iterdir()) and not any(graph.done(node) for node in graph.nodes)
    other = json.loads(
        (
            copy
            / "runs"
            / "stale"
            / next(name for name in os.listdir(copy / "runs" / "stale") if name.startswith("random-S1-f1-s0"))
        ).read_text()
    )
    for name, found in (
        (
            "random-S1-f1-s0.json",
            other | {"sources": provenance.sources(), "hashes": other["hashes"] | {"final": "another"}},
        ),
        (
            "random-self-training-S1-f1-s0.json",
            json.loads(next((copy / "runs" / "stale").glob("random-self-training*.json")).read_text()),
        ),
    ):
        (copy / "records" / "study" / name).write_text(json.dumps(found))
    graph = study.build(
        study.BENCHMARKS["coco"], "study", study.cells(made, rest), Path("records/study"), "", print
    )
    with pytest.raises(UserError, match="random-self-training-S1-f1-s0.json: its teacher was trained anew"):
        study.settle_stale(graph, "refuse", print)


def test_a_cell_that_is_being_trained_is_not_moved_away(copy):
    file = next(iter(copy.glob("runs/cells/coco-random-S1*/record.json")))
    file.write_text(json.dumps(json.loads(file.read_text()) | {"sources": {}}))
    with Lock(copy / "runs" / "locks" / f"{file.parent.name}.training") as lock:
        assert lock.take()
        with pytest.raises(UserError, match="is being trained .process"):
            study.main([*TINY, "--stale", "rerun"])
    assert file.exists()
