"""What a check of data found, and its print."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

SHOWN = 3  # cases of a finding that are printed
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
    part: str  # train, val, test, pool, or two of them
    what: str
    items: list[str]  # every case
    cure: str


@dataclass
class Report:
    """What the check found; written as json by --report."""

    parts: dict[str, dict] = field(default_factory=dict)  # of each part: its files, hash and counts
    findings: list[Finding] = field(default_factory=list)
    quarantine: list[dict[str, str]] = field(default_factory=list)  # image files that cannot be used, and why

    def add(self, level: str, part: str, what: str, items: Iterable[str], cure: str) -> None:
        """Note a finding unless there is no case of it."""
        items = list(items)
        if items:
            self.findings.append(Finding(level, part, what, items, cure))

    def count(self, level: str) -> int:
        """Cases of this level."""
        return sum(len(finding.items) for finding in self.findings if finding.level == level)


def print_report(report: Report, console: Console) -> None:
    """A table of the parts, a table of the findings, and one line to conclude."""
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
    """A fact as the table shows it; a float is a share."""
    if isinstance(value, float):
        return f"{100 * value:.1f} %"
    return f"{value:,}" if isinstance(value, int) else value
