"""Batches from sets of files, whose images have numbers: patch tokens come from the cache, texts are embedded once."""

from itertools import accumulate
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pacl_bench import processes
from pacl_bench.caching.encoded_set import EncodedSet, OnlineTokens, shared_tokens
from pacl_bench.caching.texts import cached_texts, texts_are_cached
from pacl_bench.caching.token_file import CachedTokens
from pacl_bench.data.captions import noun_prompts
from pacl_bench.data.pair_readers import MIN_PAIRS, TOO_FEW, Pairs, skipped_image
from pacl_bench.data.shards import Skipped
from pacl_bench.encoders.base import TextEncoder, VisionEncoder
from pacl_bench.errors import UsageError
from pacl_bench.training.batches import TRAINING_VIEW, Batch, Drawing
from pacl_bench.training.skip_log import SkipLog
from pacl_bench.training.stream import repeats


class CachedBatches:
    """Batches of image files, their texts embedded before. Which images a step is given follows from its number."""

    def __init__(
        self,
        vision: VisionEncoder,
        text: TextEncoder,
        sets: list[Pairs],
        drawing: Drawing,
        skipped: SkipLog,
        workers: int | None = None,
    ):
        self.drawing, self.skipped = drawing, skipped
        self.images = TrainingImages(vision, sets, workers)
        self.num_pairs = len(self.images)
        skipped.add(self.num_pairs + len(self.images.skipped), self.images.skipped)
        if not self.num_pairs:
            raise UsageError(f"no image of {'+'.join(pairs.name for pairs in sets)} decodes ({skipped.summary()}).")
        if self.num_pairs < MIN_PAIRS:
            raise UsageError(f"--pairs {'+'.join(pairs.name for pairs in sets)}: a single usable image; {TOO_FEW}.")
        skipped.report(f"{self.num_pairs:,} images")
        self.texts = TrainingTexts(self.images.captions, text)
        self.times = repeats(sets, self.images.sizes)
        self.batch_size = min(drawing.batch_size, epoch_size(self.images.sizes, self.times))
        if self.batch_size < processes.world_size():
            raise UsageError(f"{processes.world_size()} processes have no image each in a batch of {self.batch_size}.")

    @property
    def progress(self) -> tuple[float, ...]:
        """Nothing is read in turn."""
        return (0.0,)

    def plan(self, steps: int) -> None:
        """Embeds the texts of a run: those that its steps draw, or all where it draws as many as there are.

        What a run draws depends on its seed and length, so its embeddings serve no other run. All texts at once are
        embedded for every seed and recipe, and where the cache has them already there is nothing to save.
        """
        if steps * self.batch_size < len(self.texts) and not processes.agreed(self.texts.all_are_cached()):
            self.texts.embed(sorted({text for step in range(steps) for text in self._drawn(step)[1]}))
        else:
            self.texts.embed_all()

    def batch(self, step: int) -> Batch:
        """The same for a step whatever was asked for before."""
        images, texts = self._drawn(step)
        own = processes.share(len(images))
        numbers = torch.tensor(texts)
        same_text = numbers[own.start : own.stop, None] == numbers[None]
        patch_tokens = self.images.patch_tokens(images[own.start : own.stop])
        return Batch(patch_tokens, self.texts.embeddings(texts), same_text, torch.tensor(own), {})

    def _drawn(self, step: int) -> tuple[list[int], list[int]]:
        """The images of a step, and a text of each."""
        images = shuffled(self.images.sizes, self.times, self.batch_size, step, self.drawing.seed)
        draw = np.random.default_rng([self.drawing.seed, step, 1])
        return images, self.texts.draw(images, self.drawing.noun_share, draw)

    def describe(self) -> dict[str, Any]:
        captions = sum(map(len, self.images.captions))
        return {"images": self.num_pairs, "captions": captions, **self.skipped.describe()}

    def close(self) -> None:
        """Nothing is open."""


