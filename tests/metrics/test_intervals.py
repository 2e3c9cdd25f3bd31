"""Intervals over images against what statistics knows of them."""

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from pacl_bench.metrics import intervals
from pacl_bench.metrics.intervals import jackknife_interval


def share(sums: np.ndarray) -> np.ndarray:
    return sums[:, :1] / sums[:, 1:]


def of_trials(successes: int, trials: int) -> np.ndarray:
    """Per image: success and 1."""
    return np.stack([np.arange(trials) < successes, np.ones(trials)], axis=1).astype(float)


def test_the_interval_of_a_share_is_the_binomial_one() -> None:
    low, high = jackknife_interval(of_trials(100, 400), share)
    np.testing.assert_allclose([low[0], high[0]], binom.ppf([0.025, 0.975], 400, 0.25) / 400, atol=0.006)


def test_it_covers_the_truth_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    covered = [
        bounds[0, 0] <= 0.2 <= bounds[1, 0]
        for bounds in (
            jackknife_interval(np.stack([random.random(150) < 0.2, np.ones(150)], 1).astype(float), share)
            for _ in range(1000)
        )
    ]
    assert 0.93 <= np.mean(covered) <= 0.97


@pytest.mark.parametrize(("successes", "trials"), [(0, 30), (30, 30)])
def test_none_and_all_have_the_exact_binomial_bounds(successes: int, trials: int) -> None:
    expected = binomtest(successes, trials).proportion_ci(0.95, method="exact")
    bounds = jackknife_interval(of_trials(successes, trials), share)
    np.testing.assert_allclose(bounds[:, 0], [expected.low, expected.high])


def test_support_says_on_how_many_images_an_extreme_value_rests() -> None:
    bounds = jackknife_interval(of_trials(0, 30), share, support=np.array([5]))
    assert bounds[1, 0] == pytest.approx(binomtest(0, 5).proportion_ci(0.95, method="exact").high)


def test_correlated_patches_of_an_image_count_as_one() -> None:
    """Twenty equal patches an image tell no more than one."""
    once = of_trials(40, 100)
    np.testing.assert_allclose(jackknife_interval(20 * once, share), jackknife_interval(once, share))


def test_a_value_of_one_image_has_no_interval() -> None:
    counts = np.zeros((10, 2))
    counts[3] = 1, 2  # the class is in this image alone
    assert np.isnan(jackknife_interval(counts, share)).all()


def test_a_value_that_is_undefined_has_no_interval() -> None:
    assert np.isnan(jackknife_interval(np.zeros((10, 2)), share)).all()


def test_images_are_left_out_in_turns_where_they_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = np.random.default_rng(1).integers(1, 9, size=(50, 2)).astype(float)
    at_once = jackknife_interval(counts, lambda sums: share(sums) / 9)
    monkeypatch.setattr(intervals, "HELD_ENTRIES", 14)
    np.testing.assert_array_equal(jackknife_interval(counts, lambda sums: share(sums) / 9), at_once)
