"""Which images a resample holds, and what a record keeps of the scores."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftrain.resample import replicate_scores, weights
from tests.toy import BrightnessScorer, Greys


@given(st.text(max_size=20), st.integers(1, 400), st.integers(1, 30))
def test_a_resample_draws_as_many_images_as_there_are_and_depends_on_its_number_alone(hash, images, number):
    drawn = weights(hash, images, number)
    assert drawn.shape == (number, images) and drawn.min() >= 0 and (drawn.sum(1) == images).all()
    assert np.array_equal(drawn, weights(hash, images, number + 3)[:number])


def test_the_draws_are_these_whatever_the_version_of_numpy():
    assert weights("0123456789abcdef", 12, 2).tolist() == PINNED
    drawn = weights("0123456789abcdef", 5000).astype("<i4")
    assert hashlib.blake2b(drawn.tobytes(), digest_size=8).hexdigest() == PINNED_DIGEST


def test_every_resample_and_every_set_has_draws_of_its_own():
    drawn = np.concatenate([weights("a", 50, 20), weights("b", 50, 20)])
    assert len(np.unique(drawn, axis=0)) == 40
    assert abs(np.corrcoef(drawn - drawn.mean(0))[np.triu_indices(40, 1)]).max() < 0.7


def test_draws_are_kept_however_often_an_image_comes():
    """Counts of a bootstrap are multinomial: variance 1 - 1 / n, and (1 - 1 / n)^n of the images are left out."""
    drawn = weights("set", 1000)
    assert drawn.var() == pytest.approx(1 - 1 / 1000, rel=0.01)
    assert (drawn == 0).mean() == pytest.approx((1 - 1 / 1000) ** 1000, rel=0.005) and drawn.max() > 4
    assert abs(drawn.mean(0) - 1).max() < 5 * np.sqrt(1 / 500)  # no image is preferred


def test_the_spread_of_a_mean_over_resamples_is_its_standard_error():
    values = np.random.default_rng(0).normal(size=800)
    spread = (weights("mean", 800, 2000) @ values / 800).std(ddof=1)
    # the spread itself is known to 1 / sqrt(2 x 2000), 1.6 %
    assert spread == pytest.approx(values.std() / np.sqrt(800), rel=0.05)


def test_scores_are_rounded_and_paired_by_the_number_of_the_resample():
    data = Greys([0, 100, 250])
    found = {i: {"level": np.array([level])} for i, level in enumerate((0.1, 0.3, 0.9))}
    scores = replicate_scores(BrightnessScorer(), found, data)["error"]
    errors = np.abs(np.array([0.1, 0.3, 0.9]) - np.array(data.levels) / 255)
    assert scores == (weights(data.hash, 3) @ errors / 3).round(3).tolist() and len(scores) == 500


def test_a_metric_that_a_resample_does_not_have_is_left_out():
    class Seldom(BrightnessScorer):
        def resample(self, found, data, weights):
            return {"always": weights[:, 0] / 1, "seldom": np.where(weights[:, 0], 1.0, np.nan)}

    assert list(replicate_scores(Seldom(), {}, Greys([0, 100, 250]))) == ["always"]
