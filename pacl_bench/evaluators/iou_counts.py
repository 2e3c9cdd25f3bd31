"""Pixel counts of each class, image by image, and the numbers and intervals that come of them."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float, Int, Integer

from pacl_bench.metrics.bootstrap import bootstrap_interval
from pacl_bench.metrics.segmentation import tally
from pacl_bench.records import Measurement

METRICS = ("miou", "pixel_accuracy", "mean_accuracy")
BLIND = "boundary_blind_"  # before a metric's name: pixels near the boundaries of labels do not count


@dataclass(frozen=True)
class Sweep:
    """Pixels less certain than a threshold are background, for each of several thresholds. By default there is none."""

    certainty: Float[np.ndarray, " pixel"] | None = None
    thresholds: tuple[float, ...] = (-np.inf,)  # ascending
    background: int | None = None


@dataclass
class IouCounts:
    """Found, labelled and predicted pixels of each class, image by image, under the protocols of one sweep."""

    protocols: list[str]
    counts: list[Int[np.ndarray, "protocol 3 label"]] = field(default_factory=list)
    blind: list[Int[np.ndarray, "protocol 3 label"]] = field(default_factory=list)  # the same, away from boundaries

    def add(
        self,
        labels: Integer[np.ndarray, " pixel"],
        predicted: Integer[np.ndarray, " pixel"],
        num_classes: int,
        sweep: Sweep = Sweep(),
        inner: Bool[np.ndarray, " pixel"] | None = None,
    ) -> None:
        """One image's pixels that count; `inner` tells those away from boundaries, where these are wanted."""
        self.counts.append(_tally(labels, predicted, num_classes, sweep, slice(None)))
        if inner is not None:
            self.blind.append(_tally(labels, predicted, num_classes, sweep, inner))


def _tally(labels, predicted, num_classes: int, sweep: Sweep, chosen) -> Int[np.ndarray, "protocol 3 label"]:
    certainty = None if sweep.certainty is None else sweep.certainty[chosen]
    counts = tally(labels[chosen], predicted[chosen], num_classes, certainty, sweep.thresholds, sweep.background)
    return counts.astype(np.int32)  # an image has fewer than 2^31 pixels


def over_data_set(iou_counts: IouCounts, classnames: list[str], candidates: int) -> list[Measurement]:
    """One count over the set: METRICS, IoU of each class, and METRICS away from boundaries.

    Args:
        candidates: how many classes guessing chooses from.
    """
    measured = []
    for at, protocol in enumerate(iou_counts.protocols):
        counts = np.stack([image[at] for image in iou_counts.counts])
        measured += _measured(counts, classnames, candidates, protocol)
        if iou_counts.blind:
            measured += _measured(np.stack([image[at] for image in iou_counts.blind]), [], candidates, protocol, BLIND)
    return measured


def over_images(iou_counts: IouCounts) -> list[Measurement]:
    """The means over images of each image's METRICS among its own classes."""
    measured = []
    for at, protocol in enumerate(iou_counts.protocols):
        counts = np.stack([image[at] for image in iou_counts.counts])
        with np.errstate(invalid="ignore", divide="ignore"):
            values = _summaries(counts)[:, : len(METRICS)]
        chances = np.mean([_chances(image[1], int((image[1] > 0).sum())) for image in counts], axis=0)
        ones = np.ones((len(counts), 1))  # their sum is the number of images of a resample
        low, high = bootstrap_interval(np.concatenate([values, ones], axis=1), lambda sums: sums[:, :-1] / sums[:, -1:])
        measured += [
            Measurement(metric, float(mean), protocol, len(counts), "", *map(float, rest))
            for metric, mean, *rest in zip(METRICS, values.mean(0), low, high, chances, strict=True)
        ]
    return measured


def _measured(
    counts: Int[np.ndarray, "image 3 label"], classnames: list[str], candidates: int, protocol: str, prefix: str = ""
) -> list[Measurement]:
    """Of one protocol; `classnames` are those whose IoU is told. Nothing where no pixel counts."""
    total = counts.sum(0, dtype=np.int64)
    if not total[1].any():
        return []
    with np.errstate(invalid="ignore", divide="ignore"):
        values = _summaries(total[None])[0]
    images, _, num_classes = counts.shape
    low, high = bootstrap_interval(
        counts.reshape(images, -1).astype(float), lambda sums: _summaries(sums.reshape(-1, 3, num_classes))
    )
    chances = _chances(total[1], candidates)
    rows = [(prefix + metric, "", chance) for metric, chance in zip(METRICS, chances, strict=True)]
    rows += [("iou", name, None) for name in classnames]
    return [
        Measurement(metric, float(values[at]), protocol, images, name, float(low[at]), float(high[at]), chance)
        for at, (metric, name, chance) in enumerate(rows)
        if not np.isnan(values[at])
    ]


def _summaries(counts: Float[np.ndarray, "set 3 label"] | Int[np.ndarray, "set 3 label"]) -> np.ndarray:
    """mIoU, pixel accuracy, mean accuracy, then IoU of each class; NaN where nothing counts. Divides by zero."""
    found, labelled, predicted = counts.swapaxes(0, 1)
    ious = found / (labelled + predicted - found)
    accuracy = found.sum(1) / labelled.sum(1)
    return np.concatenate([_mean(ious), accuracy[:, None], _mean(found / labelled), ious], axis=1)


def _mean(values: Float[np.ndarray, "set label"]) -> Float[np.ndarray, "set 1"]:
    """Over the classes that are there."""
    there = ~np.isnan(values)
    return np.where(there, values, 0).sum(1, keepdims=True) / there.sum(1, keepdims=True)


def _chances(labelled: Int[np.ndarray, " label"], candidates: int) -> tuple[float, float, float]:
    """What METRICS are expected to be where each pixel's class is guessed among the candidates, with equal chances."""
    return chance_miou(labelled, candidates), 1 / candidates, 1 / candidates


def chance_miou(labelled: Int[np.ndarray, " label"], candidates: int) -> float:
    """The mIoU of guessing each pixel's class with equal chances, expected over many pixels.

    A candidate without labels is guessed too, in vain: it has IoU 0.
    """
    share, guess = labelled / labelled.sum(), 1 / candidates
    return float((share * guess / (share + guess - share * guess)).sum() / candidates)