class TrainingImages:
    """The images of all sets that decode, numbered from 0 over the sets in their order.

    Their patch tokens come from the cache; of a set that does not fit there they are encoded again for each batch. Of
    several processes that train together each encodes a part of a set, and reads those of the others.

    Args:
        workers: processes that decode; None leaves it to `pacl_bench.cores`.
    """

    def __init__(self, vision: VisionEncoder, sets: list[Pairs], workers: int | None = None):
        self.sources: list[CachedTokens | OnlineTokens] = []
        self.places: list[tuple[int, int]] = []  # of each image: which source, which of its images
        self.sizes: list[int] = []  # images of each set
        self.captions: list[list[str]] = []
        self.skipped: list[Skipped] = []
        for pairs in sets:
            known = len(self)
            self.skipped += pairs.skipped
            for part, source in shared_tokens(EncodedSet(vision, pairs.photos, TRAINING_VIEW, workers)):
                readable = [index for index in range(len(part)) if index not in source.broken]
                self.places += [(len(self.sources), index) for index in readable]
                self.sources.append(source)
                self.captions += [pairs.captions[part[index]] for index in readable]
                self.skipped += [skipped_image(message) for message in source.broken.values()]
            self.sizes.append(len(self) - known)

    def __len__(self) -> int:
        return len(self.places)

    def patch_tokens(self, images: list[int]) -> Float[Tensor, "image patch width"]:
        """Of the images of a batch, in its order."""
        rows_of: dict[int, list[int]] = {}
        for row, image in enumerate(images):
            rows_of.setdefault(self.places[image][0], []).append(row)
        tokens = [
            self.sources[number].batch([self.places[images[row]][1] for row in rows])
            for number, rows in rows_of.items()
        ]
        order = torch.tensor([row for rows in rows_of.values() for row in rows])
        return torch.cat(tokens)[order.argsort()]


class TrainingTexts:
    """The captions of all images and the noun prompts made of them, numbered through, each embedded at most once."""

    def __init__(self, captions_of: list[list[str]], encoder: TextEncoder):
        self.encoder = encoder
        numbers: dict[str, int] = {}
        self.captions = [[numbers.setdefault(c, len(numbers)) for c in captions] for captions in captions_of]
        self.prompts = [
            [[numbers.setdefault(prompt, len(numbers)) for prompt in noun_prompts(c)] for c in captions]
            for captions in captions_of
        ]
        self.texts = list(numbers)
        self._embedded = torch.empty(0, encoder.dim)
        self._row_of: dict[int, int] = {}  # of a text's number

    def __len__(self) -> int:
        return len(self.texts)

    def all_are_cached(self) -> bool:
        """Whether embedding all texts costs nothing."""
        return texts_are_cached(self.encoder, self.texts)

    def embed_all(self) -> None:
        self.embed(list(range(len(self))))

    def embed(self, numbers: list[int]) -> None:
        """Embeds the texts of these numbers, and forgets others."""
        self._embedded = cached_texts(self.encoder, [self.texts[number] for number in numbers])
        self._row_of = {number: row for row, number in enumerate(numbers)}

    def embeddings(self, numbers: list[int]) -> Float[Tensor, "text dim"]:
        """Of the texts of these numbers; all are embedded where one is asked for that was not planned."""
        if not self._row_of.keys() >= set(numbers):
            self.embed_all()
        return self._embedded[[self._row_of[number] for number in numbers]]

    def draw(self, images: list[int], noun_share: float, random: np.random.Generator) -> list[int]:
        """One text for each image: one of its captions, or a noun of that caption in a template."""
        return [self._draw_one(image, noun_share, random) for image in images]

    def _draw_one(self, image: int, noun_share: float, random: np.random.Generator) -> int:
        caption = random.integers(len(self.captions[image]))
        prompts = self.prompts[image][caption]
        if prompts and random.random() < noun_share:
            return prompts[random.integers(len(prompts))]
        return self.captions[image][caption]


def shuffled(sizes: list[int], times: list[float], batch_size: int, step: int, seed: int) -> list[int]:
    """The images of a step: every epoch is a new permutation, its incomplete last batch left out.

    It depends on nothing but its arguments, so a resumed run sees what the uninterrupted one would have seen.

    Args:
        sizes: images of each set, which are numbered through. times: how often an epoch shows each of them; where
            that is no whole number, another part of the set is shown once more in each epoch.
    """
    num_images = epoch_size(sizes, times)
    epoch, position = divmod(step, num_images // batch_size)
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(num_images)[position * batch_size : (position + 1) * batch_size]
    if set(times) == {1.0}:
        return order.tolist()
    starts = accumulate(sizes, initial=0)
    shown = [_shown(start, size, often, random) for start, size, often in zip(starts, sizes, times, strict=False)]
    return np.concatenate(shown)[order].tolist()


def epoch_size(sizes: list[int], times: list[float]) -> int:
    """How many images an epoch shows; with weights not quite as many as there are, since each set's are rounded."""
    return sum(round(size * often) for size, often in zip(sizes, times, strict=True))


def _shown(start: int, size: int, times: float, random: np.random.Generator) -> np.ndarray:
    whole, more = divmod(round(size * times), size)
    return start + np.concatenate([np.tile(np.arange(size), whole), random.permutation(size)[:more]])
