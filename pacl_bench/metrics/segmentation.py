"""Segmentation metrics over confusion matrices. Pure functions."""

import torch
from jaxtyping import Float, Int, Integer
from torch import Tensor


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


def iou_per_class(confusion: Int[Tensor, "label predicted"]) -> Float[Tensor, " label"]:
    """Intersection over union of each class; NaN for a class that is neither in the labels nor predicted."""
    intersection = confusion.diagonal().double()
    labelled = confusion.sum(1).double()
    predicted = confusion[:, : len(confusion)].sum(0).double()
    return intersection / (labelled + predicted - intersection)  # 0 / 0 is NaN


def miou(confusion: Int[Tensor, "label predicted"]) -> float:
    """The mean of `iou_per_class` over the classes that are in the labels or predicted; NaN where there are none."""
    return float(iou_per_class(confusion).nanmean())


def pixel_accuracy(confusion: Int[Tensor, "label predicted"]) -> float:
    """The share of labelled pixels whose class was predicted."""
    return float(confusion.diagonal().sum()) / float(confusion.sum())  # divided as tensors, digits would be lost


def mean_accuracy(confusion: Int[Tensor, "label predicted"]) -> float:
    """The mean over classes with labels of the share of their pixels that was found."""
    return float((confusion.diagonal().double() / confusion.sum(1)).nanmean())
