"""What became of registered contrasts: their effects, and their tests, corrected for their number.

A contrast that was written, or changed, with results in view tests nothing.  Whether one was, the records
say: each names the hash of the contrasts that it was run under."""

import math
from collections.abc import Collection
from dataclasses import dataclass, field, replace

import numpy as np
from msgspec.structs import replace as replace_fields

from selftrain.record import Arm, Record, Setting
from selftrain.report.contrasts import ABOVE, EITHER, Contrast, Registered, Term, Value, nearest
from selftrain.report.effect import Effect, Scores, effect_of_records, p_text
from selftrain.report.matrix import Matrix
from selftrain.report.places import place_name
from selftrain.report.statistics import rounded

NOT_TESTED = "not tested"
ALPHA = 0.05  # the chance that any contrast of a study is called shown though its truth is zero


@dataclass(frozen=True)
class Tested:
    """A contrast and what the records say of it."""

    contrast: Contrast
    effect: Effect | None
    """None where no seed has every record that is needed"""
    p: float
    """one-sided where a direction was registered, else two-sided; nan where nothing can or may be tested"""
    p_holm: float
    """the same, corrected for all contrasts of the file"""
    word: str
    """`above zero` or `below zero` where that is shown; else equivalent, open or not tested; descriptive
    where it may not be tested"""
    missing: list[str]
    """records that are needed and not there, by arm, place and seeds"""
    records: list[Record] = field(default_factory=list, repr=False)
    """those that its number is made of"""

    @property
    def bound(self) -> tuple[str, float] | None:
        """`at least` or `at most` and the end of the one-sided 95 % interval, where a direction was
        registered: it leaves zero out exactly where the one-sided p is below 5 %.  None where there is none.
        """
        if self.contrast.expect == EITHER or not self.effect or not self.effect.bounded:
            return None
        both_sides = self.effect.at_level(1 - 2 * ALPHA)
        above = self.contrast.expect == ABOVE
        return ("at least", both_sides.low) if above else ("at most", both_sides.high)

    def sentence(self, metric: str, digits: int) -> str:
        """What is said of it; metric: the study's main one, digits: decimals of a score."""
        lacking = f"; missing: {'; '.join(self.missing)}" if self.missing else ""
        head = f"{self.contrast.question} **{self.word}**"
        if self.effect is None:
            return head + lacking
        tested, expected = not math.isnan(self.p), self.contrast.expect
        numbers = self._numbers(unit(self.contrast, metric), digits, tested)
        if not tested:
            return f"{head}: {numbers}{lacking}"
        one_sided = "" if expected == EITHER else f"; expected {expected}, one-sided {p_text(self.p)}"
        return f"{head}: {numbers}{one_sided}; {p_text(self.p_holm, 'p after Holm')}{lacking}"

    def _numbers(self, unit_of: str, digits: int, tested: bool) -> str:
        """The effect with its interval, or with the bound on the side that was registered."""
        effect, bound = self.effect, self.bound
        if bound is None:
            return effect.numbers(unit_of, digits, p=tested)
        side, end = bound
        seeds = "one seed" if effect.n == 1 else f"n = {effect.n} seeds"
        mean, end = (rounded(value, digits, "+") for value in (effect.mean, end))
        return f"{mean} {unit_of}, {side} {end} with 95 % confidence ({effect.covers}), {seeds}"


def unit(contrast: Contrast, metric: str) -> str:
    """What the number of a contrast is counted in; metric: the study's main one."""
    if any(term.share_of_missing for term in contrast.terms):
        return "% of what was missing"
    names = contrast.metrics(metric)
    return names.pop() if len(names) == 1 else "points"


def evaluate(
    matrix: Matrix,
    contrasts: list[Contrast],
    margin: float = 1.0,
    *,
    seeds: Collection[int] | None = None,
    hash_of_file: str | None = None,
) -> list[Tested]:
    """Every contrast of a file, tested together.

    A contrast that lacks records, or has one seed, is not tested, and counts among the tests all the same:
    what was not measured must not make the others easier.  Holm's correction keeps the chance of any wrong
    finding among all of them at 5 %, whatever their dependence (Holm 1979, Scandinavian J. of Statistics 6,
    65-70).

    The 5 % presuppose that the contrasts, the places that they are taken at and the number of seeds were
    chosen before any result was seen: whoever adds seeds until an answer comes finds one more often (Simmons
    et al. 2011, Psychological Science 22, 1359-1366).  They presuppose too that the numbers of seeds are
    about normal and independent.

    margin: in the unit of the metric; within it an effect counts as equivalent to none.  seeds: the planned
    ones, which alone count; default all.  hash_of_file: of the contrasts; nothing is tested unless every
    record that is used names it, and by default no record is asked.
    """
    found = [_numbers(matrix, contrast, seeds) for contrast in contrasts]
    if hash_of_file is not None and unsigned(found, hash_of_file):
        return [replace(each, word="descriptive") if each.effect else each for each in found]
    ps = [p_of(each.effect, each.contrast.expect) if each.effect else math.nan for each in found]
    return [
        replace(each, p=p, p_holm=p_holm, word=_word(each.contrast, each.effect, p_holm, margin))
        for each, p, p_holm in zip(found, ps, holm(ps))
    ]


def evaluate_registered(matrix: Matrix) -> list[Tested]:
    """What became of the contrasts that stand beside a study's records."""
    registered: Registered = matrix.registered
    of_file = {"seeds": registered.seeds, "hash_of_file": registered.hash}
    return evaluate(matrix, registered.contrasts, matrix.margin, **of_file)


