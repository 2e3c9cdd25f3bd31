"""Zero-shot segmentation: each pixel gets the class whose text its patches fit best (PACL, Table 2).

One pass over the images scores several protocols, each named in the record:

- `dataset-miou`: all classes are candidates; one confusion matrix over the set. The field's usual one.
- `present-miou`: the classes of the image are candidates; mIoU of each image, averaged over images.

each with `background=none` (pixels of no class are ignored, as in voc20) or `background=class` (background is a class
like the others, with its name as the prompt, as in voc21).
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pacl_bench.data.images import IGNORE_LABEL, SegmentationImages
from pacl_bench.data.vocabulary import load_templates
from pacl_bench.errors import RunError
from pacl_bench.evaluators.patches import background_class
from pacl_bench.features import View, encoded
from pacl_bench.metrics.bootstrap import bootstrap_interval
from pacl_bench.metrics.segmentation import confusion_matrix, iou_per_class, miou, pixel_accuracy
from pacl_bench.model.aligned import AlignedModel
from pacl_bench.model.compatibility import patch_similarity
from pacl_bench.records import Measurement

TILE_ROWS = 64  # pixel rows upsampled at once: bounds memory for many classes


@dataclass(frozen=True)
class SegmentationSettings:
    """What changes the numbers."""

    templates: str = "paper7"
    size: int | None = None  # short side of the images in pixels; None is the encoder's own
    stride: int | None = None  # of the patch convolution in pixels, PACL's stride trick; None is the patch size


def evaluate_segmentation(
    model: AlignedModel, images: SegmentationImages, settings: SegmentationSettings
) -> list[Measurement]:
    """mIoU and pixel accuracy under each protocol, and IoU for each class."""
    classes = model.class_embeddings(images.classnames, load_templates(settings.templates))
    num_classes = len(images.classnames)
    confusions, present_mious, present_chances = [], [], []
    view = View(whole=True, short_side=settings.size, stride=settings.stride)
    for index, features in encoded(model.vision, images, view):
        label_map = torch.from_numpy(images.label_map(index))
        scores = class_scores(model, features.patch_tokens, classes, features.grid)
        shape = (label_map.shape[0], label_map.shape[1])
        placing = Placing(model.vision.patch_size, settings.stride or model.vision.patch_size, features.grid)
        confusions.append(confusion_matrix(predict(scores, shape, placing), label_map, num_classes, IGNORE_LABEL))
        present = torch.unique(label_map[label_map != IGNORE_LABEL]).long()
        if len(present):
            among_present = present[predict(scores[present], shape, placing)]
            confusion = confusion_matrix(among_present, label_map, num_classes, IGNORE_LABEL)
            present_mious.append(miou(confusion))
            present_chances.append(chance_miou(confusion.sum(1)[present]))
    if not present_mious:
        raise RunError(f"{images.name} has no pixel with a label that counts.")
    background = "none" if background_class(images) is None else "class"
    return [
        *_over_data_set(torch.stack(confusions), images.classnames, f"dataset-miou, background={background}"),
        _over_images(
            np.array(present_mious), float(np.mean(present_chances)), f"present-miou, background={background}"
        ),
    ]


@dataclass(frozen=True)
class Placing:
    """Where the patches of a grid lie in the image the encoder saw, in its pixels."""

    patch_size: int
    stride: int
    grid: tuple[int, int]

    def centres(self, axis: int) -> Float[Tensor, " patch"]:
        """Of the rows (axis 0) or columns (1) of patches, as fractions of the side of the image."""
        number = self.grid[axis]
        side = (number - 1) * self.stride + self.patch_size
        return (torch.arange(number) * self.stride + self.patch_size / 2) / side


def class_scores(
    model: AlignedModel,
    patch_tokens: Float[Tensor, "1 patch width"],
    classes: Float[Tensor, "label dim"],
    grid: tuple[int, int],
) -> Float[Tensor, "label row col"]:
    """Cosine similarity of each patch of one image with each class, laid out as the grid."""
    embeddings = model.patch_embeddings(patch_tokens.to(classes.device))
    return patch_similarity(embeddings, classes)[0].unflatten(-1, grid).cpu()


def predict(
    scores: Float[Tensor, "label row col"], shape: tuple[int, int], placing: Placing
) -> Int[Tensor, "height width_px"]:
    """The best class of each pixel of an image of (height, width): scores interpolated bilinearly between patches.

    The patches' true centres are used, so that overlapping patches (a stride below the patch size) fall where they
    were seen; beyond the outermost centres the nearest patch decides. At stride = patch size this is
    `interpolate(mode="bilinear", align_corners=False)`. Rows are done a tile at a time: the full scores are never held.
    """
    down = interpolation_weights(shape[0], placing.centres(0))
    across = interpolation_weights(shape[1], placing.centres(1))
    widened = scores @ across.T
    tiles = [torch.einsum("lrw,hr->lhw", widened, rows).argmax(0) for rows in down.split(TILE_ROWS)]
    return torch.cat(tiles)


def interpolation_weights(pixels: int, centres: Float[Tensor, " patch"]) -> Float[Tensor, "pixel patch"]:
    """How much each patch counts for each pixel along one side: two neighbours share by distance."""
    positions = (torch.arange(pixels) + 0.5) / pixels
    if len(centres) == 1:
        return torch.ones(pixels, 1)
    upper = torch.searchsorted(centres, positions).clamp(1, len(centres) - 1)
    lower = upper - 1
    share = ((positions - centres[lower]) / (centres[upper] - centres[lower])).clamp(0, 1)
    weights = torch.zeros(pixels, len(centres))
    weights.scatter_(1, lower[:, None], (1 - share)[:, None])
    return weights.scatter_(1, upper[:, None], share[:, None])


def _over_data_set(
    confusions: Int[Tensor, "image label predicted"], classnames: list[str], protocol: str
) -> list[Measurement]:
    """Intervals need only three counts an image and class: found, labelled, predicted."""
    total = confusions.sum(0)
    counts = torch.stack([confusions.diagonal(dim1=1, dim2=2), confusions.sum(2), confusions.sum(1)], dim=1)
    low, high = bootstrap_interval(counts.flatten(1).double().numpy(), _iou_with_mean)
    chance = chance_miou(total.sum(1))
    ious = iou_per_class(total)
    accuracy = bootstrap_interval(counts[:, :2].sum(2).double().numpy(), lambda sums: sums[:, 0] / sums[:, 1])
    found = pixel_accuracy(total)
    return [
        Measurement("miou", miou(total), protocol, len(confusions), "", float(low[-1]), float(high[-1]), chance),
        Measurement(
            "pixel_accuracy",
            found,
            protocol,
            len(confusions),
            "",
            float(accuracy[0]),
            float(accuracy[1]),
            1 / len(classnames),
        ),
        *(
            Measurement(
                "iou", float(ious[label]), protocol, len(confusions), name, float(low[label]), float(high[label])
            )
            for label, name in enumerate(classnames)
            if not ious[label].isnan()
        ),
    ]


def _iou_with_mean(sums: Float[np.ndarray, "resample count"]) -> Float[np.ndarray, "resample value"]:
    """IoU of each class and, last, their mean; NaN for a class that is in no image of the resample."""
    found, labelled, predicted = np.split(sums, 3, axis=1)
    ious = found / (labelled + predicted - found)
    return np.concatenate([ious, np.nanmean(ious, axis=1, keepdims=True)], axis=1)


def chance_miou(labelled: Int[Tensor, " label"]) -> float:
    """The mIoU of guessing each pixel's class with equal chances, expected over many pixels."""
    share = labelled.double() / labelled.sum()
    guess = 1 / len(labelled)
    return float((share * guess / (share + guess - share * guess)).mean())


def _over_images(mious: Float[np.ndarray, " image"], chance: float, protocol: str) -> Measurement:
    counts = np.stack([mious, np.ones_like(mious)], axis=1)
    low, high = bootstrap_interval(counts, lambda sums: sums[:, 0] / sums[:, 1])
    return Measurement("miou", float(mious.mean()), protocol, len(mious), "", float(low), float(high), chance)
