"""What people labelled and what a teacher labelled, class by class and side by side.

A report on pseudo-labels holds `by_class`: of each class `human` and `pseudo`, how much of it there is in the
human labels and in the teacher's, its `threshold`, the least score of a label (none: no label is kept),
`kept`, where it is known what share of the teacher's answers of the class reached that, and `precision` and
`recall` where the pool's labels are known but hidden.  `counted_in` says what is counted, and
`vanished` names the classes of which a teacher leaves hardly a label.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.markup import escape

SHARE = "share of the "
"""What the name of a unit begins with that is a share, shown in percent"""
SHOWN = 10
"""Classes in a table on the screen; the rest is one line"""


def by_class(names: Sequence[str], **columns: np.ndarray | None) -> list[dict[str, Any]]:
    """A row for each class from columns (K,) of numbers; None in place of a column that is not known.

    What is not finite, such as a threshold that nothing reaches, becomes None, as json has no other word.
    """
    known = {column: np.asarray(values).tolist() for column, values in columns.items() if values is not None}
    return [
        {"class": name}
        | {column: values[k] if math.isfinite(values[k]) else None for column, values in known.items()}
        for k, name in enumerate(names)
    ]


def class_table(report: dict[str, Any], shown: int | None = None) -> list[list[str]]:
    """Header and rows of a table of the classes, those that people labelled most first.

    shown: at most so many classes, the others summed up in a last row; None shows all.
    """
    rows, unit = sorted(report["by_class"], key=lambda row: -row["human"]), report["counted_in"]
    measured = [name for name in ("kept", "precision", "recall") if name in rows[0]]
    first, rest = (rows, []) if shown is None or len(rows) <= shown else (rows[:shown], rows[shown:])

    def _amount(value: float) -> str:
        return f"{value:.1%}" if unit.startswith(SHARE) else f"{value:.3g}"

    table = [[unit, "people", "teacher", "threshold", *measured]]
    for row in first:
        quality = ["–" if row[name] is None else f"{row[name]:.2f}" for name in measured]
        amounts = [_amount(row["human"]), _amount(row["pseudo"])]
        table.append([row["class"], *amounts, _threshold([row["threshold"]]), *quality])
    if rest:
        amounts = [_amount(sum(row[name] for row in rest)) for name in ("human", "pseudo")]
        thresholds = _threshold([row["threshold"] for row in rest])
        table.append([f"{len(rest)} more classes", *amounts, thresholds, *["–" for _ in measured]])
    return table


def _threshold(values: list[float | None]) -> str:
    """One threshold, or the range of several; – where there is none."""
    finite = [value for value in values if value is not None]
    ends = list(dict.fromkeys(f"{value:.3g}" for value in (min(finite), max(finite)))) if finite else ["–"]
    return " to ".join(ends)


def describe_classes(report: dict[str, Any], harm: str) -> list[str]:
    """Lines for a person: the table, and a warning that names each class that has vanished.

    harm: what comes of a class that vanishes, and its cure.
    """
    table = class_table(report, SHOWN)
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    lines = [
        "  ".join([escape(row[0].ljust(widths[0])), *map(str.rjust, row[1:], widths[1:])]) for row in table
    ]
    if gone := report["vanished"]:
        lines.append(
            f"[yellow]warning: the teacher's labels have hardly any of {named(gone)}, which people "
            f"labelled.[/] {harm}"
        )
    return lines


def named(names: list[str]) -> str:
    """Names in a sentence: ten at most, then how many more."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return escape(", ".join(names[:SHOWN])) + more
