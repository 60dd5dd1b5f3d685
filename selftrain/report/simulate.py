"""The statistics of the report on simulated studies whose truth is known.

    python -m selftrain.report.simulate --out results/simulations.md

What is simulated: `simulated.py`."""

import argparse
import math
from pathlib import Path

from selftrain.report.simulated import (
    IMAGES,
    RESAMPLES,
    Coverage,
    Detectable,
    Familywise,
    Truth,
    coverages,
    detectables,
    exact_coverage,
    familywise_all,
)
from selftrain.system.files import write_atomic

STUDIES = 2000  # simulated for each case of coverage; Holm needs fewer, and effects to be shown fewer still

_MODEL = """The score of cell k with seed s on image i is I(i) + G(s) + A(k, s) + C(k, i) + E(k, s, i). I
and G are common to all cells; A, C and E make the differences between cells. "What decides" names the largest
of their variances; `selftrain/report/simulated.py` has them all, and the rest of what is simulated."""

_COVERAGE = """`covered` is what the report prints: a variance of seeds and one of test images, and the
quantile of Cochran for their sum. `Satterthwaite` has the same variances and the usual degrees of freedom.
With three seeds it covers too little where the seeds decide most but not all: the estimated variance is too
small where the seeds happen to lie close together, and there the estimated degrees of freedom are largest, so
that both errors go the same way; a variance with two degrees of freedom is below a quarter of its true value
in 22 % of all studies. `seeds alone` is Student's t over seeds, which answers for other seeds on these test
images only."""

_HEAVY = """With heavy tails (t3: Student's t with 3 degrees of freedom; lognormal: skewed as well) no t
interval over three or five seeds holds its level exactly; where skewed seeds decide nearly alone, it covers
some 92 %. A seed that fails altogether is such a tail, and should be looked at, not averaged."""

_EXACT = """By numerical integration, with normal seeds: the least and the most that the intervals cover, over
all shares of the test images in the variance of the mean from 1 to 99 %. With three seeds they are up to two
points too careful, where the test images make most of the variance, and nowhere too bold."""

_FAMILYWISE = """In how many studies any contrast whose truth is 0 is called different from 0, at 5 %. Three
of the six tests are one-sided. Where three contrasts have true effects, the other three count."""

_DETECTABLE = f"""The smallest effect that the two-sided test at 5 % shows with 80 % power: as planned from
the true spreads of a study with 3 seeds and {IMAGES} test images, and as it comes out in studies of the size
that the row names."""


Results = tuple[list[Coverage], list[Familywise], list[Detectable]]


def simulate(n: int) -> Results:
    """All cases: n studies for each case of coverage, half as many for Holm, a quarter for effects shown."""
    return coverages(n), familywise_all(n // 2), detectables(n // 4)


def text(results: Results, n: int, command: str) -> str:
    """What stands in the results file; n: as in `simulate`."""
    found, wrong, shown = results
    parts = [
        "# The statistics on simulated studies with known truth",
        f"(Made by `{command}`: {IMAGES} test images unless said otherwise, {RESAMPLES} bootstrap "
        "resamples of them.)",
        _MODEL,
        "## What 95 % intervals cover",
        _size(n, 0.95),
        _COVERAGE,
        _table(
            ("what decides", "tails of seeds", "levels", "seeds", "covered", "Satterthwaite", "seeds alone"),
            [
                (each.truth.name, each.truth.tails, _levels(each.truth), str(each.seeds), *_shares(each))
                for each in found
            ],
        ),
        _HEAVY,
        _EXACT,
        _table(
            ("seeds", "covered", "Satterthwaite"),
            [(str(seeds), *_ranges(seeds)) for seeds in (2, 3, 4, 5, 10)],
        ),
        "## Wrong findings among six contrasts",
        _size(n // 2, 0.05),
        _FAMILYWISE,
        _table(
            ("what decides", "seeds", "contrasts with an effect", "after Holm", "uncorrected"),
            [
                (each.truth.name, str(each.seeds), "3 of 6" if each.others else "none")
                + (_percent(each.holm), _percent(each.uncorrected))
                for each in wrong
            ],
        ),
        "## Effects that a study can show",
        f"{n // 4:,} simulated studies a case.",
        _DETECTABLE,
        _table(
            ("what decides", "levels", "seeds", "test images", "planned", "simulated", "ratio"),
            [
                (each.truth.name, _levels(each.truth), str(each.seeds), str(each.images))
                + tuple(f"{number:.2f}" for number in (each.planned, each.simulated, each.ratio))
                for each in shown
            ],
        ),
    ]
    return "\n\n".join(part.replace("\n", " ") if part in _PROSE else part for part in parts) + "\n"


_PROSE = (_MODEL, _COVERAGE, _HEAVY, _EXACT, _FAMILYWISE, _DETECTABLE)  # a paragraph is one line there


def _levels(truth: Truth) -> str:
    return "nested" if truth.nested else "crossed"


def _shares(each: Coverage) -> list[str]:
    return [_percent(share) for share in (each.here, each.satterthwaite, each.seeds_alone)]


def _size(n: int, share: float) -> str:
    error = 100 * binomial_error(share, n)
    case = f"{n:,} simulated studies a case"
    return f"{case}: one standard error of a share near {100 * share:g} % is {error:.1f} points."


def _ranges(seeds: int) -> list[str]:
    """Least and most, of both kinds of intervals."""
    both = zip(*(exact_coverage(seeds, share / 100) for share in range(1, 100)))
    return [f"{_percent(min(each))} to {_percent(max(each))}" for each in both]


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _percent(share: float) -> str:
    return "" if math.isnan(share) else f"{100 * share:.1f} %"


def binomial_error(share: float, n: int) -> float:
    """The standard error of a share of n studies."""
    return math.sqrt(share * (1 - share) / n)


def main() -> None:
    """Simulates, and writes the results file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("results/simulations.md"),
        help="file to write (default: %(default)s)",
    )
    parser.add_argument(
        "--studies",
        type=int,
        default=STUDIES,
        help="simulated for each case of coverage, fewer for the rest (default: %(default)s)",
    )
    options = parser.parse_args()
    n, more = options.studies, "" if options.studies == STUDIES else f" --studies {options.studies}"
    command = f"python -m selftrain.report.simulate --out {options.out}{more}"
    content = text(simulate(n), n, command)
    write_atomic(options.out, lambda file: file.write(content.encode()))


if __name__ == "__main__":
    main()
