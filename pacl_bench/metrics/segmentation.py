"""Segmentation metrics over confusion matrices, and the counts they need. Pure functions."""

import math
from collections.abc import Iterator, Sequence
from functools import reduce
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Integer, UInt8
from torch import Tensor

BLOCK = 1 << 16  # pixels counted at once: what is made of them on the way stays in the processor's cache


def confusion_matrix(
    predicted_map: Integer[Tensor, "..."], label_map: Integer[Tensor, "..."], num_classes: int, ignore_label: int = 255
) -> Int[Tensor, "label predicted"]:
    """Pixel counts, rows by label, columns by prediction.

    Pixels whose label is `ignore_label` do not count. A prediction outside 0..num_classes-1 means "nothing predicted":
    such a pixel is wrong for its class, and is counted in an extra last column, so that every labelled pixel is
    in its row: the result has shape (num_classes, num_classes + 1) only where that happens, else it is square.

    Raises:
        ValueError: a label outside 0..num_classes-1 that is not `ignore_label`, or maps of different shape.
    """
    if predicted_map.shape != label_map.shape:
        raise ValueError(
            f"predicted map {tuple(predicted_map.shape)} and label map {tuple(label_map.shape)} differ in shape"
        )
    counted = label_map != ignore_label
    labels, predictions = label_map[counted].long(), predicted_map[counted].long()
    if labels.numel() and not 0 <= int(labels.min()) <= int(labels.max()) < num_classes:
        raise ValueError(f"labels must lie in 0..{num_classes - 1} or be {ignore_label}; found {int(labels.max())}")
    nothing = (predictions < 0) | (predictions >= num_classes)
    columns = num_classes + 1
    cells = labels * columns + predictions.masked_fill(nothing, num_classes)
    counts = torch.bincount(cells, minlength=num_classes * columns).reshape(num_classes, columns)
    return counts if bool(nothing.any()) else counts[:, :num_classes]


class ClassCounts(NamedTuple):
    """Pixels of each class, in one set of pixels or in several: all that IoU and accuracies need to know."""

    found: Float[Tensor, "*set label"]  # labelled and predicted as the class
    labelled: Float[Tensor, "*set label"]
    predicted: Float[Tensor, "*set label"]

    def iou(self) -> Float[Tensor, "*set label"]:
        """Intersection over union of each class; NaN for a class that is neither in the labels nor predicted."""
        return self.found / (self.labelled + self.predicted - self.found)  # 0 / 0 is NaN

    def miou(self) -> Float[Tensor, "*set"]:
        """The mean of `iou` over the classes that are in the labels or predicted; NaN where there are none."""
        return self.iou().nanmean(-1)

    def pixel_accuracy(self) -> Float[Tensor, "*set"]:
        """The share of labelled pixels whose class was predicted."""
        return self.found.sum(-1) / self.labelled.sum(-1)

    def mean_accuracy(self) -> Float[Tensor, "*set"]:
        """The mean over classes with labels of the share of their pixels that was found."""
        return (self.found / self.labelled).nanmean(-1)


def class_counts(confusion: Int[Tensor, "label predicted"]) -> ClassCounts:
    """The counts that a confusion matrix holds, as float64: exact up to 2^53 pixels."""
    counts = confusion.double()
    return ClassCounts(counts.diagonal(), counts.sum(1), counts[:, : len(counts)].sum(0))


def iou_per_class(confusion: Int[Tensor, "label predicted"]) -> Float[Tensor, " label"]:
    """Intersection over union of each class; NaN for a class that is neither in the labels nor predicted."""
    return class_counts(confusion).iou()


def miou(confusion: Int[Tensor, "label predicted"]) -> float:
    """The mean of `iou_per_class` over the classes that are in the labels or predicted; NaN where there are none."""
    return float(class_counts(confusion).miou())


def pixel_accuracy(confusion: Int[Tensor, "label predicted"]) -> float:
    """The share of labelled pixels whose class was predicted."""
    return float(class_counts(confusion).pixel_accuracy())


def mean_accuracy(confusion: Int[Tensor, "label predicted"]) -> float:
    """The mean over classes with labels of the share of their pixels that was found."""
    return float(class_counts(confusion).mean_accuracy())


