"""Tables from records.  `python benchmarks/tables.py RECORDS...` prints the table of the arms in record files or run folders."""

import argparse
import json
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from selftrain.progress import duration
from selftrain.record import steps_to

NOT_THERE = "–"


def arms_rows(records: list[dict]) -> tuple[list[str], list[list[str]]]:
    """(header, one row an arm).  Images and time of a self-trained arm include its teachers'."""
    metric = records[0]["metric"]
    columns = [name for name in records[0]["curve"][-1] if name != "step"]
    by_key = {r["key"]: r for r in records}
    random = next((r for r in records if r["arm"] == "random"), None)
    header = ["arm", *columns, f"Δ{metric} to random", f"steps to random's {metric}", "images seen", "time"]
    rows = []
    for r in sorted(records, key=lambda r: r["round"]):
        bill = [r]
        while bill[-1]["pseudo_labels"] and (teacher := by_key.get(bill[-1]["pseudo_labels"]["teacher_cell"])):
            bill.append(teacher)
        delta = reached = NOT_THERE
        if random:
            delta = f"{r['metrics'][metric] - random['metrics'][metric]:+.1f}" if r is not random else NOT_THERE
            steps = steps_to(r["curve"], metric, random["curve"][-1][metric])
            reached = f"{steps:,}" if steps is not None else "not reached"
        rows.append([r["arm"], *(f"{r['metrics'][c]:.1f}" for c in columns), delta, reached, f"{sum(b['images'] for b in bill):,}",
                     duration(sum(b["measured"]["seconds"] for b in bill))])
    return header, rows


def arms_table(records: list[dict]) -> Table:
    header, rows = arms_rows(records)
    table = Table(title=f"{records[0]['recipe']}, {records[0]['split']} split", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in header:
        table.add_column(name, justify="left" if name == "arm" else "right", no_wrap=name in ("arm", "time"))
    for row in rows:
        table.add_row(*row)
    return table


def arms_markdown(records: list[dict]) -> str:
    header, rows = arms_rows(records)
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" + "---:|" * (len(header) - 1)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows]) + "\n"


def load_records(paths: list[Path]) -> list[dict]:
    """Records of json files (one record or a list) and of folders of cells."""
    records = []
    for path in paths:
        for file in sorted(path.rglob("record.json")) if path.is_dir() else [path]:
            content = json.loads(file.read_text())
            records += content if isinstance(content, list) else [content]
    return records


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("records", nargs="+", type=Path, help="records.json of a run, record.json of cells, or folders of them")
    Console().print(arms_table(load_records(parser.parse_args().records)))
