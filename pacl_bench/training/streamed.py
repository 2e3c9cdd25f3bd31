"""Batches from a stream of shards: images are encoded and texts embedded as they come, nothing is kept."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pacl_bench.data.pair_readers import MIN_PAIRS, TOO_FEW, Pairs
from pacl_bench.data.shards import MAKE_STATS
from pacl_bench.errors import RunError, UsageError
from pacl_bench.training.batches import Batch, Drawing, Sets
from pacl_bench.training.encoded_stream import EncodedChunk, SharedStreams
from pacl_bench.training.skip_log import SkipLog
from pacl_bench.training.stream import LANES


class StreamedBatches:
    """Batches of pairs that are too many to number: shards, or shards together with sets of files.

    A stream gives chunks of up to 32 pairs (`stream.py` says what a chunk, a lane and a turn are). A batch takes what
    is left of the current chunk and as much of the next ones as it needs; what it leaves of the last one, the next
    batch begins with. When all lanes have come to their end the next epoch begins, and a batch may hold pairs of both.

    Where each set has a stream of its own, the next chunk is of the set that is behind: of the one of which the
    smallest part has been shown. Which one that is does not depend on what other sets there are, so heads of nested
    sums of sets can be trained from the same streams.

    Args:
        shared: gives the streams: one for all sets, or one for each.
        position: `Batch.position` of the last batch of the run that is gone on with; empty for a new run.

    Raises:
        UsageError: what the `_stats.json` beside the shards count is less than two pairs; or a weight is given and
            there is no count.
    """

    def __init__(
        self,
        shared: SharedStreams,
        sets: Sets,
        drawing: Drawing,
        skipped: SkipLog,
        position: dict[str, Any],
    ):
        self.shared, self.sets, self.skipped = shared, sets, skipped
        self.num_pairs = counted(sets)
        self.batch_size = min(drawing.batch_size, self.num_pairs or drawing.batch_size)
        self.streams = streams = shared.of(sets, drawing)
        self.epoch = position.get("epoch", 0)
        self.turns: list[int] = position.get("turns") or [position.get("turn", 0)] * len(streams)
        self.used = position.get("used", 0)  # pairs of this turn's chunk that were in a batch already
        if not position:
            before = [skip for pairs in sets if isinstance(pairs, Pairs) for skip in pairs.skipped]
            skipped.add(len(before), before)
        self.readers = [stream.add_reader((self.epoch, turn)) for stream, turn in zip(streams, self.turns, strict=True)]
        self.empty = [0] * len(streams)  # turns in a row, of each stream, whose lane had come to its end
        self.current: tuple[int, EncodedChunk] | None = None  # the stream whose turn it is, and its chunk
        # pairs of this epoch that could be used; of a run that goes on: enough, else it had not come so far
        self.usable = MIN_PAIRS if position else 0

    def plan(self, steps: int) -> None:
        """Nothing is done beforehand: texts come with their images."""

    @property
    def progress(self) -> tuple[float, ...]:
        """How far the streams were read: epochs, then what was shown of this epoch, a number that only compares."""
        return float(self.epoch), self._shown(self._behind())

    def batch(self, step: int) -> Batch:
        """The next batch of the stream; `step` plays no part, since a stream cannot go back."""
        tokens: list[Tensor] = []
        own: list[int] = []
        texts: list[str] = []
        while len(texts) < self.batch_size:
            stream, (chunk, encoded) = self.current or self._next_chunk()
            taken = slice(self.used, self.used + self.batch_size - len(texts))
            if encoded is not None:
                tokens.append(encoded[taken])
                own += range(len(texts), len(texts) + len(tokens[-1]))
            texts += chunk.texts[taken]
            self._use(stream, len(chunk.texts), len(chunk.texts[taken]))
        numbers = {text: number for number, text in enumerate(dict.fromkeys(texts))}
        chosen = torch.tensor([numbers[text] for text in texts])
        rows = torch.tensor(own, dtype=torch.long)
        same_text = chosen[rows][:, None] == chosen[None]
        return Batch(
            self._joined(tokens), self.shared.embedded(list(numbers))[chosen], same_text, rows, self._position()
        )

    def _position(self) -> dict[str, Any]:
        place = {"turn": self.turns[0]} if len(self.streams) == 1 else {"turns": list(self.turns)}
        return {"epoch": self.epoch, **place, "used": self.used, "skipped": self.skipped.state}

    def _joined(self, tokens: list[Tensor]) -> Float[Tensor, "own patch width"]:
        """Of all images of the batch that this process encoded; there may be none."""
        return torch.cat(tokens) if tokens else torch.empty(0, 1, self.streams[0].vision.width)

    def _use(self, stream: int, of: int, pairs: int) -> None:
        """Counts pairs of the chunk as used; when all of them are, the next turn begins."""
        self.used += pairs
        if self.used == of:
            self.current, self.used = None, 0
            self.turns[stream] += 1

    def _next_chunk(self) -> tuple[int, EncodedChunk]:
        """The next chunk with pairs in it, of the stream that is behind.

        Where none has any the epoch is over, and the chunk is of the next one.

        Raises:
            RunError: the epoch is over, and none of its pairs could be used, or a single one.
        """
        while min(self.empty) < LANES:
            stream = self._behind()
            found = self.streams[stream].chunk(self.readers[stream], (self.epoch, self.turns[stream]))
            if found.chunk.seen:
                return self._taken_up(stream, found)
            self.empty[stream] += 1
            self.turns[stream] += 1
        if not self.usable:
            raise RunError(f"No pair of {self.names} can be used: {self.skipped.summary()}.")
        if self.usable < MIN_PAIRS:
            raise RunError(f"A single pair of {self.names} can be used; {TOO_FEW}.")
        self.epoch, self.usable = self.epoch + 1, 0
        self.turns, self.empty = [0] * len(self.streams), [0] * len(self.streams)
        return self._next_chunk()

    def _taken_up(self, stream: int, found: EncodedChunk) -> tuple[int, EncodedChunk]:
        self.empty[stream] = 0
        if not self.used:  # else what it skips was counted before the run was stopped
            self.skipped.add(found.chunk.seen, found.chunk.skipped)
        self.usable += len(found.chunk.texts)
        self.current = stream, found
        return self.current

    def _behind(self) -> int:
        """The stream whose turn it is: of those that have not come to their end, the one that has shown the least."""
        if len(self.streams) == 1:
            return 0
        running = [number for number, empty in enumerate(self.empty) if empty < LANES]
        return min(running, key=self._shown, default=0)

    def _shown(self, stream: int) -> float:
        """Of an epoch of this stream, as a number that compares with that of other streams."""
        return (self.turns[stream] + 0.5) / self.streams[stream].stream.size

    @property
    def names(self) -> str:
        return "+".join(pairs.name for pairs in self.sets)

    def describe(self) -> dict[str, Any]:
        return {"images": self.num_pairs, "captions": self.num_pairs, **self.skipped.describe()}

    def close(self) -> None:
        """Ends the workers, where nobody else reads the streams, and says what was skipped."""
        for stream, reader in zip(self.streams, self.readers, strict=True):
            stream.leave(reader)
        self.skipped.report(f"{self.skipped.seen:,} pairs seen")


def counted(sets: Sets) -> int | None:
    """How many pairs there are; None where that is not known."""
    counts = [pairs.num_pairs for pairs in sets]
    total = None if None in counts else sum(count for count in counts if count is not None)
    if total is None and sets[0].weight is not None:
        uncounted = next(pairs.name for pairs in sets if pairs.num_pairs is None)
        raise UsageError(
            f"--pairs: weights need the number of pairs of {uncounted}: no *_stats.json beside its tars ({MAKE_STATS})."
        )
    if total is not None and total < MIN_PAIRS:
        names = "+".join(pairs.name for pairs in sets)
        raise UsageError(f"--pairs {names}: {total} pairs by its _stats.json; {TOO_FEW}.")
    return total
