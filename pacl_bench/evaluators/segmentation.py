"""Zero-shot segmentation: each pixel gets the class whose text its patches fit best (PACL, Table 2).

One pass over the images scores many protocols, each named in the record:

- `dataset-miou`: all classes are candidates; one count over the set. The field's usual one.
- `present-miou`: the classes of the image are candidates; mIoU of each image, averaged over images.

each under every way to treat background that the set has:

- `background=none`: pixels of no class are ignored, and no candidate (voc20; voc21 without its background).
- `background=class`: background is a class like the others, with its name as the prompt (voc21).
- `background=threshold=x`: background is no candidate; a pixel is background where the probability of its best class
  is below x. Probabilities are the softmax over the other classes of scale * cosine, after upsampling.
- `background=entropy=x,scale=y`: the same, where the entropy of these probabilities is above x nats.

For the last two, `present-miou` asks whether ANY class of the set fits (the same pixels fall to the background as
under `dataset-miou`) and only then chooses among the classes of the image; in an image without background nothing
falls to it.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import UInt8

from pacl_bench.caching.encoded_set import EncodedSet
from pacl_bench.encoders.batched import ahead
from pacl_bench.encoders.view import View
from pacl_bench.errors import RunError, UsageError
from pacl_bench.evaluators.patches import background_class
from pacl_bench.evaluators.prompts import Names, class_scores, class_texts, prompt_sets
from pacl_bench.evaluators.protocols import SCALE, Rules, Scorer, read_pixels
from pacl_bench.evaluators.upsampling import Upsampling, placing
from pacl_bench.image_sets import IGNORE_LABEL, SegmentationImages
from pacl_bench.model.aligned import AlignedModel
from pacl_bench.progress import console
from pacl_bench.records import Measurement

Keep = Callable[[int, UInt8[np.ndarray, "height width_px"]], None]  # takes an image's index and predicted map


@dataclass(frozen=True)
class SegmentationSettings:
    """What changes the numbers."""

    templates: str = "paper7"  # several, separated by commas, are scored in one pass
    vocabulary: str = "plain"  # the names of the classes: plain, synonyms, a file; several likewise
    names: Names = "best"  # of a class's several names the patch takes the best, or their mean
    thresholds: tuple[float, ...] = ()  # of the best class's probability, below which is background
    entropies: tuple[float, ...] = ()  # in nats, above which is background
    scale: float = SCALE  # of the cosines in the softmax that thresholds and entropies are of
    boundary: int = 5  # pixels this near to another label do not count for the boundary-blind numbers
    size: int | None = None  # short side of the images in pixels; None is the encoder's own
    stride: int | None = None  # of the patch convolution in pixels, PACL's stride trick; None is the patch size
    window: int | None = None  # side of a sliding window in pixels of the resized image; None is the whole image
    overlap: float = 0.5  # the share of a window that the next one covers too
    upsampling: Upsampling = "bilinear"

    def __post_init__(self) -> None:
        wrong = [
            *(
                f"--thresholds {at:g}: probabilities from 0 to 1 are wanted"
                for at in self.thresholds
                if not 0 <= at <= 1
            ),
            *(f"--entropies {at:g}: nats, 0 or more, are wanted" for at in self.entropies if not 0 <= at < math.inf),
            *([f"--overlap {self.overlap:g}: a share from 0 to below 1 is wanted"] * (not 0 <= self.overlap < 1)),
            *([f"--scale {self.scale:g}: a number above 0 is wanted"] * (not 0 < self.scale < math.inf)),
            *([f"--boundary {self.boundary}: pixels, 0 or more, are wanted"] * (self.boundary < 0)),
        ]
        if wrong:
            raise UsageError(f"{wrong[0]}.")
        prompt_sets(self.templates, self.vocabulary, self.names)

    @property
    def view(self) -> View:
        """How the encoder is shown the images."""
        return View(whole=True, short_side=self.size, stride=self.stride, window=self.window, overlap=self.overlap)


def evaluate_segmentation(
    model: AlignedModel, images: SegmentationImages, settings: SegmentationSettings, keep: Keep | None = None
) -> tuple[list[Measurement], dict[str, Any]]:
    """Every protocol's mIoU, pixel and mean accuracy, and IoU of each class; and what the pass cost.

    Args:
        keep: gets each image's predicted map under the first prompt_set: background as a class, where there is one.

    Returns:
        The numbers, and tokens and milliseconds an image, for the record's provenance.
    """
    listed = prompt_sets(settings.templates, settings.vocabulary, settings.names)
    texts = [class_texts(model, images, prompt_set) for prompt_set in listed]
    rules = rules_for(images, settings)
    scorers = [Scorer(images.classnames, rules, prompt_set.suffix) for prompt_set in listed]
    encoded = EncodedSet(model.vision, images, settings.view)
    cached, started, tokens = encoded.is_cached, time.monotonic(), 0
    label_maps = ahead(images.label_map, range(len(images)))
    for (index, features), label_map in zip(encoded.features(), label_maps, strict=True):
        placed = placing(model.vision, settings.view, label_map.shape)
        down, across = (placed.side(axis, label_map.shape[axis], settings.upsampling) for axis in (0, 1))
        present = np.unique(label_map[label_map != IGNORE_LABEL]).tolist()
        for scorer, prompt_set in zip(scorers, texts, strict=True):
            scores = class_scores(model, features.patch_tokens, prompt_set, features.grid)
            reading = read_pixels(scores, down, across, present, rules)
            scorer.add(reading, label_map, settings.boundary)
            if keep is not None and scorer is scorers[0]:
                keep(index, reading.every.astype(np.uint8))
        tokens += features.patch_tokens.shape[1]
    measured = [row for scorer in scorers for row in scorer.measurements()]
    if not measured:
        raise RunError(f"{images.name} has no pixel with a label that counts.")
    per_image = {"tokens_per_image": tokens, "ms_per_image": 1000 * (time.monotonic() - started)}
    told = {name: round(value / len(images), 1) for name, value in per_image.items()}
    return measured, told | {"tokens_from": "cache" if cached else "encoder"}


def rules_for(images: SegmentationImages, settings: SegmentationSettings) -> Rules:
    """The ways to treat background that a set has; a line says so where more are asked for."""
    background = background_class(images)
    if background is not None:
        return Rules(background, settings.thresholds, settings.entropies, settings.scale)
    if settings.thresholds or settings.entropies:
        line = (
            f"{images.name} has no background class: scored with background=none, not by --thresholds or --entropies."
        )
        console.print(line, style="dim", markup=False, highlight=False, soft_wrap=True)
    return Rules(None)
