"""At which evaluated step a curve reaches the final score of another's, and the speed-up that this is."""

from selftrain.curve import steps_to
from selftrain.record import Record


def steps_to_final(record: Record, base: Record) -> int | None:
    """The first evaluated step at which a curve reaches the last main score of `base`'s curve, or None."""
    return steps_to(record.curve, record.metric, base.curve[-1][record.metric])


def speed_up(of_random: int, of_start: int, first: int) -> tuple[float, str]:
    """(ratio, as it is printed) of the steps of the random arm and of another.

    first: the step of the first evaluation; who was there then may have been there before.
    """
    ratio = of_random / of_start
    if of_random == first == of_start:
        return ratio, "unknown"
    return ratio, f"{'≥ ' if of_start == first else '≤ ' if of_random == first else ''}{ratio:.1f}x"


def steps_range(steps: list[int | None], first: int) -> str:
    """`100 to 300`; `≤ 100` of the first step that was evaluated."""
    there = [step for step in steps if step is not None]
    if not there:
        return "not reached"
    ends = dict.fromkeys((min(there), max(there)))
    return " to ".join(f"{'≤ ' if step == first else ''}{step:,}" for step in ends)
