"""What became of registered contrasts: their effects, and their tests, corrected for their number."""

import math
from dataclasses import dataclass

import numpy as np
from msgspec.structs import replace

from selftrain.record import Arm, Setting
from selftrain.report.contrasts import ABOVE, EITHER, Contrast, Term, Value, nearest
from selftrain.report.effect import Effect, Scores, effect_of_records, p_text
from selftrain.report.matrix import Matrix
from selftrain.report.places import place_name

ALPHA = 0.05  # the chance that any contrast of a study is called shown though its truth is zero


@dataclass(frozen=True)
class Tested:
    """A contrast and what the records say of it."""

    contrast: Contrast
    effect: Effect | None
    """None where no seed has every record that is needed"""
    p: float
    """one-sided where a direction was registered, else two-sided; nan where nothing can be tested"""
    p_holm: float
    """the same, corrected for all contrasts of the file"""
    word: str
    """`above zero` or `below zero` where that is shown; else equivalent, open or not tested"""
    missing: list[str]
    """records that are needed and not there, by arm, place and seeds"""

    def sentence(self, metric: str, digits: int) -> str:
        """What is said of it; metric: the study's main one, digits: decimals of a score."""
        lacking = f"; missing: {'; '.join(self.missing)}" if self.missing else ""
        head = f"{self.contrast.question} **{self.word}**"
        if self.effect is None:
            return head + lacking
        numbers = self.effect.numbers(unit(self.contrast, metric), digits)
        if math.isnan(self.p):
            return f"{head}: {numbers}{lacking}"
        expected = self.contrast.expect
        one_sided = "" if expected == EITHER else f"; expected {expected}, one-sided {p_text(self.p)}"
        return f"{head}: {numbers}{one_sided}; {p_text(self.p_holm, 'p after Holm')}{lacking}"


def unit(contrast: Contrast, metric: str) -> str:
    """What the number of a contrast is counted in; metric: the study's main one."""
    if any(term.share_of_missing for term in contrast.terms):
        return "% of what was missing"
    names = contrast.metrics(metric)
    return names.pop() if len(names) == 1 else "points"


def evaluate(matrix: Matrix, contrasts: list[Contrast], margin: float = 1.0) -> list[Tested]:
    """Every contrast of a file, tested together.

    A contrast that lacks records is not tested, and counts among the tests all the same: what was not
    measured must not make the others easier.  Holm's correction keeps the chance of any wrong finding among
    all of them at 5 %, whatever their dependence (Holm 1979, Scandinavian J. of Statistics 6, 65-70).
     margin: in the unit of the metric; within it an effect counts as equivalent to none.
    """
    found = [_numbers(matrix, contrast) for contrast in contrasts]
    ps = [p_of(effect, each.expect) if effect else math.nan for each, (effect, _) in zip(contrasts, found)]
    corrected = holm(ps)
    return [
        Tested(contrast, effect, p, p_holm, _word(contrast, effect, p_holm, margin), missing)
        for contrast, (effect, missing), p, p_holm in zip(contrasts, found, ps, corrected)
    ]


def p_of(effect: Effect, expect: str) -> float:
    """One-sided where a direction is expected, else two-sided; nan where there is no spread to test."""
    if expect == EITHER or math.isnan(effect.p):
        return effect.p
    towards = (effect.mean > 0) == (expect == ABOVE)
    return effect.p / 2 if towards else 1 - effect.p / 2


def holm(ps: list[float]) -> list[float]:
    """Holm's step-down correction: the smallest of m counts m times, the next m - 1 times, and never less
    than the one before.  What is nan counts as 1, and stays nan.
    """
    corrected, largest = [math.nan] * len(ps), 0.0
    for rank, at in enumerate(sorted(range(len(ps)), key=lambda at: 1.0 if math.isnan(ps[at]) else ps[at])):
        if not math.isnan(ps[at]):
            largest = max(largest, min(1.0, (len(ps) - rank) * ps[at]))
            corrected[at] = largest
    return corrected


def _word(contrast: Contrast, effect: Effect | None, p_holm: float, margin: float) -> str:
    if effect is None:
        return "not tested"
    if p_holm <= ALPHA:
        return (
            contrast.expect
            if contrast.expect != EITHER
            else f"{'above' if effect.mean > 0 else 'below'} zero"
        )
    if contrast.expect != EITHER and effect.clear and (effect.mean > 0) != (contrast.expect == ABOVE):
        return "open, and the interval lies on the other side of zero"
    shares = any(term.share_of_missing for term in contrast.terms)
    return "equivalent" if not shares and "equivalent" in effect.word(margin) else "open"


# ---- one number a seed ---------------------------------------------------------------------------------


