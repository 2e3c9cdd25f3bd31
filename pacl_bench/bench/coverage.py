"""Do the intervals hold the truth as often as they say? A simulation: many small sets are drawn from a large one.

A 95 % interval is right if, of the sets, 93 to 97 % have one that holds the value of the large set. Whether it is
depends on how many images each class has, so each kind of number is simulated with common and with rare classes.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Int, Num

from pacl_bench.evaluators.iou_counts import IouCounts, over_data_set, over_images
from pacl_bench.metrics.coherence import pairwise_coherence
from pacl_bench.metrics.intervals import jackknife_interval
from pacl_bench.records import Measurement

POPULATION = 20_000  # images of the large set
PIXELS = 1000  # an image, about
# classes, how common the rarest is beside the commonest, images: from every class in many images to most in hardly one
SETS = ((20, 1.0, 100), (20, 0.05, 100), (20, 0.05, 400), (100, 0.02, 200), (100, 0.02, 1000))
Bounds = tuple[float, float]


@dataclass(frozen=True)
class Coverage:
    """How often the intervals of one kind of number held the truth."""

    number: str
    classes: int
    rarest: float  # images of the rarest class in a set, expected
    images: int  # of a set
    truth: float  # of the large set
    mean: float  # of the sets
    covered: float  # share of the sets
    width: float  # of an interval, mean


@dataclass(frozen=True)
class World:
    """A large set of images, each with one to three of its classes.

    `counts` are found, labelled and predicted pixels of each class in each image, as segmentation counts them.
    """

    counts: Int[np.ndarray, "image 3 label"]

    def share_with(self, label: int) -> float:
        """Of the images, those that show a class."""
        return float((self.counts[:, 1, label] > 0).mean())


def draw_world(classes: int, rarity: float, seed: int = 0) -> World:
    """Each class is found well or badly throughout, and in each image better or worse; what is missed is taken for
    another class, the more often the commoner that is."""
    random = np.random.default_rng(seed)
    frequency = np.geomspace(1, rarity, classes) / np.geomspace(1, rarity, classes).sum()
    skill = random.uniform(0.2, 0.9, classes)
    counts = np.zeros((POPULATION, 3, classes), np.int32)
    for image in counts:
        shown = np.unique(random.choice(classes, random.integers(1, 4), p=frequency))
        sizes = np.ceil(random.dirichlet(np.ones(len(shown))) * PIXELS).astype(int)
        found = (sizes * random.beta(2 * skill[shown], 2 - 2 * skill[shown])).astype(int)
        image[0, shown], image[1, shown], image[2, shown] = found, sizes, found
        np.add.at(image[2], random.choice(classes, len(shown), p=frequency), sizes - found)
    return World(counts)


def coverage(sets: int = 300) -> Iterator[Coverage]:
    """A row for each kind of number and size of set.

    Args:
        sets: how many are drawn for a row; with 300, a coverage is known to within 2.5 points.
    """
    for classes, rarity, images in SETS:
        world = draw_world(classes, rarity)
        rarest = images * world.share_with(classes - 1)
        for number, measure in NUMBERS.items():
            truth = measure(world.counts)[0]
            drawn = [measure(chosen) for chosen in _sets(world.counts, images, sets)]
            yield _summary(number, classes, rarest, images, truth, drawn)
        yield _of_each_class(world.counts, rarest, images, sets)
    yield _of_auroc(sets)


def _sets(counts: np.ndarray, images: int, sets: int) -> Iterator[np.ndarray]:
    for seed in range(sets):
        yield counts[np.random.default_rng(seed).choice(len(counts), images, replace=False)]


def _summary(
    number: str, classes: int, rarest: float, images: int, truth: float, drawn: list[tuple[float, Bounds]]
) -> Coverage:
    values, bounds = zip(*drawn, strict=True)
    low, high = np.array(bounds).T
    held = ((low <= truth) & (truth <= high)).mean()
    return Coverage(
        number,
        classes,
        round(rarest, 1),
        images,
        truth,
        float(np.mean(values)),
        float(held),
        float(np.mean(high - low)),
    )


Measure = Callable[[np.ndarray], tuple[float, Bounds]]


def _miou(counts: np.ndarray, of: Callable[[IouCounts], list]) -> tuple[float, Bounds]:
    """mIoU as the evaluator counts it."""
    held = IouCounts(["simulated"], [image[None] for image in counts])
    measured = of(held)[0]
    return measured.value, (measured.ci_low, measured.ci_high)


def _of_each_class(counts: Int[np.ndarray, "image 3 label"], rarest: float, images: int, sets: int) -> Coverage:
    """IoU of one class, over all classes of all sets; a class that is in one image of a set has no interval there."""
    classes = counts.shape[2]

    def measure(chosen: np.ndarray) -> dict[str, Measurement]:
        held = IouCounts(["simulated"], [image[None] for image in chosen])
        return {row.class_name: row for row in over_data_set(held, list(map(str, range(classes))), 2) if row.class_name}

    truth = measure(counts)
    drawn = [
        row for chosen in _sets(counts, images, sets) for row in measure(chosen).values() if row.ci_low is not None
    ]
    low, high = (np.array([getattr(row, end) for row in drawn]) for end in ("ci_low", "ci_high"))
    true = np.array([truth[row.class_name].value for row in drawn])
    held = float(((low <= true) & (true <= high)).mean())
    value = float(np.mean([row.value for row in drawn]))
    width = float(np.mean(high - low))
    return Coverage("IoU of a class", classes, round(rarest, 1), images, float(true.mean()), value, held, width)


def _shares(
    right: Num[np.ndarray, "image label"], whole: Num[np.ndarray, "image label"], of_classes: bool
) -> tuple[float, Bounds]:
    """The share that is right: of everything, or the mean over classes of each one's."""

    def statistic(sums: np.ndarray) -> np.ndarray:
        first, second = np.split(sums, 2, axis=1)
        if of_classes:
            return np.nanmean(first / second, axis=1, keepdims=True)
        return first.sum(1, keepdims=True) / second.sum(1, keepdims=True)

    per_image = np.concatenate([right, whole], axis=1).astype(float)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = float(statistic(per_image.sum(0)[None])[0, 0])
    low, high = jackknife_interval(per_image, statistic)[:, 0]
    return value, (float(low), float(high))


