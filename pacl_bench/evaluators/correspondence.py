"""STEGO's precision-recall of patch tokens: `coherence --protocol stego` (see metrics.correspondence)."""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from pacl_bench.caching.encoded_set import EncodedSet
from pacl_bench.encoders.base import VisionEncoder
from pacl_bench.encoders.view import View
from pacl_bench.errors import RunError
from pacl_bench.evaluators.base import Result
from pacl_bench.evaluators.settings import STEGO, CoherenceSettings
from pacl_bench.image_sets import SegmentationImages
from pacl_bench.metrics.correspondence import POINTS, Correspondence, correspondence, precision_recall
from pacl_bench.model.aligned import AlignedModel
from pacl_bench.records import Measurement


def evaluate_correspondence(
    model: VisionEncoder | AlignedModel, images: SegmentationImages, settings: CoherenceSettings
) -> Result:
    """Average precision over all pairs of points within an image: of an encoder's tokens, or of a head's patch
    embeddings; with the curve of precision over recall.
    """
    try:
        found = precision_recall(list(_correspondences(model, images, settings)))
    except ValueError as error:
        raise RunError(f"{images.name}: {error}.") from None
    low, high = found.ci
    whole = Measurement("average_precision", found.value, STEGO, found.num_pairs, "", low, high, found.positive_share)
    return Result([whole], {"pr": {"recall": found.recall, "precision": found.precision}})


def _correspondences(
    model: VisionEncoder | AlignedModel, images: SegmentationImages, settings: CoherenceSettings
) -> Iterator[Correspondence]:
    vision = model.vision if isinstance(model, AlignedModel) else model
    for index, encoding in EncodedSet(vision, images, View(whole=True, short_side=settings.size)).features():
        tokens = encoding.patch_tokens[0]
        if isinstance(model, AlignedModel):
            tokens = model.patch_embeddings(tokens.to(vision.device)).cpu()
        label_map = torch.from_numpy(images.label_map(index))
        yield correspondence(tokens.float().unflatten(0, encoding.grid), label_map, *points(index))


def points(index: int) -> tuple[Float[Tensor, "point 2"], Float[Tensor, "point 2"]]:
    """The two draws of an image, from -1 to 1 along each side; the same for every model."""
    drawn = torch.rand(2, POINTS, 2, generator=torch.Generator().manual_seed(index))
    first, second = 2 * drawn - 1
    return first, second
