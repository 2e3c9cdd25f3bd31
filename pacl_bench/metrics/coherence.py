"""Semantic coherence: does the cosine similarity of two patches tell whether they are of one class?

Every pair of patches in scope counts once: the similarity is the score, "same class" the truth (PACL, Fig. 3).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from sklearn.metrics import roc_auc_score, roc_curve
from torch import Tensor
from torch.nn.functional import normalize

Scope = Literal["across", "within", "all"]

BINS = 32768  # of the score histogram over [-1, 1]; pairs that fall into one bin count as ties
EXACT_PAIRS = 1_000_000  # up to so many pairs are ranked one by one
TILE = 2048  # patches a side of the similarity tiles: 16 MB of float32
CURVE_POINTS = 401
GROUPS = 20  # of images, for the jackknife


@dataclass(frozen=True)
class Roc:
    """A ROC curve over pairs of patches, from (0, 0) to (1, 1)."""

    fpr: Float[np.ndarray, " point"]
    tpr: Float[np.ndarray, " point"]
    auroc: float
    num_pairs: int
    ci: tuple[float, float] | None = None  # 95 % interval of auroc over images


def pairwise_roc(
    features: Float[Tensor, "patch width"],
    labels: Int[Tensor, " patch"],
    scope: Scope = "across",
    image_ids: Int[Tensor, " patch"] | None = None,
    interval: bool = False,
) -> Roc:
    """ROC of "two patches are of one class", predicted by their cosine similarity.

    All unordered pairs in scope are counted, no patch with itself: pairs of two images (`across`), of one image
    (`within`), or both (`all`). Up to a million patch pairs are ranked one by one; more are counted in a histogram of
    32,768 bins, tile by tile, so that memory does not depend on their number and AUROC stays within 1e-4.

    Args:
        image_ids: the image each patch is of; needed unless scope is `all`.
        interval: also give a 95 % interval of AUROC by a delete-a-group jackknife over images (patches of one image
            are not independent); needs `image_ids`.

    Raises:
        ValueError: no pair of the same class, or none of different classes, in scope.
    """
    if image_ids is None:
        if scope != "all" or interval:
            raise ValueError(f"scope {scope!r} with interval={interval} needs image_ids")
        image_ids = torch.zeros_like(labels)
    if len(labels) < 2:
        raise ValueError(_ONE_SIDED)
    features = normalize(features.float(), dim=-1)
    if len(labels) * (len(labels) - 1) // 2 <= EXACT_PAIRS and not interval:
        return _ranked(features, labels, scope, image_ids)
    groups = _groups(image_ids) if interval else torch.zeros_like(image_ids)
    counts = _count_by_group(features, labels, scope, image_ids, groups)
    return _from_histogram(counts)


def _ranked(features: Tensor, labels: Tensor, scope: Scope, image_ids: Tensor) -> Roc:
    first, second = torch.triu_indices(len(labels), len(labels), offset=1, device=labels.device)
    kept = _in_scope(scope, image_ids[first], image_ids[second])
    first, second = first[kept], second[kept]
    scores = (features @ features.T)[first, second].cpu().numpy()
    same = (labels[first] == labels[second]).cpu().numpy()
    if same.all() or not same.any():
        raise ValueError(_ONE_SIDED)
    fpr, tpr, _ = roc_curve(same, scores)
    return Roc(fpr, tpr, float(roc_auc_score(same, scores)), len(same))


def _in_scope(scope: Scope, first: Tensor, second: Tensor) -> Tensor:
    if scope == "all":
        return torch.ones(torch.broadcast_shapes(first.shape, second.shape), dtype=torch.bool, device=first.device)
    return (first == second) if scope == "within" else (first != second)


def _groups(image_ids: Tensor) -> Tensor:
    """Deals the images out to at most GROUPS groups; image k goes to group k mod GROUPS."""
    _, image_index = torch.unique(image_ids, return_inverse=True)
    return image_index % GROUPS


def _count_by_group(features: Tensor, labels: Tensor, scope: Scope, image_ids: Tensor, groups: Tensor) -> np.ndarray:
    """Histograms of scores, "group_a group_b same bin", each unordered pair once (group_a <= group_b)."""
    order = torch.argsort(groups, stable=True)
    features, labels, image_ids, groups = features[order], labels[order], image_ids[order], groups[order]
    num_groups = int(groups.max()) + 1
    counts = np.zeros((num_groups, num_groups, 2, BINS), dtype=np.int64)
    for rows, cols in _tiles(groups):
        in_scope = _in_scope(scope, image_ids[rows, None], image_ids[None, cols])
        if rows == cols:
            in_scope = in_scope.triu(1)
        bins = ((features[rows] @ features[cols].T + 1) * (BINS / 2)).int().clamp_(0, BINS - 1)
        same = labels[rows, None] == labels[None, cols]
        tile = torch.bincount((bins + same * BINS)[in_scope], minlength=2 * BINS)
        counts[groups[rows.start], groups[cols.start]] += tile.reshape(2, BINS).cpu().numpy()
    return counts


def _tiles(groups: Tensor) -> Iterator[tuple[slice, slice]]:
    """Pairs of slices that cover each unordered pair of patches once; no slice spans two groups."""
    slices = []
    start = 0
    for size in torch.bincount(groups).tolist():
        slices += [slice(at, min(at + TILE, start + size)) for at in range(start, start + size, TILE)]
        start += size
    for index, rows in enumerate(slices):
        for cols in slices[index:]:
            yield rows, cols


def _from_histogram(counts: np.ndarray) -> Roc:
    total = counts.sum((0, 1))
    different, same = total
    if not same.sum() or not different.sum():
        raise ValueError(_ONE_SIDED)
    fpr, tpr = (np.concatenate([[0], np.cumsum(side[::-1]) / side.sum()]) for side in (different, same))
    # the curve is drawn from a few hundred of its points, evenly spread along it
    kept = np.unique(np.searchsorted(fpr + tpr, np.linspace(0, 2, CURVE_POINTS)).clip(0, len(fpr) - 1))
    return Roc(fpr[kept], tpr[kept], _auroc(total), int(total.sum()), _jackknife(counts, total))


def _auroc(histogram: np.ndarray) -> float:
    """The chance that a same-class pair scores above a different-class pair, a tie counting half."""
    different, same = histogram.astype(float)
    below = np.concatenate([[0], np.cumsum(different)[:-1]])
    return float((same * (below + different / 2)).sum() / (same.sum() * different.sum()))


def _jackknife(counts: np.ndarray, total: np.ndarray) -> tuple[float, float] | None:
    """AUROC +- 1.96 standard errors, from leaving out each group of images with all its pairs."""
    num_groups = len(counts)
    if num_groups < 2:
        return None
    without = [total - counts[g].sum(0) - counts[:, g].sum(0) + counts[g, g] for g in range(num_groups)]
    if any(not side.sum() for histogram in without for side in histogram):
        return None
    values = np.array([_auroc(histogram) for histogram in without])
    error = np.sqrt((num_groups - 1) / num_groups * ((values - values.mean()) ** 2).sum())
    center = _auroc(total)
    return max(0.0, center - 1.96 * error), min(1.0, center + 1.96 * error)


_ONE_SIDED = "the pairs in scope are all of the same class or all of different classes; a ROC needs both"
