"""What a check of a data set found, and its print."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

SHOWN = 3
"""how many cases of a finding are printed"""
_COLUMNS = {
    "images": "images",
    "unannotated": "empty",
    "annotations": "boxes",
    "crowds": "crowds",
    "ignored": "ignored",
    "categories": "classes",
    "hash": "hash",
}


@dataclass(frozen=True)
class Finding:
    """One kind of thing found in one part of the data."""

    level: Literal["error", "warning", "note"]
    part: str
    """train, val, test, pool, or two of them"""
    what: str
    """the kind of thing found"""
    items: list[str]
    """every case of it"""
    cure: str
    """what to do about it"""


@dataclass
class Report:
    """What the check found; written as json by --report."""

    parts: dict[str, dict] = field(default_factory=dict)
    """files, hash and counts of each part"""
    findings: list[Finding] = field(default_factory=list)
    """what was found, in the order in which it was looked for"""
    quarantine: list[dict[str, str]] = field(default_factory=list)
    """image files that cannot be used, and why"""

    def add(self, level: str, part: str, what: str, items: Iterable[str], cure: str) -> None:
        """Note a finding unless there is no case of it."""
        items = list(items)
        if items:
            self.findings.append(Finding(level, part, what, items, cure))

    def count(self, level: str) -> int:
        """Return the number of cases of this level."""
        return sum(len(finding.items) for finding in self.findings if finding.level == level)


def print_report(report: Report, console: Console) -> None:
    """Print a table of the parts, the findings, and one line to conclude."""
    parts = Table(box=SIMPLE)
    columns = {
        name: title
        for name, title in _COLUMNS.items()
        if any(name in facts for facts in report.parts.values())
    }
    for name in ("part", *columns.values()):
        parts.add_column(name, justify="left" if name in ("part", "hash") else "right", no_wrap=True)
    for part, facts in report.parts.items():
        parts.add_row(part, *(_cell(facts.get(name, "-")) for name in columns))
    console.print(parts)
    colours = {"error": "red", "warning": "yellow", "note": "dim"}
    for level, colour in colours.items():
        for finding in (f for f in report.findings if f.level == level):
            head = f"[{colour}]{level}[/] {finding.part}: {escape(finding.what)}: {len(finding.items):,}"
            cure = f" [dim]({escape(finding.cure)})[/]" if finding.cure else ""
            console.print(head + cure, highlight=False, soft_wrap=True)
            if level != "note":
                for item in finding.items[:SHOWN]:
                    console.print(f"    {escape(item)}", highlight=False, soft_wrap=True)
                if len(finding.items) > SHOWN:
                    console.print(f"    and {len(finding.items) - SHOWN:,} more", highlight=False)
    errors, warnings = report.count("error"), report.count("warning")
    verdict = "[red]not ready for training[/]" if errors else "[green]ready for training[/]"
    console.print(f"{errors:,} errors, {warnings:,} warnings: {verdict}", highlight=False)


def _cell(value: int | float | str) -> str:
    """Return a fact as the table shows it; a float is a share."""
    if isinstance(value, float):
        return f"{100 * value:.1f} %"
    return f"{value:,}" if isinstance(value, int) else value
