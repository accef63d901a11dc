"""Intervals hold the truth as often as they say, and tests find differences only where there are some."""

import numpy as np
import pytest

from evaluation.intervals import bootstrap_mean, paired_bootstrap, resampled_sums


def test_95_percent_of_intervals_hold_the_true_mean():
    rng = np.random.default_rng(0)
    held = 0
    for seed in range(200):
        _, low, high = bootstrap_mean(rng.beta(2, 3, size=60), resamples=300, seed=seed)
        held += low <= 2 / 5 <= high
    assert 0.90 <= held / 200 <= 0.99


def test_the_interval_is_about_two_standard_errors_to_either_side():
    values = np.random.default_rng(1).normal(size=400)
    mean, low, high = bootstrap_mean(values)
    error = values.std() / 20
    assert (mean - low, high - mean) == pytest.approx((1.96 * error, 1.96 * error), rel=0.15)


def test_the_same_seed_draws_the_same_clips():
    values = np.random.default_rng(2).random((50, 2))
    both = resampled_sums(values, resamples=20, seed=3)
    assert np.allclose(both[:, :1], resampled_sums(values[:, :1], resamples=20, seed=3))
    assert not np.allclose(both, resampled_sums(values, resamples=20, seed=4))


def test_identical_systems_have_p_one():
    values = np.random.default_rng(0).random(50)
    comparison = paired_bootstrap(values, values.copy())
    assert (comparison.difference, comparison.p_value) == (0, 1)


def test_a_small_steady_gain_is_found():
    rng = np.random.default_rng(0)
    clips = rng.random(200)
    better = clips + rng.normal(0.02, 0.05, size=200)
    comparison = paired_bootstrap(better, clips)
    assert comparison.p_value < 0.01
    assert 0 < comparison.low < comparison.difference < comparison.high
    back = paired_bootstrap(clips, better)
    assert (back.difference, back.p_value) == pytest.approx((-comparison.difference, comparison.p_value))


def test_equals_are_called_different_as_rarely_as_promised():
    rng = np.random.default_rng(0)
    found = sum(paired_bootstrap(rng.random(50), rng.random(50), resamples=200).p_value < 0.05 for _ in range(200))
    assert found / 200 < 0.12


def test_a_score_of_sums_is_compared_as_that_score():
    # a ratio of sums, as in BLEU: the mean of ratios would be another number
    first, second = np.array([[1.0, 1.0], [0.0, 9.0]]), np.array([[0.0, 1.0], [0.0, 9.0]])
    assert paired_bootstrap(first, second, score=lambda sums: sums[0] / sums[1]).difference == pytest.approx(0.1)


def test_different_clips_are_refused():
    with pytest.raises(ValueError, match="same clips"):
        paired_bootstrap(np.zeros(3), np.zeros(4))
