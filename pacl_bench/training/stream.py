"""Training pairs as a stream: worker processes read shards, shuffle and decode them, in an order that only the seed
decides.

Three words are used throughout. A *part* is what is read in one go: a tar, or PIECE images of a set of files. A *lane*
is a queue of parts: when an epoch begins, all of its parts are shuffled and dealt to LANES lanes, as cards are dealt to
players. A *chunk* is what comes out of a lane at a time: CHUNK_PAIRS pairs, decoded.

The lanes take turns. Turn 0 is the first chunk of lane 0, turn 1 the first chunk of lane 1, and so on; after the last
lane, lane 0 gives its second chunk. Within a lane, pairs are shuffled in a buffer, by a seed that is the lane's own.
There are always LANES lanes, and each worker process serves some of them from beginning to end; so the chunks, and
their order, are the same for any number of workers. They are the same, too, for any number of processes that train
together: lane l is read by process l mod n of n, which hands the others the texts of its chunks (streamed.py).

How far an epoch has got is therefore one number, the turn. A run that goes on after a stop opens the stream at that
turn: each lane reads again what it had read before, without decoding it, and its next chunk is the one that the stopped
run would have been given.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from torch.utils.data import DataLoader, IterableDataset, get_worker_info
from webdataset.filters import shuffle

from pacl_bench import processes
from pacl_bench.data.captions import noun_prompts
from pacl_bench.data.pair_readers import Pairs, skipped_image
from pacl_bench.data.shard_pairs import RawPair, read_pairs
from pacl_bench.data.shards import ShardSet, Skipped
from pacl_bench.encoders.base import Preprocess
from pacl_bench.errors import UsageError
from pacl_bench.image_sets import BrokenImage
from pacl_bench.workers import by_workers

# 24 has many divisors: each of 1, 2, 3, 4, 6, 8, 12 or 24 workers serves as many lanes as the others. More than 24
# workers would have nothing to do.
LANES = 24
CHUNK_PAIRS = 32  # pairs in a chunk, those that turn out to be broken among them
BUFFER = 128  # pairs that a lane holds, not decoded; the next one is drawn from them
PIECE = 1000  # images of a set of files that are one part
PAIR_BYTES = 20_000  # of a pair in a tar, where nobody has counted them


@dataclass(frozen=True)
class Part:
    """What is read in one go: a tar, or some images of a set of files."""

    source: Path | tuple[Pairs, range]  # the tar; or the set, and the numbers of its images
    keep: float = 1.0  # share of its pairs that is drawn; below 1 where the weight of its set asks for less than all

    def read(self) -> Iterator["RawPair | FilePair | Skipped"]:
        """Its pairs in their order, images not decoded; in place of a pair that cannot be used, why."""
        if isinstance(self.source, Path):
            yield from read_pairs(self.source)
        else:
            pairs, indices = self.source
            yield from (FilePair(pairs, number) for number in indices)


class FilePair(NamedTuple):
    """An image of a set of files with its captions, not decoded yet."""

    pairs: Pairs
    number: int

    @property
    def captions(self) -> list[str]:
        return self.pairs.captions[self.number]


class Chunk(NamedTuple):
    """What a lane gives at its turn: pairs whose image is decoded and whose text is drawn."""

    pixels: UInt8[np.ndarray, "pair size size 3"]
    texts: list[str]  # of each pair
    skipped: list[Skipped]  # what was read for this chunk and cannot be used
    seen: int  # all that was read for it, usable or not; 0 where the lane had come to its end before

    def without_pixels(self) -> "Chunk":
        """What the other processes are told of it."""
        return self._replace(pixels=self.pixels[:0])


@dataclass(frozen=True)
class Stream:
    """All that decides which pairs an epoch shows in which order: the same values give the same stream."""

    sets: list[Pairs | ShardSet]
    preprocess: Preprocess  # of the vision encoder: how large a square of pixels it takes
    noun_share: float  # how often a noun of the caption, in a template, stands in for the caption
    seed: int

    @cached_property
    def size(self) -> float:
        """How long an epoch is, as a number that compares with that of other streams: pairs, where they are counted."""
        counts = [
            pairs.num_pairs or sum(file.stat().st_size for file in _tars(pairs)) / PAIR_BYTES for pairs in self.sets
        ]
        return float(sum(counts)) or 1.0

    def chunks(self, epoch: int, turn: int, workers: int) -> "DataLoader[Chunk]":
        """The chunks of an epoch from a turn on: those of this process's lanes.

        They have no end. A lane that has come to its end gives chunks with nothing in them, so an epoch is over where
        such follow each other, one of each lane.
        """
        return by_workers(Lanes(self, epoch, turn), usable_workers(workers, len(own_lanes())))

    def parts(self, epoch: int) -> list[Part]:
        """The parts of an epoch in their shuffled order; a pair is in one, or in as many as its set's weight says."""
        times_of = repeats(self.sets, [pairs.num_pairs or 0 for pairs in self.sets])
        parts = [
            Part(source, keep)
            for pairs, times in zip(self.sets, times_of, strict=True)
            for keep in [1.0] * int(times) + [times % 1] * (times % 1 > 0)
            for source in _sources(pairs)
        ]
        order = np.random.default_rng([self.seed, epoch]).permutation(len(parts))
        return [parts[number] for number in order]


def _tars(pairs: Pairs | ShardSet) -> list[Path]:
    return pairs.files if isinstance(pairs, ShardSet) else []


