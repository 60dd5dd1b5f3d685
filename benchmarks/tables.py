"""Tables from records.

    python benchmarks/tables.py RECORDS... [--out FOLDER]      record files or folders of cells: one table of their arms

Of several seeds: mean and half width of the 95 % interval (Student's t), differences paired by seed.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy import stats

from figures import draw_curves
from selftrain.files import write_json
from selftrain.progress import duration
from selftrain.record import arms, steps_to

NOT_THERE = "–"


def mean_interval(values: list[float], digits: int, sign: str = "") -> str:
    """`12.3` of one value, `12.3 ± 0.4` of several: mean and half width of the 95 % t interval."""
    mean = f"{round(float(np.mean(values)), digits) + 0.0:{sign}.{digits}f}"  # + 0.0: no -0.0
    if len(values) == 1:
        return mean
    half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5
    return f"{mean} ± {half:.{digits}f}"


def arms_rows(records: list[dict]) -> tuple[list[str], list[list[str]]]:
    """(header, one row an arm).  Images and time of a self-trained arm include its teachers'.

    All records must be of one setting but for start, self-training and seed; ValueError says what else differs.
    """
    check_alike(records)
    metric = records[0]["metric"]
    columns = [name for name in records[0]["curve"][-1] if name != "step"]
    by_key = {r["key"]: r for r in records}
    random = {r["settings"]["seed"]: r for r in records if r["arm"] == "random"}
    header = ["arm", *columns, f"Δ{metric} to random", f"steps to random's {metric}", "images seen", "time"]
    digits = 1 if max(r["metrics"][metric] for r in records) >= 10 else 2
    rows = []
    for arm in arms(records):
        mine = [r for r in records if r["arm"] == arm]
        pairs = [(r, random[r["settings"]["seed"]]) for r in mine if r["settings"]["seed"] in random]
        delta = reached = NOT_THERE
        if pairs:
            if arm != "random":
                delta = mean_interval([r["metrics"][metric] - base["metrics"][metric] for r, base in pairs], digits, "+")
            steps = [steps_to(r["curve"], metric, base["curve"][-1][metric]) for r, base in pairs]
            there = [s for s in steps if s is not None]
            reached = " to ".join(f"{s:,}" for s in dict.fromkeys((min(there), max(there)))) if there else "not reached"
            if there and None in steps:
                reached += f"; {steps.count(None)} of {len(steps)} not"
        bills = [bill(r, by_key) for r in mine]
        rows.append([arm, *(mean_interval([r["metrics"][c] for r in mine], digits) for c in columns), delta, reached, f"{bills[0][0]:,}",
                     duration(float(np.mean([seconds for _, seconds in bills])))])
    return header, rows


def check_alike(records: list[dict]) -> None:
    """Raises ValueError where records differ in more than start, self-training and seed: their mean would mean nothing."""
    first: dict[tuple, dict] = {}
    for r in records:
        known = {"recipe": r["recipe"], "val split": r["hashes"]["val"], "test split": r["hashes"]["test"], "pool": r["hashes"]["pool"],
                 "human labels": r.get("labels"), "number of labelled images": r.get("labelled_images"), **r["settings"]}
        for name in known.keys() - {"seed"}:
            value = json.dumps(known[name])
            # the pool exists for students alone; the settings about pseudo-labels stand in students' records only
            if first.setdefault((name, r["round"] > 0 and name == "pool"), value) != value:
                raise ValueError(f"these records differ in more than start, self-training and seed: {name}")
    places = [(r["arm"], r["settings"]["seed"]) for r in records]
    if twice := {place for place in places if places.count(place) > 1}:
        raise ValueError(f"two records of one arm and seed: {sorted(twice)}")


def bill(record: dict, by_key: dict[str, dict]) -> tuple[int, float]:
    """(images, seconds) of a cell and of its teachers."""
    images, seconds = record["images"], record["measured"]["seconds"]
    labels = record["pseudo_labels"]
    if labels and labels["teacher_cell"] in by_key:
        more = bill(by_key[labels["teacher_cell"]], by_key)
        return images + more[0], seconds + more[1]
    return images, seconds


def title(records: list[dict]) -> str:
    seeds = sorted({r["settings"]["seed"] for r in records})
    labels = records[0].get("labels") or "train"
    return f"{records[0]['recipe']}{f', {labels} labels' if labels != 'train' else ''}, {records[0]['split']} split, {'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}"


def arms_table(records: list[dict]) -> Table:
    header, rows = arms_rows(records)
    table = Table(title=title(records), box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for column, name in enumerate(header):  # broken by hand: left to itself a narrow terminal loses the last column
        table.add_column(name.replace(" ", "\n"), justify="right" if column else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table


def arms_markdown(records: list[dict]) -> str:
    header, rows = arms_rows(records)
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" + "---:|" * (len(header) - 1)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows]) + "\n"


def write_report(records: list[dict], folder: Path) -> None:
    """table.md, records.json and curves.png of the arms in `records`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "table.md").write_text(arms_markdown(records))
    write_json(folder / "records.json", records)
    draw_curves(records, title(records), folder / "curves.png")


def load_records(paths: list[Path]) -> list[dict]:
    """Records of json files (one record or a list) and of folders of cells."""
    records = []
    for path in paths:
        for file in sorted(path.rglob("record.json")) if path.is_dir() else [path]:
            content = json.loads(file.read_text())
            records += content if isinstance(content, list) else [content]
    return records


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("records", nargs="+", type=Path, help="records.json of a run, record.json of cells, or folders of them")
    parser.add_argument("--out", type=Path, help="also write table.md, records.json and curves.png into this folder")
    arguments = parser.parse_args()
    loaded = load_records(arguments.records)
    Console(width=None if sys.stdout.isatty() else 120).print(arms_table(loaded))
    if arguments.out:
        write_report(loaded, arguments.out)
