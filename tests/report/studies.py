"""Studies made up of records, and what their verdict says."""

from selftrain.record import RANDOM, Setting
from selftrain.report.matrix import Matrix
from selftrain.report.verdict import verdict
from tests.records import ARMS, IMAGENET, IMAGENET_STUDENT, RANDOM_STUDENT, made_up

ALL_S1 = Setting(policy="S1", fraction=1.0, labels="train")
ALL_S4 = ALL_S1.but(policy="S4")


def study(gains=(4.0, 5.0, 6.0)) -> Matrix:
    """Three seeds; imagenet ahead of random by `gains`, students ahead of their teachers by 1, 1 and -2."""
    records = []
    for seed, gain in enumerate(gains):
        for policy, fraction in (("S1", 1.0), ("S4", 1.0), ("S4", 0.2)):
            base = 30.0 + seed + 10 * fraction
            scores = (base, base + gain, base + (1, 1, -2)[seed], base + gain + (0.9, 1, 1.1)[seed])
            for arm, score in zip(ARMS, scores):
                records.append(made_up(arm, policy, fraction, seed, score))
    return Matrix("made-up", records)


def ladder(margin: float = 1.0) -> Matrix:
    """Three seeds at T and 3T, S1.  Of random the three gain 9, 10 and 11 points by the longer training, of
    imagenet 0.1, 0.2 and 0.3; students of T are 2 (random) and 1 point ahead of their teachers."""
    records = []
    for seed in range(3):
        ahead = 60.0 + (seed - 1) / 10
        for arm, score, gain in ((RANDOM, 40.0, 9.0 + seed), (IMAGENET, ahead, 0.1 + seed / 10)):
            records.append(made_up(arm, seed=seed, score=score + 2 * seed))
            records.append(made_up(arm, seed=seed, score=score + 2 * seed + gain, steps=2400))
        for arm, score in ((RANDOM_STUDENT, 42.0), (IMAGENET_STUDENT, ahead + 1)):
            records.append(made_up(arm, seed=seed, score=score + 2 * seed + seed / 10))
    return Matrix("ladder", records, margin)


def said(matrix: Matrix, place: str = "S1, 100 % of the labels") -> str:
    """The sentences of the verdict at a place."""
    return "\n".join(dict(verdict(matrix))[place])
