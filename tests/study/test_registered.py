"""The contrasts of a study: written before its first cell, signed by every record, and never exchanged."""

import json
import shutil
from pathlib import Path

import pytest

from selftrain import record
from selftrain.record import Arm
from selftrain.report.contrasts import Contrast, Term, read_contrasts, write_contrasts
from selftrain.study import command
from selftrain.system.errors import UserError
from tests.study.tiny import RECORDS, TINY, change_json, main

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
    assert "(2 of the cells are older)" in dry_run(capsys, *named, "--contrasts", "other.toml")


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
