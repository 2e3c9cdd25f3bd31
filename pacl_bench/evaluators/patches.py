"""Patch classification before and after alignment (PACL, Table 1).

A patch's label is the class most of its pixels have. Its prediction is the class whose text its embedding is most
similar to. The paper does not say which patches and which candidate classes it counts, so these readings stand side by
side:

- `all-classes`: every class of the set is a candidate. Guessing scores 1 / classes.
- `present-classes`: the classes of the image are. Guessing scores the mean of 1 / (classes in the image).
- `present-classes, images of 2+ classes`: the same, over the images that leave a choice.
- `binary`: the patch's class against one other class of the set, the mean over the others. Guessing scores 1/2.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from pacl_bench import processes
from pacl_bench.caching.encoded_set import EncodedSet
from pacl_bench.data.vocabulary import load_templates
from pacl_bench.encoders.view import View
from pacl_bench.errors import RunError
from pacl_bench.evaluators.base import Result
from pacl_bench.evaluators.settings import PatchSettings
from pacl_bench.image_counts import Counts, counts_name
from pacl_bench.image_sets import IGNORE_LABEL, SegmentationImages
from pacl_bench.metrics.intervals import ends, jackknife_interval
from pacl_bench.metrics.segmentation import confusion_matrix
from pacl_bench.model.aligned import AlignedModel
from pacl_bench.model.compatibility import patch_similarity
from pacl_bench.records import Measurement

PROTOCOLS = ("all-classes", "present-classes", "present-classes, images of 2+ classes", "binary")
READINGS = ("all-classes", "present-classes", "binary")  # what is counted as correct
COUNTS = ("patches", *READINGS, "present-chance")  # what is summed over the patches of an image


def evaluate_patches(model: AlignedModel, images: SegmentationImages, settings: PatchSettings) -> Result:
    """Patch accuracy under each protocol, over all patches and for each class (recall).

    The confusion matrix is among the curves, by its cells that are not 0: label, predicted class, number of patches.
    """
    classes = model.class_embeddings(images.classnames, load_templates(settings.templates))
    num_classes = len(images.classnames)
    correct = np.zeros((len(images), num_classes, len(COUNTS)))  # per image and class
    confusion = np.zeros((num_classes, num_classes), dtype=int)
    encoded = EncodedSet(model.vision, images, View(whole=True, short_side=settings.size))
    for index, features in encoded.features():
        labels, kept = counted_patches(images, images.label_map(index), features.grid, settings.purity)
        if kept.any():
            tokens = model.patch_embeddings(features.patch_tokens.to(classes.device))
            similarity = patch_similarity(tokens, classes)[0].T.cpu()[kept]
            correct[index] = count_correct(similarity, labels[kept], num_classes)
            confusion += confusion_matrix(similarity.argmax(1), labels[kept], num_classes).numpy()
    correct, confusion = (np.sum(processes.each(counts), axis=0) for counts in (correct, confusion))
    if not correct[..., 0].any():
        raise RunError(
            f"{images.name} has no patch of purity {settings.purity} or more. Lower --purity, or raise --size."
        )
    curves = {"confusion": _cells(confusion)}
    return Result(_measurements(correct, images.classnames), curves, counts=_counts(correct))


def _counts(correct: Float[np.ndarray, "image label count"]) -> Counts:
    """By image what accuracy under each protocol, and recall with all classes as candidates, are made of."""
    counted = {}
    for protocol in PROTOCOLS:
        right, patches = correct[..., COUNTS.index(protocol.partition(",")[0])], correct[..., 0]
        kept = (patches > 0).sum(1, keepdims=True) > (protocol not in READINGS)
        accuracy = np.stack([(right * kept).sum(1), (patches * kept).sum(1)], axis=1)
        if accuracy[:, 1].any():
            counted[counts_name("patch_accuracy", protocol)] = accuracy[:, :, None]
    right, patches = correct[..., COUNTS.index("all-classes")], correct[..., 0]
    return counted | {counts_name("patch_recall", "all-classes"): np.stack([right, patches], axis=1)}


def _cells(confusion: Int[np.ndarray, "label predicted"]) -> dict[str, list[float]]:
    labels, predicted = confusion.nonzero()
    cells = {"label": labels, "predicted": predicted, "patches": confusion[labels, predicted]}
    return {axis: values.astype(float).tolist() for axis, values in cells.items()}


def counted_patches(
    images: SegmentationImages,
    label_map: UInt8[np.ndarray, "height width_px"],
    grid: tuple[int, int],
    purity: float,
    keep_background: bool = False,
) -> tuple[Int[Tensor, " patch"], Bool[Tensor, " patch"]]:
    """The label of each patch, and whether it counts: labelled, pure enough, and not background."""
    labels, shares = patch_labels(label_map, grid, len(images.classnames))
    kept = (labels != IGNORE_LABEL) & (shares >= purity)
    background = background_class(images)
    if background is not None and not keep_background:
        kept &= labels != background
    return labels, kept


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
    choice = (correct[..., 0] > 0).sum(1) > 1  # images of two or more classes
    majority = count_majority(correct[..., 0])
    measured = []
    for protocol in PROTOCOLS:
        reading = protocol.partition(",")[0]
        images = choice if protocol != reading else np.ones_like(choice)
        if images.any():
            counted = correct[images]
            patches, right = counted[..., 0], counted[..., COUNTS.index(reading)]
            measured += _of_protocol(right, patches, _chance(reading, counted), protocol, classnames)
            share = majority[images, READINGS.index(reading)].sum() / patches.sum()
            measured.append(Measurement("majority_class_share", share, protocol, int(patches.sum())))
    return measured


def _of_protocol(
    right: Float[np.ndarray, "image label"],
    patches: Float[np.ndarray, "image label"],
    chance: float,
    protocol: str,
    classnames: list[str],
) -> list[Measurement]:
    """Accuracy, and the recall of each class; intervals over images, of a class that is in more than one."""
    support = np.concatenate([[len(patches)], (patches > 0).sum(0)])  # images with any patch, and with one of the class
    bounds = jackknife_interval(np.concatenate([right, patches], axis=1), _accuracy_and_recalls, support)
    total = patches.sum(0)
    accuracy = right.sum() / total.sum()
    measured = [Measurement("patch_accuracy", accuracy, protocol, int(total.sum()), "", *ends(bounds, 0), chance)]
    for label, name in enumerate(classnames):
        if total[label]:
            recall, interval = right[:, label].sum() / total[label], ends(bounds, 1 + label)
            measured.append(Measurement("patch_recall", recall, protocol, int(total[label]), name, *interval))
    return measured


def _accuracy_and_recalls(sums: Float[np.ndarray, "set count"]) -> Float[np.ndarray, "set value"]:
    right, patches = np.split(sums, 2, axis=1)
    return np.concatenate([right.sum(1, keepdims=True) / patches.sum(1, keepdims=True), right / patches], axis=1)


def _chance(reading: str, counted: Float[np.ndarray, "image label count"]) -> float:
    """What guessing scores: every candidate class equally likely for each patch."""
    present = counted[..., COUNTS.index("present-chance")].sum() / counted[..., 0].sum()
    return {"all-classes": 1 / counted.shape[1], "present-classes": present, "binary": 0.5}[reading]


def count_majority(patches: Float[np.ndarray, "image label"]) -> Float[np.ndarray, "image reading"]:
    """Patches of each image that answering the most frequent candidate class gets right, for each of READINGS.

    How frequent a class is, the whole set says: for `present-classes` the most frequent of the image's classes is
    answered, for `binary` the more frequent of the two.
    """
    total = patches.sum(0)
    num_classes = len(total)
    in_image = np.where(patches > 0, total, -1).argmax(1)
    wins = ((total[:, None] > total).sum(1) + ((total[:, None] == total).sum(1) - 1) / 2) / max(1, num_classes - 1)
    return np.stack([patches[:, total.argmax()], patches[np.arange(len(patches)), in_image], patches @ wins], axis=1)
