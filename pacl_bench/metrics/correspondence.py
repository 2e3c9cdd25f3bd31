"""STEGO's precision-recall of features: do two points of one image that look alike have one label?

Another question than that of `metrics.coherence`, and another number on the same features (0.84 against 0.955 once):

    coherence                               correspondence
    patches, each with its majority label   points anywhere, features and labels interpolated between their places
    pairs of patches, each counted once     pairs of a point of a first draw with one of a second, in the same image
    positive: the same label                positive: exactly the same mixture of labels, so none near a boundary
    background and void dropped             background and void are labels; void with void is a positive pair

Source: Hamilton et al., Unsupervised Semantic Segmentation by Distilling Feature Correspondences, ICLR 2022, Figure 4
(mhamilton723/STEGO, src/plot_pr_curves.py, src/modules.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Integer
from sklearn.metrics import average_precision_score, precision_recall_curve
from torch import Tensor
from torch.nn.functional import grid_sample, normalize

from pacl_bench.metrics.coherence import CURVE_POINTS, average_precision
from pacl_bench.metrics.intervals import ends, jackknife_interval

POINTS = 11 * 11  # of each draw, in each image
BINS = 1024  # of similarity, for intervals alone
AGREEMENT = 1 - 1e-4  # of two mixtures of labels, from which on they are the same: weights sum to 1 but for rounding


class Correspondence(NamedTuple):
    """All pairs of points of one image: of a first draw, down the rows, with a second, across."""

    similarity: Float[Tensor, "first second"]
    positive: Bool[Tensor, "first second"]


def correspondence(
    features: Float[Tensor, "row col width"],
    label_map: Integer[Tensor, "height width_px"],
    first: Float[Tensor, "first 2"],
    second: Float[Tensor, "second 2"],
) -> Correspondence:
    """How alike two points of an image are in their features, and whether they are in their labels.

    Args:
        features: one vector a cell of a grid that covers the image, of any norm.
        label_map: of any size; every number in it is a label, that of void too.
        first: points (x, y) from -1 to 1, x to the right and y down. -1 and 1 are the CENTRES of the outermost cells of
            the grid, and of the outermost pixels of the label map. second: the same.
    """
    one, other = (normalize(_at_points(features, points), dim=-1) for points in (first, second))
    return Correspondence(one @ other.T, _agreement(label_map, first, second) >= AGREEMENT)


def correspondence_average_precision(
    similarity: Float[np.ndarray, " pair"], positive: Bool[np.ndarray, " pair"]
) -> float:
    """The mean over positive pairs of the precision at their similarity, all pairs of all images in one pool.

    Raises:
        ValueError: no positive pair, or none but positive ones.
    """
    if positive.all() or not positive.any():
        raise ValueError("the pairs of points are all of one label or all of different labels")
    return float(average_precision_score(positive, similarity))


@dataclass(frozen=True)
class PrecisionRecall:
    """What the pairs of points of all images say, in one pool."""

    value: float  # average precision
    ci: tuple[float, float] | tuple[None, None]  # 95 % interval over images; None where there is a single image
    positive_share: float  # of all pairs: the average precision of guessing
    num_pairs: int
    recall: list[float]
    precision: list[float]


def precision_recall(found: Sequence[Correspondence]) -> PrecisionRecall:
    """Average precision of all images, its interval, and a few hundred points of the curve, from low to high recall.

    Raises:
        ValueError: no positive pair, or none but positive ones.
    """
    similarity, positive = (np.concatenate([one[part].numpy().ravel() for one in found]) for part in (0, 1))
    value = correspondence_average_precision(similarity, positive)
    precision, recall, _ = precision_recall_curve(positive, similarity)
    kept = np.unique(np.searchsorted(recall[::-1], np.linspace(0, 1, CURVE_POINTS)).clip(0, len(recall) - 1))
    curve = [[round(float(one), 5) for one in axis[::-1][kept]] for axis in (recall, precision)]
    return PrecisionRecall(value, _interval(found, value), float(positive.mean()), len(positive), *curve)


def _interval(found: Sequence[Correspondence], value: float) -> tuple[float, float] | tuple[None, None]:
    """From the similarities of each image in bins, so that leaving an image out is a subtraction."""
    counts = np.stack([_binned(one) for one in found]).astype(float)
    bounds = jackknife_interval(
        counts.reshape(len(found), -1), lambda sums: average_precision(sums.reshape(-1, 2, BINS))[:, None]
    )
    low, high = ends(bounds, 0)
    return (None, None) if low is None or high is None else (min(low, value), max(high, value))


def _binned(one: Correspondence) -> Integer[np.ndarray, "same bin"]:
    """Pairs that are not positive, and those that are, by similarity."""
    kinds = [one.similarity[~one.positive], one.similarity[one.positive]]
    return np.stack([np.histogram(kind.numpy(), BINS, (-1.0, 1.0))[0] for kind in kinds])


def _at_points(
    features: Float[Tensor, "row col width"], points: Float[Tensor, "point 2"]
) -> Float[Tensor, "point width"]:
    """Bilinear between the cells around a point."""
    maps = features.permute(2, 0, 1)[None]
    return grid_sample(maps, points[None, None], "bilinear", "border", align_corners=True)[0, :, 0].T


def _agreement(
    label_map: Integer[Tensor, "height width_px"],
    first: Float[Tensor, "first 2"],
    second: Float[Tensor, "second 2"],
) -> Float[Tensor, "first second"]:
    """The inner product of the mixtures of labels at two points: 1 where both have one label, and it is the same."""
    (labels, weights), (other_labels, other_weights) = (_mixture(label_map, points) for points in (first, second))
    equal = labels[:, None, :, None] == other_labels[None, :, None, :]
    return torch.einsum("ijab,ia,jb->ij", equal.to(weights), weights, other_weights)


def _mixture(
    label_map: Integer[Tensor, "height width_px"], points: Float[Tensor, "point 2"]
) -> tuple[Integer[Tensor, "point corner"], Float[Tensor, "point corner"]]:
    """The labels of the four pixels around each point, and how much each counts there."""
    last = torch.tensor(label_map.shape).flip(0) - 1  # of the columns, of the rows
    places = ((points + 1) / 2 * last).clamp(torch.zeros(2), last)
    left, top = places.long().minimum((last - 1).clamp(0)).unbind(-1)
    right_share, bottom_share = (places - torch.stack([left, top], -1)).unbind(-1)
    right, bottom = (left + 1).clamp(max=int(last[0])), (top + 1).clamp(max=int(last[1]))
    labels = [label_map[row, col] for row in (top, bottom) for col in (left, right)]
    shares = [down * across for down in (1 - bottom_share, bottom_share) for across in (1 - right_share, right_share)]
    return torch.stack(labels, -1), torch.stack(shares, -1)
