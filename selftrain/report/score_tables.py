"""The tables of a study's scores, in the shape the papers print them.

Every cell is the mean over seeds, the half width of its 95 % interval and n; beside it in [ ] what the paper
prints, where it prints something for that place.  Where nothing ran the cell is empty."""

from dataclasses import replace
from typing import Any

from selftrain.record import Arm, Setting
from selftrain.report.matrix import Matrix
from selftrain.report.places import place_name
from selftrain.report.published import Number, every, published
from selftrain.report.statistics import NO_NUMBERS
from selftrain.report.table import Table, tabulate
from selftrain.report.tuned import tuning_note

LEGEND = (
    "mean over seeds ± half width of the 95 % interval, n; [ ] published, on the paper's own data and "
    "network: ≈ read off a figure, (r) not checked against its table"
)


def score_tables(matrix: Matrix) -> list[Table]:
    """Those that this study's records allow: by policy, by fraction, by kind of labels, and all together."""
    strongest, policies, fractions = matrix.policies[-1], matrix.policies, matrix.fractions
    names = {
        "coco": (
            ("table2", "Table 2: policies, all labels"),
            ("table3", f"Table 3: label fractions, {strongest}"),
        ),
        "pascal": (
            ("table6", "Table 6: segmentation, all labels"),
            ("fractions", f"Label fractions, {strongest}"),
        ),
    }
    others = (("policies", "Policies, all labels"), ("fractions", f"Label fractions, {strongest}"))
    by_policy, by_fraction = names.get(matrix.task, others)
    tables = []
    if 1.0 in fractions:
        places = [place for policy in policies for place in _all_labels(matrix, policy)]
        tables.append(_scores(matrix, *by_policy, [(place_name(p.without("fraction")), p) for p in places]))
    if len(fractions) > 1:
        places = [place for f in fractions for place in matrix.columns(policy=strongest, fraction=f)]
        tables.append(_scores(matrix, *by_fraction, [(place_name(p.without("policy")), p) for p in places]))
    if len(matrix.kinds) > 1:
        tables.append(_label_kinds(matrix))
    if len(policies) > 1 and len(fractions) > 1:
        places = [
            p for f in fractions for policy in policies for p in matrix.columns(policy=policy, fraction=f)
        ]
        title = "All policies and fractions"
        tables.append(_scores(matrix, "product", title, [(place_name(place), place) for place in places]))
    return tables


def published_table() -> Table:
    """What the papers print, whether or not a table here stands beside it."""

    def _row_numbers(row: tuple[str, Number]) -> list[dict[str, Any]]:
        what, number = row
        return [{"what": what, "value": number.value, "mark": number.mark, "source": number.source}]

    columns = [
        ("what", lambda row: row[0]),
        ("number", lambda row: str(row[1])),
        ("source", lambda row: row[1].source),
    ]
    note = "≈ read off a figure; (r) not checked against its table"
    return tabulate("published", "What the papers print", every(), columns, note, _row_numbers)


def _all_labels(matrix: Matrix, policy: str) -> list[Setting]:
    """The columns of a policy with all labels: one at least, since the paper may have a number there."""
    return matrix.columns(policy=policy, fraction=1.0) or [Setting(policy=policy, fraction=1.0)]


def _scores(matrix: Matrix, name: str, title: str, columns: list[tuple[str, Setting]]) -> Table:
    """A row for each arm, a column for each place."""
    return tabulate(
        name,
        f"{title} ({matrix.metric}, {matrix.records[0].split} split)",
        matrix.arms,
        [
            ("arm", str),
            *((head, lambda arm, place=place: _text(matrix, arm, place)) for head, place in columns),
        ],
        f"{LEGEND}; {tuning_note(matrix)}",
        lambda arm: [_numbers(matrix, arm, place) for _, place in columns],
    )


def _label_kinds(matrix: Matrix) -> Table:
    """Table 8: a row for each start, a column for each kind of labels."""
    columns = [
        ("train", "train", ()),
        ("train + aug labels", "train_aug", ()),
        ("train + self-training on aug", "train+pseudo_aug", ("self-training",)),
    ]
    rows = [
        (arm, place)
        for arm in matrix.starts
        for policy in matrix.policies
        for place in _all_labels(matrix, policy)
    ]

    def _cell(row: tuple[Arm, Setting], labels: str, methods: tuple[str, ...]) -> tuple[Arm, Setting]:
        arm, place = row
        return replace(arm, methods=(*arm.methods, *methods)), place.but(labels=labels)

    return tabulate(
        "table8",
        f"Table 8: labels of the aug photos against pseudo-labels of them ({matrix.metric})",
        rows,
        [
            ("start, policy", lambda row: f"{row[0]}, {place_name(row[1].without('fraction'))}"),
            *(
                (head, lambda row, which=which: _text(matrix, *_cell(row, *which)))
                for head, *which in columns
            ),
        ],
        f"{LEGEND}; {tuning_note(matrix)}",
        lambda row: [_numbers(matrix, *_cell(row, *which)) for _, *which in columns],
    )


def _text(matrix: Matrix, arm: Arm, setting: Setting) -> str:
    """A cell as it is printed: `41.0 ± 2.5, n 3 [39.2]`."""
    score, paper = matrix.score(arm, setting), published(matrix.task, arm, matrix.own(arm, setting))
    words = []
    if score is not None:
        words.append(f"{score.show(matrix.digits)}, n {score.n}")
    if paper is not None:
        words.append(f"[{paper}]")
    return " ".join(words)


def _numbers(matrix: Matrix, arm: Arm, setting: Setting) -> dict[str, Any]:
    """A cell's row of the csv file."""
    own = matrix.own(arm, setting)
    score, paper = matrix.score(arm, setting), published(matrix.task, arm, own)
    return {
        "arm": str(arm),
        **own,
        "metric": matrix.metric,
        **(NO_NUMBERS if score is None else score.csv()),
        "published": "" if paper is None else paper.value,
        "source": "" if paper is None else paper.source,
        "mark": "" if paper is None else paper.mark,
    }
