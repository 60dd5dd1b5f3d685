"""Effects, their intervals on one and two levels, and what is said of them."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from msgspec.structs import replace
from scipy import stats

from selftrain.record import RANDOM
from selftrain.report.effect import chance_of_better, effect_of, score_of
from selftrain.report.levels import degrees_of_freedom, quantile, upper_tail
from tests.records import made_up

SEEDS = some.integers(2, 8)
VARIANCES = some.floats(0.01, 100)
UNHURRIED = settings(max_examples=50, deadline=None)  # the first call imports scipy


def noise(seeds: int, number: int, shared: float = 1.0, own: float = 1.0, resamples: int = 200) -> np.ndarray:
    """(S, B): replicates, with a part that all seeds share and a part of each seed's own."""
    draw = np.random.default_rng([seeds, number])
    return shared * draw.normal(size=resamples) + own * draw.normal(size=(seeds, resamples))


@UNHURRIED
@given(some.lists(some.floats(-50, 50), min_size=2, max_size=8), some.booleans())
def test_seeds_alone_are_students_t(values, nested):
    effect, other = (
        effect_of(values, tests=range(len(values)) if nested else None),
        stats.ttest_1samp(values, 0),
    )
    if np.std(values) < 1e-6:
        return
    interval = other.confidence_interval(0.95)
    assert (effect.low, effect.high) == pytest.approx((interval.low, interval.high))
    assert effect.p == pytest.approx(other.pvalue, rel=1e-6) and effect.df == len(values) - 1
    assert effect.covers == (
        "other seeds and other test images" if nested else "other seeds, on these test images"
    )


@UNHURRIED
@given(SEEDS, some.integers(0, 1000), some.floats(0, 3), some.floats(0, 3))
def test_what_seeds_share_of_the_images_is_the_covariance_of_their_replicates(seeds, number, shared, own):
    replicates = noise(seeds, number, shared, own)
    effect = effect_of(list(range(seeds)), replicates, 100)
    covariance = np.cov(replicates)
    each = np.trace(covariance) / seeds
    between = (covariance.sum() - np.trace(covariance)) / (seeds * (seeds - 1))
    if between >= 0 and each >= between:  # else one of the two is 0
        assert effect.image_variance == pytest.approx(between, abs=1e-9)
        assert effect.own_image_variance == pytest.approx(each - between, abs=1e-9)
    assert effect.image_variance >= 0 and effect.own_image_variance >= 0
    assert effect.seed_variance == pytest.approx(np.var(range(seeds), ddof=1) / seeds)


def test_the_levels_add_where_they_are_crossed_and_not_where_they_are_nested():
    values, replicates = [1.0, 2.0, 4.0], noise(3, 0)
    crossed, nested = (effect_of(values, replicates, 100, tests) for tests in ("aaa", "abc"))
    variance = crossed.seed_variance + crossed.image_variance
    assert crossed.high - crossed.mean == pytest.approx(quantile(0.975, crossed.levels) * variance**0.5)
    assert 2 < crossed.df < 99 and crossed.covers == nested.covers == "other seeds and other test images"
    assert (nested.low, nested.high) == pytest.approx(stats.ttest_1samp(values, 0).confidence_interval())
    assert nested.image_variance == 0
    assert nested.own_image_variance == pytest.approx(replicates.var(axis=1, ddof=1).mean())


@pytest.mark.parametrize("tests", ["aaaa", "aabb", "aaab", "aabc", "abcd"])
def test_the_variance_of_the_mean_is_right_on_average_whichever_seeds_share_test_images(tests):
    draw, found, seeds = np.random.default_rng(0), [], len(tests)
    groups = [tests.index(name) for name in tests]  # what a group shares is that of its first seed
    for _ in range(2000):
        truth = draw.normal(size=seeds)[groups] + draw.normal(size=seeds)
        replicates = draw.normal(size=(seeds, 100))[groups] + draw.normal(size=(seeds, 100))
        effect = effect_of(truth.tolist(), replicates, 1000, tests)
        found.append((effect.mean, effect.seed_variance + effect.image_variance))
    means, variances = np.transpose(found)
    sizes = np.array([tests.count(name) for name in set(tests)])
    expected = (sizes**2).sum() / seeds**2 + 1 / seeds
    assert means.var() == pytest.approx(expected, rel=0.1)
    assert variances.mean() == pytest.approx(expected, rel=0.05)


