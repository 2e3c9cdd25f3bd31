"""Segmentation protocols: from the scores of one image's patches to the pixel counts of every protocol.

A protocol's name is a phrase in a record: "dataset-miou, background=entropy=1.5,scale=40". What the names
mean stands in `evaluators.segmentation`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from pacl_bench.evaluators.iou_counts import IouCounts, Sweep, over_data_set, over_images
from pacl_bench.evaluators.settings import SCALE
from pacl_bench.evaluators.upsampling import Side, best_class, pixel_scores
from pacl_bench.image_sets import IGNORE_LABEL
from pacl_bench.metrics.segmentation import near_boundary
from pacl_bench.records import Measurement

DATASET, PRESENT = "dataset-miou", "present-miou"
Background = Literal["none", "class", "threshold", "entropy"]
NO_CANDIDATE = -1  # predicted where there is no candidate


@dataclass(frozen=True)
class Rules:
    """The ways to treat background that a set is scored under."""

    background: int | None  # the class, where the set has one; without one there is `none` alone
    thresholds: tuple[float, ...] = ()  # of the best class's probability
    entropies: tuple[float, ...] = ()  # in nats
    scale: float = SCALE

    @property
    def names(self) -> dict[Background, list[str]]:
        """What protocols say of each kind, in the order of a sweep: by rising certainty that is wanted."""
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
        """Which pixels fall to the background; none where it is not there to be found."""
        if kind in ("none", "class"):
            return Sweep()
        if kind == "threshold":
            certainty, thresholds = seen.probability, sorted(set(self.thresholds))
        else:  # a low entropy is a high certainty
            certainty = None if seen.entropy is None else -seen.entropy
            thresholds = sorted({-at for at in self.entropies})
        return Sweep(certainty if background_there else None, tuple(thresholds), self.background)


class PixelReading(NamedTuple):
    """What an image's scores say of its pixels, all from the same scores."""

    foreground: Int[np.ndarray, "*pixel"]  # the best class but background; NO_CANDIDATE where there is no other
    every: Int[np.ndarray, "*pixel"]  # the best class
    present_foreground: Int[np.ndarray, "*pixel"]  # the same among the classes of the image
    present: Int[np.ndarray, "*pixel"]
    probability: Float[np.ndarray, "*pixel"] | None  # of the best class but background, where thresholds are asked for
    entropy: Float[np.ndarray, "*pixel"] | None  # of all classes but background, in nats, where entropies are

    def at(self, chosen: np.ndarray) -> "PixelReading":
        """Of the chosen pixels alone."""
        return PixelReading(*(None if map_ is None else map_[chosen] for map_ in self))  # type: ignore[arg-type]


def read_pixels(
    scores: Float[Tensor, "label row col"], down: Side, across: Side, present: Sequence[int], rules: Rules
) -> PixelReading:
    """What the protocols ask for of each pixel; scores of all pixels are never held.

    Args:
        present: the classes of the image.
    """
    labels, shown = torch.arange(len(scores)), torch.tensor(present, dtype=torch.long)
    groups = {"foreground": labels, "present_foreground": shown}
    if rules.background is not None:
        groups = {name: group[group != rules.background] for name, group in groups.items()}
        groups |= {"every": labels, "present": shown}
    maps = {name: _best(scores, group, down, across) for name, group in groups.items()}
    if rules.background is None:
        maps |= {"every": maps["foreground"], "present": maps["present_foreground"]}
    probability = entropy = None
    if rules.thresholds or rules.entropies:
        logits = scores[groups["foreground"]] * rules.scale
        tiles = [_certainty(tile) for tile in pixel_scores(logits, down.weights, across.weights)]
        probability, entropy = (torch.cat(values).numpy() for values in zip(*tiles, strict=True))
    return PixelReading(**maps, probability=probability, entropy=entropy)


def _best(
    scores: Float[Tensor, "label row col"], group: Int[Tensor, " candidate"], down: Side, across: Side
) -> Int[np.ndarray, "h w"]:
    """The candidate of the highest score at each pixel; of equal ones the first."""
    if not len(group):
        return np.full((len(down.weights), len(across.weights)), NO_CANDIDATE)
    return group[best_class(scores[group], down, across)].numpy()


def _certainty(logits: Float[Tensor, "h w candidate"]) -> tuple[Float[Tensor, "h w"], Float[Tensor, "h w"]]:
    """The probability of the best class and the entropy of all, under the softmax. Overwrites the logits."""
    behind = logits.sub_(logits.amax(-1, keepdim=True))  # the best class is at 0
    odds = behind.exp()
    total = odds.sum(-1)
    return 1 / total, total.log() - odds.mul_(behind).sum(-1) / total


class Scorer:
    """Counts the pixels of image after image under every protocol of one prompt_set."""

    def __init__(self, classnames: list[str], rules: Rules, suffix: str = ""):
        self.classnames, self.rules = classnames, rules
        self.of_set, self.of_images = self._tallies(DATASET, suffix), self._tallies(PRESENT, suffix)

    def add(self, reading: PixelReading, label_map: UInt8[np.ndarray, "height width_px"], boundary: int) -> None:
        """One image; pixels within `boundary` of another label are told apart."""
        counted = label_map != IGNORE_LABEL
        labels, inner = label_map[counted].astype(np.int64), ~near_boundary(label_map, boundary)[counted]
        seen = reading.at(counted)
        no_background = np.full(len(labels), True) if self.rules.background is None else labels != self.rules.background
        for kind in self.of_set:
            kept = no_background if kind == "none" else slice(None)
            every, present = seen.foreground, seen.present_foreground
            if kind == "class":
                every, present = seen.every, seen.present
            sweep = self.rules.sweep(kind, seen)
            self.of_set[kind].add(labels[kept], every[kept], len(self.classnames), sweep, inner[kept])
            if len(labels[kept]):  # an image without labels has no classes to choose among
                sweep = self.rules.sweep(kind, seen, background_there=not no_background.all())
                self.of_images[kind].add(labels[kept], present[kept], len(self.classnames), sweep)

    def _tallies(self, over: str, suffix: str) -> dict[Background, IouCounts]:
        told = self.rules.names.items()
        return {kind: IouCounts([f"{over}, background={name}{suffix}" for name in names]) for kind, names in told}

    def measurements(self) -> list[Measurement]:
        """Empty where no pixel of any image counts."""
        foreground = len(self.classnames) - (self.rules.background is not None)
        measured = []
        for kind in self.of_set:
            candidates = foreground if kind == "none" else len(self.classnames)
            measured += over_data_set(self.of_set[kind], self.classnames, candidates)
            measured += over_images(self.of_images[kind]) if self.of_images[kind].counts else []
        return measured
