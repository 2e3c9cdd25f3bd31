"""Two models on the same images: which numbers may be compared, and the error of their difference. No torch here.

What is counted by image, and in what form, stands in `image_counts`.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Float, Num

from pacl_bench.errors import UsageError
from pacl_bench.image_counts import DIGEST, counts_name, read_counts
from pacl_bench.report.runs import Number, Run

WIDTH_95 = 1.96  # standard errors on either side of a value
NO_COUNTS = "no counts by image"
ROUNDING = 1e-4  # records hold more digits; counts of other images are further off


def differing(one: Number, other: Number) -> list[str]:
    """The fields that keep two numbers from being compared."""
    fields = [field for field, value in one.run.asked.items() if other.run.asked[field] != value]
    return fields + ["protocol"] * (one.protocol != other.protocol) + ["metric"] * (one.metric != other.metric)


def paired_error(one: Sequence[Number], other: Sequence[Number]) -> float | None:
    """The standard error, over images, of the difference of the means of two sets of numbers (the seeds of two models).

    Both saw the same images, so an image that is hard for both does not count twice: the error of a difference is
    smaller than the errors of the two would make it. None where a record has no counts by image.
    """
    of_one, of_other = _mean_influence(one), _mean_influence(other)
    if of_one is None or of_other is None:
        return None
    return float(np.sqrt(((of_one - of_other) ** 2).sum()))


def _mean_influence(numbers: Sequence[Number]) -> Float[np.ndarray, " image"] | None:
    found = [influence(number) for number in numbers]
    there = [influence for influence in found if influence is not None]
    return np.mean(there, axis=0) if there and len(there) == len(found) else None


def influence(number: Number) -> Float[np.ndarray, " image"] | None:
    """How far each image moves a number: the sum of the squares is its variance over draws of the images.

    None where the images are not counted for it.
    """
    run = number.run
    if run.counts is None or number.class_name:
        return None
    return _influence(
        run.counts, run.record.provenance[DIGEST], counts_name(number.metric, number.protocol), number.value
    )


@lru_cache(maxsize=1024)
def _influence(file: Path, expected: str, name: str, value: float) -> Float[np.ndarray, " image"] | None:
    """By the delta method for a mean of ratios (Cochran 1977, chapter 6)."""
    arrays = read_counts(file, expected, only=name)
    if name not in arrays:
        return None
    ratios, by_class = _class_influences(arrays[name])
    if np.isnan(ratios).all() or abs(np.nanmean(ratios) - value) > ROUNDING:
        raise UsageError(f"{file}: its counts do not give the {name} of the record beside it. Measure it again.")
    return np.nanmean(by_class, axis=1)


def class_influences(run: Run, protocol: str) -> Float[np.ndarray, "image label"] | None:
    """How far each image moves the number of each class, by the counts there are of every class under a protocol.

    NaN for a class of which there is nothing. None where classes are not counted one by one.
    """
    classes = len(run.record.config["dataset"].get("classnames", []))
    for name, counts in counts_of(run).items():
        if name.endswith(f", {protocol}") and counts.shape[2] == classes > 1:
            return _class_influences(counts)[1]
    return None


def counts_of(run: Run) -> dict[str, np.ndarray]:
    """The counts by image of a run; empty where there are none."""
    return {} if run.counts is None else read_counts(run.counts, run.record.provenance[DIGEST])


def _class_influences(
    counts: Num[np.ndarray, "image 2 label"],
) -> tuple[Float[np.ndarray, " label"], Float[np.ndarray, "image label"]]:
    """The number of each class, and how far each image moves it; NaN for a class of which there is nothing."""
    found, there = counts.astype(np.float64).swapaxes(0, 1)
    images = int(there.any(1).sum())
    with np.errstate(invalid="ignore"):
        ratios = found.sum(0) / there.sum(0)
        moved = (found - ratios * there) / there.sum(0) * math.sqrt(images / max(1, images - 1))
    return ratios, moved
