"""What a learning curve says: whether it had flattened, and at which step it first reached a score.

A curve is a list of points, `{"step": 100, "AP": 12.3, ...}`, one for each evaluation on the val split, in
the order of the steps."""

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


def steps_to(curve: list[dict], metric: str, target: float) -> int | None:
    """First evaluated step at which the curve reaches `target`, or None; never an interpolation."""
    return next((p["step"] for p in curve if p[metric] >= target), None)
