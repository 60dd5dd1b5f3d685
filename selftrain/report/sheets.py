"""The tables of a study, in the shape the papers print them.

Every cell is the mean over seeds, the half width of its 95 % interval and n; beside it in [ ] what the paper prints, where it prints something for
that place.  Where nothing ran the cell is empty.  † marks cells in which a curve had not flattened, or had too few points to tell.
"""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from selftrain.record import steps_to
from selftrain.report.matrix import NOT_THERE, Estimate, Matrix, bill, dagger
from selftrain.report.places import is_student, of_pool, percent, place_name
from selftrain.report.published import HE_GAINS, SPEED_UP, every, published
from selftrain.system.progress import duration

LEGEND = "mean over seeds ± half width of the 95 % t interval, n; † a curve had not flattened, or has too few points to tell; [ ] published, on the paper's own data and network: ≈ read off a figure, (r) not checked against its table"

DAGGER = "† one of the two had not flattened: the schedule may have decided"


@dataclass(frozen=True)
class Sheet:
    """One table: what is printed, and the numbers behind it in long form."""

    name: str  # of the files: table2
    title: str
    header: list[str]
    rows: list[list[str]]
    note: str
    numbers: list[dict]

    def markdown(self) -> str:
        return (
            "\n".join([f"**{self.title}**", "", *markdown_rows(self.header, self.rows), "", f"({self.note})"])
            + "\n"
        )

    def csv(self) -> str:
        columns = list(dict.fromkeys(name for row in self.numbers for name in row))
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.numbers)
        return buffer.getvalue()

    def files(self, base: Path) -> dict[Path, str]:
        """Content by path, in every format."""
        return {
            base.with_suffix(".md"): self.markdown(),
            base.with_suffix(".csv"): self.csv(),
            base.with_suffix(".tex"): self.tex(),
        }

    def tex(self) -> str:
        def row(cells: list[str]) -> str:
            return " & ".join(_tex(cell) for cell in cells) + r" \\"

        lines = [
            r"\begin{table}",
            rf"\caption{{{_tex(self.title)} ({_tex(self.note)})}}",
            rf"\begin{{tabular}}{{l{'r' * (len(self.header) - 1)}}}",
            r"\hline",
            row(self.header),
            r"\hline",
            *map(row, self.rows),
            r"\hline",
            r"\end{tabular}",
            r"\end{table}",
        ]
        return "\n".join(lines) + "\n"


def markdown_rows(header: list[str], rows: list[list[str]]) -> list[str]:
    return [
        "| " + " | ".join(header) + " |",
        "|---|" + "---:|" * (len(header) - 1),
        *("| " + " | ".join(row) + " |" for row in rows),
    ]


def _tex(text: str) -> str:
    for plain, command in (
        ("\\", r"\textbackslash "),
        ("%", r"\%"),
        ("&", r"\&"),
        ("_", r"\_"),
        ("#", r"\#"),
        ("±", r"$\pm$"),
        ("†", r"$^\dagger$"),
        ("Δ", r"$\Delta$"),
        ("≈", r"$\approx$"),
        ("≤", r"$\leq$"),
        ("≥", r"$\geq$"),
        ("–", "--"),
    ):
        text = text.replace(plain, command)
    return text


def sheets(matrix: Matrix) -> list[Sheet]:
    """Every table that this study can have."""
    strongest, rows = matrix.policies[-1], matrix.arms
    found = []
    by_policy, by_fraction = (
        (("table2", "Table 2: policies, all labels"), ("table3", f"Table 3: label fractions, {strongest}"))
        if matrix.task == "coco"
        else (("table6", "Table 6: segmentation, all labels"), ("fractions", f"Label fractions, {strongest}"))
    )
    if 1.0 in matrix.fractions:
        found.append(_scores(matrix, *by_policy, [(policy, (policy, 1.0)) for policy in matrix.policies]))
    if len(matrix.fractions) > 1:
        found.append(
            _scores(
                matrix,
                *by_fraction,
                [
                    (percent(f), (strongest, f))
                    for f in matrix.fractions
                    if any(matrix.at(arm, strongest, f) for arm in rows)
                ],
            )
        )
    if len(matrix.kinds) > 1:
        found.append(_table8(matrix))
    if len(matrix.policies) > 1 and len(matrix.fractions) > 1:
        found.append(
            _scores(
                matrix,
                "product",
                "All policies and fractions",
                [
                    (place_name(p, f), (p, f))
                    for f in matrix.fractions
                    for p in matrix.policies
                    if any(matrix.at(arm, p, f) for arm in rows)
                ],
            )
        )
    return found + [_cost(matrix), _steps(matrix), _gains(matrix)]


