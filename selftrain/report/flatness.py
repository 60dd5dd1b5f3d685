"""Whether a cell's curve had flattened at the end of its schedule.

Where it had not, the schedule may have decided a comparison in the arms' place.
"""

from selftrain.curve import flattened, last_quarter
from selftrain.record import Record

# of several seeds the first of these that is one's is told
REASONS = ("still rising", "fell at the end", "learned nothing", "too few points to tell")


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