def _of_one_class(counts: np.ndarray, of_classes: bool) -> tuple[float, Bounds]:
    """As in classification: an image is of its largest class, and right where most of it was found."""
    labels = counts[:, 1].argmax(1)
    whole = np.eye(counts.shape[2])[labels]
    right = whole * (2 * counts[:, 0] > counts[:, 1])
    return _shares(right, whole, of_classes)


NUMBERS: dict[str, Measure] = {
    "mIoU (dataset-miou)": partial(_miou, of=lambda held: over_data_set(held, [], 2)),
    "mIoU (present-miou)": partial(_miou, of=over_images),
    "patch accuracy": lambda counts: _shares(counts[:, 0], counts[:, 1], of_classes=False),
    "top-1": partial(_of_one_class, of_classes=False),
    "mean per-class recall": partial(_of_one_class, of_classes=True),
}


PATCH_IMAGES, PATCHES, WIDTH, CLASSES = 1500, 6, 8, 10  # of the simulated patches


def _of_auroc(sets: int, images: int = 100) -> Coverage:
    """AUROC over pairs of patches across images; patches of an image resemble each other."""
    random = np.random.default_rng(0)
    labels = np.repeat(random.integers(0, CLASSES, PATCH_IMAGES), PATCHES)
    centres, own = random.normal(size=(CLASSES, WIDTH)), random.normal(size=(PATCH_IMAGES, WIDTH))
    tokens = centres[labels] + np.repeat(own, PATCHES, axis=0) + 0.5 * random.normal(size=(len(labels), WIDTH))
    image = np.repeat(np.arange(PATCH_IMAGES), PATCHES)

    def measure(chosen: np.ndarray) -> tuple[float, Bounds]:
        kept = np.isin(image, chosen)
        features, of_patches, of_images = (torch.from_numpy(part[kept]) for part in (tokens, labels, image))
        found = pairwise_coherence(features, of_patches, "across", of_images).auroc
        return found.value, found.ci or (0.0, 1.0)

    truth = measure(np.arange(PATCH_IMAGES))[0]
    drawn = [measure(chosen) for chosen in _sets(np.arange(PATCH_IMAGES), images, sets)]
    return _summary("AUROC (pairs-across)", CLASSES, images / CLASSES, images, truth, drawn)
