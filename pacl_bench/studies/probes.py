"""What one image, text, step or measurement takes on this machine: small pieces of the real work, timed."""

import math
import statistics
import time
from collections.abc import Iterator
from functools import cached_property
from io import BytesIO
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from pacl_bench.caching.encoded_set import EncodedSet, ImagePart
from pacl_bench.data.images import open_image
from pacl_bench.data.vocabulary import load_vocabulary
from pacl_bench.encoders.base import TextEncoder, VisionEncoder
from pacl_bench.encoders.batched import BATCH, encoded_batches
from pacl_bench.encoders.view import View
from pacl_bench.evaluators.patches import counted_patches
from pacl_bench.evaluators.predict import view_of
from pacl_bench.evaluators.presets import Chosen
from pacl_bench.evaluators.prompts import class_of_name
from pacl_bench.evaluators.score_field import score_field
from pacl_bench.evaluators.segmentation import scorers
from pacl_bench.evaluators.settings import SegmentationSettings
from pacl_bench.image_sets import BrokenImage, ImageSet, SegmentationImages
from pacl_bench.metrics.coherence import pairwise_coherence
from pacl_bench.model.compatibility import compatibility
from pacl_bench.model.embedder import make_head
from pacl_bench.model.loss import info_nce
from pacl_bench.training.recipe import TrainConfig

LONG = 5.0  # seconds: what takes longer is not done twice
SETTLED = 1.0  # seconds of short steps, after which they take what they will take
TEXTS = 16
PHOTO = (340, 256)  # width and height, as img2dataset leaves photos whose short side is 256
LABEL_MAPS = 4
PATCHES, CLASSES, PATCHES_AN_IMAGE = 4096, 20, 64


class Photos:
    """An image set that stands for photos in shards: one JPEG, as often as it is asked for."""

    name = "photo"

    def __init__(self, number: int = BATCH):
        coarse = np.random.default_rng(0).integers(0, 256, size=(16, 16, 3), dtype=np.uint8)
        self._content, self._number = BytesIO(), number
        Image.fromarray(coarse).resize(PHOTO).save(self._content, "JPEG", quality=90)

    def __len__(self) -> int:
        return self._number

    @cached_property
    def fingerprint(self) -> str:
        return self.name

    def image(self, index: int) -> Image.Image:
        return open_image(BytesIO(self._content.getvalue()))


def image_seconds(vision: VisionEncoder, images: ImageSet, view: View) -> float:
    """Of one image in a full batch, with its decoding."""

    def of(number: int) -> float:
        started = time.monotonic()
        for batch in encoded_batches(vision, ImagePart(images, range(number)), view):
            if not isinstance(batch, BrokenImage):
                batch[-1].patch_tokens.sum().item()  # until a GPU is done
        return (time.monotonic() - started) / number

    alone = of(1)  # which warms up
    return alone if alone > LONG else of(min(BATCH, len(images)))


def text_seconds(text: TextEncoder) -> float:
    """Of one text of a common length."""
    text(["a zebra"], show_progress=False)  # which warms up
    started = time.monotonic()
    text(["a photo of the large zebra"] * TEXTS, show_progress=False)
    return (time.monotonic() - started) / TEXTS


def step_seconds(vision: VisionEncoder, text: TextEncoder, config: TrainConfig, batch: int) -> float:
    """Of a training step without its encoders: random tokens, in half precision as the cache holds them.

    No more steps are made than the training has: to foretell it would take longer than to do it.
    """
    side = vision.image_size // vision.patch_size
    head = make_head(config.head, vision.width, text.dim).to(vision.device)
    optimizer = torch.optim.AdamW(head.parameters())
    temperature = torch.tensor(config.recipe.temperature, device=vision.device)
    tokens = torch.randn(batch, side * side, vision.width, dtype=torch.float16)
    texts = normalize(torch.randn(batch, text.dim, device=vision.device), dim=-1)
    seconds, most = [], config.recipe.steps or math.inf
    while len(seconds) < most and sum(seconds) < LONG and (len(seconds) < 5 or sum(seconds) < SETTLED):
        started = time.monotonic()
        phi = compatibility(head(tokens.float().to(vision.device)), texts, config.recipe.patch_scale)
        loss = info_nce(phi, temperature)
        loss.backward()
        optimizer.step()
        loss.item()  # until a GPU is done
        seconds.append(time.monotonic() - started)
    return statistics.median(seconds[len(seconds) // 2 :])  # the first ones wait for memory


def segmenting_seconds(
    vision: VisionEncoder, images: SegmentationImages, settings: SegmentationSettings, chosen: Chosen
) -> float:
    """Of one image between its patch tokens and the counts under one protocol: upsampling, refinement, the best class,
    counting.
    """
    view, names = view_of(chosen.steps), load_vocabulary(chosen.steps.vocabulary, images.name, images.classnames)
    class_of = class_of_name([len(of_class) for of_class in names])
    refined, seconds = chosen.steps.refinement != "none", []
    while len(seconds) < len(images) and sum(seconds) < LONG and (len(seconds) < 2 or sum(seconds) < SETTLED / 5):
        started = time.monotonic()
        photo, label_map = images.image(0), images.label_map(0)
        shape = view.shape(vision, (photo.height, photo.width))
        shown = view.shown(vision, photo) if refined else shape
        scores = _smooth_scores(len(class_of), vision, view, shape)
        field = score_field(scores, class_of, chosen.steps, view, shown, vision.patch_size, label_map.shape)
        for scorer in scorers(images, settings, chosen):
            scorer.score(field, label_map, settings.boundary)
        seconds.append(time.monotonic() - started)
    return min(seconds)


def _smooth_scores(names: int, vision: VisionEncoder, view: View, shape: tuple[int, int]) -> Tensor:
    """As those of a photo are: "name row col", of the patches of all windows."""
    (rows, cols), (down, across) = view.window_grid(vision, shape), view.windows(shape)
    return interpolate(torch.randn(1, names, 4, 4), size=(down * rows, across * cols), mode="bilinear")[0]


def labelling(images: SegmentationImages, encoded: EncodedSet, settings: Any) -> tuple[float, float]:
    """Seconds for the labels of an image's patches, and how many of these count."""
    first = range(min(LABEL_MAPS, len(images)))
    started = time.monotonic()
    kept = [_counted(images, index, encoded, settings) for index in first]
    return (time.monotonic() - started) / len(kept), sum(kept) / len(kept)


def _counted(images: SegmentationImages, index: int, encoded: EncodedSet, settings: Any) -> int:
    label_map = images.label_map(index)
    height, width = label_map.shape
    grid = encoded.view.window_grid(encoded.encoder, encoded.view.shape(encoded.encoder, (height, width)))
    return int(counted_patches(images, label_map, grid, settings.purity, settings.keep_background)[1].sum())


def pairs_seconds(width: int, device: str) -> tuple[float, float]:
    """Of the coherence of a set: a part of its own, and one for each pair of patches."""
    points = [(number * (number - 1) / 2, seconds) for number, seconds in _of_pairs(width, device)]
    (fewer, short), (more, long) = points
    rate = max(0.0, (long - short) / (more - fewer))
    return max(0.0, short - rate * fewer), rate


def _of_pairs(width: int, device: str) -> Iterator[tuple[int, float]]:
    features, labels = torch.randn(PATCHES, width, device=device), torch.arange(PATCHES) % CLASSES
    images = torch.arange(PATCHES) // PATCHES_AN_IMAGE
    for number in (PATCHES // 2, PATCHES):
        started = time.monotonic()
        pairwise_coherence(features[:number], labels[:number], "across", images[:number])
        yield number, time.monotonic() - started
