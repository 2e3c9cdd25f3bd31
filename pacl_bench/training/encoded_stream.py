"""The chunks of a stream with their images encoded: once for all heads that read it, and by all processes together.

Turn after turn a chunk is loaded and its images are encoded. Each reader, a head that is trained, asks for the chunk of
the turn that it has come to; what a slower reader has still to come by is kept for it. Where several processes train
together, each loads and encodes the chunks of its own lanes, and is told the texts of the others'.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pacl_bench import cores, processes
from pacl_bench.encoders.base import TextEncoder, VisionEncoder
from pacl_bench.errors import UsageError
from pacl_bench.training.batches import Drawing, Sets
from pacl_bench.training.recipe import Loading
from pacl_bench.training.stream import CHUNK_PAIRS, LANES, Chunk, Stream
from pacl_bench.workers import Workers

ON_A_GPU = 256  # images a pass through the encoder, where nobody says
Place = tuple[int, int]  # epoch and turn


class EncodedChunk(NamedTuple):
    """A chunk, and the patch tokens of its images; None in a process that did not encode them."""

    chunk: Chunk
    tokens: Float[Tensor, "pair patch width"] | None


class EncodedStream:
    """A stream of pairs as its readers ask for it.

    Args:
        bfloat16: encode under autocast to bfloat16 rather than in single precision.
    """

    def __init__(self, vision: VisionEncoder, stream: Stream, loading: Loading, bfloat16: bool = False):
        self.vision, self.stream, self.bfloat16 = vision, stream, bfloat16
        self.workers = loading.workers or 0
        on_cpu = vision.device.type == "cpu"
        self.images_a_pass = loading.encoder_batch or (CHUNK_PAIRS if on_cpu else ON_A_GPU)
        self._readers: dict[int, Place] = {}  # the places they have come to
        self._held: dict[Place, EncodedChunk] = {}
        self._next: Place | None = None  # what is loaded next
        self._chunks: Workers[Chunk] | None = None

    def add_reader(self, place: Place) -> int:
        """A new reader, which begins at this place; its number."""
        self._readers[len(self._readers)] = place
        return len(self._readers) - 1

    def chunk(self, reader: int, place: Place) -> EncodedChunk:
        """The chunk at the place that a reader has come to; it does not go back.

        An epoch has no end here: when all lanes have come to theirs, its chunks have nothing in them.
        """
        self._readers[reader] = place
        self._held = {at: held for at, held in self._held.items() if at >= min(self._readers.values())}
        while place not in self._held:
            if self._next is None:
                self._next = min(self._readers.values())
            if place < self._next:  # the others are in the next epoch, so this one is over
                return EncodedChunk(_nothing(self.vision), None)
            if place[0] > self._next[0]:
                self.close()
                self._next = place
            self._load()
        return self._held[place]

    def leave(self, reader: int) -> None:
        """The reader needs no more."""
        del self._readers[reader]
        if not self._readers:
            self.close()

    def close(self) -> None:
        """Ends the worker processes."""
        if self._chunks is not None:
            self._chunks.close()
            self._chunks = None

    def _load(self) -> None:
        """Loads the next chunks, as many as make a full pass through the encoder, and encodes them."""
        assert self._next is not None
        epoch, turn = self._next
        loaded: list[tuple[Chunk, int]] = []  # each with the process that has its pixels
        while True:
            round_ = self._round(epoch, turn + len(loaded))
            loaded += round_
            most = max(
                sum(len(chunk.texts) for chunk, of in loaded if of == process)
                for process in range(processes.world_size())
            )
            if most + CHUNK_PAIRS > self.images_a_pass or not any(chunk.seen for chunk, _ in round_):
                break
        for number, encoded in enumerate(self._encoded(loaded)):
            self._held[epoch, turn + number] = encoded
        self._next = epoch, turn + len(loaded)

    def _round(self, epoch: int, turn: int) -> list[tuple[Chunk, int]]:
        """The chunks of the next turns, one of each process; fewer where the first lane has its turn again."""
        lanes = range(turn % LANES, min(turn % LANES + processes.world_size(), LANES))
        owners = [lane % processes.world_size() for lane in lanes]
        own = self._read(epoch, turn) if processes.rank() in owners else _nothing(self.vision)
        told = processes.each(own.without_pixels())
        return [(own if owner == processes.rank() else told[owner], owner) for owner in owners]

    def _read(self, epoch: int, turn: int) -> Chunk:
        """The next chunk that the workers give; they are started where there are none yet."""
        if self._chunks is None:
            self._chunks = Workers(self.stream.chunks(epoch, turn, self.workers), "pairs")
        return next(self._chunks)

    def _encoded(self, loaded: list[tuple[Chunk, int]]) -> Iterator[EncodedChunk]:
        own = [chunk for chunk, process in loaded if process == processes.rank() and chunk.texts]
        tokens = iter(self._tokens(own).split([len(chunk.texts) for chunk in own]) if own else [])
        for chunk, process in loaded:
            is_own = process == processes.rank() and bool(chunk.texts)
            yield EncodedChunk(chunk.without_pixels(), next(tokens) if is_own else None)

    @torch.no_grad()
    def _tokens(self, chunks: list[Chunk]) -> Float[Tensor, "pair patch width"]:
        pixels = torch.from_numpy(np.concatenate([chunk.pixels for chunk in chunks])).to(self.vision.device)
        with torch.autocast(self.vision.device.type, torch.bfloat16, enabled=self.bfloat16):
            tokens = self.vision(self.vision.preprocess.normalised(pixels)).patch_tokens
        # rounded to half precision, as tokens from the cache are: both ways of training see the same numbers
        return tokens.half().float()


class SharedStreams:
    """The streams of all heads that are trained side by side on one pair of encoders: what two of them read is one."""

    def __init__(self, vision: VisionEncoder, text: TextEncoder, loading: Loading):
        self.vision, self.text, self.loading = vision, text, loading
        self._streams: dict[tuple, EncodedStream] = {}
        self._latest: tuple[list[str], Tensor] = ([], torch.empty(0, text.dim))

    def of(self, sets: Sets, drawing: Drawing) -> list[EncodedStream]:
        """One stream for all sets; one for each where they are to be shown apart."""
        if drawing.sets_apart and any(pairs.weight is not None for pairs in sets):
            raise UsageError("--sets-apart: each set is shown in an order of its own, so weights have no meaning.")
        together = [[pairs] for pairs in sets] if drawing.sets_apart else [sets]
        return [self._stream(some, drawing, len(together)) for some in together]

    def _stream(self, sets: Sets, drawing: Drawing, of: int) -> EncodedStream:
        """One of so many streams that a head reads, among which the loading processes are divided."""
        known = tuple((pairs.fingerprint, pairs.contents, pairs.weight) for pairs in sets)
        key = (known, drawing.noun_share, drawing.seed, drawing.bfloat16)
        if key not in self._streams:
            stream = Stream(sets, self.vision.preprocess, drawing.noun_share, drawing.seed)
            workers = cores.loaders(self.vision.device.type == "cpu", self.loading.workers).number
            loading = replace(self.loading, workers=max(1, workers // of) if workers else 0)
            self._streams[key] = EncodedStream(self.vision, stream, loading, drawing.bfloat16)
        return self._streams[key]

    def embedded(self, texts: list[str]) -> Float[Tensor, "text dim"]:
        """Each process embeds its share, and has all. Heads with the same batches ask one after the other: once."""
        if texts != self._latest[0]:
            own = [texts[number] for number in processes.share(len(texts))]
            self._latest = texts, torch.cat(processes.each(self.text(own, show_progress=False)))
        return self._latest[1]


def _nothing(vision: VisionEncoder) -> Chunk:
    size = vision.preprocess.image_size
    return Chunk(np.empty((0, size, size, 3), np.uint8), [], [], 0)
