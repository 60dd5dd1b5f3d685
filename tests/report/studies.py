"""Studies made up of records, and what their verdict says."""

from selftrain.record import Record, Setting
from selftrain.report.longer import find_longer
from selftrain.report.matrix import Matrix
from selftrain.report.verdict import verdict
from tests.records import ARMS, made_up

ALL_S1 = Setting(policy="S1", fraction=1.0, labels="train")
ALL_S4 = ALL_S1.but(policy="S4")


def study(gains=(4.0, 5.0, 6.0), flat=True) -> Matrix:
    """Three seeds; imagenet ahead of random by `gains`, students ahead of their teachers by 1, 1 and -2."""
    records = []
    for seed, gain in enumerate(gains):
        for policy, fraction in (("S1", 1.0), ("S4", 1.0), ("S4", 0.2)):
            base = 30.0 + seed + 10 * fraction
            scores = (base, base + gain, base + (1, 1, -2)[seed], base + gain + 1)
            for arm, score in zip(ARMS, scores):
                records.append(made_up(arm, policy, fraction, seed, score, flat=flat))
    return Matrix("made-up", records)


def said(matrix: Matrix, place: str = "S1, 100 % of the labels") -> str:
    """The sentences of the verdict at a place."""
    return "\n".join(dict(verdict(matrix))[place])


def longer(matrix: Matrix, *records: Record) -> Matrix:
    """The study with another one beside it, of these records."""
    find_longer(matrix, [Matrix("longer", list(records))])
    return matrix
