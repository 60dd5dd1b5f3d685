"""How numbers are printed, and how many decimals they have."""

from selftrain.record import Record

NO_NUMBERS = {"mean": "", "half_width_95": "", "n": 0}  # of a place where nothing ran


def rounded(value: float, digits: int, sign: str = "") -> str:
    """A number as it is printed, never as -0.0; sign: "+" prints the sign of positive numbers too."""
    return f"{round(value, digits) + 0.0:{sign}.{digits}f}"


def decimals(records: list[Record]) -> int:
    """How many decimals of a score are printed: one where a score reaches 10, else two."""
    return 1 if max(r.score for r in records) >= 10 else 2
