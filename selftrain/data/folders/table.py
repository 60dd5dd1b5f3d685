"""A csv of file and class: `labels.csv`, or one for each part: `train.csv`, `val.csv`, `test.csv`."""

import csv
import os
from pathlib import Path

from selftrain.data.folders.dataset import ClassDataset, from_files
from selftrain.system.errors import UserError

TABLES = {"train": ("train.csv", "labels.csv"), "val": ("val.csv",), "test": ("test.csv",)}
"""the files of each part, of which one is there"""
COLUMNS = ("file", "class")
_CURE = "The first line names the columns, of which one is `file` and one `class`: file,class"


def table_file(root: Path, part: str) -> Path | None:
    """The csv of a part; None where there is none.  Raises UserError where there are two."""
    found = [root / name for name in TABLES[part] if (root / name).is_file()]
    if len(found) > 1:
        raise UserError(f"{root}: both {found[0].name} and {found[1].name} are there; keep one of them")
    return found[0] if found else None


def is_table(root: Path) -> bool:
    """Whether the folder is in this layout."""
    return any((root / name).is_file() for name in TABLES["train"])


def read_rows(path: Path) -> list[tuple[str, str]]:
    """(file, class) of every line.  Raises UserError for a file that has no such columns, or empty cells."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            columns = [name.strip().lower() for name in reader.fieldnames or ()]
            if missing := [name for name in COLUMNS if name not in columns]:
                shown = ", ".join(columns) or "none"
                raise UserError(f"{path}: no column {' and '.join(missing)} (columns: {shown}). {_CURE}")
            reader.fieldnames = columns
            rows = [tuple((row[name] or "").strip() for name in COLUMNS) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: not a readable csv ({error}). Save it as UTF-8 text. {_CURE}") from None
    for number, row in enumerate(rows, 2):
        if not all(row):
            raise UserError(f"{path}, row {number}: file or class is empty. Complete it, or remove the row")
    return rows


def classes_of(rows: list[tuple[str, str]]) -> tuple[str, ...]:
    """The classes of a csv: by number where all are numbers, else by name."""
    found = {label for _, label in rows}
    return tuple(sorted(found, key=int if all(label.isdecimal() for label in found) else None))


def read_table(root: Path) -> dict[str, ClassDataset]:
    """The parts that are there, by name; files are relative to `root`, the classes are those of train.

    Raises UserError for a file that is listed twice or is not there, and for a class that train does not
    have.
    """
    tables = {part: path for part in TABLES if (path := table_file(root, part))}
    rows = {part: read_rows(path) for part, path in tables.items()}
    class_names = classes_of(rows["train"])
    return {part: _read_part(root, tables[part], rows[part], class_names) for part in tables}


def _read_part(
    root: Path, table: Path, rows: list[tuple[str, str]], class_names: tuple[str, ...]
) -> ClassDataset:
    if not rows:
        raise UserError(f"{table}: no picture is listed. {_CURE}")
    labels: dict[str, str] = {}
    files = []
    for name, label in rows:
        if name in labels:
            raise UserError(
                f"{table}: {name} is listed twice, as {labels[name]} and as {label}; keep one row"
            )
        labels[name] = label
        if label not in class_names:
            raise UserError(
                f"{table}: {name} is of the class {label!r}, which the training part does not have. "
                f"Its classes: {', '.join(class_names)}"
            )
        try:
            files.append((name, label, os.stat(root / name).st_size))
        except OSError:
            raise UserError(
                f"{table}: there is no file {root / name}. Files are named relative to {root}; correct the "
                "name, or remove the row"
            ) from None
    return from_files(root, files, class_names)
