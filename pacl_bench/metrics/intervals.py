"""95 % intervals over images: pixels and patches of one image are not independent, images are."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int
from scipy.special import expit, logit

CONFIDENCE = 0.95
NORMAL = 1.959964  # standard errors on either side of the value that hold 95 % of a normal distribution
HELD_ENTRIES = 1 << 24  # numbers held at once (128 MB); more images are left out in turns

Statistic = Callable[[Float[np.ndarray, "set count"]], Float[np.ndarray, "set *value"]]


def jackknife_interval(
    per_image: Float[np.ndarray, "image count"],
    statistic: Statistic,
    support: Int[np.ndarray, "*value"] | int | None = None,
) -> Float[np.ndarray, "bound *value"]:
    """The 95 % interval of each value in [0, 1] that a statistic makes of counts summed over images.

    Each image is left out once; how much the value moves gives its standard error (the delete-one jackknife). The
    interval is symmetric on the scale of log(value / (1 - value)): it always holds the value, and never leaves [0, 1].

    Why not the percentiles of a bootstrap: a resample of images loses classes, or their few images, so that the mIoU of
    resamples lies below that of the set, and the interval with it. `pacl-bench bench coverage` simulates how often
    either holds the truth; docs/protocols.md has the numbers.

    Args:
        per_image: counts that add up over images (correct and all patches, say).
        statistic: from the sums of counts over sets of images to values, for many sets at once; NaN where the counts
            define none. It may divide by zero.
        support: how many images each value was measured on; default all. It matters for values of exactly 0 or 1,
            which no left-out image moves: these get the bound of Clopper and Pearson for so many trials.

    Returns:
        Two rows, lower and upper bound. NaN where a value is undefined, or rests on a single image.
    """
    images, total = len(per_image), per_image.sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = statistic(total[None])[0]
        error = _standard_error(per_image, total, statistic)
        reach = NORMAL * error / (value * (1 - value))
        inner = np.stack([expit(logit(value) - reach), expit(logit(value) + reach)])
    extreme = _bounds_of_all_or_none(value, images if support is None else support)
    bounds = np.where((value > 0) & (value < 1), inner, extreme)
    return np.where(np.isnan(error), np.nan, bounds)


def ends(bounds: Float[np.ndarray, "bound value"], at: int) -> tuple[float, float] | tuple[None, None]:
    """The interval of one of the values, as a record holds it: (None, None) where there is none."""
    low, high = map(float, bounds[:, at])
    return (None, None) if np.isnan(low) else (low, high)


def _standard_error(
    per_image: Float[np.ndarray, "image count"], total: Float[np.ndarray, " count"], statistic: Statistic
) -> Float[np.ndarray, "*value"]:
    """From the values without each of the images; NaN where leaving one out leaves a value undefined."""
    images = len(per_image)
    rows = max(1, HELD_ENTRIES // max(1, per_image.shape[1]))
    without = np.concatenate([statistic(total - per_image[start : start + rows]) for start in range(0, images, rows)])
    return np.sqrt((images - 1) / images * np.square(without - without.mean(0)).sum(0))


def _bounds_of_all_or_none(
    value: Float[np.ndarray, "*value"], trials: Int[np.ndarray, "*value"] | int
) -> Float[np.ndarray, "bound *value"]:
    """Clopper and Pearson's interval where none or all of so many trials succeed."""
    reach = 1 - ((1 - CONFIDENCE) / 2) ** (1 / np.maximum(trials, 1))
    return np.stack([np.where(value >= 1, 1 - reach, 0.0), np.where(value <= 0, reach, 1.0)])
