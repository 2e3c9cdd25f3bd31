"""Semantic coherence: does the cosine similarity of two patches tell whether they are of one class?

Every pair of patches in scope counts once: the similarity is the score, "same class" the truth (PACL, Fig. 3).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, Num
from torch import Tensor
from torch.nn.functional import normalize

from pacl_bench.metrics import Scope
from pacl_bench.metrics.pair_counts import PairCounts, count_pairs

EXACT_PAIRS = 1_000_000  # up to so many pairs are ranked one by one
CURVE_POINTS = 201


@dataclass(frozen=True)
class Estimate:
    """A number and its 95 % interval over images; None where leaving out some images leaves it undefined."""

    value: float
    ci: tuple[float, float] | None
    num_pairs: int
    by_group: Float[np.ndarray, " group"] | None = None  # pseudovalues of the groups of images; `value` is their mean


@dataclass(frozen=True)
class Roc:
    """A ROC curve over pairs of patches, from (0, 0) to (1, 1)."""

    fpr: Float[np.ndarray, " point"]
    tpr: Float[np.ndarray, " point"]
    auroc: float
    num_pairs: int
    ci: tuple[float, float] | None = None  # 95 % interval of auroc over images


@dataclass(frozen=True)
class Curve:
    """A curve with a pointwise 95 % band over images; no band where leaving out some images leaves it undefined."""

    x: Float[np.ndarray, " point"]
    y: Float[np.ndarray, " point"]
    band: Float[np.ndarray, "bound point"] | None


@dataclass(frozen=True)
class Coherence:
    """All that is told of a set of patches.

    Of a class, the positives are the pairs of two patches of it, the negatives the pairs of which exactly one is. A
    class without either in scope has no AUROC.
    """

    auroc: Estimate
    average_precision: Estimate
    mean_per_class_auroc: Estimate  # each class counts the same, however many patches it has
    auroc_per_class: dict[int, Estimate]
    same_class_share: float  # of all pairs: the average precision of guessing
    roc: Curve  # fpr, tpr
    pr: Curve  # recall, precision
    groups: Int[np.ndarray, " group"]  # of images: image k is of group k mod 20


def pairwise_coherence(
    features: Float[Tensor, "patch width"],
    labels: Int[Tensor, " patch"],
    scope: Scope,
    image_ids: Int[Tensor, " patch"],
) -> Coherence:
    """AUROC, average precision and their curves over all pairs in scope, with intervals over images.

    All unordered pairs are counted, no patch with itself: pairs of two images (`across`), of one image (`within`), or
    both (`all`). Similarities are counted in 31,744 bins, pairs in one bin being ties: AUROC and average precision stay
    within 1e-4 of those of the pairs ranked one by one. Intervals: a delete-a-group jackknife over at most 20 groups of
    images, each left out with all its pairs, since patches of one image are not independent; the AUROC of a class is
    counted in 1,024 bins for it.

    Raises:
        ValueError: no pair of the same class, or none of different classes, in scope.
    """
    counts = _counted(features, labels, scope, image_ids)
    without = counts.total - counts.by_group
    class_values, class_without = auroc(counts.by_class), auroc(counts.by_class[:, None] - counts.by_class_and_group)
    class_pairs = counts.by_class.sum((1, 2))
    per_class = {
        int(label): Estimate(
            float(class_values[at]), _interval(class_values[at], class_without[at]), int(class_pairs[at])
        )
        for at, label in enumerate(counts.classes)
        if not np.isnan(class_values[at])
    }
    num_pairs = int(counts.total.sum())

    def estimate(statistic: Callable[[np.ndarray], np.ndarray]) -> Estimate:
        value = statistic(counts.total)
        return estimated(value, statistic(without))

    def estimated(value: np.ndarray, left_out: np.ndarray) -> Estimate:
        return Estimate(float(value), _interval(value, left_out), num_pairs, _pseudovalues(value, left_out))

    macro = _mean_over_classes(class_values)
    return Coherence(
        estimate(auroc),
        estimate(average_precision),
        estimated(macro, _mean_over_classes(class_without)),
        per_class,
        float(counts.total[1].sum() / num_pairs),
        _roc(counts.total, without),
        _pr(counts.total, without),
        counts.groups,
    )


def pairwise_roc(
    features: Float[Tensor, "patch width"],
    labels: Int[Tensor, " patch"],
    scope: Scope = "across",
    image_ids: Int[Tensor, " patch"] | None = None,
    interval: bool = False,
) -> Roc:
    """ROC of "two patches are of one class", predicted by their cosine similarity; see `pairwise_coherence`.

    Up to a million patch pairs are ranked one by one, if no interval is asked for.

    Args:
        image_ids: the image each patch is of; needed unless scope is `all`.
        interval: also give a 95 % interval of AUROC; needs `image_ids`.

    Raises:
        ValueError: no pair of the same class, or none of different classes, in scope.
    """
    if image_ids is None:
        if scope != "all" or interval:
            raise ValueError(f"scope {scope!r} with interval={interval} needs image_ids")
        image_ids = torch.zeros_like(labels)
    if len(labels) * (len(labels) - 1) // 2 <= EXACT_PAIRS and not interval:
        return _ranked(features, labels, scope, image_ids)
    counts = _counted(features, labels, scope, image_ids)
    curve, value = _roc(counts.total, None), auroc(counts.total)
    ci = _interval(value, auroc(counts.total - counts.by_group)) if interval else None
    return Roc(curve.x, curve.y, float(value), int(counts.total.sum()), ci)


def auroc(counts: Num[np.ndarray, "*batch same bin"]) -> Float[np.ndarray, "*batch"]:
    """The chance that a same-class pair is more similar than a pair of two classes, a tie counting half.

    NaN where there are no pairs of the one or the other kind.
    """
    different, same = _kinds(counts)
    below = np.cumsum(different, -1) - different / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((same * below).sum(-1) / (same.sum(-1) * different.sum(-1)))


def average_precision(counts: Num[np.ndarray, "*batch same bin"]) -> Float[np.ndarray, "*batch"]:
    """The mean over same-class pairs of the precision at their similarity, as scikit-learn has it.

    The pairs of one bin are taken to be in random order: a same-class pair then has half of the others before it. NaN
    where there are no pairs of the one or the other kind.
    """
    different, same = (kind[..., ::-1] for kind in _kinds(counts))
    pairs = different + same
    found = np.cumsum(same, -1) - same + (same + 1) / 2
    precision = found / (np.cumsum(pairs, -1) - pairs + (pairs + 1) / 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = (same * precision).sum(-1) / same.sum(-1)
    return np.where(different.sum(-1) > 0, value, np.nan)


def _mean_over_classes(values: Float[np.ndarray, "label *batch"]) -> np.ndarray:
    """Over the classes that have a value; NaN where none has."""
    with np.errstate(invalid="ignore"):
        return np.asarray(np.nansum(values, 0) / (~np.isnan(values)).sum(0))


def _counted(features: Tensor, labels: Tensor, scope: Scope, image_ids: Tensor) -> PairCounts:
    if len(labels) < 2:
        raise ValueError(_ONE_SIDED)
    counts = count_pairs(features, labels, scope, image_ids)
    if not counts.total.sum(-1).all():
        raise ValueError(_ONE_SIDED)
    return counts


def _ranked(features: Tensor, labels: Tensor, scope: Scope, image_ids: Tensor) -> Roc:
    from sklearn.metrics import roc_auc_score, roc_curve  # 140 MB, which large sets have no use for

    features = normalize(features.float(), dim=-1)
    first, second = torch.triu_indices(len(labels), len(labels), offset=1, device=labels.device)
    if scope != "all":
        kept = (image_ids[first] == image_ids[second]) == (scope == "within")
        first, second = first[kept], second[kept]
    scores = (features @ features.T)[first, second].cpu().numpy()
    same = (labels[first] == labels[second]).cpu().numpy()
    if same.all() or not same.any():
        raise ValueError(_ONE_SIDED)
    fpr, tpr, _ = roc_curve(same, scores)
    return Roc(fpr, tpr, float(roc_auc_score(same, scores)), len(same))


def _kinds(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of two classes and of one, as fractions can be made of them."""
    return counts[..., 0, :].astype(float), counts[..., 1, :].astype(float)


