"""What a study's records say, and with what certainty: of pre-training and of self-training.

Every statement rests on differences paired by seed: their mean, its 95 % t interval and the paired t test's p
(two-sided, not corrected for the number of statements).  It is `no evidence either way` when the interval
spans zero or there is one seed, and `under-trained` when a curve had not flattened (under 2 % relative gain,
or loss, over the last quarter of the steps): then the schedule, not the arm, may have decided.  A flat curve
is the end of its own schedule, no proof that a longer one brings nothing: which arm to choose at equal cost
is said in `choice.py`."""

from selftrain.record import Arm, Setting
from selftrain.report.choice import choice
from selftrain.report.comparison import Comparison, compare, pairs, published_difference, question
from selftrain.report.matrix import Matrix
from selftrain.report.places import place_name
from selftrain.report.published import Number
from selftrain.report.statistics import rounded
from selftrain.report.table import Table, tabulate


def against_paper(matrix: Matrix) -> str | None:
    """One sentence on the places that the paper has too.

    It says in how many of them the measured effect has the paper's sign, the other one, or is not known.
    None where the paper has no such place."""
    agreeing, open_, contradicting = 0, 0, []
    for setting in matrix.places:
        for arm, base in pairs(matrix, setting):
            comparison = compare(matrix, arm, base, setting)
            paper = published_difference(matrix, arm, base, setting)
            if comparison is None or paper is None or paper.mark == "recalled":
                continue
            if comparison.word not in ("helps", "hurts"):
                open_ += 1
            elif (comparison.word == "helps") == (paper.value > 0):
                agreeing += 1
            else:
                contradicting.append(f"{arm} against {base} at {place_name(setting)}")
    if not (agreeing or contradicting or open_):
        return None
    which = f" ({'; '.join(contradicting)})" if contradicting else ""
    return (
        f"Comparisons that the paper prints too: {agreeing + len(contradicting) + open_}. "
        f"Of these {agreeing} have its sign, {len(contradicting)} the other one{which}, "
        f"and {open_} are without evidence or under-trained here."
    )


def overview(matrix: Matrix) -> Table:
    """The verdict at a glance: a row for each place, a column for each question."""

    def _cell(setting: Setting, arm: Arm, base: Arm) -> str:
        asked = (arm, base) in pairs(matrix, setting)
        comparison = compare(matrix, arm, base, setting) if asked else None
        if comparison is None:
            return ""
        word = comparison.word.removesuffix(" either way")
        return f"{word}, {rounded(comparison.effect.mean, matrix.digits, '+')}"

    return tabulate(
        "overview",
        "The verdict at a glance",
        matrix.places,
        [
            (f"Δ{matrix.metric}", _place),
            *((question(*pair), lambda setting, pair=pair: _cell(setting, *pair)) for pair in pairs(matrix)),
        ],
    )


def sentence(arm: Arm, base: Arm, comparison: Comparison, matrix: Matrix, paper: Number | None) -> str:
    """What one comparison says."""
    subject, numbers = question(arm, base), comparison.numbers(matrix.metric, matrix.digits)
    if paper:
        numbers += f" (by the paper's scores: {paper.show('+')} {matrix.metric})"
    if comparison.word == "under-trained":
        rising = comparison.rising
        reasons = [
            f"{' and '.join(str(each) for each in rising if rising[each] == why)} {why}"
            for why in dict.fromkeys(rising.values())
        ]
        why = ", ".join(reasons)
        return f"{subject}: **under-trained** ({why}): {numbers}; the schedule may have decided"
    if comparison.word == "no evidence either way":
        return f"{subject}: **no evidence either way**: {numbers}"
    return f"{subject} **{comparison.word}**: {numbers}"


def verdict(matrix: Matrix) -> list[tuple[str, list[str]]]:
    """(name of the place, sentences) for every place of the study."""
    return [(_place(setting), _sentences(matrix, setting)) for setting in matrix.places]


def _sentences(matrix: Matrix, setting: Setting) -> list[str]:
    lines = [
        sentence(*pair, comparison, matrix, published_difference(matrix, *pair, setting))
        for pair in pairs(matrix, setting)
        if (comparison := compare(matrix, *pair, setting))
    ]
    return lines + choice(matrix, setting) or ["one arm only: nothing to compare"]


def _place(setting: Setting) -> str:
    return place_name(setting, " of the labels")
