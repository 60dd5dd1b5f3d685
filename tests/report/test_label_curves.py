"""Error curves over labels, and readings of one against another: exact where there is no noise."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selftrain.report.label_curves import REACH, Curves
from selftrain.report.label_lines import Points

LABELS = np.array([50.0, 100.0, 200.0, 500.0, 1000.0])


def points(errors, labels=LABELS, seeds=3, noise=0.0) -> Points:
    """Runs with errors of a function of the labels; noise: a fixed zigzag of this size between seeds."""
    which, every = np.tile(labels, seeds), np.repeat(np.arange(seeds), len(labels))
    zigzag = noise * np.array([1.0, -1.0, 0.0, 0.5, -0.5])[every % 5] * np.where(which % 200 == 0, 1, -1)
    return Points(which, every, errors(which) + zigzag)


def curve(a, b, g):
    return lambda n: a + b * (n / LABELS[0]) ** -g


def test_a_case_by_hand():
    """20 + 400 / sqrt(n) against 20 + 200 / sqrt(n): half of b is worth four times the labels."""
    curves = Curves(
        {"base": points(lambda n: 20 + 400 / n**0.5), "other": points(lambda n: 20 + 200 / n**0.5)}
    )
    assert curves.exponent("base") == pytest.approx(0.5, abs=1e-4)
    needed = curves.read("other", "base", 200)
    assert needed.value.labels == pytest.approx(800, rel=1e-3) and needed.value.beyond == 0
    assert needed.low.labels == pytest.approx(800, rel=1e-2)
    assert needed.high.labels == pytest.approx(800, rel=1e-2)
    back = curves.read("base", "other", 800)
    assert back.value.labels == pytest.approx(200, rel=1e-3)
    assert curves.error("base", np.array([400.0]))[0] == pytest.approx(40, abs=1e-3)


@pytest.mark.parametrize("factor, beyond, limit", [(100, 1, 4000), (1 / 100, -1, 12.5)])
def test_nothing_is_read_beyond_four_times_the_labels(factor, beyond, limit):
    base, other = curve(20, 40, 0.5), curve(20, 40 * factor**-0.5, 0.5)
    if factor < 1:
        base, other = curve(20, 4, 0.5), curve(20, 40, 0.5)
    needed = Curves({"base": points(base, noise=0.3), "other": points(other, noise=0.3)}).read(
        "other", "base", 200
    )
    for reading in (needed.value, needed.low, needed.high):
        assert (reading.labels, reading.beyond) == (limit, beyond)


def test_an_interval_is_open_where_the_runs_do_not_bound_it():
    base, other = curve(20, 8, 0.5), curve(20, 4, 0.5)
    needed = Curves({"base": points(base, noise=2), "other": points(other, noise=2)}).read(
        "other", "base", 200
    )
    assert needed.value.beyond == 0 and needed.low.beyond <= 0
    assert needed.high.beyond == 1 and needed.high.labels == REACH * 1000


def test_flat_falling_and_rising_curves_are_told_apart():
    curves = Curves(
        {
            "falls": points(curve(20, 40, 0.5), noise=0.5),
            "flat": points(lambda n: 50 + 0 * n, noise=0.5),
            "rises": points(lambda n: 20 + 0.01 * n, noise=0.5),
        }
    )
    assert [curves.falls(key) for key in ("falls", "flat", "rises")] == [True, False, False]
    assert [curves.rises(key) for key in ("falls", "flat")] == [None, None]
    assert curves.rises("rises") == (500, 1000)


def test_the_share_of_the_noise_that_falls_with_labels_is_found():
    random = np.random.default_rng(0)
    which, every = np.tile(LABELS, 20), np.repeat(np.arange(20), 5)
    steady = random.standard_normal(100)
    flat = Points(which, every, curve(20, 40, 0.5)(which) + steady)
    falling = Points(which, every, curve(20, 40, 0.5)(which) + steady * (50 / which) ** 0.5)
    assert Curves({"x": flat}).mix < 0.5 < 0.85 < Curves({"x": falling}).mix
    assert Curves({"x": flat}).scales["x"] == pytest.approx(steady.var(), rel=0.2)


def test_seeds_that_go_together_widen_the_interval():
    """The same residuals, once in zigzag and once with a seed's runs all above or all below the curve."""
    sign = np.repeat([1.0, -1.0, 0.0], 5)
    mixed = sign * np.tile([1.0, -1.0, 1.0, -1.0, 1.0], 3)
    which, every = np.tile(LABELS, 3), np.repeat(np.arange(3), 5)
    other = points(curve(20, 30, 0.5))
    width = {}
    for name, noise in (("together", sign), ("mixed", mixed)):
        base = Points(which, every, curve(20, 40, 0.5)(which) + noise)
        needed = Curves({"base": base, "other": other}).read("other", "base", 200)
        width[name] = needed.high.labels / needed.low.labels
    assert width["together"] > 1.3 * width["mixed"]


