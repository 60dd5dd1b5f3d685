"""What is said of the values of several seeds: their mean, its interval, and a paired test.

scipy is imported where a quantile or a test is asked for, and not with this file: a training prints a table
at its end, and would wait for that import at its start."""

from dataclasses import dataclass

import numpy as np

from selftrain.record import Record


@dataclass(frozen=True)
class Estimate:
    """Mean of n values and half width of its 95 % t interval (nan of one value)."""

    mean: float
    half_width: float
    n: int

    @classmethod
    def of(cls, values: list[float]) -> "Estimate | None":
        """The estimate from one value for each seed, or None from none."""
        if not values:
            return None
        n, half_width = len(values), float("nan")
        if n > 1:
            from scipy import stats

            half_width = float(stats.t.ppf(0.975, n - 1) * np.std(values, ddof=1) / n**0.5)
        return cls(float(np.mean(values)), half_width, n)

    def show(self, digits: int, sign: str = "") -> str:
        """`12.3` of one value, `12.3 ± 0.4` of several; sign: "+" prints the sign of positive means too."""
        mean = rounded(self.mean, digits, sign)
        return mean if self.n == 1 else f"{mean} ± {self.half_width:.{digits}f}"

    def numbers(self) -> dict[str, float | int | str]:
        """Mean, half width and n for a csv file."""
        half_width = "" if self.n < 2 else round(self.half_width, 4)
        return {"mean": round(self.mean, 4), "half_width_95": half_width, "n": self.n}


NO_NUMBERS = {"mean": "", "half_width_95": "", "n": 0}  # of a place where nothing ran


def rounded(value: float, digits: int, sign: str = "") -> str:
    """A number as it is printed, never as -0.0; sign: "+" prints the sign of positive numbers too."""
    return f"{round(value, digits) + 0.0:{sign}.{digits}f}"


def mean_interval(values: list[float], digits: int, sign: str = "") -> str:
    """Mean and interval of at least one value, as they are printed."""
    return Estimate.of(values).show(digits, sign)


def paired_p(differences: list[float]) -> float:
    """The two-sided p of the paired t test; nan of one difference, and where all are equal."""
    if len(differences) < 2 or float(np.std(differences)) == 0:
        return float("nan")
    from scipy import stats

    return float(stats.ttest_1samp(differences, 0.0).pvalue)


def decimals(records: list[Record]) -> int:
    """How many decimals of a score are printed: one where a score reaches 10, else two."""
    return 1 if max(r.score for r in records) >= 10 else 2
