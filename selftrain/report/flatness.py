"""Whether a cell's curve had flattened at the end of its schedule.

Where it had not, the schedule may have decided a comparison in the arms' place.
"""

from selftrain.record import Record

# of several seeds the first of these that is one's is told
REASONS = ("still rising", "fell at the end", "learned nothing", "too few points to tell")
# the share of its last value that a flat curve may still gain, or lose, over the last quarter of its steps
FLAT = 0.02


def flattened(curve: list[dict], metric: str) -> bool | None:
    """Whether the curve gained, or lost, under 2 % of its last value over the last quarter of the steps.

    None for under 4 points, and where nothing was learned.  It is said of this schedule: where the learning
    rate decays to zero a longer one may still go further."""
    gain = last_quarter(curve, metric)
    return None if gain is None else abs(gain) < FLAT


def last_quarter(curve: list[dict], metric: str) -> float | None:
    """Gain over the last quarter of the steps, as a share of the last value; None as above."""
    last = curve[-1]
    before = max(
        (p for p in curve if p["step"] <= 0.75 * last["step"]), key=lambda p: p["step"], default=None
    )
    return (
        None
        if len(curve) < 4 or before is None or last[metric] <= 0
        else (last[metric] - before[metric]) / last[metric]
    )


def why_not_flat(record: Record) -> str | None:
    """Why a cell's curve cannot be said to have flattened; None where it had.

    It is judged by the curve itself.
    """
    curve, metric = record.curve, record.metric
    # mIoU of one class everywhere: flat, and nothing learned
    if record.score <= 1.01 * record.metrics.get("chance", 0.0):
        return "learned nothing"
    if flattened(curve, metric):
        return None
    if (gain := last_quarter(curve, metric)) is None:
        return "learned nothing" if curve[-1][metric] <= 0 else "too few points to tell"
    return "still rising" if gain > 0 else "fell at the end"


def dagger(marked: object) -> str:
    """The mark of a place where a curve had not flattened, or nothing."""
    return " †" if marked else ""
