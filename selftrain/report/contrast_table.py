"""The registered contrasts of a study, as its verdict shows them: before everything else."""

from collections.abc import Iterable
from typing import Any

from selftrain.report.matrix import Matrix
from selftrain.report.statistics import NO_NUMBERS, rounded
from selftrain.report.table import NOT_THERE, Table, tabulate
from selftrain.report.tested import Tested, evaluate_registered, unit, unsigned, used


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
    return [f"**{table.title}**", "", *table.grid(), "", f"({'. '.join([table.note, *missing])})", ""]


def _rows(matrix: Matrix) -> list[Tested]:
    return matrix.cached("contrasts", evaluate_registered)


def _unsigned(matrix: Matrix) -> int:
    """How many of the runs that the contrasts are made of do not name their hash."""
    return len(unsigned(_rows(matrix), matrix.registered.hash))


def registered_table(matrix: Matrix) -> Table:
    """A row for each contrast, in the order of their registration.

    Without tests where a run that they use was not run under them.
    """
    tests = [
        ("p", lambda row: _p(row.p)),
        ("Holm p", lambda row: _p(row.p_holm)),
        ("answer", lambda row: row.word),
    ]
    late = _unsigned(matrix)
    return tabulate(
        "contrasts",
        "Contrasts, descriptive" if late else "Registered contrasts",
        _rows(matrix),
        [
            ("question", lambda row: row.contrast.question),
            ("expected", lambda row: row.contrast.expect),
            ("effect", lambda row: _effect(row, matrix)),
            ("95 % interval or bound", lambda row: _interval(row, matrix.digits)),
            ("n", lambda row: str(row.effect.n) if row.effect else "0"),
            *([] if late else tests),
        ],
        _note(matrix),
        _numbers,
    )


def _note(matrix: Matrix) -> str:
    """Whether the contrasts were fixed before the runs, how they are tested, and what intervals cover."""
    file, rows = matrix.registered, _rows(matrix)
    head = f"{len(file.contrasts)} contrasts"
    if late := _unsigned(matrix):
        total = len(used(rows))
        head += f", registered after {late} of {total} runs: no test, as {late} of the runs that they use do "
        words = [f"{head}not name their hash, {file.hash}", "one number a seed"]
    else:
        words = [
            f"{head}, fixed before the first run: every run that they use names their hash, {file.hash}",
            "one number a seed",
            "p is one-sided where a direction was expected",
            "Holm p is corrected for all of them, and below 0.05 is an answer",
            "of one seed nothing is tested",
        ]
    bound = "where a direction was expected the interval is the one-sided bound, each at 95 % by itself"
    return "; ".join([*words, _seeds(matrix), bound, *_covers(rows)])


def _seeds(matrix: Matrix) -> str:
    """Which seeds count, and whether their number was fixed."""
    planned = matrix.registered.seeds
    if planned is None:
        return "the number of seeds was not fixed beforehand"
    beyond = _listed(seed for seed in matrix.seeds if seed not in planned)
    return f"planned seeds: {_listed(planned)}" + (
        f"; seeds beyond the plan: {beyond}, no part of this" if beyond else ""
    )


def _listed(seeds: Iterable[int]) -> str:
    return ", ".join(map(str, seeds))


def _covers(rows: list[Tested]) -> list[str]:
    """What the intervals cover; where that differs, of which contrasts."""
    names: dict[str, list[str]] = {}
    for row in rows:
        if row.effect and row.effect.bounded:
            names.setdefault(row.effect.covers, []).append(row.contrast.name)
    if len(names) < 2:
        return [f"intervals and bounds cover {covers}" for covers in names]
    return [f"those of {', '.join(of)} cover {covers}" for covers, of in names.items()]


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
    if row.bound:
        side, end = row.bound
        return f"{side} {rounded(end, digits, '+')}"
    return f"{rounded(row.effect.low, digits, '+')} to {rounded(row.effect.high, digits, '+')}"


def _p(p: float) -> str:
    return NOT_THERE if p != p else "< 0.001" if p < 0.001 else f"{p:.3f}"
