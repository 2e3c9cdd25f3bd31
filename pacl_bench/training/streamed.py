"""Batches from a stream of shards: images are encoded and texts embedded as they come, nothing is kept."""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pacl_bench.data.pair_readers import MIN_PAIRS, TOO_FEW, Pairs
from pacl_bench.data.shards import MAKE_STATS
from pacl_bench.encoders.base import TextEncoder, VisionEncoder
from pacl_bench.errors import RunError, UsageError
from pacl_bench.signals import EndsOfWorkers
from pacl_bench.training.batches import Batch, Drawing, Sets
from pacl_bench.training.skip_log import SkipLog
from pacl_bench.training.stream import LANES, Chunk, Stream, default_workers


class StreamedBatches:
    """Batches of pairs that are too many to number: shards, or shards together with sets of files.

    The stream gives chunks of up to 32 pairs (`stream.py` says what a chunk, a lane and a turn are). A batch takes what
    is left of the current chunk and as much of the next ones as it needs; what it leaves of the last one, the next
    batch begins with. Images are encoded chunk by chunk, while the worker processes load those that follow. When all
    lanes have come to their end the next epoch begins, and a batch may hold pairs of both.

    Args:
        workers: processes that read shards; None for all cores but one.
        position: `Batch.position` of the last batch of the run that is gone on with; empty for a new run.

    Raises:
        UsageError: what the `_stats.json` beside the shards count is less than two pairs; or a weight is given and
            there is no count.
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
        if self.num_pairs is not None and self.num_pairs < MIN_PAIRS:
            names = "+".join(pairs.name for pairs in sets)
            raise UsageError(f"--pairs {names}: {self.num_pairs} pairs by its _stats.json; {TOO_FEW}.")
        self.batch_size = min(drawing.batch_size, self.num_pairs or drawing.batch_size)
        self.stream = Stream(sets, vision.preprocess, drawing.noun_share, drawing.seed)
        self.epoch, self.turn = position.get("epoch", 0), position.get("turn", 0)
        self.used = position.get("used", 0)  # pairs of this turn's chunk that were in a batch already
        if not position:
            before = [skip for pairs in sets if isinstance(pairs, Pairs) for skip in pairs.skipped]
            skipped.add(len(before), before)
        self.chunk: Chunk | None = None  # of this turn; None where it is still to be loaded
        self.tokens = torch.empty(0)  # the patch tokens of its pairs
        self.chunks: Iterator[Chunk] | None = None
        self.ends_of_workers = EndsOfWorkers()
        # pairs of this epoch that could be used; of a run that goes on: enough, else it had not come so far
        self.usable = MIN_PAIRS if position else 0

    def plan(self, steps: int) -> None:
        """Nothing is done beforehand: texts come with their images."""

    def batch(self, step: int) -> Batch:
        """The next batch of the stream; `step` plays no part, since a stream cannot go back."""
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
        """Counts pairs of the chunk as used; when all of them are, the next lane has its turn."""
        self.used += pairs
        if self.chunk is not None and self.used == len(self.chunk.texts):
            self.chunk, self.used, self.turn = None, 0, self.turn + 1

    def _next_chunk(self) -> Chunk:
        """Loads the chunk of this turn and encodes its images."""
        self.chunk = self._loaded()
        if not self.used:  # else what it skips was counted before the run was stopped
            self.skipped.add(self.chunk.seen, self.chunk.skipped)
        self.usable += len(self.chunk.texts)
        if self.chunk.texts:
            self.tokens = self._encoded(self.chunk)
        return self.chunk

    def _loaded(self) -> Chunk:
        """The chunk of this turn, or of the first turn after it at which a lane still has pairs.

        Where none has, the epoch is over, and the chunk is the first of the next epoch.

        Raises:
            RunError: the epoch is over, and none of its pairs could be used, or a single one.
        """
        for _ in range(LANES):
            chunk = self._load()
            if chunk.seen:
                return chunk
            self.turn += 1
        if not self.usable:
            raise RunError(f"No pair of {self.names} can be used: {self.skipped.summary()}.")
        if self.usable < MIN_PAIRS:
            raise RunError(f"A single pair of {self.names} can be used; {TOO_FEW}.")
        self.chunks, self.epoch, self.turn, self.usable = None, self.epoch + 1, 0, 0
        return self._loaded()

    def _load(self) -> Chunk:
        """The next chunk that the workers give; they are started where there are none yet."""
        try:
            with self.ends_of_workers.heeded():
                if self.chunks is None:
                    self.chunks = iter(self.stream.chunks(self.epoch, self.turn, self.workers))
                return next(self.chunks)
        except (RuntimeError, OSError) as error:  # a worker was killed, or the disk went away
            told = str(error).strip().splitlines() or [repr(error)]
            raise RunError(f"Loading pairs failed: {' ... '.join(dict.fromkeys([told[0], told[-1]]))}") from error

    @torch.no_grad()
    def _encoded(self, chunk: Chunk) -> Float[Tensor, "pair patch width"]:
        pixels = torch.from_numpy(chunk.pixels).to(self.vision.device)
        # rounded to half precision, as tokens from the cache are: both ways of training see the same numbers
        return self.vision(self.vision.preprocess.normalised(pixels)).patch_tokens.half().float()

    @property
    def names(self) -> str:
        return "+".join(pairs.name for pairs in self.stream.sets)

    def describe(self) -> dict[str, Any]:
        return {"images": self.num_pairs, "captions": self.num_pairs, **self.skipped.describe()}

    def close(self) -> None:
        """Ends the workers and says what was skipped."""
        self.chunks = None
        self.ends_of_workers.close()
        self.skipped.report(f"{self.skipped.seen:,} pairs seen")
