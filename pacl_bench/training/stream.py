"""Training pairs as a stream: shards read, shuffled and decoded by worker processes, in an order that nothing but the
seed decides.

The parts of an epoch (tars, pieces of sets of files) are shuffled and dealt to 24 lanes. A lane reads its parts one
after the other through a buffer that shuffles, and hands out chunks; the lanes take turns. A worker process serves
every n-th lane, so that the order is the same however many workers there are. What was done of an epoch is one number,
the turn; a resumed run reads again up to there, and decodes nothing of it.
"""

import os
import random
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from torch.utils.data import DataLoader, IterableDataset, get_worker_info
from webdataset.filters import shuffle
from webdataset.shardlists import split_by_node

from pacl_bench.data.captions import noun_prompts
from pacl_bench.data.pair_readers import Pairs, skipped_image
from pacl_bench.data.shards import RawPair, ShardSet, Skipped, read_pairs
from pacl_bench.encoders.base import Preprocess
from pacl_bench.errors import UsageError
from pacl_bench.image_sets import BrokenImage

LANES = 24  # the most workers a process can have; those it has divide it
CHUNK_PAIRS = 32  # pairs that travel from a worker together; broken ones count
BUFFER = 128  # undecoded pairs that a lane shuffles among
PIECE = 1000  # images of a set of files that are read like one tar


@dataclass(frozen=True)
class Part:
    """What a lane reads in one go: a tar, or some images of a set of files."""

    source: Path | tuple[Pairs, range]
    keep: float = 1.0  # share of its pairs that is used; below 1 where a weight wants less than all

    def read(self) -> Iterator["RawPair | FilePair | Skipped"]:
        """Its pairs in order, not decoded."""
        if isinstance(self.source, Path):
            yield from read_pairs(self.source)
        else:
            pairs, indices = self.source
            yield from (FilePair(pairs, number) for number in indices)


class FilePair(NamedTuple):
    """One image of a set of files, not decoded yet."""

    pairs: Pairs
    number: int

    @property
    def captions(self) -> list[str]:
        return self.pairs.captions[self.number]


class Chunk(NamedTuple):
    """Some pairs, decoded."""

    pixels: UInt8[np.ndarray, "pair size size 3"]
    texts: list[str]
    skipped: list[Skipped]
    seen: int  # pairs read for it; 0 where the lane has ended


@dataclass(frozen=True)
class Stream:
    """What decides which pairs come in which order, besides the epoch."""

    sets: list[Pairs | ShardSet]
    preprocess: Preprocess
    noun_share: float
    seed: int

    def chunks(self, epoch: int, turn: int, workers: int) -> "DataLoader[Chunk]":
        """The chunks of an epoch from a turn on, without an end: a lane that has ended gives empty ones."""
        return DataLoader(
            Lanes(self, epoch, turn),
            batch_size=None,
            num_workers=usable_workers(workers),
            prefetch_factor=4 if workers else None,
            collate_fn=_as_it_is,  # numpy goes through a pipe: shared memory is often small in containers
            worker_init_fn=_leave_ctrl_c_to_the_main_process,
        )

    def parts(self, epoch: int) -> list[Part]:
        """Of this process, in the order of the epoch: every pair once, or as often as the weights say."""
        times_of = repeats(self.sets, [pairs.num_pairs or 0 for pairs in self.sets])
        parts = [
            Part(source, keep)
            for pairs, times in zip(self.sets, times_of, strict=True)
            for keep in [1.0] * int(times) + [times % 1] * (times % 1 > 0)
            for source in _sources(pairs)
        ]
        order = np.random.default_rng([self.seed, epoch]).permutation(len(parts))
        return list(split_by_node(parts[number] for number in order))


def _sources(pairs: Pairs | ShardSet) -> list[Path] | list[tuple[Pairs, range]]:
    if isinstance(pairs, ShardSet):
        return pairs.files
    return [(pairs, range(start, min(start + PIECE, len(pairs)))) for start in range(0, len(pairs), PIECE)]


def repeats(sets: Sequence[Pairs | ShardSet], sizes: list[int]) -> list[float]:
    """How often an epoch shows each pair of each set: once, or what gives each set its weight's share of the epoch.

    Args:
        sizes: usable pairs of each set.
    """
    empty = next((one.name for one, size in zip(sets, sizes, strict=True) if one.weight is not None and not size), None)
    if empty is not None:
        raise UsageError(f"--pairs: {empty} has a weight and no usable pair. Leave it out.")
    times = [
        1.0 if one.weight is None else one.weight * sum(sizes) / size for one, size in zip(sets, sizes, strict=True)
    ]
    return [round(often, 9) for often in times]  # 2.9999999999 is no part of a fourth time


class Lanes(IterableDataset):
    """An epoch from a turn on: the lanes of one worker process, or all of them where there is none."""

    def __init__(self, stream: Stream, epoch: int, turn: int):
        self.stream, self.epoch, self.turn = stream, epoch, turn

    def __iter__(self) -> Iterator[Chunk]:
        worker = get_worker_info()
        first, step = (worker.id, worker.num_workers) if worker else (0, 1)
        parts = self.stream.parts(self.epoch)
        lanes = {}
        for turn in count(self.turn + first, step):
            lane, done = turn % LANES, turn // LANES
            if lane not in lanes:
                lanes[lane] = self._chunks(parts[lane::LANES], lane, done)
            yield next(lanes[lane])

    def _chunks(self, parts: list[Part], lane: int, done: int) -> Iterator[Chunk]:
        """Of one lane, after those that are done."""
        rank = int(os.environ.get("RANK", "0"))
        seeds = [self.stream.seed, self.epoch, rank, lane]
        raw = (pair for number, part in enumerate(parts) for pair in _thinned(part, [*seeds, number]))
        mixed = shuffle(BUFFER, initial=BUFFER, rng=random.Random(str(seeds)))(raw)
        numbered = islice(enumerate(mixed), done * CHUNK_PAIRS, None)
        while True:
            yield self._decoded(list(islice(numbered, CHUNK_PAIRS)), seeds)

    def _decoded(self, numbered: list[tuple[int, RawPair | FilePair | Skipped]], seeds: list[int]) -> Chunk:
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
    draw = random.Random(str(seeds))
    return (pair for pair in part.read() if part.keep == 1 or draw.random() < part.keep)


def _image(pair: RawPair | FilePair) -> Image.Image:
    if isinstance(pair, FilePair):
        return pair.pairs.photos.image(pair.number)
    return pair.image()


def drawn_text(captions: list[str], noun_share: float, draw: np.random.Generator) -> str:
    """One of the captions, or a noun of it in a template: what trains with the image this time."""
    caption = captions[draw.integers(len(captions))]
    prompts = noun_prompts(caption) if draw.random() < noun_share else []
    return prompts[draw.integers(len(prompts))] if prompts else caption


def usable_workers(wanted: int) -> int:
    """The largest number of worker processes up to `wanted` that divides the lanes; 0 loads in the main process."""
    return max(number for number in range(wanted + 1) if number == 0 or LANES % number == 0) if wanted else 0


def default_workers() -> int:
    """A core is left to the encoder."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(max(1, cores - 1), LANES // 2)


def _as_it_is(chunk: Any) -> Any:
    return chunk


def _leave_ctrl_c_to_the_main_process(worker: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
