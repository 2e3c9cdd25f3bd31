"""Patch classification before and after alignment (PACL, Table 1).

A patch's label is the class most of its pixels have. Its prediction is the class whose text its embedding is most
similar to. The paper does not say which patches and which candidate classes it counts, so three readings stand side by
side:

- `all-classes`: every class of the set is a candidate. Guessing scores 1 / classes.
- `present-classes`: the classes of the image are. Guessing scores the mean of 1 / (classes in the image).
- `binary`: the patch's class against one other class of the set, the mean over the others. Guessing scores 1/2.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from pacl_bench.data.images import IGNORE_LABEL, SegmentationImages
from pacl_bench.data.vocabulary import load_templates
from pacl_bench.errors import RunError
from pacl_bench.features import View, encoded
from pacl_bench.metrics.bootstrap import bootstrap_interval
from pacl_bench.model.aligned import AlignedModel
from pacl_bench.model.compatibility import patch_similarity
from pacl_bench.records import Measurement

COUNTS = ("patches", "all-classes", "present-classes", "binary", "present-chance")  # what is summed over images


@dataclass(frozen=True)
class PatchSettings:
    """What changes the numbers."""

    purity: float = 0.8  # the share of a patch's pixels that must have its label
    templates: str = "paper7"
    size: int | None = None  # short side of the images in pixels; None is the encoder's own


def evaluate_patches(model: AlignedModel, images: SegmentationImages, settings: PatchSettings) -> list[Measurement]:
    """Patch accuracy under the three protocols, over all patches and for each class (recall)."""
    classes = model.class_embeddings(images.classnames, load_templates(settings.templates))
    num_classes = len(images.classnames)
    correct = np.zeros((len(images), num_classes, len(COUNTS)))  # per image and class
    for index, features in encoded(model.vision, images, View(whole=True, short_side=settings.size)):
        labels, purity = patch_labels(images.label_map(index), features.grid, num_classes)
        kept = (labels != IGNORE_LABEL) & (purity >= settings.purity)
        if background_class(images) is not None:
            kept &= labels != background_class(images)
        if kept.any():
            tokens = model.patch_embeddings(features.patch_tokens.to(classes.device))
            similarity = patch_similarity(tokens, classes)[0].T.cpu()
            correct[index] = count_correct(similarity[kept], labels[kept], num_classes)
    if not correct[..., 0].any():
        raise RunError(
            f"{images.name} has no patch of purity {settings.purity} or more. Lower --purity, or raise --size."
        )
    return _measurements(correct, images.classnames)


def background_class(images: SegmentationImages) -> int | None:
    """The class that stands for "none of the others", where the set has one."""
    return images.classnames.index("background") if "background" in images.classnames else None


def patch_labels(
    label_map: UInt8[np.ndarray, "height width_px"], grid: tuple[int, int], num_classes: int
) -> tuple[Int[Tensor, " patch"], Float[Tensor, " patch"]]:
    """The label most pixels of each patch have, and the share that have it, counting ignored pixels too.

    Labels are never resized: each pixel counts for the patch its centre lies in. A patch most of which is ignored has
    IGNORE_LABEL; of equally frequent labels the lower wins.
    """
    height, width = label_map.shape
    rows, cols = grid
    row = (np.arange(height) + 0.5) * rows // height
    col = (np.arange(width) + 0.5) * cols // width
    patch = (row[:, None] * cols + col).astype(np.int64)
    label = np.where(label_map == IGNORE_LABEL, num_classes, label_map).astype(np.int64)
    counts = np.bincount((patch * (num_classes + 1) + label).ravel(), minlength=rows * cols * (num_classes + 1))
    counts = counts.reshape(rows * cols, num_classes + 1)
    majority = counts.argmax(1)
    # a small image has fewer pixels than patches: one without a pixel has no label
    purity = counts.max(1) / np.maximum(1, counts.sum(1))
    majority[(majority == num_classes) | (counts.sum(1) == 0)] = IGNORE_LABEL
    return torch.from_numpy(majority), torch.from_numpy(purity)


def count_correct(
    similarity: Float[Tensor, "patch label"], labels: Int[Tensor, " patch"], num_classes: int
) -> Float[np.ndarray, "label count"]:
    """COUNTS for each class, over the labelled patches of one image."""
    own = similarity.gather(1, labels[:, None])
    present = torch.unique(labels)
    among_present = present[similarity[:, present].argmax(1)]
    # of the other classes, the share that fits less well; an equal one counts half
    others = num_classes - 1
    beaten = (similarity < own).sum(1) + ((similarity == own).sum(1) - 1) / 2
    per_patch = torch.stack(
        [
            torch.ones(len(labels)),
            similarity.argmax(1) == labels,
            among_present == labels,
            beaten / others if others else torch.ones(len(labels)),
            torch.full((len(labels),), 1 / len(present)),
        ],
        dim=1,
    )
    return torch.zeros(num_classes, len(COUNTS)).index_add_(0, labels, per_patch.float()).double().numpy()


def _measurements(correct: Float[np.ndarray, "image label count"], classnames: list[str]) -> list[Measurement]:
    total = correct.sum(0)
    patches = total[:, 0]
    measured = []
    for at, protocol in enumerate(COUNTS[1:4], start=1):
        low, high = bootstrap_interval(correct.sum(1)[:, [at, 0]], lambda sums: sums[:, 0] / sums[:, 1])
        chance = {
            "all-classes": 1 / len(classnames),
            "present-classes": total[:, 4].sum() / patches.sum(),
            "binary": 0.5,
        }
        accuracy = total[:, at].sum() / patches.sum()
        measured.append(
            Measurement(
                "patch_accuracy", accuracy, protocol, int(patches.sum()), "", float(low), float(high), chance[protocol]
            )
        )
        measured += [
            Measurement("patch_recall", total[label, at] / patches[label], protocol, int(patches[label]), name)
            for label, name in enumerate(classnames)
            if patches[label]
        ]
    share = patches.max() / patches.sum()
    return [*measured, Measurement("majority_class_share", share, "all-classes", int(patches.sum()))]