def test_one_seed_speaks_of_other_test_images_alone_and_without_replicates_of_nothing():
    replicates = noise(1, 3)
    effect = effect_of([5.0], replicates, 60)
    half_width = stats.t.ppf(0.975, 59) * replicates.std(ddof=1)
    assert (effect.low, effect.high) == pytest.approx((5 - half_width, 5 + half_width))
    assert effect.covers == "other test images, with this seed" and effect.df == 59
    assert chance_of_better(effect) is None
    alone = effect_of([5.0])
    assert math.isnan(alone.low) and math.isnan(alone.p) and alone.word(10) == "open"
    assert alone.covers == "this seed on these test images alone"
    assert alone.numbers("AP", 1) == "+5.0 AP, one seed: no interval"


@UNHURRIED
@given(VARIANCES, VARIANCES, some.integers(1, 10), some.integers(20, 5000), some.floats(0.001, 0.4))
def test_the_quantile_of_two_levels_lies_between_theirs_and_its_tail_leads_back(one, two, few, many, tail):
    levels = [(one, few), (two, many)]
    bound = quantile(1 - tail, levels)
    assert stats.t.isf(tail, many) <= bound <= stats.t.isf(tail, few)
    assert upper_tail(bound, levels) == pytest.approx(tail, rel=1e-6)
    assert upper_tail(-bound, levels) == pytest.approx(1 - tail, rel=1e-6)
    df = degrees_of_freedom(1 - tail, levels)
    assert few <= df <= many and stats.t.isf(tail, df) == pytest.approx(bound, rel=1e-4)


@UNHURRIED
@given(VARIANCES, some.floats(1, 1e4), some.integers(1, 60), some.floats(1, 1e4))
def test_an_effect_that_is_sure_beyond_all_doubt_has_a_p_all_the_same(variance, ratio, few, statistic):
    """Many seeds that agree: a tail may be smaller than what one level alone would leave by far."""
    levels = [(variance, few), (variance * ratio, 499)]
    tail = upper_tail(statistic, levels)
    assert 0 < tail <= 0.5
    if tail > 1e-290:  # below it a float ends
        assert -quantile(tail, levels) == pytest.approx(statistic, rel=1e-6)


@UNHURRIED
@given(VARIANCES, some.integers(1, 30), some.floats(-60, 60))
def test_one_level_or_two_alike_are_students_t(variance, df, statistic):
    for levels in ([(variance, df)], [(variance, df), (1.0, df)], [(variance, df), (0.0, 7)]):
        assert upper_tail(statistic, levels) == pytest.approx(stats.t.sf(statistic, df), rel=1e-6)
        assert degrees_of_freedom(0.975, levels) == df


@UNHURRIED
@given(SEEDS, some.integers(0, 1000), some.floats(0.5, 0.999))
def test_p_is_what_the_level_lacks_to_one_where_the_interval_ends_at_zero(seeds, number, level):
    replicates = noise(seeds, number)
    values = np.random.default_rng(number).normal(size=seeds)
    low = effect_of(values.tolist(), replicates, 100, level=level).low
    touching = effect_of((values - low).tolist(), replicates, 100, level=level)
    assert touching.p == pytest.approx(1 - level, rel=1e-5)


@pytest.mark.parametrize(
    "values, margin, word",
    [
        ((4.0, 5.0, 6.0), 1, "helps"),
        ((-4.0, -5.0, -6.0), 1, "hurts"),
        ((-0.1, 0.0, 0.1), 1, "equivalent"),
        ((-4.0, 0.0, 6.0), 1, "open"),
        ((0.4, 0.5, 0.6), 1, "helps, equivalent within the margin"),
        ((-0.4, -0.5, -0.6), 1, "hurts, equivalent within the margin"),
        ((0.4, 0.5, 0.6), 0.5, "helps"),
        ((0.0, 0.0, 0.0), 1, "open"),  # two arms that answer background everywhere, say
        ((9.0,), 1, "open"),
    ],
)
def test_words(values, margin, word):
    assert effect_of(list(values)).word(margin) == word


def test_numbers_say_effect_interval_what_it_covers_seeds_and_p():
    assert effect_of([4.0, 5.0, 6.0]).numbers("AP", 1) == (
        "+5.0 AP, 95 % interval +2.5 to +7.5 (other seeds, on these test images), n = 3 seeds, p = 0.013"
    )
    assert effect_of([4.0, 5.0, 6.0], level=0.9).numbers("AP", 1).startswith("+5.0 AP, 90 % interval +3.3 to")