def _numbers(matrix: Matrix, contrast: Contrast) -> tuple[Effect | None, list[str]]:
    """The effect over the seeds that have every record that is needed; and which records other seeds lack."""
    contrast, unknown = _of_study(matrix, contrast)
    if unknown:
        return None, unknown
    places = _places(matrix, contrast)
    if not places:
        return None, _nowhere(matrix, contrast)
    seeds_of = {
        (arm, setting): set(matrix.at(arm, setting))
        for term in contrast.terms
        for arm in term.arms
        for setting in _settings(term, places)
    }
    every, complete = set.union(*seeds_of.values()), sorted(set.intersection(*seeds_of.values()))
    missing = [
        f"{arm} at {place_name(setting)}" + (f" (seeds {', '.join(map(str, lacking))})" if seeds else "")
        for (arm, setting), seeds in seeds_of.items()
        if (lacking := sorted(every - seeds))
    ]
    if not complete:
        return None, missing
    effect = effect_of_records(
        [[matrix.at(*each)[seed] for each in seeds_of] for seed in complete],
        contrast.metrics(matrix.metric),
        lambda seed, scores: _number(matrix, contrast, places, complete[seed], scores),
    )
    if effect is None:
        missing.append("a share of what was missing, where nothing was")
    return effect, missing


def _of_study(matrix: Matrix, contrast: Contrast) -> tuple[Contrast, list[str]]:
    """The contrast without what its `where` says of things that are the same in all records; and which of its
    axes, values and scores no record has.

    Fields that do not differ are no axes of a study; with one budget only it is 1.
    """
    constant, known = set(), set.intersection(*(set(record.metrics) for record in matrix.records))
    unknown = [
        f"no score {name!r}{nearest(name, known)}" for name in sorted(contrast.metrics(matrix.metric) - known)
    ]
    for axis in {axis for term in contrast.terms for axis in term.where} - set(matrix.axes):
        values = {record.settings.get(axis, 1.0 if axis == "budget" else None) for record in matrix.records}
        listed = [corner[axis] for term in contrast.terms for corner in term.corners]
        if values == {None}:
            unknown.append(f"no record has an axis {axis!r}{nearest(axis, matrix.axes)}")
        elif any(value not in values for value in listed):
            unknown.append(f"no record with {axis} other than {', '.join(map(str, values))}")
        constant.add(axis)
    terms = [
        replace(term, where={axis: value for axis, value in term.where.items() if axis not in constant})
        for term in contrast.terms
    ]
    return replace(contrast, terms=tuple(terms)), unknown


def _places(matrix: Matrix, contrast: Contrast) -> list[Setting]:
    """The values of all axes that the contrast does not name, wherever every one of its terms has records.

    All its terms are taken at the same ones, or a sum would compare places and not arms.
    """
    named = list(contrast.terms[0].where)
    return [
        place
        for place in dict.fromkeys(place.without(*named) for place in matrix.places)
        if all(
            any(matrix.at(arm, setting) for setting in _settings(term, [place]))
            for term in contrast.terms
            for arm in term.arms
        )
        and any(
            matrix.stands(arm, setting)
            for term in contrast.terms
            for arm in term.arms
            for setting in _settings(term, [place])
        )
    ]


def _settings(term: Term, places: list[Setting]) -> list[Setting]:
    """Where a term is taken."""
    return [place.but(**corner) for place in places for corner in term.corners]


def _nowhere(matrix: Matrix, contrast: Contrast) -> list[str]:
    """What is missing of a contrast that no place has all of."""

    def _told(arm: Arm, corner: dict[str, Value]) -> str:
        where = place_name(Setting(corner))
        return f"{arm} at {where}" if where else str(arm)

    wanted = [(arm, corner) for term in contrast.terms for arm in term.arms for corner in term.corners]
    rest = [place.without(*contrast.terms[0].where) for place in matrix.places]
    missing = [
        _told(arm, corner)
        for arm, corner in wanted
        if not any(matrix.at(arm, place.but(**corner)) for place in rest)
    ]
    return list(dict.fromkeys(missing)) or ["a place where all its arms ran"]


def _number(
    matrix: Matrix, contrast: Contrast, places: list[Setting], seed: int, scores: Scores
) -> np.ndarray:
    """(1,): the contrast of a seed; or (1 + B,), followed by the same under each resample."""

    def _gain(term: Term, setting: Setting) -> np.ndarray:
        metric = term.metric or contrast.metric or matrix.metric
        score, *others = (scores(matrix.at(arm, setting)[seed], metric) for arm in term.arms)
        if not others:
            return score
        gain, lacking = score - others[0], 100 - others[0]
        with np.errstate(divide="ignore", invalid="ignore"):
            return 100 * gain / lacking if term.share_of_missing else gain

    return sum(
        term.weight * np.mean([_gain(term, setting) for setting in _settings(term, places)], axis=0)
        for term in contrast.terms
    )