def unsigned(rows: list[Tested], hash_of_file: str) -> list[Record]:
    """The records that some contrasts are made of and that were not run under their file."""
    return [record for record in used(rows) if record.contrasts != hash_of_file]


def used(rows: list[Tested]) -> list[Record]:
    """The records that some contrasts are made of, each once."""
    return list({record.key: record for row in rows for record in row.records}.values())


def p_of(effect: Effect, expect: str) -> float:
    """One-sided where a direction is expected, else two-sided; nan where there is no spread to test, and of
    one seed: its test images alone tell nothing of others.
    """
    if effect.n < 2 or not effect.spread:
        return math.nan
    if expect == EITHER:
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
    if effect is None or effect.n < 2:
        return NOT_TESTED
    if not effect.spread:
        return "open"
    if p_holm <= ALPHA:
        return (
            contrast.expect
            if contrast.expect != EITHER
            else f"{'above' if effect.mean > 0 else 'below'} zero"
        )
    if contrast.expect != EITHER and effect.clear and (effect.mean > 0) != (contrast.expect == ABOVE):
        return "open, and the two-sided interval lies on the other side of zero"
    shares = any(term.share_of_missing for term in contrast.terms)
    return "equivalent" if not shares and "equivalent" in effect.word(margin) else "open"


# ---- one number a seed ---------------------------------------------------------------------------------


def _numbers(matrix: Matrix, asked: Contrast, planned: Collection[int] | None) -> Tested:
    """The effect over the seeds that have every record that is needed, and which records other seeds lack;
    not tested yet.

    planned: the seeds that count; None: all.
    """
    contrast, missing = _of_study(matrix, asked)
    places: list[Setting] = []
    if not missing:
        places, missing = _places(matrix, contrast)
    if not places:
        return Tested(asked, None, math.nan, math.nan, NOT_TESTED, missing)
    seeds_of = {
        (arm, setting): set(matrix.at(arm, setting))
        for term in contrast.terms
        for arm in term.arms
        for setting in _settings(term, places)
    }
    every = set.union(*seeds_of.values())
    counted = every if planned is None else every & set(planned)
    complete = sorted(set.intersection(counted, *seeds_of.values()))
    if never := sorted(set(planned or ()) - every):
        missing.append(f"record of {_seed_names(never)}")
    missing += [
        f"{arm} at {place_name(setting)}" + (f" ({_seed_names(lacking)})" if seeds & counted else "")
        for (arm, setting), seeds in seeds_of.items()
        if (lacking := sorted(counted - seeds))
    ]
    of_seeds = [[matrix.at(*each)[seed] for each in seeds_of] for seed in complete]
    effect = effect_of_records(
        of_seeds,
        contrast.metrics(matrix.metric),
        lambda seed, scores: _number(matrix, contrast, places, complete[seed], scores),
    )
    if of_seeds and effect is None:
        missing.append("a share of what was missing, where nothing was")
    records = [record for each in of_seeds for record in each] if effect else []
    return Tested(asked, effect, math.nan, math.nan, NOT_TESTED, missing, records)


def _seed_names(seeds: list[int]) -> str:
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"


def _of_study(matrix: Matrix, contrast: Contrast) -> tuple[Contrast, list[str]]:
    """The contrast without what its `where` says of things that are the same in all records; and which of its
    axes, values and scores no record has.

    Fields that do not differ are no axes of a study; with one budget only it is 1.
    """
    constant, known = set(), set.intersection(*map(_numeric, matrix.records))
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
        replace_fields(
            term, where={axis: value for axis, value in term.where.items() if axis not in constant}
        )
        for term in contrast.terms
    ]
    return replace_fields(contrast, terms=tuple(terms)), unknown


def _numeric(record: Record) -> set[str]:
    """The names of a record's scores that are one number: others hold one for each class."""
    scores = record.metrics.items()
    return {name for name, value in scores if isinstance(value, int | float) and not isinstance(value, bool)}


def _places(matrix: Matrix, contrast: Contrast) -> tuple[list[Setting], list[str]]:
    """The values of all axes that the contrast does not name, wherever every one of its terms has records;
    and which arms are missing at the places where others have some.

    All its terms are taken at the same ones, or a sum would compare places and not arms.
    """
    named = list(contrast.terms[0].where)
    found: list[Setting] = []
    lacking: dict[str, None] = {}
    for place in dict.fromkeys(place.without(*named) for place in matrix.places):
        each = [(arm, _settings(term, [place])) for term in contrast.terms for arm in term.arms]
        if not any(matrix.at(arm, s) and matrix.stands(arm, s) for arm, settings in each for s in settings):
            continue
        gone = [(arm, settings) for arm, settings in each if not any(matrix.at(arm, s) for s in settings)]
        if not gone:
            found.append(place)
            continue
        absent = [(arm, setting) for arm, settings in gone for setting in settings]
        lacking |= {
            f"{arm} at {place_name(setting)}": None
            for arm, setting in absent
            if "labels" in named or not _with_other_labels(matrix, arm, setting)
        }
    return (found, list(lacking)) if found else ([], _nowhere(matrix, contrast))


def _with_other_labels(matrix: Matrix, arm: Arm, setting: Setting) -> bool:
    """Whether a student stands there by the kind of labels that students have, and its teacher has not."""
    return arm.rounds > 0 and any(matrix.at(arm, setting.but(labels=kind)) for kind in matrix.kinds)


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
