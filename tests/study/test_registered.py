"""The contrasts of a study: written before its first cell, signed by every record, and never exchanged."""

import json
import shutil
from pathlib import Path

import pytest
from msgspec.structs import replace

from selftrain import record
from selftrain.contrast_file import contrasts_digest
from selftrain.record import Arm
from selftrain.report.contrasts import Contrast, Term, read_contrasts, read_registered, write_contrasts
from selftrain.study import command
from selftrain.study.graph import Graph
from selftrain.study.registered import Registered, contrasts_of
from selftrain.system.errors import UserError
from tests.study.faked import result
from tests.study.tiny import RECORDS, TINY, change_json, graph_of, main

FILE = RECORDS / "contrasts.toml"
RANDOM, STUDENT = Arm("random"), Arm("random", ("self-training",))


def other(file: str = "other.toml", arm: Arm = STUDENT, **fields) -> str:
    """A file of one contrast that is none of the usual ones."""
    terms = (Term(weight=1.0, arm=arm, over=RANDOM, where={"policy": "S1"}),)
    contrast = Contrast(name="another", question="Does it help?", terms=terms, **fields)
    write_contrasts(Path(file), [contrast])
    return file


def dry_run(capsys, *options: str) -> str:
    """The line on the contrasts, or what is refused."""
    assert main([*TINY, *options, "--dry-run"]) == 0
    return capsys.readouterr().out


def cell_files() -> list[Path]:
    return list(Path("runs", "cells").glob("*/record.json"))


def test_every_record_is_signed_with_the_contrasts_of_its_study(finished):
    contrasts = read_contrasts(finished / FILE)
    out = (finished / "out.txt").read_text()
    assert f"contrasts: {len(contrasts)} registered in {FILE} (the usual ones; before the first cell)" in out
    assert out.count(f"--contrasts {FILE}") == out.count("accelerate launch") == 3
    signed = {record.read(file).contrasts for file in (finished / RECORDS).glob("*.json")}
    assert len(signed) == 1 and None not in signed


def test_they_are_written_before_the_first_cell_but_not_by_a_dry_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert "registered in" in dry_run(capsys) and not FILE.exists()
    seen = []
    monkeypatch.setattr(command.Runner, "run", lambda self: seen.append(FILE.read_text()) or 0)
    assert main([*TINY, "--contrasts", other()]) == 0
    assert seen == [Path("other.toml").read_text()]
    assert "contrasts: 1 registered" in capsys.readouterr().out


def test_a_study_that_grows_keeps_them(copy, capsys):
    before = FILE.read_text()
    for more in (["--seeds", "0", "1"], ["--budgets", "1", "3"], ["--fractions", "0.5", "1"]):
        out = dry_run(capsys, *more)
        assert "they stand since before the first cell" in out and "3 done" in out
    assert main(TINY) == 0 and FILE.read_text() == before


def test_others_are_refused_with_the_cure(copy, capsys):
    with pytest.raises(
        UserError, match=f"--contrasts other.toml: {FILE} registers others(.|\n)*another --name"
    ):
        main([*TINY, "--contrasts", other()])
    with pytest.raises(UserError, match="--contrasts none: .* registers others"):
        main([*TINY, "--contrasts", "none"])
    shutil.copy(FILE, "same.toml")
    with open("same.toml", "a") as file:
        file.write("\n# the layout does not count\n")
    assert main([*TINY, "--contrasts", "same.toml"]) == 0
    assert "registers others" in dry_run(capsys, "--contrasts", "other.toml")


def test_a_file_that_was_changed_or_removed_is_noticed(copy):
    other(str(FILE))
    with pytest.raises(UserError, match="S1-f1-s0.json: was run under other contrasts(.|\n)*another --name"):
        main(TINY)
    FILE.unlink()
    with pytest.raises(UserError, match=f"but {FILE} is missing; put it back"):
        main(TINY)
    assert main([*TINY, "--contrasts", "none"]) == 0 and not FILE.exists()


def test_a_study_that_began_without_any_registers_none(copy, capsys):
    FILE.unlink()
    for file in [*RECORDS.glob("*.json"), *cell_files()]:
        change_json(file, contrasts=None)
    with pytest.raises(UserError, match="was run before any were registered; give another --name"):
        main([*TINY, "--contrasts", other()])
    assert main(TINY) == 0 and not FILE.exists()
    out = capsys.readouterr().out
    assert "contrasts: none are registered, as its first records are older" in out


def test_cells_that_ran_under_other_contrasts_are_not_taken_over_silently(copy, capsys):
    named = ("--name", "second")
    with pytest.raises(UserError, match=rf"was finished under other contrasts(.|\n)*--contrasts {FILE}\)"):
        main([*TINY, *named, "--contrasts", other()])
    assert not Path("records", "second").exists()
    assert "3 done" in dry_run(capsys, *named, "--contrasts", str(FILE))
    assert "none are registered, as --contrasts none says" in dry_run(capsys, *named, "--contrasts", "none")
    for file in cell_files():
        change_json(file, contrasts=None)
    assert "2 finished cells are older than the file" in dry_run(capsys, *named, "--contrasts", "other.toml")


