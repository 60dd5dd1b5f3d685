"""The idea carries: every row of the table in selftrain/README.md trains, is killed and resumed, and two
processes are one.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.programs import ROOT

ARMS = {
    "random": ["random"],
    "a file": ["checkpoint:given.pt"],
    "frozen": ["random + agreement", "ssl:agreement, frozen"],
    "self-training": ["checkpoint:given.pt", "checkpoint:given.pt + self-training"],
    "its second round": [
        "checkpoint:given.pt",
        "checkpoint:given.pt + self-training",
        "checkpoint:given.pt + self-training x2",
    ],
    "joint training": ["random + joint"],
    "joint and self-training": ["random + joint", "random + joint + self-training"],
    "pre-training on the own pool": ["random + agreement", "ssl:agreement"],
    "in tandem": ["random + agreement"],
    "bought labels": ["random", "random + 6 labels by darkest"],
    "generated beside real": ["random + generated"],
    "new after old, with rehearsal": ["random", "after random + rehearsal"],
}


def run(folder: Path, how: str, *launcher: str) -> dict:
    """All rows in `folder`; see tests/rows.py."""
    command = [sys.executable, *launcher, "-m", "tests.rows", str(folder), how]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def straight(tmp_path_factory) -> dict:
    return run(tmp_path_factory.mktemp("rows"), "straight")


def test_arms_follow_from_the_declarations(straight):
    assert {row: [cell["arm"] for cell in cells.values()] for row, cells in straight.items()} == ARMS


def test_a_cell_that_several_rows_need_is_trained_once(straight):
    keys = [key for cells in straight.values() for key in cells]
    assert len(set(keys)) == 13 and len(keys) == 20
    for cells in straight.values():
        for key, cell in cells.items():
            needs = {need["cell"] for need in cell["record"]["needs"].values()}
            assert needs <= cells.keys() - {
                key
            }  # in the order of work, and among those that the row says it needs


def test_scores_are_of_the_sets_that_are_declared(straight):
    for cells in straight.values():
        for cell in cells.values():
            r = cell["record"]
            assert (r["metric"] is None) == (cell["arm"] == "random + agreement" and r["split"] is None)
    rehearsed = list(straight["new after old, with rehearsal"].values())[-1]["record"]
    assert (
        list(rehearsed["scores"]) == ["later"]
        and rehearsed["scores"]["later"]["hash"] != rehearsed["hashes"]["test"]
    )


def test_a_frozen_trunk_is_the_trunk_it_was_given(straight):
    given, frozen = (cell["weights"] for cell in straight["frozen"].values())
    trunk = [name for name in given if name.startswith("trunk.")]
    assert trunk and all(given[name] == frozen[name] for name in trunk)
    fed = list(straight["pre-training on the own pool"].values())[-1]["weights"]
    assert all(given[name] != fed[name] for name in trunk if name.endswith("weight"))


def test_killed_and_resumed_every_row_ends_with_the_same_bits(straight, tmp_path):
    assert run(tmp_path, "killed") == straight


@pytest.mark.slow
def test_two_processes_are_one(straight, tmp_path):
    """Sums of floats in another order: a thousandth of what training moved the weights."""
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    two = run(tmp_path, "straight", *launcher)
    assert {row: list(cells) for row, cells in two.items()} == {
        row: list(cells) for row, cells in straight.items()
    }
    for row, cells in straight.items():
        for key, cell in cells.items():
            other = two[row][key]["weights"]
            apart = sum(
                torch.dist(torch.tensor(cell["weights"][n]), torch.tensor(other[n])) ** 2 for n in other
            )
            assert apart**0.5 < 1e-3 * cell["moved"] and cell["moved"] > 0.001, row