def published_sheet() -> Sheet:
    """What the papers print, whether or not a table here stands beside it."""
    found = every()
    return Sheet(
        "published",
        "What the papers print",
        ["what", "number", "source"],
        [[what, str(number), number.source] for what, number in found],
        "≈ read off a figure; (r) not checked against its table",
        [
            {"what": what, "value": number.value, "mark": number.mark, "source": number.source}
            for what, number in found
        ],
    )


def _cell(matrix: Matrix, arm: str, policy: str, fraction: float, labels: str | None) -> tuple[str, dict]:
    """(what is printed, its numbers)."""
    labels = labels or matrix.labels_of(arm)
    score, paper = (
        matrix.score(arm, policy, fraction, labels=labels),
        published(matrix.task, arm, policy, fraction, labels),
    )
    text = (
        ""
        if score is None
        else f"{score.show(matrix.digits)}{dagger(matrix.rising(arm, policy, fraction, labels))}, n {score.n}"
    )
    row = {
        "arm": arm,
        "policy": policy,
        "fraction": fraction,
        "labels": labels,
        "metric": matrix.metric,
        **_numbers(score),
        "flattened": "" if score is None else matrix.rising(arm, policy, fraction, labels) is None,
        "published": "" if paper is None else paper.value,
        "source": "" if paper is None else paper.source,
        "mark": "" if paper is None else paper.mark,
    }
    return " ".join(filter(None, (text, "" if paper is None else f"[{paper}]"))), row


def _numbers(estimate: Estimate | None) -> dict:
    return (
        {"mean": "", "half_width_95": "", "n": 0}
        if estimate is None
        else {
            "mean": round(estimate.mean, 4),
            "half_width_95": "" if estimate.n < 2 else round(estimate.half, 4),
            "n": estimate.n,
        }
    )


def _scores(matrix: Matrix, name: str, title: str, columns: list[tuple[str, tuple[str, float]]]) -> Sheet:
    rows, numbers = [], []
    for arm in matrix.arms:
        cells = [_cell(matrix, arm, *place, None) for _, place in columns]
        rows.append([arm, *(text for text, _ in cells)])
        numbers += [row for _, row in cells]
    return Sheet(
        name,
        f"{title} ({matrix.metric}, {matrix.records[0]['split']} split)",
        ["arm", *(head for head, _ in columns)],
        rows,
        LEGEND,
        numbers,
    )


def _table8(matrix: Matrix) -> Sheet:
    rows, numbers = [], []
    for start in matrix.starts:
        for policy in matrix.policies:
            cells = [
                _cell(matrix, start, policy, 1.0, "train"),
                _cell(matrix, start, policy, 1.0, "train_aug"),
                _cell(matrix, f"{start} + self-training", policy, 1.0, "train+pseudo_aug"),
            ]
            rows.append([f"{start}, {policy}", *(text for text, _ in cells)])
            numbers += [row for _, row in cells]
    return Sheet(
        "table8",
        f"Table 8: labels of the aug photos against pseudo-labels of them ({matrix.metric})",
        ["start, policy", "train", "train + aug labels", "train + self-training on aug"],
        rows,
        LEGEND,
        numbers,
    )


def _places(matrix: Matrix, starts_only: bool = False):
    for policy, fraction, labels in matrix.places():
        if not (starts_only and of_pool(labels)):
            yield policy, fraction, labels, place_name(policy, fraction, labels)


def _cost(matrix: Matrix) -> Sheet:
    rows, numbers = [], []
    for policy, fraction, labels, where in _places(matrix):
        for arm in matrix.arms:
            found = list(matrix.at(arm, policy, fraction, labels).values())
            if not found or of_pool(labels) and not is_student(arm):
                continue
            bills = [bill(r, matrix.by_key) for r in found]
            seconds, energy = Estimate.of([s for _, s in bills]), [r["measured"]["energy_kwh"] for r in found]
            memory = max(r["measured"]["peak_memory_gib"] for r in found)
            kwh = NOT_THERE if None in energy else f"{sum(energy) / len(energy):.3f}"
            rows.append(
                [
                    f"{where}: {arm}",
                    f"{bills[0][0]:,}",
                    duration(seconds.mean),
                    kwh,
                    f"{memory:.1f}",
                    str(len(found)),
                ]
            )
            numbers.append(
                {
                    "arm": arm,
                    "policy": policy,
                    "fraction": fraction,
                    "labels": labels,
                    "images": bills[0][0],
                    "seconds": round(seconds.mean, 1),
                    "energy_kwh_own": "" if None in energy else sum(energy) / len(energy),
                    "peak_memory_gib": round(memory, 3),
                    "n": len(found),
                }
            )
    return Sheet(
        "cost",
        "Cost of an arm",
        ["arm", "images seen", "time", "kWh (own training)", "GiB (own)", "n"],
        rows,
        "images and time with its teachers' and their labelling; kWh and GiB of its own training; time: mean over seeds, on the hardware that the records name",
        numbers,
    )


