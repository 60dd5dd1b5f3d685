"""The ladder of a study: the budgets that its arms are trained for, each a multiple of a base budget T.

A schedule decays to zero over its own steps, so a longer run is no continuation of a shorter one: every rung
is a cell of its own.  What a rung is follows from the steps of a cell or of a record alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Ladder:
    """The rungs of a study.  Without arguments it is a single rung, whatever its steps."""

    base: Mapping[str, int] = field(default_factory=dict)
    """T, the steps of budget 1, of each policy"""
    budgets: tuple[float, ...] = (1.0,)
    """multiples of T that are asked for, from the smallest"""
    students: tuple[float, ...] = (1.0,)
    """those of them that students are trained for too"""

    def steps(self, policy: str, budget: float) -> int:
        """The optimizer steps of a policy's cells at a budget."""
        return round(budget * self.base[policy])

    def budget(self, policy: str, steps: int) -> float:
        """Which multiple of T so many steps are; 1 for a policy whose T is not known."""
        if policy not in self.base:
            return 1.0
        asked = (budget for budget in self.budgets if self.steps(policy, budget) == steps)
        return next(asked, steps / self.base[policy])

    def title(self, budget: float) -> str:
        """A rung with its steps, for a person: `3T = 6,000 steps`, or `3T = 6,000 (S1), 9,000 (S4) steps`."""
        steps = {policy: self.steps(policy, budget) for policy in sorted(self.base)}
        if len(set(steps.values())) == 1:
            return f"{budget_name(budget)} = {next(iter(steps.values())):,} steps"
        each = ", ".join(f"{number:,} ({policy})" for policy, number in steps.items())
        return f"{budget_name(budget)} = {each} steps"

    def __str__(self) -> str:
        """All rungs, and which of them have students."""
        students = " and ".join(map(budget_name, self.students))
        return f"budgets: {'; '.join(map(self.title, self.budgets))}" + (
            f"; students at {students}" if students else ""
        )


ONE_RUNG = Ladder()
"""of cells and records whose steps are no matter"""


def budget_name(budget: float) -> str:
    """`T` or `3T`."""
    return "T" if budget == 1 else f"{budget:g}T"
