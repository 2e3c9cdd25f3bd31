"""What a training step is shown: batches from sets that fit into memory, or from a stream of shards."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pacl_bench.data.captions import noun_prompts
from pacl_bench.data.images import ImageSet
from pacl_bench.data.pairs import Pairs, skipped_image
from pacl_bench.data.shards import MAKE_STATS, ShardSet, Skipped
from pacl_bench.encoders.base import TextEncoder, VisionEncoder
from pacl_bench.errors import RunError, UsageError
from pacl_bench.features import CachedTokens, OnlineTokens, View, cached_texts, cached_tokens, fits_cache
from pacl_bench.files import write_text
from pacl_bench.progress import console
from pacl_bench.stream import LANES, Chunk, Stream, default_workers, repeats

TRAINING_VIEW = View(whole=False)  # the encoder's own centre square; the paper does not say
ENOUGH_TO_JUDGE = 100  # pairs seen before a share of failures means anything
Sets = list[Pairs | ShardSet]


class Batch(NamedTuple):
    """Image-text pairs of one step."""

    patch_tokens: Float[Tensor, "pair patch width"]
    text_embeddings: Float[Tensor, "pair dim"]
    same_text: Bool[Tensor, "pair pair"]  # where two pairs have the same text
    position: dict[str, Any]  # how to go on after it; what a checkpoint keeps


@runtime_checkable
class Batches(Protocol):
    """A source of batches."""

    batch_size: int

    @property
    def num_pairs(self) -> int | None:
        """Of an epoch; None where nobody has counted."""
        ...

    def batch(self, step: int) -> Batch:
        """Of a step. A stream gives them in order only, from the position it was opened at."""
        ...

    def describe(self) -> dict[str, Any]:
        """What a head's card says of the pairs."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Loading:
    """How pairs are loaded. Nothing in it changes the weights."""

    workers: int | None = None  # processes that read shards; 0: the main process; None: all cores but one
    max_skipped: float = 0.1  # share of pairs that may fail before training stops


@dataclass(frozen=True)
class Drawing:
    """What decides which pairs and texts a step is shown."""

    batch_size: int
    noun_share: float
    seed: int


def open_batches(
    vision: VisionEncoder,
    text: TextEncoder,
    sets: Sets,
    drawing: Drawing,
    skipped: "SkipLog",
    loading: Loading,
    position: dict[str, Any],
) -> Batches:
    """From memory where all sets are numbered, as a stream where one of them is of shards."""
    if any(isinstance(pairs, ShardSet) for pairs in sets):
        return StreamedBatches(vision, text, sets, drawing, skipped, loading.workers, position)
    return CachedBatches(vision, text, [pairs for pairs in sets if isinstance(pairs, Pairs)], drawing, skipped)


class SkipLog:
    """The pairs that could not be used: each is listed once, as it is met, and counted by cause.

    Args:
        file: gets a line of JSON for each.
        max_share: of all pairs seen; above it training stops, once enough pairs were seen to judge by.
        state: of an earlier run, to go on from; what it had not seen is taken back from the file.
    """

    def __init__(self, file: Path, max_share: float, state: dict[str, int]):
        self.file, self.max_share = file, max_share
        self.seen, self.failed = state.get("seen", 0), state.get("failed", 0)
        lines = file.read_text().splitlines() if state and file.is_file() else []
        self.listed = dict.fromkeys(lines[: state.get("listed", 0)])
        write_text(file, "".join(f"{line}\n" for line in self.listed))

    @property
    def state(self) -> dict[str, int]:
        return {"seen": self.seen, "failed": self.failed, "listed": len(self.listed)}

    def add(self, seen: int, skipped: list[Skipped]) -> None:
        """Counts pairs that were read and lists those of them that failed.

        Raises:
            RunError: too large a share has failed.
        """
        self.seen += seen
        self.failed += len(skipped)
        new = [line for line in (json.dumps(asdict(skip)) for skip in skipped) if line not in self.listed]
        if new:
            self.listed |= dict.fromkeys(new)
            with self.file.open("a") as handle:
                handle.writelines(f"{line}\n" for line in new)
        if self.seen >= ENOUGH_TO_JUDGE and self.failed > self.max_share * self.seen:
            raise RunError(
                f"{self.failed:,} of {self.seen:,} pairs could not be used ({self.failed / self.seen:.0%}, more than "
                f"--max-skipped {self.max_share:g}): {self.summary()}. All are in {self.file}."
            )

    @property
    def causes(self) -> dict[str, int]:
        """How many pairs were listed for each cause, the commonest first."""
        return dict(Counter(json.loads(line)["cause"] for line in self.listed).most_common())

    def summary(self) -> str:
        """ "3 broken image, 1 empty caption (first broken image: 00000.tar/17)"."""
        causes = self.causes
        if not causes:
            return "nothing"
        commonest = next(iter(causes))
        skips = (json.loads(line) for line in self.listed)
        first = next(skip["where"] for skip in skips if skip["cause"] == commonest)
        return f"{', '.join(f'{n:,} {cause}' for cause, n in causes.items())} (first {commonest}: {first})"

    def describe(self) -> dict[str, Any]:
        """As it stands in a head's card."""
        return {"skipped": len(self.listed), "skipped_by_cause": self.causes}

    def report(self, pairs: str) -> None:
        """Says on the console what was skipped beside so many pairs, if anything was."""
        if self.listed:
            console.print(f"{pairs}; skipped {self.summary()}; all in {self.file}", markup=False)


