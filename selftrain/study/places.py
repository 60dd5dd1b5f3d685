"""Where a cell, or its record, stands in the tables of a study, and how that place is written."""

from collections.abc import Sequence
from typing import Any

from selftrain.cells import Cell
from selftrain.record import Arm, Record, Setting
from selftrain.report.places import place_name
from selftrain.study.ladder import ONE_RUNG, Ladder, budget_name
from selftrain.system.files import file_name

Place = tuple[Arm, Setting, int]
"""(arm, setting, seed)"""


def shortest(value: Any) -> str:
    """A value as an option and in file names: `1`, `0.05`, `0.3333333333333333`, `resnet18`.

    A number that is read again is the same number, or a command would give another cell than it was made for.
    """
    if not isinstance(value, float):
        return " ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return text if float(text := f"{value:g}") == value else repr(value)


def place(of: Cell | Record, varied: Sequence[str] = (), ladder: Ladder = ONE_RUNG) -> Place:
    """Where a cell's record will stand, or a record stands; `varied` are the fields of a recipe that the
    study varies, and the axis `budget` is the rung of its ladder.

    A field that does not decide this cell's result, such as `alpha` of a supervised one, is no part of its
    place.
    """
    if isinstance(of, Cell):
        settings, student = of.settings(), of.teacher is not None
        labels = of.recipe.protocol_name if student else of.recipe.label_source
    else:
        settings, labels = of.settings, of.protocol if of.arm.rounds else of.labels
    axes = {name: settings[name] for name in varied if name in settings}
    policy, fraction = settings["policy"], settings["fraction"]
    budget = ladder.budget(policy, settings["steps"])
    setting = Setting(policy=policy, fraction=fraction, labels=labels, budget=budget, **axes)
    return of.arm, setting, settings["seed"]


def varied_axes(setting: Setting) -> dict[str, Any]:
    """The axes of a setting besides those that every study has."""
    return {axis: setting[axis] for axis in setting if axis not in ("policy", "fraction", "labels", "budget")}


def setting_title(setting: Setting) -> str:
    """A setting for a person: `S4, 20 % of the labels, backbone resnet18, 3T`; T goes without saying."""
    budget = setting.get("budget", 1.0)
    rung = [budget_name(budget)] if budget != 1 else []
    return ", ".join([place_name(setting.without("budget"), of=" of the labels"), *rung])


def record_name(done: Record, varied: Sequence[str] = (), ladder: Ladder = ONE_RUNG) -> str:
    """The file of a record in the study's folder of records: `random-S1-f1-3x-backbone-resnet18-s0.json`.

    A record of the base budget has no word for it, so that it keeps its name in a study without a ladder.
    """
    arm, setting, seed = place(done, varied, ladder)
    words = [
        file_name(str(arm).replace(" + ", "-").replace(", ", "-")),
        *([] if setting["labels"] == "train" else [setting["labels"]]),
        setting["policy"],
        f"f{shortest(setting['fraction'])}",
        *([] if setting["budget"] == 1 else [f"{shortest(setting['budget'])}x"]),
        *(file_name(f"{axis}-{shortest(value)}") for axis, value in varied_axes(setting).items()),
        f"s{seed}",
    ]
    return f"{'-'.join(words)}.json"
