"""95 % intervals by resampling images: pixels and patches of one image are not independent, images are."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

RESAMPLES = 1000


def bootstrap_interval(
    per_image: Float[np.ndarray, "image count"],
    statistic: Callable[[Float[np.ndarray, "resample count"]], Float[np.ndarray, "resample *value"]],
    seed: int = 0,
) -> Float[np.ndarray, "bound *value"]:
    """The 2.5 % and 97.5 % percentiles of a statistic of sums over images.

    Args:
        per_image: counts that add up over images (correct and all patches, say).
        statistic: from sums over the images of a resample to values, for many resamples at once.

    Returns:
        Two rows, lower and upper bound; NaN where no resample defines the value.
    """
    images = len(per_image)
    # drawing n of n images with replacement, as how often each is drawn
    drawn = np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), size=RESAMPLES)
    with np.errstate(invalid="ignore", divide="ignore"):
        values = statistic(drawn.astype(float) @ per_image)
    undefined = np.isnan(values).all(axis=0)
    return np.where(undefined, np.nan, np.nanpercentile(np.where(undefined, 0, values), [2.5, 97.5], axis=0))
