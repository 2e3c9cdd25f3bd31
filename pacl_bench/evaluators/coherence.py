"""Semantic coherence of patch tokens: are patches of one class similar? (PACL, Fig. 3)"""

from dataclasses import dataclass

import torch

from pacl_bench.data.images import IGNORE_LABEL, SegmentationImages
from pacl_bench.encoders.base import VisionEncoder
from pacl_bench.errors import RunError
from pacl_bench.evaluators.patches import background_class, patch_labels
from pacl_bench.features import View, encoded
from pacl_bench.metrics.coherence import Roc, Scope, pairwise_roc
from pacl_bench.model.aligned import AlignedModel
from pacl_bench.records import Measurement


@dataclass(frozen=True)
class CoherenceSettings:
    """What changes the numbers."""

    scope: Scope = "across"  # pairs of patches of two images, of one ("within"), or both ("all")
    purity: float = 0.8  # the share of a patch's pixels that must have its label
    keep_background: bool = False  # count background as a class, where the set has one
    size: int | None = None  # short side of the images in pixels; None is the encoder's own


def evaluate_coherence(
    model: VisionEncoder | AlignedModel, images: SegmentationImages, settings: CoherenceSettings
) -> tuple[list[Measurement], Roc]:
    """AUROC over all pairs of labelled patches: of an encoder's tokens, or of a head's patch embeddings."""
    vision = model.vision if isinstance(model, AlignedModel) else model
    features, labels, image_ids = [], [], []
    for index, encoding in encoded(vision, images, View(whole=True, short_side=settings.size)):
        label, purity = patch_labels(images.label_map(index), encoding.grid, len(images.classnames))
        kept = (label != IGNORE_LABEL) & (purity >= settings.purity)
        background = background_class(images)
        if background is not None and not settings.keep_background:
            kept &= label != background
        tokens = encoding.patch_tokens[0, kept]
        if isinstance(model, AlignedModel):
            tokens = model.patch_embeddings(tokens.to(vision.device)).cpu()
        features.append(tokens)
        labels.append(label[kept])
        image_ids.append(torch.full((int(kept.sum()),), index))
    try:
        roc = pairwise_roc(torch.cat(features), torch.cat(labels), settings.scope, torch.cat(image_ids), interval=True)
    except ValueError as error:
        raise RunError(f"{images.name}, patches of purity {settings.purity} or more: {error}.") from None
    low, high = roc.ci or (None, None)
    measured = Measurement("auroc", roc.auroc, f"pairs-{settings.scope}", roc.num_pairs, "", low, high, chance=0.5)
    return [measured], roc
