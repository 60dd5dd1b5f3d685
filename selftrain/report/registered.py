"""The contrasts that a study registers where no file was written by hand."""

from selftrain.record import RANDOM, Arm
from selftrain.report.contrasts import ABOVE, EITHER, Contrast, Term, Value
from selftrain.report.places import multiple

MOST = 6  # each further contrast makes all of them harder to show: Holm's correction
EQUAL_COST = 3.0  # a student of one pseudo-labelled image beside each human one, and its teacher


def default_contrasts(
    arms: list[Arm],
    policies: list[str],
    fractions: list[float],
    budgets: list[float],
    equal_cost: float | None = EQUAL_COST,
) -> list[Contrast]:
    """At most six contrasts that the arms of a study can answer; none where it has nothing to compare.

    Pre-training, at the largest budget, as a mean over places; the same at the strongest policy with most
    labels, where the paper finds the opposite (Zoph et al. 2020, Table 2); self-training over the supervised
    run of the same budget; and over the one of equal cost, where a rung has it.  Each is asked of every
    start, or, where that would be more than six, of all starts together.

    budgets: multiples of the smallest number of steps, or steps.  equal_cost: the budget that sees as many
    images as a teacher of budget 1 and its student together; None where not all students have the same.
    """
    smallest, largest = min(budgets), max(budgets)
    starts = [arm for arm in arms if not arm.methods and arm.freeze == "none"]
    students = [arm for arm in arms if arm.methods == ("self-training",) and arm.freeze == "none"]
    pairs = [(start, RANDOM) for start in starts if start != RANDOM and RANDOM in starts]
    taught = [(student, student.supervised) for student in students if student.supervised in starts]
    # said even where there is one: a rung that is added later changes no contrast
    where: dict[str, Value] = {"budget": multiple(largest / smallest)}
    groups = [[_gain(which, where) for which in _each_or_all(pairs)]]
    if len(policies) > 1 or len(fractions) > 1:
        strongest = {"policy": max(policies), "fraction": max(fractions)} | where
        groups.append([_reversal(which, strongest) for which in _each_or_all(pairs)])
    first: dict[str, Value] = {"budget": 1.0}
    groups.append([_student(which, first) for which in _each_or_all(taught)])
    if equal_cost is not None and multiple(equal_cost) in {multiple(each / smallest) for each in budgets}:
        groups.append([_equal_cost(which, multiple(equal_cost)) for which in _each_or_all(taught)])
    return _at_most(groups)


Pairs = list[tuple[Arm, Arm]]


def _each_or_all(pairs: Pairs) -> list[Pairs]:
    """Each pair alone, and at the end, where there are several, all together."""
    return [[pair] for pair in pairs] + ([pairs] if len(pairs) > 1 else [])


def _at_most(groups: list[list[Contrast]]) -> list[Contrast]:
    """The contrasts of single pairs; from the last group on those of all pairs together, if they are too
    many."""
    singles = [group[:-1] if len(group) > 1 else group for group in groups]
    for number in reversed(range(len(groups))):
        if sum(map(len, singles)) > MOST and len(groups[number]) > 1:
            singles[number] = groups[number][-1:]
    return [contrast for group in singles for contrast in group]


def _mean_gain(pairs: Pairs, where: dict[str, Value]) -> tuple[Term, ...]:
    return tuple(Term(weight=1 / len(pairs), arm=arm, over=base, where=where) for arm, base in pairs)


def _names(arms: list[Arm]) -> str:
    return " and ".join(str(arm) for arm in arms)


def _how_long(where: dict[str, Value]) -> str:
    """Said as a number: which budget is the largest changes with every rung that is added."""
    return f", trained {where['budget']:g} times as long" if where["budget"] > 1 else ""


def _gain(pairs: Pairs, where: dict[str, Value]) -> Contrast:
    starts = _names([arm for arm, _ in pairs])
    return Contrast(
        name=f"starting from {starts}",
        question=f"Is a start from {starts} better than a random one{_how_long(where)}?",
        expect=ABOVE,
        terms=_mean_gain(pairs, where),
    )


def _reversal(pairs: Pairs, where: dict[str, Value]) -> Contrast:
    starts, policy = _names([arm for arm, _ in pairs]), where["policy"]
    return Contrast(
        name=f"starting from {starts}, {policy} and most labels",
        question=f"And with the strongest augmentation ({policy}) and most labels{_how_long(where)}: "
        f"does a start from {starts} help there, or hurt?",
        expect=EITHER,
        terms=_mean_gain(pairs, where),
    )


def _student(pairs: Pairs, where: dict[str, Value]) -> Contrast:
    starts = _names([base for _, base in pairs])
    return Contrast(
        name=f"self-training from {starts}",
        question=f"Is a student better than its teacher, from {starts}?",
        expect=ABOVE,
        terms=_mean_gain(pairs, where),
    )


def _equal_cost(pairs: Pairs, budget: float) -> Contrast:
    starts, share = _names([base for _, base in pairs]), 1 / len(pairs)
    terms = []
    for student, supervised in pairs:
        terms.append(Term(weight=share, arm=student, where={"budget": 1.0}))
        terms.append(Term(weight=-share, arm=supervised, where={"budget": budget}))
    return Contrast(
        name=f"self-training at equal cost from {starts}",
        question="Is a student better than a supervised run of as many images as it and its teacher saw, "
        f"from {starts}?",
        expect=EITHER,
        terms=tuple(terms),
    )