def test_one_seed_is_never_clear_however_narrow_its_interval():
    effect = effect_of([5.0], noise(1, 3) / 100, 60)
    assert effect.low > 4.9 and not effect.clear and effect.word(1) == effect.word(100) == "open"


def test_resamples_of_one_test_image_tell_nothing():
    records = [made_up(RANDOM, seed=s, score=9 + s, resampled={"AP": [1.0, 2.0]}) for s in range(2)]
    found = score_of([replace(record, scored_images=1) for record in records], "AP")
    assert found.image_variance == 0 and found.covers == "other seeds, on these test images"


@UNHURRIED
@given(SEEDS, some.integers(0, 1000), some.floats(0.5, 0.99))
def test_at_another_level_an_effect_is_what_it_would_have_been_at_once(seeds, number, level):
    values, replicates = np.random.default_rng(number).normal(size=seeds).tolist(), noise(seeds, number)
    effect = effect_of(values, replicates, 100)
    other, expected = effect.at_level(level), effect_of(values, replicates, 100, level=level)
    assert other.level == level and (other.mean, other.p, other.n) == (effect.mean, effect.p, effect.n)
    assert (other.low, other.high, other.df) == pytest.approx((expected.low, expected.high, expected.df))
    assert effect.at_level(0.95) == effect


def test_an_effect_without_an_interval_has_none_at_another_level():
    assert not effect_of([1.0]).at_level(0.9).bounded and not effect_of([1.0, 1.0]).at_level(0.9).bounded


def test_where_nothing_differs_that_is_said_and_no_p():
    same = effect_of([5.1 - 4.1, 3.3 - 2.3, 1.0])  # equal but for rounding
    assert same.numbers("AP", 1) == "+1.0 AP with every one of n = 3 seeds: no spread to test"
    assert math.isnan(same.p) and same.word(0.5) == "open" and not same.spread
    assert chance_of_better(same) is None and not same.bounded
    images = effect_of([2.0], np.full((1, 5), 2.0), 9)
    assert images.numbers("AP", 1) == "+2.0 AP under every resample of the test images: no spread to test"


def test_replicates_must_fit():
    for values, replicates, images in (
        ([], None, 0),
        ([1.0], np.zeros((2, 5)), 9),
        ([1.0], np.zeros((1, 1)), 9),
        ([1.0, 2.0], np.zeros((2, 5)), 0),
    ):
        with pytest.raises(ValueError):
            effect_of(values, replicates, images)


@UNHURRIED
@given(some.lists(some.floats(-9, 9), min_size=2, max_size=6, unique=True))
def test_the_chance_of_a_better_seed_is_students_predictive_distribution(values):
    if np.std(values) < 1e-6:
        return
    scale = np.std(values, ddof=1) * math.sqrt(1 + 1 / len(values))
    expected = stats.t.cdf(np.mean(values) / scale, len(values) - 1)
    assert chance_of_better(effect_of(values)) == pytest.approx(expected, abs=1e-6)
    # other test images make it less sure, and by how much more of the same
    further = chance_of_better(effect_of(values, noise(len(values), 1, shared=5.0), 100))
    assert abs(further - 0.5) <= abs(expected - 0.5) + 1e-6


def test_the_chance_of_a_better_seed_comes_true():
    """Moved by what a further seed has, it is evenly spread over studies; with two levels it is careful."""
    draw, alone, both = np.random.default_rng(0), [], []
    for _ in range(2000):
        values, further = draw.normal(size=4), draw.normal()
        shared, further_shared = draw.normal(size=2)
        alone.append(chance_of_better(effect_of((values - further).tolist())))
        values, further = values + shared, further + further_shared
        replicates = draw.normal(size=500) + np.zeros((4, 1))  # its variance is that of `shared`
        both.append(chance_of_better(effect_of((values - further).tolist(), replicates, 500)))
    assert stats.kstest(alone, "uniform").pvalue > 0.01
    extreme = np.mean(np.abs(np.array(both) - 0.5) > 0.475)
    # 3.3 % by numerical integration over both chi-squares, where Student's t would have 5 %
    assert extreme == pytest.approx(0.0331, abs=2.6 * math.sqrt(0.0331 / len(both)))
