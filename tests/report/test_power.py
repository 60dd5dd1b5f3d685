"""What would settle an open question: power, the smallest effect that shows, more seeds, more images."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from statsmodels.stats.power import TTestPower

from selftrain.report.effect import effect_of
from selftrain.report.power import (
    POWER,
    half_width,
    minimum_detectable,
    more_images,
    more_seeds,
    planned,
    power,
    settle,
)


def two_levels(seed: float, shared: float, own: float, seeds: int = 3, images: int = 100, mean: float = 0.5):
    """An effect with exactly these variances: s^2, sigma_b^2 and e."""
    draw = np.random.default_rng(0)
    parts = draw.normal(size=(seeds + 1, 300))
    parts = np.linalg.qr((parts - parts.mean(1, keepdims=True)).T)[0].T * math.sqrt(
        299
    )  # uncorrelated, variance 1
    values = np.linspace(-1, 1, seeds)
    values = mean + values / values.std(ddof=1) * math.sqrt(seed)
    effect = effect_of(values.tolist(), math.sqrt(shared) * parts[:1] + math.sqrt(own) * parts[1:], images)
    assert effect.seed_variance == pytest.approx(seed / seeds)
    assert effect.image_variance == pytest.approx(shared) and effect.own_image_variance == pytest.approx(own)
    return effect


@settings(deadline=None)  # the first call imports the library
@given(some.integers(2, 12), some.floats(0.1, 1.8))  # scipy's noncentral t is nan further out
def test_with_seeds_alone_power_is_that_of_the_t_test(seeds, delta):
    expected = TTestPower().power(delta, nobs=seeds, alpha=0.05, alternative="two-sided")
    assert power(delta, [(1 / seeds, seeds - 1)]) == pytest.approx(expected, abs=0.003)


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
def test_the_smallest_effect_that_shows_is_that_of_the_t_test(seeds):
    values = np.linspace(0, 4, seeds).tolist()
    expected = TTestPower().solve_power(nobs=seeds, alpha=0.05, power=POWER) * np.std(values, ddof=1)
    assert minimum_detectable(effect_of(values)) == pytest.approx(expected, rel=0.01)


def test_a_plan_divides_what_differs_between_seeds_and_what_images_blur():
    effect = two_levels(seed=2.0, shared=0.5, own=0.8)
    for size, expected in (
        ((3, 100), (2 / 3, 2, 0.5, 99)),
        ((6, 100), (2 / 6, 5, 0.5, 99)),
        # of the seeds' own reading of the images a half goes, the rest of the spread over seeds stays
        ((3, 200), ((2 - 0.4) / 3, 2, 0.25, 199)),
    ):
        assert sum(planned(effect, *size), ()) == pytest.approx(expected)


@settings(max_examples=20, deadline=None)
@given(some.floats(0.1, 5), some.floats(0.01, 2), some.floats(0, 1))
def test_more_is_never_worse_and_the_fewest_are_found(seed, shared, own):
    effect = two_levels(seed, shared, own * seed)

    def enough(seeds: int, images: int) -> bool:
        return power(2.5, planned(effect, seeds, images)) >= POWER

    if (more := more_seeds(effect, enough)) is None:
        assert not enough(103, 100)
    else:
        assert enough(3 + more, 100) and (more == 0 or not enough(2 + more, 100))
    if (more := more_images(effect, enough)) is None:
        assert not enough(3, 10000)
    else:
        assert enough(3, 100 + more) and (more == 0 or not enough(3, 99 + more))
    assert half_width(effect, 4, 100) < half_width(effect, 3, 100) < minimum_detectable(effect)


def test_a_sentence_says_what_would_settle_it():
    seeds_decide = two_levels(seed=1.0, shared=0.01, own=0.05)
    assert settle(seeds_decide, 1.0, "AP", 4800) == (
        "With the spread seen: 8 more seeds (10 h 40 min) would show an effect of 1 AP, more test "
        "images alone would not; 4 more seeds (5 h 20 min) would make the interval narrower than ±1 AP, more "
        "test images alone would not."
    )
    # were all variances known, it would take 100 (1.96 + 0.84)^2 = 785 images, and 384 for the interval
    images_decide = two_levels(seed=0.01, shared=1.0, own=0.005)
    assert settle(images_decide, 1.0, "AP") == (
        "With the spread seen: 720 more test images would show an effect of 1 AP, 100 more seeds alone would "
        "not; 300 more test images would make the interval narrower than ±1 AP, 100 more seeds alone would "
        "not."
    )
    unknown = settle(effect_of([-1.0, 0.0, 1.0]), 1.0, "AP")
    assert "more seeds would show an effect of 1 AP" in unknown and "images" not in unknown
    assert "the 3 seeds are enough to make the interval narrower" in settle(
        two_levels(seed=0.1, shared=0.01, own=0.0), 1.0, "AP"
    )
    assert settle(effect_of([0.3]), 1.0, "AP", 1800) == (
        "One seed tells nothing of other seeds: 2 more (1 h 00 min) would begin to."
    )
    assert "cannot be planned" in settle(effect_of([0.0, 0.0]), 1.0, "AP")
    assert math.isnan(minimum_detectable(effect_of([0.3])))
    hopeless = settle(two_levels(seed=50.0, shared=40.0, own=1.0), 1.0, "AP")
    assert "100 more seeds or 100 times the test images alone would not show an effect" in hopeless
