"""The one kind of table: rows, columns, and a function for the cells of a column.

It is printed as markdown, csv, LaTeX, or on a terminal.
"""

import csv
import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from rich.cells import cell_len
from rich.table import Table as Grid

NOT_THERE = "–"
Row = TypeVar("Row")
LATEX = {
    "\\": r"\textbackslash ",
    "%": r"\%",
    "&": r"\&",
    "_": r"\_",
    "#": r"\#",
    "±": r"$\pm$",
    "Δ": r"$\Delta$",
    "≈": r"$\approx$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "–": "--",
}


@dataclass(frozen=True)
class Table:
    """What is printed, and the numbers behind it in long form."""

    name: str
    """of its files, such as table2"""
    title: str
    header: list[str]
    """one word or more for each column"""
    rows: list[list[str]]
    """as long as the header each"""
    note: str = ""
    """stands below it"""
    numbers: list[dict[str, Any]] = field(default_factory=list)
    """rows of the csv file, by column"""
    expendable: tuple[str, ...] = ()
    """heads of the columns that a narrow terminal may go without, the most expendable first"""

    def grid(self) -> list[str]:
        """The lines of a markdown table, without title and note."""
        return [
            "| " + " | ".join(self.header) + " |",
            "|---|" + "---:|" * (len(self.header) - 1),
            *("| " + " | ".join(row) + " |" for row in self.rows),
        ]

    def markdown(self) -> str:
        """Title, table and note."""
        return "\n".join([f"**{self.title}**", "", *self.grid(), "", f"({self.note})"]) + "\n"

    def csv(self) -> str:
        """The numbers, unrounded where that matters."""
        columns = list(dict.fromkeys(name for row in self.numbers for name in row))
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.numbers)
        return buffer.getvalue()

    def tex(self) -> str:
        """A LaTeX table with title and note as its caption, in ASCII."""
        lines = [
            r"\begin{table}",
            rf"\caption{{{_latex(self.title)} ({_latex(self.note)})}}",
            rf"\begin{{tabular}}{{l{'r' * (len(self.header) - 1)}}}",
            r"\hline",
            _latex_row(self.header),
            r"\hline",
            *map(_latex_row, self.rows),
            r"\hline",
            r"\end{tabular}",
            r"\end{table}",
        ]
        return "\n".join(lines) + "\n"

    def rich(self, width: int) -> Grid:
        """For a terminal of so many characters a line, with every row on one line.

        Where the columns do not all fit, those that `expendable` names are left out, as many as it takes, and
        a line below the table names them.
        """
        columns = [
            [*name.split(" "), *(row[n] for row in self.rows)] for n, name in enumerate(self.header)
        ]  # a header is broken between its words
        widths = [max(map(cell_len, column)) for column in columns]
        shown = list(range(len(self.header)))
        left_out = []
        for name in self.expendable:
            if sum(widths[n] for n in shown) + len(shown) - 1 <= width:
                break
            shown.remove(self.header.index(name))
            left_out.append(name)
        grid = Grid(title=self.title, box=None, pad_edge=False, padding=(0, 1, 0, 0))
        for n in shown:
            # where even that is not enough, a name is cut off and no number
            room = width - sum(widths[m] + 1 for m in shown if m)
            options = {"justify": "right"} if n else {"max_width": max(8, room)}
            grid.add_column(self.header[n].replace(" ", "\n"), no_wrap=True, **options)
        for row in self.rows:
            grid.add_row(*(row[n] for n in shown))
        if left_out:
            grid.caption = f"no room here for: {', '.join(left_out)}"
            grid.caption_justify = "left"
        return grid

    def files(self, base: Path) -> dict[Path, str]:
        """Its content in every format, by the path of the file that is to hold it."""
        return {
            base.with_suffix(".md"): self.markdown(),
            base.with_suffix(".csv"): self.csv(),
            base.with_suffix(".tex"): self.tex(),
        }


def tabulate(
    name: str,
    title: str,
    rows: Iterable[Row],
    columns: list[tuple[str, Callable[[Row], str]]],
    note: str = "",
    numbers: Callable[[Row], list[dict[str, Any]]] = lambda row: [],
    expendable: tuple[str, ...] = (),
) -> Table:
    """The table of `rows`, which may be anything.

    columns: (head, what stands in a row's cell); numbers: the rows of the csv file that a row gives;
    expendable: see `Table`.
    """
    rows = list(rows)
    return Table(
        name,
        title,
        [head for head, _ in columns],
        [[cell(row) for _, cell in columns] for row in rows],
        note,
        [each for row in rows for each in numbers(row)],
        expendable,
    )


def _latex_row(cells: list[str]) -> str:
    return " & ".join(map(_latex, cells)) + r" \\"


def _latex(text: str) -> str:
    for plain, command in LATEX.items():
        text = text.replace(plain, command)
    return text
