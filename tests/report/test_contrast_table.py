"""The table of a study's contrasts: what it says of their registration, their seeds and their intervals."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from selftrain import record
from selftrain.record import RANDOM
from selftrain.report.contrast_table import registered_lines, registered_table
from selftrain.report.contrasts import Contrast, Term, read_registered, write_contrasts
from selftrain.report.matrix import Matrix, read_study
from tests.records import IMAGENET
from tests.report.studies import study

TERMS = (Term(weight=1.0, arm=IMAGENET, over=RANDOM),)
ABOVE = Contrast(name="above", question="Is it better?", expect="above zero", terms=TERMS)
BELOW = Contrast(name="below", question="Is it worse?", expect="below zero", terms=TERMS)
EITHER = Contrast(name="either", question="Is it other?", terms=TERMS)


def registered(
    folder: Path,
    unsigned: int = 0,
    seeds: list[int] | None = None,
    gains: tuple[float, ...] = (4.0, 5.0, 6.0),
) -> Matrix:
    """A study whose contrasts stand beside its records, of which so many supervised ones do not name them."""
    write_contrasts(folder / "contrasts.toml", [ABOVE, BELOW, EITHER], seeds)
    now = read_registered(folder / "contrasts.toml").hash
    supervised = [each.key for each in study(gains).records if not each.arm.rounds]
    for number, each in enumerate(study(gains).records):
        late = each.key in supervised[:unsigned]
        record.write(folder / f"{number}.json", replace(each, contrasts=None if late else now))
    return read_study(folder)


def test_fixed_before_the_first_run_they_are_tested(tmp_path):
    matrix = registered(tmp_path)
    table, lines = registered_table(matrix), "\n".join(registered_lines(matrix))
    assert table.header[-3:] == ["p", "Holm p", "answer"]
    assert [row[-1] for row in table.rows] == [
        "above zero",
        "open, and the two-sided interval lies on the other side of zero",
        "above zero",
    ]
    assert (
        f"fixed before the first run: every run that they use names their hash, {matrix.registered.hash}"
        in (table.note)
    )
    assert lines.startswith("**Registered contrasts**")


@pytest.mark.parametrize("unsigned", [1, 5])
def test_registered_after_a_run_they_are_shown_without_a_test(tmp_path, unsigned):
    matrix = registered(tmp_path, unsigned)
    table, lines = registered_table(matrix), "\n".join(registered_lines(matrix))
    assert table.header == ["question", "expected", "effect", "95 % interval or bound", "n"]
    assert f"registered after {unsigned} of 18 runs: no test" in table.note
    assert "Holm" not in lines and "before the first run" not in lines
    assert {row["answer"] for row in table.numbers} == {"descriptive"}
    assert all(row["p"] != row["p"] and row["p_holm"] != row["p_holm"] for row in table.numbers)
    assert [row[2] for row in table.rows] == ["+5.0 AP"] * 3


def test_where_a_direction_was_expected_the_bound_of_its_test_is_shown(tmp_path):
    """By a two-sided interval of 95 % the answer could be `above zero` beside an interval that holds zero."""
    matrix = registered(tmp_path, gains=(0.3, 1.0, 1.7))
    table = registered_table(matrix)
    assert [row[3] for row in table.rows] == ["at least -0.2", "at most +2.2", "-0.7 to +2.7"]
    assert "where a direction was expected the interval is the one-sided bound" in table.note
    assert table.note.endswith("intervals and bounds cover other seeds, on these test images")


def test_the_note_says_whether_the_seeds_were_fixed(tmp_path):
    for name in "abc":
        (tmp_path / name).mkdir()
    assert "the number of seeds was not fixed beforehand" in registered_table(registered(tmp_path / "a")).note
    planned = registered_table(registered(tmp_path / "b", seeds=[0, 1, 2]))
    assert "planned seeds: 0, 1, 2;" in planned.note and "beyond" not in planned.note
    fewer = registered(tmp_path / "c", seeds=[0, 1])
    table = registered_table(fewer)
    assert "planned seeds: 0, 1; seeds beyond the plan: 2, no part of this" in table.note
    assert [row[4] for row in table.rows] == ["2"] * 3


def test_a_planned_seed_that_was_not_run_is_named(tmp_path):
    lines = "\n".join(registered_lines(registered(tmp_path, seeds=[0, 1, 2, 3])))
    assert "above: no record of seed 3" in lines
