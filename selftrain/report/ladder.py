"""Was the training long enough?  The paired gain from each rung of a study's ladder to the next.

Every supervised arm is trained at several budgets, such as T and 3T steps, each with a learning rate that
falls to zero at its own end.  Whether a curve is flat at its end says little: under a cosine the last quarter
of the steps holds 2.9 % of the sum of the learning rates, so that every curve flattens.  What three times the
steps bring is measured instead."""

from dataclasses import dataclass

from selftrain.record import Arm, Setting
from selftrain.report.comparison import compare
from selftrain.report.effect import Effect
from selftrain.report.matrix import Matrix
from selftrain.report.places import BUDGET, place_name, rung_name
from selftrain.report.table import Table, tabulate

LONGER = 2.99
"""So many times the steps must gain nothing for a budget to be long enough: 3, but for rounding"""


@dataclass(frozen=True)
class Step:
    """From one rung of an arm's ladder to a longer one."""

    arm: Arm
    place: Setting
    """without the budget"""
    low: float
    """budget of the lower rung"""
    high: float
    """budget of the longer one"""
    gain: Effect
    """what the longer training adds"""

    def word(self, margin: float) -> str:
        """What is said of the lower rung.

        *converged*: the whole interval of the gain lies below the margin, with `LONGER` times the steps or
        more; *still gains*: it lies above zero, and not below the margin; else *open*, as of one seed.
        """
        if self.gain.n < 2:
            return "open"
        if self.gain.high < margin:
            return "converged" if self.high >= LONGER * self.low else "open"
        return "still gains" if self.gain.low > 0 else "open"

    @property
    def name(self) -> str:
        """`T to 3T`."""
        return f"{rung_name(self.low)} to {rung_name(self.high)}"


def steps(matrix: Matrix) -> list[Step]:
    """Every step of every arm's ladder, in the order of tables; empty where the study has one budget.

    A rung is compared with the next one that is `LONGER` times as long, or else with the next one.
    """
    found = []
    for place in matrix.ladders:
        for arm in matrix.arms:
            rungs = [b for b in matrix.budgets if matrix.at(arm, place.but(**{BUDGET: b}))]
            if not all(matrix.stands(arm, place.but(**{BUDGET: b})) for b in rungs):
                continue
            for low, after in zip(rungs, rungs[1:]):
                high = next((rung for rung in rungs if rung >= LONGER * low), after)
                at = [place.but(**{BUDGET: budget}) for budget in (high, low)]
                gain = compare(matrix, arm, arm, *at)
                if gain is not None:
                    found.append(Step(arm, place, low, high, gain))
    return found


def converged(matrix: Matrix, arm: Arm, setting: Setting) -> bool | None:
    """Whether an arm's training at a place was long enough; None where no longer one tells.

    It was where the ladder says so of that rung or of a shorter one.
    """
    budget, place = setting.get(BUDGET), setting.without(BUDGET)
    found = None
    for step in matrix.cached("ladder", steps):
        if step.arm == arm and step.place == place and budget is not None and step.low <= budget:
            word = step.word(matrix.margin)
            if word == "converged":
                return True
            if step.low == budget and word == "still gains":
                found = False
    return found


def ladder_table(matrix: Matrix) -> Table | None:
    """A row for each step of a ladder; None where the study has one budget."""
    rows = matrix.cached("ladder", steps)
    if not rows:
        return None

    def _score(row: Step, budget: float) -> str:
        return matrix.score(row.arm, row.place.but(**{BUDGET: budget})).show(matrix.digits)

    def _numbers(row: Step) -> list[dict]:
        names = {"arm": str(row.arm), **row.place, "from": row.low, "to": row.high}
        return [names | row.gain.csv() | {"word": row.word(matrix.margin)}]

    return tabulate(
        "ladder",
        f"Was the training long enough? ({matrix.metric})",
        rows,
        [
            ("arm", lambda row: f"{place_name(row.place)}: {row.arm}"),
            ("rungs", lambda row: row.name),
            ("shorter", lambda row: _score(row, row.low)),
            ("longer", lambda row: _score(row, row.high)),
            ("gain", lambda row: row.gain.show(matrix.digits, "+")),
            ("the shorter one", lambda row: row.word(matrix.margin)),
            ("n", lambda row: str(row.gain.n)),
        ],
        "gain: paired by seed, with its 95 % interval; *converged*: the interval lies below "
        f"{matrix.margin:g} {matrix.metric}, with three times the steps or more; *still gains*: it lies "
        "above zero; T is the study's budget for a policy, 3T three times as many steps with a schedule of "
        "their own",
        _numbers,
    )