def test_contrasts_that_no_cell_of_the_study_answers_are_refused_before_any_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="this study has no arm 'imagenet'"):
        main([*TINY, "--contrasts", other(arm=Arm("imagenet"))])
    with pytest.raises(UserError, match="missing.toml"):
        main([*TINY, "--contrasts", "missing.toml"])
    assert not RECORDS.exists()


def test_records_beside_the_file_are_read_as_ever(copy):
    """Tables, pace and a study look for json alone."""
    from selftrain.report.matrix import read_study

    assert len(read_study(RECORDS).records) == 2
    assert all(json.loads(file.read_text()) for file in RECORDS.glob("*.json"))


# ---- records that no training made ----------------------------------------------------------------------


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    RECORDS.mkdir(parents=True)
    return tmp_path


def finish(graph: Graph, *steps: int, signed: bool = True, policies: tuple[str, ...] = ("S1", "S4")) -> None:
    """Records of a study's cells of so many steps, as if they had been run under its contrasts."""
    now = contrasts_digest(FILE) if signed else None
    for number, cell in enumerate(graph.cells):
        if cell.recipe.steps in steps and cell.recipe.policy in policies:
            done = replace(result(graph, cell, 30.0), contrasts=now)
            record.write(RECORDS / f"{number}-{cell.recipe.steps}.json", done)


def register(*options: str) -> Registered:
    """What a call registers, written."""
    found = contrasts_of(graph_of([*TINY, *options]), None)
    found.write()
    return found


def test_the_usual_contrasts_plan_the_seeds_of_the_call_that_registers_them(here):
    register("--seeds", "0", "2")
    before = FILE.read_text()
    assert read_registered(FILE).seeds == (0, 2)
    finish(graph_of([*TINY, "--seeds", "0", "2"]), 6)
    more = register("--seeds", "0", "2", "3")
    assert more.why.endswith("before the first cell; seeds beyond their plan, no part of the test: 3")
    assert FILE.read_text() == before


def test_other_planned_seeds_are_other_contrasts(here):
    register()
    write_contrasts(Path("same.toml"), read_contrasts(FILE), [0])
    write_contrasts(Path("more.toml"), read_contrasts(FILE), [0, 1])
    graph = graph_of(TINY)
    assert contrasts_of(graph, "same.toml").names
    with pytest.raises(UserError, match="--contrasts more.toml: .* registers others"):
        contrasts_of(graph, "more.toml")


def test_records_older_than_the_file_are_said(here):
    register()
    graph = graph_of(TINY)
    finish(graph, 6, signed=False)
    graph.read_committed()
    said = str(contrasts_of(graph, None))
    assert "2 finished cells are older than the file, so the report will not test it" in said
    assert "before the first cell" not in said


def test_a_rung_below_those_that_stand_is_refused_as_it_would_change_what_budgets_mean(here):
    register("--budgets", "1", "3")
    finish(graph_of([*TINY, "--budgets", "1", "3"]), 6, 18)
    for budgets in (["1"], ["3"], ["1", "3"], ["1", "3", "9"], ["1", "1.5", "3"]):
        assert register("--budgets", *budgets).names
    cure = rf"{FILE}: was registered with T = 6 steps of S1(.|\n)*a rung of 3 steps(.|\n)*another --name"
    with pytest.raises(UserError, match=cure):
        register("--budgets", "0.5", "1", "1.5", "3")
    with pytest.raises(UserError, match="a rung of 4 steps"):
        register("--budgets", "1", "3", "--steps", "4")


def test_a_policy_whose_lowest_rung_is_not_finished_yet_is_no_lower_rung(here):
    two = ["--budgets", "1", "3", "--policies", "S1", "S4"]
    register(*two)
    graph = graph_of([*TINY, *two])
    finish(graph, 6, 18, policies=("S1",))
    finish(graph, 18, policies=("S4",))
    assert register(*two).names
    with pytest.raises(UserError, match="T = 6 steps of S1"):
        register("--budgets", "0.5", "1", "1.5", "3", "--policies", "S1", "S4")


@pytest.mark.parametrize("ratio, equal", [(1.0, "3"), (2.0, "4")])
def test_equal_cost_follows_the_pseudo_labelled_images_of_a_step(here, ratio, equal):
    register("--budgets", "1", equal, "--pseudo-ratio", str(ratio))
    [asked] = [each for each in read_contrasts(FILE) if "equal cost" in each.name]
    assert {term.where["budget"] for term in asked.terms} == {1.0, float(equal)}


def test_without_a_rung_of_equal_cost_nothing_is_asked_of_it(here):
    register("--budgets", "1", "3", "--pseudo-ratio", "2")
    assert not any("equal cost" in each.name for each in read_contrasts(FILE))


def test_budgets_are_registered_as_the_tables_will_round_them(here):
    options = ("--budgets", "0.3", "1", "--steps", "100", "--starts", "random", "imagenet")
    graph = graph_of([*TINY, *options])
    assert contrasts_of(graph, None).names
    register(*options)
    assert {term.where["budget"] for each in read_contrasts(FILE) for term in each.terms} == {1.0, 3.333}
