"""Every generated text of the studies: tables, results/README.md, and the blocks of the project's README."""

import re
from pathlib import Path

from rich.console import Console

from selftrain.provenance import stale
from selftrain.report.available import figure_names
from selftrain.report.contrast_table import registered_lines
from selftrain.report.effort_tables import cost_table, gains_table, steps_table
from selftrain.report.equivalents_table import equivalents_table, worth_sentences
from selftrain.report.label_cost import LabelCost
from selftrain.report.label_tables import study_labels
from selftrain.report.ladder import ladder_table
from selftrain.report.matrix import Matrix, read_studies
from selftrain.report.score_tables import published_table, score_tables
from selftrain.report.table import Table
from selftrain.report.tuned import tuning_sentence
from selftrain.report.verdict import against_paper, coverage, overview, verdict
from selftrain.system.files import write_atomic

HOW_TO_READ = (
    "How to read it: a difference *helps* or *hurts* where its interval leaves zero out, is *equivalent* "
    "where the interval lies inside the margin, and else *open*. A budget is *converged* where three times "
    "the steps gain less than the margin, with the whole interval; T is the study's budget, 3T three times "
    "as many steps. Only contrasts that were registered before the first run are tested, with Holm's "
    "correction; everything else describes, each interval by itself. *Better with a further seed* is the "
    "chance that the arm is ahead of the other one with one more seed."
)


ONE_BUDGET = "There is one budget: whether longer training would change an answer is not known."


def study_tables(matrix: Matrix, label_cost: LabelCost | None = None) -> list[Table]:
    """Every table that this study can have; label_cost: what a label costs, where the person has said it."""
    efforts = [cost_table(matrix), steps_table(matrix), gains_table(matrix)]
    further = [ladder_table(matrix), equivalents_table(matrix, label_cost), study_labels(matrix)]
    return [*score_tables(matrix), *efforts, *filter(None, further)]


def verdict_markdown(matrix: Matrix, folded: bool = False) -> str:
    """The verdict of a study, as results/README.md shows it.

    folded: its sentences open by a click, for a page that shows other things too.
    """
    lines = [_measured_on(matrix), ""]
    lines += registered_lines(matrix)
    if against := against_paper(matrix):
        lines += [against, ""]
    if len(matrix.arms) > 1:
        lines += [*overview(matrix).grid(), ""]
    sentences = [
        line
        for place, texts in verdict(matrix)
        for line in (f"- {place}", *(f"  - {text}" for text in texts))
    ]
    if folded:
        summary = "<details><summary>The ladder, each comparison with its interval, and choices</summary>"
        sentences = [summary, "", *sentences, "", "</details>"]
    return "\n".join(lines + sentences) + "\n"


def _measured_on(matrix: Matrix) -> str:
    """How many runs, on what, what the intervals cover, the margin, and what was tuned."""
    machines = sorted({r.measured.hardware["device"] for r in matrix.records})
    codes = {r.hashes.source for r in matrix.records}
    of_codes = "" if len(codes) == 1 else f"; measured with {len(codes)} versions of the code"
    return (
        f"{len(matrix.records)} runs, seeds {', '.join(map(str, matrix.seeds))}, "
        f"{matrix.records[0].split} split, on {'; '.join(machines)}{of_codes}. "
        f"Intervals of 95 % cover {coverage(matrix)}. Differences within {matrix.margin:g} {matrix.metric} "
        "count as none. " + tuning_sentence(matrix) + ("" if matrix.budgets else f" {ONE_BUDGET}")
    )


def regenerate(
    studies: list[Matrix],
    out: Path,
    readmes: tuple[Path, ...] = (),
    label_cost: LabelCost | None = None,
) -> dict[Path, str]:
    """Every generated text file and its content.

    These are the tables, results/README.md, and the project's README with the blocks that show them.
    """
    files: dict[Path, str] = {}
    page = ["# Results", "", "## Verdict", ""]
    page += ["(Made by `python benchmarks/tables.py` from the records beside it.)", "", HOW_TO_READ, ""]
    for matrix in studies:
        page += [f"### {matrix.name}", "", verdict_markdown(matrix)]
    page += ["## Tables and figures", ""]
    for matrix in studies:
        page += [f"### {matrix.name}: tables", ""]
        for table in study_tables(matrix, label_cost):
            files |= table.files(out / "tables" / f"{matrix.name}-{table.name}")
            page += [table.markdown()]
        files[out / "tables" / f"{matrix.name}-verdict.md"] = verdict_markdown(matrix, folded=True)
        page += [f"![{name}](figures/{matrix.name}-{name}.png)" for name in figure_names(matrix)] + [""]
    files |= published_table().files(out / "tables" / "published")
    page += ["All that the papers print: [tables/published.md](tables/published.md).", ""]
    notes = out / "NOTES.md"
    files[out / "README.md"] = "\n".join(page) + (notes.read_text() if notes.exists() else "")
    for readme in readmes:
        if readme.exists():
            files[readme] = fill(readme.read_text(), out.parent, files)
    return files


def readmes_of(out: Path) -> tuple[Path, ...]:
    """The pages beside the folder of results that may show generated tables."""
    return out.parent / "README.md", out.parent / "benchmarks" / "README.md"


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


def write_studies(
    records: Path, out: Path, console: Console, margin: float = 1.0, label_cost: LabelCost | None = None
) -> None:
    """Read the studies below `records`, write every text file below `out`, and print the verdicts."""
    studies = read_studies(records, margin)
    for path, content in regenerate(studies, out, readmes_of(out), label_cost).items():
        write_atomic(path, lambda file, content=content: file.write(content.encode()))
    for matrix in studies:
        worth = "\n".join(worth_sentences(matrix, label_cost))
        for text in (f"{matrix.name}\n{verdict_markdown(matrix)}", worth, _of_other_code(matrix)):
            if text:
                console.print(text, highlight=False, soft_wrap=True, markup=False)
    written = f"written: {out}/tables/*.md, *.csv, *.tex and {out}/README.md"
    console.print(written, highlight=False, soft_wrap=True)


def _of_other_code(matrix: Matrix) -> str:
    """Which records are no result of the code as it is; empty where all are."""
    old = [
        f"  {r.arm}, {r.settings['policy']}, {r.settings['fraction']:g}, seed {r.seed}: {'; '.join(why)}"
        for r in matrix.records
        if (why := stale(r))
    ]
    more = ["  ..."] if len(old) > 5 else []
    lines = [f"{len(old)} of these records are of other code than this:", *old[:5], *more]
    return "\n".join(lines) if old else ""
