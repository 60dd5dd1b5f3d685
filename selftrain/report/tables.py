"""Tables and verdict from records.

    python benchmarks/tables.py                                results/records/STUDY/*.json -> results/tables/, results/README.md, and the verdict printed
    python benchmarks/tables.py RECORDS... [--out FOLDER]      record files or folders of cells: one table of their arms

Of several seeds: mean and half width of the 95 % interval (Student's t), differences paired by seed.
"""

import argparse
import json
import re
import sys
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from selftrain.record import arms, stale, steps_to
from selftrain.report.figures import draw_curves, figure_names
from selftrain.report.matrix import (
    NOT_THERE,
    Matrix,
    bill,
    check_alike,
    decimals,
    mean_interval,
    read_studies,
)
from selftrain.report.sheets import markdown_rows, published_sheet, sheets, steps_range
from selftrain.report.verdict import against_paper, overview, verdict
from selftrain.system.errors import UserError
from selftrain.system.files import write_atomic, write_json
from selftrain.system.progress import duration


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
    digits = decimals(records)
    rows = []
    for arm in arms(records):
        mine = [r for r in records if r["arm"] == arm]
        pairs = [(r, random[r["settings"]["seed"]]) for r in mine if r["settings"]["seed"] in random]
        delta = reached = NOT_THERE
        if pairs:
            if arm != "random":
                delta = mean_interval(
                    [r["metrics"][metric] - base["metrics"][metric] for r, base in pairs], digits, "+"
                )
            steps = [steps_to(r["curve"], metric, base["curve"][-1][metric]) for r, base in pairs]
            reached = steps_range(steps, mine[0]["curve"][0]["step"])
            if None in steps and any(steps):
                reached += f"; {steps.count(None)} of {len(steps)} not"
        bills = [bill(r, by_key) for r in mine]
        rows.append(
            [
                arm,
                *(mean_interval([r["metrics"][c] for r in mine], digits) for c in columns),
                delta,
                reached,
                f"{bills[0][0]:,}",
                duration(float(np.mean([seconds for _, seconds in bills]))),
            ]
        )
    return header, rows


def title(records: list[dict]) -> str:
    seeds = sorted({r["settings"]["seed"] for r in records})
    labels = records[0].get("labels") or "train"
    return f"{records[0]['recipe']}{f', {labels} labels' if labels != 'train' else ''}, {records[0]['split']} split, {'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}"


