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

import time
from collections.abc import Callable

import numpy as np
from jaxtyping import UInt8

from pacl_bench.caching.encoded_set import EncodedSet
from pacl_bench.encoders.batched import ahead
from pacl_bench.encoders.view import View
from pacl_bench.errors import RunError
from pacl_bench.evaluators.base import Result
from pacl_bench.evaluators.patches import background_class
from pacl_bench.evaluators.prompts import class_scores, class_texts, prompt_sets
from pacl_bench.evaluators.protocols import Rules, Scorer, read_pixels
from pacl_bench.evaluators.settings import SegmentationSettings
from pacl_bench.evaluators.upsampling import placing
from pacl_bench.image_sets import IGNORE_LABEL, SegmentationImages
from pacl_bench.model.aligned import AlignedModel
from pacl_bench.progress import console

Keep = Callable[[int, UInt8[np.ndarray, "height width_px"]], None]  # takes an image's index and predicted map


def evaluate_segmentation(
    model: AlignedModel, images: SegmentationImages, settings: SegmentationSettings, keep: Keep | None = None
) -> Result:
    """Every protocol's mIoU, pixel and mean accuracy, and IoU of each class; and what the pass cost: tokens and
    milliseconds an image.

    Args:
        keep: gets each image's predicted map under the first prompt set: background as a class, where there is one.
    """
    listed = prompt_sets(settings.templates, settings.vocabulary, settings.names)
    texts = [class_texts(model, images, prompt_set) for prompt_set in listed]
    rules = rules_for(images, settings)
    scorers = [Scorer(images.classnames, rules, prompt_set.suffix) for prompt_set in listed]
    view = view_of(settings)
    encoded = EncodedSet(model.vision, images, view)
    cached, started, tokens = encoded.is_cached, time.monotonic(), 0
    label_maps = ahead(images.label_map, range(len(images)))
    for (index, features), label_map in zip(encoded.features(), label_maps, strict=True):
        placed = placing(model.vision, view, label_map.shape)
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
    counts = {name: array for scorer in scorers for name, array in scorer.counts().items()}
    return Result(measured, cost=told | {"tokens_from": "cache" if cached else "encoder"}, counts=counts)


def view_of(settings: SegmentationSettings) -> View:
    """How the encoder is shown the images."""
    return View(True, settings.size, settings.stride, settings.window, settings.overlap)


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
