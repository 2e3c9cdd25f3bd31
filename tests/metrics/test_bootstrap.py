import numpy as np
from scipy.stats import binom

from pacl_bench.metrics.bootstrap import bootstrap_interval


def test_the_interval_of_a_share_is_the_binomial_one() -> None:
    right = np.arange(400) % 4 == 0
    per_image = np.stack([right, np.ones(400)], axis=1).astype(float)
    low, high = bootstrap_interval(per_image, lambda sums: sums[:, 0] / sums[:, 1])
    expected = binom.ppf([0.025, 0.975], 400, 0.25) / 400
    np.testing.assert_allclose([low, high], expected, atol=0.008)


def test_a_value_no_resample_defines_has_no_interval() -> None:
    bounds = bootstrap_interval(np.zeros((10, 2)), lambda sums: sums[:, :1] / sums[:, 1:])
    assert np.isnan(bounds).all()