def near_boundary(
    label_map: UInt8[np.ndarray, "height width_px"], distance: int
) -> Bool[np.ndarray, "height width_px"]:
    """Pixels with another label within `distance` rows and columns of them; an ignored label is one too."""
    low = high = label_map
    for axis in (0, 1):
        low, high = (
            _over_neighbours(pick, map_, distance, axis) for pick, map_ in ((np.minimum, low), (np.maximum, high))
        )
    return low != high


def _over_neighbours(pick: np.ufunc, map_: np.ndarray, distance: int, axis: int) -> np.ndarray:
    """The lowest or highest value along one axis among a pixel and its neighbours up to `distance` on either side."""
    padded = np.pad(map_, [(distance, distance) if axis == side else (0, 0) for side in (0, 1)], mode="edge")
    length = map_.shape[axis]
    spans = (slice(by, by + length) for by in range(2 * distance + 1))
    return reduce(pick, (padded[span] if axis == 0 else padded[:, span] for span in spans))


class Pixels(NamedTuple):
    """What is counted: some pixels of a label map, whose labels are 0..num_classes-1, and what was made of them."""

    labels: Integer[np.ndarray, " pixel"]
    predicted: Integer[np.ndarray, " pixel"]  # anything but 0..num_classes-1 is "nothing predicted"
    certainty: Float[np.ndarray, " pixel"] | None = None  # of the prediction
    inner: Bool[np.ndarray, " pixel"] | None = None  # cuts them into two parts, where it is False and where it is True

    def blocks(self) -> Iterator["Pixels"]:
        """BLOCK of them at a time."""
        for start in range(0, len(self.labels), BLOCK):
            yield Pixels(*(None if map_ is None else map_[start : start + BLOCK] for map_ in self))  # type: ignore[arg-type]


def tally(
    pixels: Pixels, num_classes: int, thresholds: Sequence[float] = (-math.inf,), background: int | None = None
) -> Int[np.ndarray, "part threshold 3 label"]:
    """Of each class the pixels found (labelled and predicted), labelled, and predicted: all that IoU needs.

    For each threshold as if pixels whose certainty lies below it were predicted as `background`. All come of one
    histogram: neither a sweep nor a part costs a pass over the pixels.

    Args:
        thresholds: ascending. Where pixels have no certainty, none lies below any.
    """
    counts = np.zeros((1 if pixels.inner is None else 2, len(thresholds), 3, num_classes), np.int64)
    for block in pixels.blocks():
        counts += _tally(block, num_classes, thresholds, background)
    return counts


def _tally(
    pixels: Pixels, num_classes: int, thresholds: Sequence[float], background: int | None
) -> Int[np.ndarray, "part threshold 3 label"]:
    labels, predicted, certainty, inner = pixels
    levels, columns, parts = len(thresholds) + 1, num_classes + 1, 1 if inner is None else 2
    part = np.int32(0) if inner is None else inner.astype(np.int32)
    # at level n, the first n thresholds leave the prediction as it is
    level = levels - 1 if certainty is None else _level(certainty, thresholds)
    place = np.broadcast_to(levels * part + level, labels.shape)
    nothing = (predicted < 0) | (predicted >= num_classes)
    cells = np.where(nothing, num_classes, predicted) + columns * (2 * place + (labels == predicted))
    by_level = _counted(cells, (parts, levels, 2, columns))
    kept = by_level[:, ::-1].cumsum(1)[:, ::-1][:, 1:, :, :num_classes]
    found, foretold = kept[:, :, 1], kept.sum(2)
    if background is not None:
        found[..., background] += _counted(place[labels == background], (parts, levels)).cumsum(1)[:, :-1]
        foretold[..., background] += by_level.sum((2, 3)).cumsum(1)[:, :-1]
    labelled = _counted(num_classes * part + labels, (parts, 1, num_classes))
    return np.stack([found, np.broadcast_to(labelled, found.shape), foretold], axis=2)


def _level(certainty: Float[np.ndarray, " pixel"], thresholds: Sequence[float]) -> Int[np.ndarray, " pixel"]:
    """How many thresholds leave a pixel's prediction as it is: those that its certainty does not lie below."""
    level, exact = np.zeros(certainty.shape, np.int32), certainty.astype(np.float64)
    for threshold in thresholds:  # few, and each a tenth of what np.searchsorted takes for its guesses gone wrong
        level += exact >= threshold
    return level


def _counted(cells: Int[np.ndarray, " pixel"], shape: tuple[int, ...]) -> Int[np.ndarray, "..."]:
    return np.bincount(cells, minlength=math.prod(shape)).reshape(shape)