def moved(runs: Points, moves: np.ndarray, tests=(0, 0, 0)) -> Points:
    """With errors under resamples that move them all alike, (B,), or each seed's in its own way, (3, B)."""
    resampled = runs.errors[:, None] + (moves if moves.ndim == 1 else moves[runs.seeds])
    return replace(runs, resampled=resampled, images=100, tests=np.array(tests)[runs.seeds])


def test_test_images_widen_an_interval_where_seeds_share_them_and_the_two_arms_read_them_differently():
    draw = np.random.default_rng(0)
    alike, other, each = draw.normal(size=50), draw.normal(size=50), draw.normal(size=(3, 50))
    base, arm = points(curve(20, 40, 0.5), noise=0.3), points(curve(20, 30, 0.5), noise=0.2)

    def _width(one: Points, two: Points) -> float:
        needed = Curves({"base": one, "other": two}).read("other", "base", 200)
        return needed.high.labels / needed.low.labels

    without = _width(base, arm)
    assert _width(moved(base, alike), moved(arm, alike)) == pytest.approx(without, rel=1e-6)  # it cancels
    assert _width(moved(base, alike), arm) == without  # half of it known is not known
    assert _width(moved(base, alike), moved(arm, other)) > 1.3 * without
    nested = {"tests": (0, 1, 2)}  # each seed's own images are a part of the spread over seeds
    assert _width(moved(base, each, **nested), moved(arm, 2 * each, **nested)) == pytest.approx(without)


def test_what_all_runs_of_a_seed_have_in_common_cancels():
    shift = np.repeat([3.0, -3.0, 0.0], 5)
    which, every = np.tile(LABELS, 3), np.repeat(np.arange(3), 5)
    one, two = (Points(which, every, curve(20, b, 0.5)(which) + shift) for b in (40, 30))
    curves = Curves({"base": one, "other": two})
    needed = curves.read("other", "base", 200)
    alone = Curves({"base": one, "other": points(curve(20, 30, 0.5))}).read("other", "base", 200)
    assert needed.high.labels / needed.low.labels < 0.5 * alone.high.labels / alone.low.labels


CURVES = st.tuples(
    st.floats(0, 40, allow_subnormal=False), st.floats(5, 50), st.floats(0.2, 1.2), st.floats(0.3, 3)
)


@settings(max_examples=60, deadline=None)
@given(CURVES, st.sampled_from(list(LABELS)))
def test_an_arm_that_needs_a_share_of_the_labels_is_worth_what_that_share_says(shape, labels):
    """The other arm's n labels are the base arm's f n, so 1 / f as many of it do for the base arm's n."""
    a, b, g, factor = shape
    base, other = curve(a, b, g), curve(a, b * factor**-g, g)
    curves = Curves({"base": points(base, noise=0.02), "other": points(other, noise=0.02)})
    needed = curves.read("other", "base", labels)
    assert needed.low.labels <= needed.value.labels <= needed.high.labels
    truth = labels * factor
    if truth > REACH * LABELS[-1] * 1.2:
        assert needed.high.beyond == 1
    if LABELS[0] <= truth <= LABELS[-1]:
        assert needed.value.labels == pytest.approx(truth, rel=0.15)


@settings(max_examples=30, deadline=None)
@given(st.floats(5, 40), st.floats(0.2, 1.2), st.floats(0.1, 1.5), st.integers(0, 10**6))
def test_an_arm_against_itself_is_worth_nothing_and_order_and_names_of_runs_do_not_matter(b, g, noise, seed):
    random = np.random.default_rng(seed)
    base = points(curve(20, b, g))
    base = Points(base.labels, base.seeds, base.errors + noise * random.standard_normal(15))
    needed = Curves({"base": base, "copy": base}).read("copy", "base", 200)
    if b > 20 * noise:
        assert needed.value.labels == pytest.approx(200, rel=1e-6)
    assert needed.low.labels <= 200 <= needed.high.labels or needed.value.beyond
    turned = random.permutation(15)
    mixed = Points(base.labels[turned], base.seeds[turned] + 7, base.errors[turned])
    again = Curves({"base": mixed, "copy": mixed}).read("copy", "base", 200)
    assert again.low.labels == pytest.approx(needed.low.labels, rel=1e-6)
    assert again.high.labels == pytest.approx(needed.high.labels, rel=1e-6)
