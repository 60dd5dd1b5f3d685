"""What people and teachers labelled, class by class and side by side, from the records of students."""

from typing import Any

from selftrain.class_report import class_table, named
from selftrain.record import Arm, Record
from selftrain.report.matrix import Matrix
from selftrain.report.places import place_name
from selftrain.report.table import NOT_THERE, Table


def run_labels(records: list[Record]) -> str:
    """Markdown with a table for each student of a run, empty where no record knows its labels by class."""
    several = len({record.seed for record in records}) > 1
    tables = []
    for record in filter(_knows_classes, records):
        header, *rows = class_table(record.pseudo_labels)
        seed = f", seed {record.seed}" if several else ""
        title = f"Labels of people and of the teacher: {record.arm}{seed}"
        tables.append(Table("labels", title, header, rows, _vanished(record)).markdown())
    return "\n".join(tables)


def study_labels(matrix: Matrix) -> Table | None:
    """A row for each class: what people labelled, and what the teachers of a study did, at the first seed.

    The first students are shown, at the places with the strongest policy and the most and the fewest labels;
    the csv file holds those of every place and seed.  None where no record knows its labels by class.
    """
    known = [r for r in matrix.records if r.arm.rounds == 1 and _knows_classes(r)]
    if not known:
        return None
    policy = max(r.settings["policy"] for r in known)
    fractions = sorted({r.settings["fraction"] for r in known if r.settings["policy"] == policy})
    shown: dict[tuple[str, Arm], Record] = {}
    for r in sorted(known, key=lambda r: (-r.settings["fraction"], r.arm.order, r.seed)):
        if r.settings["policy"] == policy and r.settings["fraction"] in (fractions[0], fractions[-1]):
            shown.setdefault((place_name(matrix.place_of(r)), r.arm), r)
    header, columns = [], {}
    for (place, arm), record in shown.items():
        unit, *rows = class_table(record.pseudo_labels)
        columns[place, "people"] = {row[0]: row[1] for row in rows}
        columns[place, f"{arm.supervised} teacher"] = {row[0]: row[2] for row in rows}
        header = header or [unit[0], *(row[0] for row in rows)]
    rows = [[name, *(column.get(name, NOT_THERE) for column in columns.values())] for name in header[1:]]
    gone = [f"{arm.supervised}, {place}: {_vanished(r)}" for (place, arm), r in shown.items() if _gone(r)]
    return Table(
        "labels",
        "Labels of people and teachers by class",
        [header[0], *(f"{who}, {place}" for place, who in columns)],
        rows,
        "; ".join(gone) or "no class that people labelled has vanished",
        [number for record in known for number in _numbers(record, place_name(matrix.place_of(record)))],
    )


def _knows_classes(record: Record) -> bool:
    return "by_class" in (record.pseudo_labels or {})


def _gone(record: Record) -> list[str]:
    return record.pseudo_labels["vanished"]


def _vanished(record: Record) -> str:
    """The note below a table: which classes the teacher hardly labelled."""
    gone = _gone(record)
    return f"hardly any label of {named(gone)}" if gone else "no class that people labelled has vanished"


def _numbers(record: Record, place: str) -> list[dict[str, Any]]:
    names = {"start": str(record.arm.supervised), "place": place, "seed": record.seed}
    return [names | row for row in record.pseudo_labels["by_class"]]