class CachedBatches:
    """Sets whose images are numbered: patch tokens from the cache (or encoded anew), texts embedded once."""

    def __init__(self, vision: VisionEncoder, text: TextEncoder, sets: list[Pairs], drawing: Drawing, skipped: SkipLog):
        self.drawing, self.skipped = drawing, skipped
        self.images = TrainingImages(vision, sets)
        self.num_pairs = len(self.images)
        skipped.add(self.num_pairs + len(self.images.skipped), self.images.skipped)
        if not self.num_pairs:
            raise UsageError(f"no image of {'+'.join(pairs.name for pairs in sets)} decodes ({skipped.summary()}).")
        skipped.report(f"{self.num_pairs:,} images")
        self.texts = TrainingTexts(self.images.captions, text)
        self.times = repeats(sets, self.images.sizes)
        self.batch_size = min(drawing.batch_size, epoch_size(self.images.sizes, self.times))

    def batch(self, step: int) -> Batch:
        """The same for a step whatever was asked for before."""
        images = shuffled(self.images.sizes, self.times, self.batch_size, step, self.drawing.seed)
        draw = np.random.default_rng([self.drawing.seed, step, 1])
        chosen = self.texts.draw(images, self.drawing.noun_share, draw)
        numbers = torch.tensor(chosen)
        return Batch(
            self.images.patch_tokens(images), self.texts.embeddings[chosen], numbers[:, None] == numbers[None], {}
        )

    def describe(self) -> dict[str, Any]:
        captions = sum(map(len, self.images.captions))
        return {"images": self.num_pairs, "captions": captions, **self.skipped.describe()}

    def close(self) -> None:
        """Nothing is open."""


class TrainingImages:
    """The images of all sets that decode, numbered through: patch tokens from the cache, or encoded batch by batch."""

    def __init__(self, vision: VisionEncoder, sets: list[Pairs]):
        self.sources: list[CachedTokens | OnlineTokens] = []
        self.places: list[tuple[int, int]] = []  # of each image: which set, which of its images
        self.sizes: list[int] = []  # images of each set
        self.captions: list[list[str]] = []
        self.skipped: list[Skipped] = []
        for number, pairs in enumerate(sets):
            source = _token_source(vision, pairs.photos)
            readable = [index for index in range(len(pairs)) if index not in source.broken]
            self.sources.append(source)
            self.places += [(number, index) for index in readable]
            self.sizes.append(len(readable))
            self.captions += [pairs.captions[index] for index in readable]
            self.skipped += pairs.skipped + [skipped_image(message) for message in source.broken.values()]

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


def _token_source(vision: VisionEncoder, photos: ImageSet) -> CachedTokens | OnlineTokens:
    if fits_cache(vision, photos, TRAINING_VIEW):
        return cached_tokens(vision, photos, TRAINING_VIEW)
    return OnlineTokens(vision, photos, TRAINING_VIEW)


class TrainingTexts:
    """The captions of all images and the noun prompts made of them, each text embedded once."""

    def __init__(self, captions_of: list[list[str]], encoder: TextEncoder):
        numbers: dict[str, int] = {}
        self.captions = [[numbers.setdefault(c, len(numbers)) for c in captions] for captions in captions_of]
        self.prompts = [
            [[numbers.setdefault(prompt, len(numbers)) for prompt in noun_prompts(c)] for c in captions]
            for captions in captions_of
        ]
        self.texts = list(numbers)
        self.embeddings = cached_texts(encoder, self.texts)

    def __len__(self) -> int:
        return len(self.captions)

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


