import numpy as np
from scipy.stats import binom

from pacl_bench.metrics.bootstrap import bootstrap_interval


def test_the_interval_of_a_share_is_the_binomial_one() -> None:
    right = np.arange(400) % 4 == 0
    per_image = np.stack([right, np.ones(400)], axis=1).astype(float)
    low, high = bootstrap_interval(per_image, lambda sums: sums[:, 0] / sums[:, 1])
    expected = binom.ppf([0.025, 0.975], 400, 0.25) / 400
    np.testing.assert_allclose([low, high], expected, atol=0.004)  # those of 90 % lie 0.007 further in


def test_images_are_drawn_and_not_what_is_in_them() -> None:
    """Four images, each right as a whole or wrong as a whole: as uncertain as four throws of a coin, not as 4,000."""
    per_image = np.array([[1000, 1000], [1000, 1000], [0, 1000], [0, 1000]], float)
    low, high = bootstrap_interval(per_image, lambda sums: sums[:, 0] / sums[:, 1])
    assert (low, high) == tuple(binom.ppf([0.025, 0.975], 4, 0.5) / 4) == (0.0, 1.0)


def test_a_value_no_resample_defines_has_no_interval() -> None:
    bounds = bootstrap_interval(np.zeros((10, 2)), lambda sums: sums[:, :1] / sums[:, 1:])
    assert np.isnan(bounds).all()
