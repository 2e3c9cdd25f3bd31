"""Counts the pixels of each class in every image, and turns the counts into IoU and accuracies with their intervals.

Three numbers of each class are enough: how many pixels were found (labelled as the class and predicted as it), how many
were labelled, and how many were predicted. They are kept for each image apart, since the intervals come from leaving
out one image after the other. The formulas are those of `metrics.segmentation`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Integer

from pacl_bench import processes
from pacl_bench.image_counts import Counts, counts_name
from pacl_bench.metrics.intervals import ends, jackknife_interval
from pacl_bench.metrics.segmentation import ClassCounts, Pixels, tally
from pacl_bench.records import Measurement

METRICS = ("miou", "pixel_accuracy", "mean_accuracy")
BLIND = "boundary_blind_"  # before a metric's name: pixels near the boundaries of labels do not count


@dataclass(frozen=True)
class Sweep:
    """Turns uncertain pixels into background: those whose certainty lies below a threshold.

    Each threshold is a protocol of its own. By default there is one that no pixel lies below.
    """

    certainty: Float[np.ndarray, " pixel"] | None = None
    thresholds: tuple[float, ...] = (-np.inf,)  # ascending
    background: int | None = None  # the class that uncertain pixels are given


@dataclass
class IouCounts:
    """The counts of image after image, under the protocols of one sweep: one protocol for each of its thresholds.

    An image's counts are an array "protocol 3 label": found, labelled and predicted pixels of each class.
    """

    protocols: list[str]
    counts: list[Int[np.ndarray, "protocol 3 label"]] = field(default_factory=list)
    blind: list[Int[np.ndarray, "protocol 3 label"]] = field(default_factory=list)  # away from boundaries

    def add(
        self,
        labels: Integer[np.ndarray, " pixel"],
        predicted: Integer[np.ndarray, " pixel"],
        num_classes: int,
        sweep: Sweep = Sweep(),
        inner: Bool[np.ndarray, " pixel"] | None = None,
    ) -> None:
        """Counts the pixels of one image.

        Args:
            labels: of the pixels that count; those with an ignored label are left out before.
            predicted: the class of each of these pixels; one outside 0..num_classes-1 means "nothing predicted".
            inner: True for pixels away from boundaries. Where it is given, these are counted a second time by
                themselves, for the boundary-blind metrics.
        """
        pixels = Pixels(labels, predicted, sweep.certainty, inner)
        of_parts = tally(pixels, num_classes, sweep.thresholds, sweep.background)
        of_parts = of_parts.astype(np.int32)  # an image has fewer than 2^31 pixels
        self.counts.append(of_parts.sum(0, dtype=np.int32))
        if inner is not None:
            self.blind.append(of_parts[1])

    def gather(self) -> None:
        """Takes in the images that other processes have counted, in the order of the set."""
        self.counts, self.blind = processes.gathered(self.counts), processes.gathered(self.blind)

    def of_protocols(self) -> Iterator[tuple[str, Int[np.ndarray, "image 3 label"]]]:
        """The counts of all images, protocol after protocol."""
        for at, protocol in enumerate(self.protocols):
            yield protocol, np.stack([image[at] for image in self.counts])


def over_data_set(iou_counts: IouCounts, classnames: list[str], candidates: int) -> list[Measurement]:
    """The field's usual numbers: the counts of all images are added up, and the metrics are taken of the sums.

    For each protocol METRICS, the IoU of each class, and METRICS of the pixels away from boundaries.

    Args:
        candidates: the number of classes that guessing chooses from, for the chance level.
    """
    measured = []
    for at, (protocol, counts) in enumerate(iou_counts.of_protocols()):
        measured += _measured(counts, classnames, candidates, protocol)
        if iou_counts.blind:
            measured += _measured(np.stack([image[at] for image in iou_counts.blind]), [], candidates, protocol, BLIND)
    return measured


def over_images(iou_counts: IouCounts) -> list[Measurement]:
    """METRICS of each image by itself, among the classes that are in it; their means over the images are told.

    An image without labels has no classes to choose among and does not count.
    """
    measured = []
    for protocol, counts in iou_counts.of_protocols():
        counts = counts[counts[:, 1].any(1)]
        if not len(counts):
            continue
        values = _summaries(counts)[:, : len(METRICS)]
        chances = np.mean([_chances(image[1], int((image[1] > 0).sum())) for image in counts], axis=0)
        ones = np.ones((len(counts), 1))  # their sum is the number of images that are not left out
        bounds = jackknife_interval(np.concatenate([values, ones], axis=1), lambda sums: sums[:, :-1] / sums[:, -1:])
        measured += [
            Measurement(metric, float(mean), protocol, len(counts), "", *ends(bounds, place), chance)
            for place, (metric, mean, chance) in enumerate(zip(METRICS, values.mean(0), chances, strict=True))
        ]
    return measured


def set_counts(iou_counts: IouCounts) -> Counts:
    """By image what the mIoU and pixel accuracy of `over_data_set` are made of."""
    counted = {}
    for protocol, counts in iou_counts.of_protocols():
        found, labelled, predicted = counts.swapaxes(0, 1)
        counted[counts_name("miou", protocol)] = np.stack([found, labelled + predicted - found], axis=1)
        right = np.stack([found.sum(1), labelled.sum(1)], axis=1)
        counted[counts_name("pixel_accuracy", protocol)] = right[:, :, None]
    return counted


def mean_counts(iou_counts: IouCounts) -> Counts:
    """By image what the mIoU of `over_images` is the mean of."""
    counted = {}
    for protocol, counts in iou_counts.of_protocols():
        counts_too = counts[:, 1].any(1)
        values = np.where(counts_too, np.nan_to_num(_summaries(counts)[:, METRICS.index("miou")]), 0.0)
        counted[counts_name("miou", protocol)] = np.stack([values, counts_too], axis=1)[:, :, None]
    return counted


def _measured(
    counts: Int[np.ndarray, "image 3 label"], classnames: list[str], candidates: int, protocol: str, prefix: str = ""
) -> list[Measurement]:
    """METRICS of one protocol over all images, and the IoU of the classes named. Empty where no pixel counts."""
    total = counts.sum(0, dtype=np.int64)
    if not total[1].any():
        return []
    values = _summaries(total[None])[0]
    images, _, num_classes = counts.shape
    with_class = (counts[:, 1:].sum(1) > 0).sum(0)  # images that show a class, or were said to
    bounds = jackknife_interval(
        counts.reshape(images, -1).astype(float),
        lambda sums: _summaries(sums.reshape(-1, 3, num_classes)),
        support=np.concatenate([np.full(len(METRICS), images), with_class]),
    )
    chances = _chances(total[1], candidates)
    rows = [(prefix + metric, "", chance) for metric, chance in zip(METRICS, chances, strict=True)]
    rows += [("iou", name, None) for name in classnames]
    return [
        Measurement(metric, float(values[at]), protocol, images, name, *ends(bounds, at), chance)
        for at, (metric, name, chance) in enumerate(rows)
        if not np.isnan(values[at])
    ]


def _summaries(counts: Float[np.ndarray, "set 3 label"] | Int[np.ndarray, "set 3 label"]) -> np.ndarray:
    """For each set of pixels METRICS, then the IoU of each class; NaN where nothing counts."""
    of_classes = ClassCounts(*torch.from_numpy(counts).double().unbind(1))
    metrics = [of_classes.miou(), of_classes.pixel_accuracy(), of_classes.mean_accuracy()]
    return torch.cat([torch.stack(metrics, dim=1), of_classes.iou()], dim=1).numpy()


def _chances(labelled: Int[np.ndarray, " label"], candidates: int) -> tuple[float, float, float]:
    """What METRICS are expected to be where each pixel's class is guessed among the candidates, with equal chances."""
    return chance_miou(labelled, candidates), 1 / candidates, 1 / candidates


def chance_miou(labelled: Int[np.ndarray, " label"], candidates: int) -> float:
    """The mIoU of guessing each pixel's class with equal chances, expected over many pixels.

    A candidate without labels is guessed too, in vain: it has IoU 0.
    """
    share = torch.from_numpy(labelled / labelled.sum())  # of the pixels; each class is predicted for 1 / candidates
    guessed = ClassCounts(share / candidates, share, torch.full_like(share, 1 / candidates))
    return float(guessed.iou().sum() / candidates)