def _sources(pairs: Pairs | ShardSet) -> list[Path] | list[tuple[Pairs, range]]:
    if isinstance(pairs, ShardSet):
        return pairs.files
    return [(pairs, range(start, min(start + PIECE, len(pairs)))) for start in range(0, len(pairs), PIECE)]


def repeats(sets: Sequence[Pairs | ShardSet], sizes: list[int]) -> list[float]:
    """How often an epoch shows the pairs of each set.

    Once, if the sets have no weights. Else so often that each set has its weight's share of an epoch which is as long
    as all sets together: 0.5 means that each epoch shows another half of the set.

    Args:
        sizes: usable pairs of each set.

    Raises:
        UsageError: a set that has a weight has no usable pair.
    """
    empty = next((one.name for one, size in zip(sets, sizes, strict=True) if one.weight is not None and not size), None)
    if empty is not None:
        raise UsageError(f"--pairs: {empty} has a weight and no usable pair. Leave it out.")
    times = [
        1.0 if one.weight is None else one.weight * sum(sizes) / size for one, size in zip(sets, sizes, strict=True)
    ]
    return [round(often, 9) for often in times]  # 2.9999999999 is no part of a fourth time


def own_lanes() -> range:
    """The lanes that this process reads, of those that train together; all where it is alone."""
    return range(processes.rank(), LANES, processes.world_size())


def own_turns(turn: int) -> int:
    """How many of the turns before this one fell to this process's lanes."""
    cycles, lane = divmod(turn, LANES)
    return cycles * len(own_lanes()) + sum(one < lane for one in own_lanes())


class Lanes(IterableDataset):
    """The chunks of this process's lanes from a turn on, as one worker process gives them: those of every n-th turn.

    PyTorch asks its worker processes in turn, so of the process's own turns worker w of n is asked for w, w + n, w +
    2 n ... Because n divides the number of its lanes, these turns always fall to the same lanes, and no two workers
    share one. Without worker processes, all lanes are served here.
    """

    def __init__(self, stream: Stream, epoch: int, turn: int):
        self.stream, self.epoch = stream, epoch
        self.lanes, self.turn = own_lanes(), own_turns(turn)

    def __iter__(self) -> Iterator[Chunk]:
        worker = get_worker_info()
        first, step = (worker.id, worker.num_workers) if worker else (0, 1)
        parts = self.stream.parts(self.epoch)
        lanes = {}
        for turn in count(self.turn + first, step):
            done, at = divmod(turn, len(self.lanes))
            lane = self.lanes[at]
            if lane not in lanes:
                lanes[lane] = self._chunks(parts[lane::LANES], lane, done)
            yield next(lanes[lane])

    def _chunks(self, parts: list[Part], lane: int, done: int) -> Iterator[Chunk]:
        """The chunks of a lane that has the given parts, after its first `done` ones, then empty ones for ever."""
        seeds = [
            self.stream.seed,
            self.epoch,
            0,
            lane,
        ]  # the 0 was a process's number: heads trained then stay the same
        raw = (pair for number, part in enumerate(parts) for pair in _thinned(part, [*seeds, number]))
        mixed = shuffle(BUFFER, initial=BUFFER, rng=random.Random(str(seeds)))(raw)
        numbered = islice(enumerate(mixed), done * CHUNK_PAIRS, None)
        while True:
            yield self._decoded(list(islice(numbered, CHUNK_PAIRS)), seeds)

    def _decoded(self, numbered: list[tuple[int, RawPair | FilePair | Skipped]], seeds: list[int]) -> Chunk:
        """A chunk of the pairs given, each with its number in the lane: by that and the seeds its text is drawn."""
        size = self.stream.preprocess.image_size
        pixels, texts, skipped = [np.empty((0, size, size, 3), np.uint8)], [], []
        for number, pair in numbered:
            if isinstance(pair, Skipped):
                skipped.append(pair)
                continue
            try:
                pixels.append(self.stream.preprocess.square(_image(pair))[None])
            except BrokenImage as broken:
                skipped.append(skipped_image(str(broken)))
                continue
            texts.append(drawn_text(pair.captions, self.stream.noun_share, np.random.default_rng([*seeds, number])))
        return Chunk(np.concatenate(pixels), texts, skipped, len(numbered))


def _thinned(part: Part, seeds: list[int]) -> Iterator[RawPair | FilePair | Skipped]:
    """The pairs of a part, or the share of them that it keeps, drawn by the seeds."""
    draw = random.Random(str(seeds))
    return (pair for pair in part.read() if part.keep == 1 or draw.random() < part.keep)


def _image(pair: RawPair | FilePair) -> Image.Image:
    if isinstance(pair, FilePair):
        return pair.pairs.photos.image(pair.number)
    return pair.image()


def drawn_text(captions: list[str], noun_share: float, draw: np.random.Generator) -> str:
    """What an image is paired with this time: one of its captions, or a noun of that caption in a template."""
    caption = captions[draw.integers(len(captions))]
    prompts = noun_prompts(caption) if draw.random() < noun_share else []
    return prompts[draw.integers(len(prompts))] if prompts else caption


def usable_workers(wanted: int, lanes: int = LANES) -> int:
    """The largest number of worker processes up to `wanted` that divides the lanes; 0 loads in the main process."""
    return max(number for number in range(wanted + 1) if number == 0 or lanes % number == 0) if wanted else 0
