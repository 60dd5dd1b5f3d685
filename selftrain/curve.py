"""What a learning curve says: at which step it first reached a score.

A curve is a list of points, `{"step": 100, "AP": 12.3, ...}`, one for each evaluation on the val split, in
the order of the steps."""


def steps_to(curve: list[dict], metric: str, target: float) -> int | None:
    """First evaluated step at which the curve reaches `target`, or None; never an interpolation."""
    return next((p["step"] for p in curve if p[metric] >= target), None)