class StreamedBatches:
    """Shards of any number of pairs: images are encoded and texts embedded as they come.

    An epoch shows every pair once; the next one follows without a gap. The chunks of `stream.py` are cut into batches;
    images are encoded chunk by chunk, so that workers load ahead meanwhile.
    """

    def __init__(
        self,
        vision: VisionEncoder,
        text: TextEncoder,
        sets: Sets,
        drawing: Drawing,
        skipped: SkipLog,
        workers: int | None,
        position: dict[str, Any],
    ):
        self.vision, self.text, self.drawing, self.skipped = vision, text, drawing, skipped
        self.workers = default_workers() if workers is None else workers
        counts = [pairs.num_pairs for pairs in sets]
        self.num_pairs = None if None in counts else sum(count for count in counts if count is not None)
        if self.num_pairs is None and sets[0].weight is not None:
            uncounted = next(pairs.name for pairs in sets if pairs.num_pairs is None)
            raise UsageError(
                f"--pairs: weights need the number of pairs of {uncounted}: no *_stats.json beside its tars "
                f"({MAKE_STATS})."
            )
        self.batch_size = min(drawing.batch_size, self.num_pairs or drawing.batch_size)
        self.stream = Stream(sets, vision.preprocess, drawing.noun_share, drawing.seed)
        self.epoch, self.turn = position.get("epoch", 0), position.get("turn", 0)
        self.used = position.get("used", 0)  # of the pairs of this turn's chunk
        if not position:
            before = [skip for pairs in sets if isinstance(pairs, Pairs) for skip in pairs.skipped]
            skipped.add(len(before), before)
        self.chunk: Chunk | None = None
        self.tokens = torch.empty(0)
        self.chunks: Iterator[Chunk] | None = None
        self.usable = bool(position)  # whether this epoch has shown any pair that can be used

    def batch(self, step: int) -> Batch:
        """The next one, whatever step it is for."""
        tokens: list[Tensor] = []
        texts: list[str] = []
        while len(texts) < self.batch_size:
            chunk = self.chunk or self._next_chunk()
            taken = slice(self.used, self.used + self.batch_size - len(texts))
            tokens += [self.tokens[taken]] * bool(chunk.texts)
            texts += chunk.texts[taken]
            self._use(len(chunk.texts[taken]))
        numbers = {text: number for number, text in enumerate(dict.fromkeys(texts))}
        chosen = torch.tensor([numbers[text] for text in texts])
        embeddings = self.text(list(numbers), show_progress=False)[chosen]
        position = {"epoch": self.epoch, "turn": self.turn, "used": self.used, "skipped": self.skipped.state}
        return Batch(torch.cat(tokens), embeddings, chosen[:, None] == chosen[None], position)

    def _use(self, pairs: int) -> None:
        self.used += pairs
        if self.chunk is not None and self.used == len(self.chunk.texts):
            self.chunk, self.used, self.turn = None, 0, self.turn + 1

    def _next_chunk(self) -> Chunk:
        """The chunk of this turn with its images encoded."""
        self.chunk = self._loaded()
        if not self.used:  # else what it skips was counted before the run was stopped
            self.skipped.add(self.chunk.seen, self.chunk.skipped)
        self.usable |= bool(self.chunk.texts)
        if self.chunk.texts:
            self.tokens = self._encoded(self.chunk)
        return self.chunk

    def _loaded(self) -> Chunk:
        """The chunk of this turn; past the end of an epoch, the first of the next one."""
        for _ in range(LANES):
            chunk = self._load()
            if chunk.seen:
                return chunk
            self.turn += 1
        if not self.usable:
            raise RunError(f"No pair of {self.names} can be used: {self.skipped.summary()}.")
        self.chunks, self.epoch, self.turn, self.usable = None, self.epoch + 1, 0, False
        return self._loaded()

    def _load(self) -> Chunk:
        try:
            if self.chunks is None:
                self.chunks = iter(self.stream.chunks(self.epoch, self.turn, self.workers))
            return next(self.chunks)
        except (RuntimeError, OSError) as error:  # a worker was killed, or the disk went away
            told = str(error).strip().splitlines() or [repr(error)]
            raise RunError(f"Loading pairs failed: {' ... '.join(dict.fromkeys([told[0], told[-1]]))}") from error

    @torch.no_grad()
    def _encoded(self, chunk: Chunk) -> Float[Tensor, "pair patch width"]:
        pixels = torch.from_numpy(chunk.pixels).to(self.vision.device)
        # the digits of half precision, as from the cache
        return self.vision(self.vision.preprocess.normalised(pixels)).patch_tokens.half().float()

    @property
    def names(self) -> str:
        return "+".join(pairs.name for pairs in self.stream.sets)

    def describe(self) -> dict[str, Any]:
        return {"images": self.num_pairs, "captions": self.num_pairs, **self.skipped.describe()}

    def close(self) -> None:
        """Ends the workers and says what was skipped."""
        self.chunks = None
        self.skipped.report(f"{self.skipped.seen:,} pairs seen")
