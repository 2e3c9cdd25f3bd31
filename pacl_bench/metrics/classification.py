"""Classification metrics: whole images and patches. Pure functions."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def top1(predicted: Int[Tensor, " item"], labels: Int[Tensor, " item"]) -> float:
    """The share of items whose predicted class is their label."""
    return float((predicted == labels).double().mean())


def recall_per_class(
    predicted: Int[Tensor, " item"], labels: Int[Tensor, " item"], num_classes: int
) -> Float[Tensor, " label"]:
    """The share of each class's items that was found; NaN for a class without items."""
    found = torch.bincount(labels[predicted == labels], minlength=num_classes)
    return found.double() / torch.bincount(labels, minlength=num_classes)


def mean_per_class_recall(predicted: Int[Tensor, " item"], labels: Int[Tensor, " item"], num_classes: int) -> float:
    """The mean of `recall_per_class` over the classes that have items (also called balanced accuracy)."""
    return float(recall_per_class(predicted, labels, num_classes).nanmean())
