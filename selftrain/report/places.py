"""Where a run stands in a study's tables, and how that is written.

There is one spelling for commands, tables, figures, the verdict and the published numbers.
"""

from collections.abc import Mapping
from typing import Any

from selftrain.record import Record, Setting

PLACE = ("policy", "fraction", "labels")  # the axes of every study
OF_STEPS = ("warmup_steps", "eval_every")  # fields of a recipe that may be shares of the steps
BUDGET = "budget"  # the axis of a study's ladder: a run's steps over those of its policy's lowest rung


def kind(record: Record) -> str:
    """Which labels a cell learned from, where a data set has several kinds (PASCAL: train, train_aug).

    Of a student also train+pseudo_aug: pseudo-labels of the photos that have only coarse masks, by a teacher
    that learned from the fine ones."""
    return record.protocol if record.arm.rounds else record.labels


def multiple(of_least: float) -> float:
    """A budget as tables and contrasts have it: steps are whole numbers, so further decimals say nothing."""
    return round(of_least, 3)


def setting_of(
    record: Record, axes: tuple[str, ...] = PLACE, base_steps: Mapping[str, int] | None = None
) -> Setting:
    """The place of a record in a study with these axes.

    An axis that is no field of the record's recipe is left out.

    base_steps: of each policy the steps of the lowest rung, which give the `budget`, if that is an axis.
    """
    values = record.settings | {"labels": kind(record)}
    if base_steps:
        values[BUDGET] = multiple(record.steps / base_steps[record.settings["policy"]])
    return Setting({axis: values[axis] for axis in axes if axis in values})


def percent(fraction: float) -> str:
    """`20 %`."""
    return f"{100 * fraction:g} %"


def place_name(setting: Setting, of: str = "") -> str:
    """`S4, 100 %`; then the kind of labels where it is unusual, the budget as `3T`, and further axes as
    `backbone resnet18`.

    of: what follows the share, such as " of the labels".
    """
    words = []
    for axis, value in setting.items():
        if axis == "policy":
            words.append(value)
        elif axis == "fraction":
            words.append(percent(value) + of)
        elif axis == BUDGET:
            words.append(rung_name(value))
        elif axis != "labels":
            words.append(f"{axis.replace('_', ' ')} {_text(value)}")
        elif value != "train":
            words.append(value)
    return ", ".join(words)


def rung_name(budget: float) -> str:
    """`T` of the lowest rung of a ladder, `3T` of one that is three times as long."""
    return "T" if budget == 1 else f"{budget:g}T"


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " ".join(map(_text, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else "none" if value is None else str(value)


def order(setting: Setting) -> tuple:
    """Sorts places: those with most labels first, then by policy, further axes and kind of labels."""
    further = [(axis, _sortable(value)) for axis, value in setting.items() if axis not in PLACE]
    return -setting.get("fraction", 0.0), setting.get("policy", ""), further, setting.get("labels", "")


def _sortable(value: Any) -> tuple:
    """Values of one axis may be of several types: pseudo_threshold is a number or `auto`."""
    number = isinstance(value, int | float)
    return not number, value if number else 0.0, "" if number else _text(value)