def arms_table(records: list[dict]) -> Table:
    header, rows = arms_rows(records)
    table = Table(title=title(records), box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for column, name in enumerate(
        header
    ):  # broken by hand: left to itself a narrow terminal loses the last column
        table.add_column(name.replace(" ", "\n"), justify="right" if column else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table


def arms_markdown(records: list[dict]) -> str:
    return "\n".join(markdown_rows(*arms_rows(records))) + "\n"


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


# ---- studies ------------------------------------------------------------------------------------------------------------------


def verdict_markdown(matrix: Matrix, folded: bool = False) -> str:
    """The verdict of a study, as results/README.md shows it; folded: its sentences open by a click, for a page that shows other things too."""
    first, seeds = matrix.records[0], sorted({r["settings"]["seed"] for r in matrix.records})
    machines = sorted({r["measured"]["hardware"]["device"] for r in matrix.records})
    codes = {r["hashes"]["source"] for r in matrix.records}
    lines = [
        f"{len(matrix.records)} runs, seeds {', '.join(map(str, seeds))}, {first['split']} split, on {'; '.join(machines)}"
        f"{'' if len(codes) == 1 else f'; measured with {len(codes)} versions of the code'}.",
        "",
    ]
    if against := against_paper(matrix):
        lines += [against, ""]
    if len(matrix.arms) > 1:
        lines += [*markdown_rows(*overview(matrix)), ""]
    sentences = [
        line
        for place, texts in verdict(matrix)
        for line in (f"- {place}", *(f"  - {text}" for text in texts))
    ]
    lines += (
        [
            "<details><summary>Each comparison with its interval and test</summary>",
            "",
            *sentences,
            "",
            "</details>",
        ]
        if folded
        else sentences
    )
    return "\n".join(lines) + "\n"


def regenerate(studies: list[Matrix], out: Path, readme: Path | None = None) -> dict[Path, str]:
    """Every generated text file and its content: tables, results/README.md, and the blocks of the project's README that show them."""
    files: dict[Path, str] = {}
    page = [
        "# Results",
        "",
        "## Verdict",
        "",
        "(Made by `python benchmarks/tables.py` from the records beside it.)",
        "",
    ]
    for matrix in studies:
        page += [f"### {matrix.name}", "", verdict_markdown(matrix)]
    page += ["## Tables and figures", ""]
    for matrix in studies:
        page += [f"### {matrix.name}: tables", ""]
        for sheet in sheets(matrix):
            files |= sheet.files(out / "tables" / f"{matrix.name}-{sheet.name}")
            page += [sheet.markdown()]
        files[out / "tables" / f"{matrix.name}-verdict.md"] = verdict_markdown(matrix, folded=True)
        page += [f"![{name}](figures/{matrix.name}-{name}.png)" for name in figure_names(matrix)] + [""]
    files |= published_sheet().files(out / "tables" / "published")
    page += ["All that the papers print: [tables/published.md](tables/published.md).", ""]
    notes = out / "NOTES.md"
    files[out / "README.md"] = "\n".join(page) + (notes.read_text() if notes.exists() else "")
    if readme is not None and readme.exists():
        files[readme] = fill(readme.read_text(), readme.parent, files)
    return files


def fill(text: str, root: Path, files: dict[Path, str]) -> str:
    """Replace what stands between `<!-- FILE -->` and `<!-- end -->` by the generated file of that name."""
    fresh = {
        path.relative_to(root).as_posix(): content
        for path, content in files.items()
        if path.is_relative_to(root)
    }
    return re.sub(
        r"(<!-- (\S+) -->\n).*?(<!-- end -->)",
        lambda m: m[1] + fresh[m[2]] + m[3] if m[2] in fresh else m[0],
        text,
        flags=re.DOTALL,
    )


def write_studies(records: Path, out: Path, console: Console) -> None:
    studies = read_studies(records)
    for path, content in regenerate(studies, out, out.parent / "README.md").items():
        write_atomic(path, lambda file, content=content: file.write(content.encode()))
    for matrix in studies:
        console.print(
            f"{matrix.name}\n{verdict_markdown(matrix)}", highlight=False, soft_wrap=True, markup=False
        )
        old = [
            f"  {r['arm']}, {r['settings']['policy']}, {r['settings']['fraction']:g}, seed {r['settings']['seed']}: {'; '.join(why)}"
            for r in matrix.records
            if (why := stale(r))
        ]
        if old:
            console.print(
                "\n".join(
                    [
                        f"{len(old)} of these records are of other code than this:",
                        *old[:5],
                        *(["  ..."] if len(old) > 5 else []),
                    ]
                ),
                highlight=False,
                soft_wrap=True,
                markup=False,
            )
    console.print(
        f"written: {out}/tables/*.md, *.csv, *.tex and {out}/README.md", highlight=False, soft_wrap=True
    )


def main(about: str) -> None:
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "records",
        nargs="*",
        type=Path,
        help="records.json of a run, record.json of cells, or folders of them; none: the studies below --studies",
    )
    parser.add_argument(
        "--out",
        type=Path,
        help="of RECORDS: also write table.md, records.json and curves.png into this folder; of studies: default results",
    )
    parser.add_argument(
        "--studies",
        type=Path,
        default=Path("results/records"),
        help="folder of studies' records (default: %(default)s)",
    )
    arguments = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 120)
    if not arguments.records:
        write_studies(arguments.studies, arguments.out or Path("results"), console)
        return
    loaded = load_records(arguments.records)
    if not loaded:
        raise UserError(f"{', '.join(map(str, arguments.records))}: no records there")
    try:
        console.print(arms_table(loaded))
    except ValueError as error:
        raise UserError(
            f"{error}. One table holds one policy and fraction; records of a study go into a folder of their own: --studies"
        ) from error
    if arguments.out:
        write_report(loaded, arguments.out)
