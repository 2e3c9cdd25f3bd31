"""Semantic coherence of patch tokens: are patches of one class similar? (PACL, Fig. 3)"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from pacl_bench import processes
from pacl_bench.caching.encoded_set import EncodedSet
from pacl_bench.encoders.base import PatchFeatures, VisionEncoder
from pacl_bench.encoders.view import View
from pacl_bench.errors import RunError
from pacl_bench.evaluators.base import Result
from pacl_bench.evaluators.patches import counted_patches
from pacl_bench.evaluators.settings import STEGO, CoherenceSettings
from pacl_bench.image_counts import Counts, counts_name
from pacl_bench.image_sets import SegmentationImages
from pacl_bench.metrics.coherence import Coherence, Curve, Estimate, pairwise_coherence
from pacl_bench.metrics.pair_counts import GROUPS
from pacl_bench.model.aligned import AlignedModel
from pacl_bench.records import Measurement


def evaluate_coherence(
    model: VisionEncoder | AlignedModel, images: SegmentationImages, settings: CoherenceSettings
) -> Result:
    """AUROC and average precision over all pairs of labelled patches: of an encoder's tokens, or of a head's patch
    embeddings; with the ROC and the curve of precision over recall. `protocol="stego"`: see evaluators.correspondence.
    """
    if settings.protocol == STEGO:
        # with scikit-learn, 140 MB and a second that nothing else here has use for
        from pacl_bench.evaluators.correspondence import evaluate_correspondence

        return evaluate_correspondence(model, images, settings)
    vision = model.vision if isinstance(model, AlignedModel) else model
    features, labels, image_ids = [], [], []
    for index, encoding in EncodedSet(vision, images, View(whole=True, short_side=settings.size)).features():
        label_map = images.label_map(index)
        if settings.grid is not None:
            encoding = on_grid(encoding, common_grid(label_map.shape, settings.grid))
        label, kept = counted_patches(images, label_map, encoding.grid, settings.purity, settings.keep_background)
        tokens = encoding.patch_tokens[0, kept]
        if isinstance(model, AlignedModel):
            tokens = model.patch_embeddings(tokens.to(vision.device)).cpu()
        features.append(tokens)
        labels.append(label[kept])
        image_ids.append(torch.full((int(kept.sum()),), index))
    joined = torch.cat(processes.gathered(features)).to(vision.device)
    features.clear()  # the tokens of a large set are held once
    every_label, every_image = torch.cat(processes.gathered(labels)), torch.cat(processes.gathered(image_ids))
    try:
        found = pairwise_coherence(joined, every_label, settings.scope, every_image)
    except ValueError as error:
        raise RunError(f"{images.name}, patches of purity {settings.purity} or more: {error}.") from None
    curves = {"roc": _points(found.roc, "fpr", "tpr"), "pr": _points(found.pr, "recall", "precision")}
    measured = _measurements(found, images.classnames, _protocol(settings))
    return Result(measured, curves, counts=_counts(found, _protocol(settings)))


def _counts(found: Coherence, protocol: str) -> Counts:
    """By group of images what the numbers are the mean of; a group without patches has 0 and 0."""
    counted = {}
    for metric in ("auroc", "mean_per_class_auroc", "average_precision"):
        by_group = getattr(found, metric).by_group
        if by_group is not None:
            array = np.zeros((GROUPS, 2, 1))
            array[found.groups, 0, 0], array[found.groups, 1, 0] = by_group, 1
            counted[counts_name(metric, protocol)] = array
    return counted


def common_grid(image_shape: tuple[int, ...], cells: int) -> tuple[int, int]:
    """(rows, cols) of nearly square cells, `cells` of them along the short side of an image of (height, width)."""
    height, width = image_shape
    short = min(height, width)
    return max(1, round(cells * height / short)), max(1, round(cells * width / short))


def on_grid(features: PatchFeatures, grid: tuple[int, int]) -> PatchFeatures:
    """The patch tokens of images brought to another grid: bilinear, averaging where the grid becomes coarser."""

    def resampled(tokens: Float[Tensor, "image patch width"]) -> Float[Tensor, "image cell width"]:
        maps = tokens.mT.unflatten(-1, features.grid)
        return interpolate(maps, size=grid, mode="bilinear", antialias=True).flatten(2).mT

    return PatchFeatures(features.cls_token, resampled(features.patch_tokens), grid)


def _protocol(settings: CoherenceSettings) -> str:
    on = "" if settings.grid is None else f", grid={settings.grid}"
    return f"pairs-{settings.scope}{on}"


def _measurements(found: Coherence, classnames: list[str], protocol: str) -> list[Measurement]:
    def measured(metric: str, estimate: Estimate, chance: float, class_name: str = "") -> Measurement:
        low, high = estimate.ci or (None, None)
        return Measurement(metric, estimate.value, protocol, estimate.num_pairs, class_name, low, high, chance)

    return [
        measured("auroc", found.auroc, 0.5),
        measured("mean_per_class_auroc", found.mean_per_class_auroc, 0.5),
        measured("average_precision", found.average_precision, found.same_class_share),
        *(measured("auroc", estimate, 0.5, classnames[label]) for label, estimate in found.auroc_per_class.items()),
    ]


def _points(curve: Curve, x: str, y: str) -> dict[str, list[float]]:
    """The points of a curve by axis; its 95 % band as `Y_low` and `Y_high` where there is one."""
    axes = {x: curve.x, y: curve.y}
    if curve.band is not None:
        axes |= {f"{y}_low": curve.band[0], f"{y}_high": curve.band[1]}
    return {axis: [round(float(value), 5) for value in values] for axis, values in axes.items()}
