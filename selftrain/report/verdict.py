"""What a study's records say, and with what certainty: of pre-training and of self-training.

First stand the contrasts that were registered before the first run: few, and tested with Holm's correction
over all of them (`contrasts.py`).  Everything else is descriptive: differences paired by seed, each with an
interval of its own, uncorrected for their number (`effect.py` says what an interval covers).  A difference
*helps* or *hurts* where its interval leaves zero out, is *equivalent* where the interval lies inside the
margin, and else *open*; whether the training was long enough is said by the ladder (`ladder.py`), and which
arm to choose at which cost by the frontier (`frontier.py`)."""

from dataclasses import dataclass

from selftrain.record import Arm, Setting
from selftrain.report.comparison import (
    Question,
    answer,
    published_difference,
    questions,
    seconds_of_seed,
)
from selftrain.report.effect import Effect, chance_of_better
from selftrain.report.frontier import choices
from selftrain.report.ladder import Step, converged, steps
from selftrain.report.matrix import Matrix
from selftrain.report.places import place_name
from selftrain.report.power import settle
from selftrain.report.statistics import rounded
from selftrain.report.table import Table, tabulate

OF = " of the labels"


@dataclass(frozen=True)
class Signs:
    """How many comparisons have the paper's sign, and how many the other one."""

    same: int = 0
    other: int = 0

    def __str__(self) -> str:
        return f"{self.same} have its sign, {self.other} the other one"

    def plus(self, same: bool) -> "Signs":
        """With one comparison more."""
        return Signs(self.same + same, self.other + (not same))


def against_paper(matrix: Matrix) -> str | None:
    """Sentences on the comparisons that the paper prints too, each at the largest budget that both arms have.

    All signs are counted first; then those whose interval leaves zero out; then, where there is a ladder,
    those of them whose two arms had converged.  A count of the last kind alone would hold by construction.
    None where the paper has no such comparison."""
    every, clear, long_enough = Signs(), Signs(), Signs()
    opposite = []
    for question, setting, effect, paper in _printed(matrix):
        same = (effect.mean > 0) == (paper > 0)
        every = every.plus(same)
        if effect.clear:
            clear = clear.plus(same)
            if not same:
                opposite.append(f"{question.arm} against {question.base} at {place_name(setting)}")
            if all(converged(matrix, arm, setting) for arm in (question.arm.supervised, question.base)):
                long_enough = long_enough.plus(same)
    count = every.same + every.other
    if not count:
        return None
    which = f" ({'; '.join(opposite)})" if opposite else ""
    ladder = f" Of these, at budgets at which both starts had converged: {long_enough}."
    return (
        f"Comparisons that the paper prints too: {count}. Whatever their certainty, {every}. Where the "
        f"interval leaves zero out, {clear}{which}." + (ladder if matrix.cached("ladder", steps) else "")
    )


def _printed(matrix: Matrix) -> list[tuple[Question, Setting, Effect, float]]:
    """(question, place, effect, the paper's difference) of what the paper prints too."""
    found: dict[tuple, tuple[Question, Setting, Effect, float]] = {}
    for setting in matrix.places:  # from the lowest rung to the highest, which stays
        for question in questions(matrix, setting):
            paper = published_difference(matrix, question, setting)
            effect = answer(matrix, question, setting)
            if effect is not None and paper is not None and paper.mark != "recalled" and paper.value:
                ladder = matrix.without_budget(setting)
                found[question, ladder] = question, setting, effect, paper.value
    return list(found.values())


def overview(matrix: Matrix) -> Table:
    """The verdict at a glance: a row for each place, a column for each question."""

    def _cell(setting: Setting, question: Question) -> str:
        asked = question in questions(matrix, setting)
        effect = answer(matrix, question, setting) if asked else None
        if effect is None:
            return ""
        return f"{effect.word(matrix.margin)}, {rounded(effect.mean, matrix.digits, '+')}"

    return tabulate(
        "overview",
        "The verdict at a glance",
        matrix.places,
        [
            (f"Δ{matrix.metric}", lambda setting: place_name(setting, OF)),
            *((str(each), lambda setting, each=each: _cell(setting, each)) for each in questions(matrix)),
        ],
    )


def sentence(matrix: Matrix, question: Question, setting: Setting, effect: Effect) -> str:
    """What one comparison says; of an open one also what would settle it."""
    numbers = described(matrix, effect)
    if paper := published_difference(matrix, question, setting):
        numbers += f" (by the paper's scores: {paper.show('+')} {matrix.metric})"
    word = effect.word(matrix.margin)
    text = f"{question}: **{word}**: {numbers}"
    better = chance_of_better(effect)
    if better is not None:
        text += f"; better with a further seed: {chance(better)}"
    idle = [str(arm) for arm in (question.arm, question.base) if learned_nothing(matrix, arm, setting)]
    if idle:
        text += f"; {' and '.join(idle)} learned nothing"
    if word == "open":
        seconds = seconds_of_seed(matrix, question, setting)
        text += f". {settle(effect, matrix.margin, matrix.metric, seconds)}"
    return text


def described(matrix: Matrix, effect: Effect) -> str:
    """The numbers of a comparison that was not registered: no test; what its interval covers only where that
    is not the same in the whole study."""
    several = "; some" in matrix.cached("coverage", coverage)
    return effect.numbers(matrix.metric, matrix.digits, covers=several, p=False)


def chance(probability: float) -> str:
    """`P = 0.93`, never 0 or 1."""
    return (
        "P > 0.99" if probability > 0.99 else "P < 0.01" if probability < 0.01 else f"P = {probability:.2f}"
    )


def learned_nothing(matrix: Matrix, arm: Arm, setting: Setting) -> bool:
    """Whether no seed of an arm is better than the best answer that is one class everywhere, or than zero."""
    records = matrix.at(arm, setting).values()
    return bool(records) and all(r.score <= 1.01 * r.metrics.get("chance", 0.0) for r in records)


def coverage(matrix: Matrix) -> str:
    """What the intervals of a study cover: each kind that there is."""
    effects = [
        effect
        for setting in matrix.places
        for question in questions(matrix, setting)
        if (effect := answer(matrix, question, setting)) and effect.bounded
    ]
    return "; some ".join(dict.fromkeys(effect.covers for effect in effects)) or "nothing: one seed"


def ladder_sentence(matrix: Matrix, step: Step) -> str:
    """`random, T to 3T: **still gains**: +5.6 AP, 95 % interval +4.1 to +7.1, n = 3 seeds`."""
    numbers = described(matrix, step.gain)
    return f"{step.arm}, {step.name}: **{step.word(matrix.margin)}**: {numbers}"


def verdict(matrix: Matrix) -> list[tuple[str, list[str]]]:
    """(name of the place, sentences) for every place of the study, its rungs together: whether its training
    was long enough, each comparison at each rung, and the choice at each cost."""
    return [(place_name(place, OF), _sentences(matrix, place)) for place in matrix.ladders]


def _sentences(matrix: Matrix, ladder: Setting) -> list[str]:
    lines = [ladder_sentence(matrix, step) for step in matrix.cached("ladder", steps) if step.place == ladder]
    for setting in matrix.rungs(ladder):
        rung = place_name(setting.without(*ladder))
        for question in questions(matrix, setting):
            effect = answer(matrix, question, setting)
            if effect is not None:
                text = sentence(matrix, question, setting, effect)
                lines.append(f"{rung}: {text}" if rung else text)
    return lines + choices(matrix, ladder, described) or ["one arm only: nothing to compare"]
