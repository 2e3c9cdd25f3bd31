"""Scores one image's predictions under every segmentation protocol in a single pass over its pixels.

A protocol says which classes a pixel may be given, and when it is background. It is named in records by a phrase like
"dataset-miou, background=entropy=1.5,scale=40"; `evaluators.segmentation` explains the phrases. The steps are

1. `read_pixels`: from what classes score at pixels to what the protocols ask of each pixel, its best class under each
   choice of candidates and how certain that is;
2. `Scorer.add`: from there to counts of pixels, for each protocol;
3. `Scorer.measurements`: from the counts of all images to the numbers of a record.

A protocol that gives each pixel one class, as other people's do, needs the first step and the last alone: `MapScorer`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from pacl_bench.evaluators.iou_counts import IouCounts, Sweep, mean_counts, over_data_set, over_images, set_counts
from pacl_bench.evaluators.score_field import ScoreField
from pacl_bench.evaluators.steps import SCALE
from pacl_bench.image_counts import Counts
from pacl_bench.image_sets import IGNORE_LABEL
from pacl_bench.metrics.segmentation import near_boundary
from pacl_bench.records import Measurement

DATASET, PRESENT = "dataset-miou", "present-miou"
Background = Literal["none", "class", "threshold", "entropy"]
NO_CANDIDATE = -1  # predicted where there is no candidate


@dataclass(frozen=True)
class Rules:
    """The ways to decide which pixels are background, all of which a data set is scored under."""

    background: int | None  # the class "background"; a set without one is scored under `background=none` alone
    thresholds: tuple[float, ...] = ()  # background is where the best class's probability lies below
    entropies: tuple[float, ...] = ()  # background is where the entropy over the classes lies above, in nats
    scale: float = SCALE  # of the cosines in the softmax that gives these probabilities

    @property
    def names(self) -> dict[Background, list[str]]:
        """For each kind of background treatment, what the names of its protocols say after "background=".

        There is one for each threshold, in the order of `sweep`: the less certain a pixel may be, the earlier.
        """
        if self.background is None:
            return {"none": ["none"]}
        scale = "" if self.scale == SCALE else f",scale={self.scale:g}"
        told: dict[Background, list[str]] = {
            "none": ["none"],
            "class": ["class"],
            "threshold": [f"threshold={at:g}{scale}" for at in sorted(set(self.thresholds))],
            "entropy": [f"entropy={at:g},scale={self.scale:g}" for at in sorted(set(self.entropies), reverse=True)],
        }
        return {kind: names for kind, names in told.items() if names}

    def sweep(self, kind: Background, seen: "PixelReading", background_there: bool = True) -> Sweep:
        """Which pixels become background under each protocol of a kind.

        Args:
            background_there: False for an image without background. Nothing falls to it there.
        """
        if kind in ("none", "class"):
            return Sweep()
        if kind == "threshold":
            certainty, thresholds = seen.probability, sorted(set(self.thresholds))
        else:  # a low entropy is a high certainty
            certainty = None if seen.entropy is None else -seen.entropy
            thresholds = sorted({-at for at in self.entropies})
        return Sweep(certainty if background_there else None, tuple(thresholds), self.background)


class PixelReading(NamedTuple):
    """What the scores of an image say of each of its pixels: the best class among several choices of candidates.

    The candidates are all classes of the set (`every`) or those of the image (`present`), with background among them or
    without (`foreground`, `present_foreground`).
    """

    foreground: Int[np.ndarray, "*pixel"]  # NO_CANDIDATE where background is the only class
    every: Int[np.ndarray, "*pixel"]
    present_foreground: Int[np.ndarray, "*pixel"]
    present: Int[np.ndarray, "*pixel"]
    probability: Float[np.ndarray, "*pixel"] | None  # of the class in `foreground`; None where no protocol asks for it
    entropy: Float[np.ndarray, "*pixel"] | None  # over all classes but background, in nats; None likewise

    def at(self, chosen: np.ndarray) -> "PixelReading":
        """The same of the chosen pixels alone."""
        return PixelReading(*(None if map_ is None else map_[chosen] for map_ in self))  # type: ignore[arg-type]


def read_pixels(
    field: ScoreField, num_classes: int, present: Sequence[int], rules: Rules, over_names: bool = False
) -> PixelReading:
    """What the protocols ask of each pixel of an image.

    Args:
        present: the classes that are in the image.
        over_names: whether probabilities are shared out among names, where a class has several at pixels.
    """
    shown, background = torch.zeros(num_classes, dtype=torch.bool), torch.zeros(num_classes, dtype=torch.bool)
    shown[list(present)] = True
    if rules.background is not None:
        background[rules.background] = True
    every, foreground = _best(field, torch.ones_like(shown), background)
    of_image = _best(field, shown, background)
    probability = entropy = None
    if rules.thresholds or rules.entropies:
        among = (~background)[field.class_of].nonzero()[:, 0]
        sure = field.certainty(among, foreground, rules.scale, over_names, bool(rules.entropies))
        probability, entropy = sure.probability.numpy(), None if sure.entropy is None else sure.entropy.numpy()
    bests = (foreground, every, *reversed(of_image))
    foreground, every, present_foreground, present_too = (_classes(field, best) for best in bests)
    return PixelReading(foreground, every, present_foreground, present_too, probability, entropy)


def _best(
    field: ScoreField, candidates: Bool[Tensor, " label"], background: Bool[Tensor, " label"]
) -> tuple[Int[Tensor, "h w"], Int[Tensor, "h w"]]:
    """The best candidate of each pixel, of some classes, and of those of them that are not background.

    The two differ only where background is the best, so that the second is looked for there alone.
    """
    best = _best_of(field, candidates)
    is_background = background[field.class_of[best]]
    if not is_background.any():
        return best, best
    foreground = _best_of(field, candidates & ~background, is_background)
    return best, best.where(~is_background, foreground)


def _best_of(
    field: ScoreField, classes: Bool[Tensor, " label"], where: Bool[Tensor, "h w"] | None = None
) -> Int[Tensor, "h w"]:
    among = classes[field.class_of].nonzero()[:, 0]
    return field.best(among, where) if len(among) else torch.full(field.shape, NO_CANDIDATE)


def _classes(field: ScoreField, best: Int[Tensor, "h w"]) -> Int[np.ndarray, "h w"]:
    # label maps have fewer than 255 classes, and it is a quarter of the memory to go through
    classes = torch.cat([field.class_of, torch.tensor([NO_CANDIDATE])]).to(torch.int16)
    return classes[best].numpy()  # NO_CANDIDATE, -1, is the last one


class Scorer:
    """Counts the pixels of image after image under every protocol, with the classes in the words of one prompt set."""

    def __init__(self, classnames: list[str], rules: Rules, suffix: str = "", over_names: bool = False):
        self.classnames, self.rules, self.over_names = classnames, rules, over_names
        self.of_set, self.of_images = self._tallies(DATASET, suffix), self._tallies(PRESENT, suffix)

    def score(
        self, field: ScoreField, label_map: UInt8[np.ndarray, "height width_px"], boundary: int
    ) -> Int[np.ndarray, "height width_px"]:
        """Counts one image, and gives its map with background as a class, where there is one; arguments as `add`'s."""
        present = np.unique(label_map[label_map != IGNORE_LABEL]).tolist()
        reading = read_pixels(field, len(self.classnames), present, self.rules, self.over_names)
        self.add(reading, label_map, boundary)
        return reading.every

    def add(self, reading: PixelReading, label_map: UInt8[np.ndarray, "height width_px"], boundary: int) -> None:
        """Counts one image.

        Args:
            boundary: pixels that have another label within so many rows and columns do not count for the
                boundary-blind metrics.
        """
        counted = label_map != IGNORE_LABEL
        labels, inner = label_map[counted].astype(np.int16), ~near_boundary(label_map, boundary)[counted]
        seen = reading.at(counted)
        no_background = np.full(len(labels), True) if self.rules.background is None else labels != self.rules.background
        for kind in self.of_set:
            kept = no_background if kind == "none" else slice(None)
            every, present = seen.foreground, seen.present_foreground
            if kind == "class":
                every, present = seen.every, seen.present
            sweep = self.rules.sweep(kind, seen)
            self.of_set[kind].add(labels[kept], every[kept], len(self.classnames), sweep, inner[kept])
            sweep = self.rules.sweep(kind, seen, background_there=not no_background.all())
            self.of_images[kind].add(labels[kept], present[kept], len(self.classnames), sweep)

    def gather(self) -> None:
        """Takes in the images that other processes have counted."""
        for counts in (*self.of_set.values(), *self.of_images.values()):
            counts.gather()

    def _tallies(self, over: str, suffix: str) -> dict[Background, IouCounts]:
        told = self.rules.names.items()
        return {kind: IouCounts([f"{over}, background={name}{suffix}" for name in names]) for kind, names in told}

    def measurements(self) -> list[Measurement]:
        """The numbers of all protocols over the images so far; none where no pixel of any image counts."""
        foreground = len(self.classnames) - (self.rules.background is not None)
        measured = []
        for kind in self.of_set:
            candidates = foreground if kind == "none" else len(self.classnames)
            measured += over_data_set(self.of_set[kind], self.classnames, candidates)
            measured += over_images(self.of_images[kind])
        return measured

    def counts(self) -> Counts:
        """By image what the numbers of all protocols are made of."""
        of_set = [set_counts(counts) for counts in self.of_set.values()]
        of_images = [mean_counts(counts) for counts in self.of_images.values()]
        return {name: array for counts in (*of_set, *of_images) for name, array in counts.items()}


class MapScorer:
    """Counts the pixels of image after image under one protocol that gives each pixel one class."""

    def __init__(self, classnames: list[str], protocol: str, predict: Callable[[ScoreField], Int[Tensor, "h w"]]):
        self.classnames, self.predict = classnames, predict
        self.of_set = IouCounts([f"{DATASET}, {protocol}"])

    def score(
        self, field: ScoreField, label_map: UInt8[np.ndarray, "height width_px"], boundary: int
    ) -> Int[np.ndarray, "height width_px"]:
        """Counts one image, and gives its map."""
        predicted = self.predict(field).numpy()
        counted = label_map != IGNORE_LABEL
        inner = ~near_boundary(label_map, boundary)[counted]
        labels = label_map[counted].astype(np.int64)
        self.of_set.add(labels, predicted[counted], len(self.classnames), inner=inner)
        return predicted

    def gather(self) -> None:
        """Takes in the images that other processes have counted."""
        self.of_set.gather()

    def measurements(self) -> list[Measurement]:
        """The numbers over the images so far; none where no pixel of any image counts."""
        return over_data_set(self.of_set, self.classnames, len(self.classnames))

    def counts(self) -> Counts:
        """By image what the numbers are made of."""
        return set_counts(self.of_set)