def _rates(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(fpr, tpr) with the threshold below each bin, from the most similar bin down, after a first point (0, 0)."""
    fpr, tpr = (np.cumsum(kind[..., ::-1], -1) / kind.sum(-1, keepdims=True) for kind in _kinds(counts))
    start = np.zeros((*fpr.shape[:-1], 1))
    return np.concatenate([start, fpr], -1), np.concatenate([start, tpr], -1)


def _recall_and_precision(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """With the threshold below each bin, from the most similar bin down; where nothing is found, precision is 1."""
    different, same = (np.cumsum(kind[..., ::-1], -1) for kind in _kinds(counts))
    found = different + same
    with np.errstate(invalid="ignore", divide="ignore"):
        return same / same[..., -1:], np.where(found > 0, same / np.maximum(found, 1), 1.0)


def _roc(total: np.ndarray, without: np.ndarray | None) -> Curve:
    fpr, tpr = _rates(total)
    # the curve is drawn from a few hundred of its points, evenly spread along it
    kept = np.unique(np.searchsorted(fpr + tpr, np.linspace(0, 2, CURVE_POINTS)).clip(0, len(fpr) - 1))
    return _curve(fpr[kept], tpr[kept], _rates, without)


def _pr(total: np.ndarray, without: np.ndarray) -> Curve:
    recall, precision = _recall_and_precision(total)
    first = int(np.argmax(recall > 0))  # above it no pair is of one class
    kept = np.unique(np.searchsorted(recall, np.linspace(0, 1, CURVE_POINTS)).clip(first, len(recall) - 1))
    return _curve(recall[kept], precision[kept], _recall_and_precision, without)


def _curve(
    x: np.ndarray,
    y: np.ndarray,
    axes: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
    without: np.ndarray | None,
) -> Curve:
    """The points, and a band from the heights that the curves of the groups left out have at them."""
    if without is None or len(without) < 2 or not without.sum(-1).all():
        return Curve(x, y, None)
    heights = np.stack([np.interp(x, *axes(one)) for one in without])
    reach = 1.96 * _jackknife_error(heights)
    return Curve(x, y, np.stack([y - reach, y + reach]).clip(0, 1))


def _interval(value: float | np.ndarray, without: np.ndarray) -> tuple[float, float] | None:
    """The value +- 1.96 standard errors, within 0 and 1, from its values without each group of images."""
    if len(without) < 2 or np.isnan(without).any():
        return None
    reach = 1.96 * float(_jackknife_error(without))
    return max(0.0, float(value) - reach), min(1.0, float(value) + reach)


def _pseudovalues(value: float | np.ndarray, without: np.ndarray) -> Float[np.ndarray, " group"] | None:
    """Numbers of the groups whose mean is the value, and the variance of whose mean is the jackknife's."""
    if len(without) < 2 or np.isnan(without).any():
        return None
    return value + (len(without) - 1) * (without.mean() - without)


def _jackknife_error(without: np.ndarray) -> np.ndarray:
    """The standard error, from the values without each of the groups along the first axis."""
    groups = len(without)
    return np.asarray(np.sqrt((groups - 1) / groups * np.square(without - without.mean(0)).sum(0)))


_ONE_SIDED = "the pairs in scope are all of the same class or all of different classes; a ROC needs both"