def _steps(matrix: Matrix) -> Sheet:
    """First evaluated step at which an arm's curve reaches the final value of the random arm's curve of the same seed."""
    rows, numbers = [], []
    for policy, fraction, labels, where in _places(matrix, starts_only=True):
        for start in (s for s in matrix.starts if s != "random"):
            mine, base = (
                matrix.at(start, policy, fraction, labels),
                matrix.at("random", policy, fraction, labels),
            )
            ratios, reached = [], []
            for seed in sorted(mine.keys() & base.keys()):
                target = base[seed]["curve"][-1][matrix.metric]
                if target <= 0:
                    continue  # a random arm that learned nothing is reached before the first step
                theirs, ours = (steps_to(r["curve"], matrix.metric, target) for r in (base[seed], mine[seed]))
                reached.append((seed, theirs, ours))
                if ours is not None:
                    ratios.append(speed_up(theirs, ours, mine[seed]["curve"][0]["step"]))
            if not reached:
                continue
            span = (
                " to ".join(dict.fromkeys(text for _, text in (min(ratios), max(ratios))))
                if ratios
                else "not reached"
            )
            first = next(iter(mine.values()))["curve"][0]["step"]
            rows.append(
                [
                    where
                    + dagger(matrix.under_trained(start, "random", policy, fraction, labels))
                    + f": {start}",
                    steps_range([a for _, a, _ in reached], first),
                    steps_range([b for _, _, b in reached], first),
                    span
                    + (
                        f" ({len(reached) - len(ratios)} of {len(reached)} not)"
                        if ratios and len(ratios) < len(reached)
                        else ""
                    ),
                    str(len(reached)),
                ]
            )
            numbers += [
                {
                    "start": start,
                    "policy": policy,
                    "fraction": fraction,
                    "labels": labels,
                    "seed": seed,
                    "steps_random": a,
                    "steps": b or "",
                    "first_evaluated": first,
                }
                for seed, a, b in reached
            ]
    paper = f" [published: {SPEED_UP[0].value:g}x to {SPEED_UP[1].value:g}x]" if matrix.task == "coco" else ""
    return Sheet(
        "steps",
        f"Steps to the random arm's final {matrix.metric}, and the speed-up from pre-training{paper}",
        ["start", "random", "this start", "speed-up", "n"],
        rows,
        "first evaluated step of the curve on the val split, smallest to largest over seeds, never an interpolation; "
        f"≤ it was there when first looked at, which bounds the speed-up on one side, or if both were there on none; {DAGGER}",
        numbers,
    )


def speed_up(theirs: int, ours: int, first: int) -> tuple[float, str]:
    """(ratio, as it is printed) of the steps of the random arm and another's.  Who was there at the first evaluation may have been there before."""
    ratio = theirs / ours
    if theirs == first == ours:
        return ratio, "unknown"
    return ratio, f"{'≥ ' if ours == first else '≤ ' if theirs == first else ''}{ratio:.1f}x"


def steps_range(steps: list[int | None], first: int) -> str:
    """`100 to 300`; `≤ 100` of the first step that was evaluated."""
    there = [s for s in steps if s is not None]
    return (
        " to ".join(f"{'≤ ' if s == first else ''}{s:,}" for s in dict.fromkeys((min(there), max(there))))
        if there
        else "not reached"
    )


def _gains(matrix: Matrix) -> Sheet:
    """Does pre-training help classification more than localisation?  AP50 asks little of a box's place, AP75 much."""
    rows, numbers = [], []
    for policy, fraction, labels, where in _places(matrix, starts_only=True):
        for start in (s for s in matrix.starts if s != "random"):
            gains = [
                Estimate.of(matrix.differences(start, "random", policy, fraction, metric, labels))
                for metric in matrix.metrics
            ]
            if gains[0] is None:
                continue
            rows.append(
                [
                    where
                    + dagger(matrix.under_trained(start, "random", policy, fraction, labels))
                    + f": {start}",
                    *(gain.show(matrix.digits, "+") for gain in gains),
                    str(gains[0].n),
                ]
            )
            numbers += [
                {
                    "start": start,
                    "policy": policy,
                    "fraction": fraction,
                    "labels": labels,
                    "metric": metric,
                    **_numbers(gain),
                }
                for metric, gain in zip(matrix.metrics, gains)
            ]
    he = "; ".join(
        f"{net}: " + ", ".join(f"{metric} {number.show('+')}" for metric, number in found.items())
        for net, found in HE_GAINS.items()
    )
    note = f"paired by seed, mean ± half width of the 95 % interval; {DAGGER}" + (
        f"; published by He et al. 2018, converged: {he}" if matrix.task == "coco" else ""
    )
    return Sheet(
        "gains",
        "What pre-training adds to the random start, by metric",
        ["start", *(f"Δ{metric}" for metric in matrix.metrics), "n"],
        rows,
        note,
        numbers,
    )
