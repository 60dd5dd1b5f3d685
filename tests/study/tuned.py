"""A study that is tuned, and how its tests call it."""

import math
from pathlib import Path

import pytest

from selftrain import record
from selftrain.cells import Cell
from selftrain.study import command
from selftrain.study.tuning import FILE
from selftrain.system.errors import UserError
from tests.study.tiny import BENCHMARKS, RECORDS, TINY, main

STARTS = ["--starts", "random", "imagenet"]
STUDY = [*TINY, *STARTS, "--supervised-only"]
TUNED = [*STUDY, "--tune", "3"]
TUNING = RECORDS / FILE
JOURNAL = Path("runs", "study", "study", "tuning.journal")
OWN = {"lr": 0.008, "weight_decay": 0.0001}


def wants_another_rate(cell: Cell) -> float:
    """Random weights request a high learning rate, ImageNet's a low one."""
    rate = cell.recipe.lr if cell.arm.start == "random" else 1 / cell.recipe.lr
    return 50 + math.log(rate)


def records() -> dict[str, record.Record]:
    return {file.name: record.read(file) for file in sorted(RECORDS.glob("*.json"))}


def planner_of(arguments: list[str]) -> command._Planner:
    study, rest = command.parse(arguments)
    return command._Planner(BENCHMARKS[study.task], study, rest, print)


def refusal(*arguments: str) -> str:
    with pytest.raises(UserError) as refused:
        main(list(arguments))
    return str(refused.value)
