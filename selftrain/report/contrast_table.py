"""The registered contrasts of a study, as its verdict shows them: before everything else."""

from typing import Any

from selftrain.report.matrix import Matrix
from selftrain.report.statistics import NO_NUMBERS, rounded
from selftrain.report.table import NOT_THERE, Table, tabulate
from selftrain.report.tested import Tested, evaluate, unit


def registered_lines(matrix: Matrix) -> list[str]:
    """Markdown: the table of the tested contrasts, and how they were registered; or that there are none."""
    if not matrix.registered:
        return [
            "No contrast was registered before these runs, so nothing here is a test: effects and intervals "
            "describe what was measured, each by itself.",
            "",
        ]
    table = registered_table(matrix)
    missing = [f"{row.contrast.name}: no {'; '.join(row.missing)}" for row in _rows(matrix) if row.missing]
    return ["**Registered contrasts**", "", *table.grid(), "", f"({'. '.join([table.note, *missing])})", ""]


def _rows(matrix: Matrix) -> list[Tested]:
    return matrix.cached("contrasts", lambda study: evaluate(study, study.registered.contrasts, study.margin))


def registered_table(matrix: Matrix) -> Table:
    """A row for each contrast, in the order of their registration."""
    return tabulate(
        "contrasts",
        "Registered contrasts",
        _rows(matrix),
        [
            ("question", lambda row: row.contrast.question),
            ("expected", lambda row: row.contrast.expect),
            ("effect", lambda row: _effect(row, matrix)),
            ("95 % interval", lambda row: _interval(row, matrix.digits)),
            ("n", lambda row: str(row.effect.n) if row.effect else "0"),
            ("p", lambda row: _p(row.p)),
            ("Holm p", lambda row: _p(row.p_holm)),
            ("answer", lambda row: row.word),
        ],
        _note(matrix),
        _numbers,
    )


def _note(matrix: Matrix) -> str:
    """How many contrasts stand in the file, and in how many of the records its hash."""
    now = matrix.registered.hash
    count = sum(r.contrasts == now for r in matrix.records)
    total = len(matrix.records)
    known = "every run's record names" if count == total else f"{count} of {total} runs' records name"
    return (
        f"{len(matrix.registered.contrasts)} contrasts, fixed before the first run: {known} their hash, "
        f"{now}; one number a seed; p is one-sided where a direction was expected; Holm p is corrected for "
        "all of them, and below 0.05 is an answer"
    )


def _effect(row: Tested, matrix: Matrix) -> str:
    if row.effect is None:
        return NOT_THERE
    return f"{rounded(row.effect.mean, matrix.digits, '+')} {unit(row.contrast, matrix.metric)}"


def _numbers(row: Tested) -> list[dict[str, Any]]:
    """A row of the csv file."""
    effect = row.effect.csv() if row.effect else NO_NUMBERS
    names = {"contrast": row.contrast.name, "expected": row.contrast.expect}
    return [names | effect | {"p": row.p, "p_holm": row.p_holm, "answer": row.word}]


def _interval(row: Tested, digits: int) -> str:
    if not row.effect or not row.effect.bounded:
        return NOT_THERE
    return f"{rounded(row.effect.low, digits, '+')} to {rounded(row.effect.high, digits, '+')}"


def _p(p: float) -> str:
    return NOT_THERE if p != p else "< 0.001" if p < 0.001 else f"{p:.3f}"
