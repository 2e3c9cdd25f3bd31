"""A head that is being trained: its frozen encoders, its state, its batches, and what is kept of it."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pacl_bench import processes
from pacl_bench.data.pair_readers import Pairs
from pacl_bench.data.pairs import load_pairs, name_of
from pacl_bench.data.shards import ShardSet
from pacl_bench.encoders import load_encoder, load_text_encoder
from pacl_bench.encoders.base import TextEncoder, VisionEncoder, state_sha256
from pacl_bench.errors import RunError, UsageError
from pacl_bench.model.embedder import make_head
from pacl_bench.model.head_files import HeadCard, save_head
from pacl_bench.model.locating import frozen_part, write_places
from pacl_bench.progress import note
from pacl_bench.provenance import Stopwatch
from pacl_bench.registry import text_hash
from pacl_bench.training.batches import Batch, Batches, Drawing, Sets
from pacl_bench.training.encoded_stream import SharedStreams
from pacl_bench.training.identity import CONTENTS, Identity, encoder_identity, run_identity
from pacl_bench.training.in_memory import CachedBatches
from pacl_bench.training.recipe import CheckpointInterval, Loading, Recipe, TrainConfig, Watching, learning_rate
from pacl_bench.training.skip_log import SkipLog
from pacl_bench.training.state import RESUME_STATE, SKIPPED, Checkpoints, TrainState
from pacl_bench.training.streamed import StreamedBatches
from pacl_bench.training.watch import Watch


@dataclass(frozen=True)
class Frozen:
    """The two encoders of a head, which stay as they are."""

    vision: VisionEncoder
    text: TextEncoder

    @classmethod
    def load(cls, encoder: str, text: str, device: str) -> "Frozen":
        """By their names; a RunError where their weights could change."""
        found = cls(load_encoder(encoder).to(device), load_text_encoder(text).to(device))
        found.require()
        return found

    def require(self) -> None:
        """PACL trains e_v alone. Weights cannot change unnoticed: they are hashed again and compared."""
        for encoder in (self.vision, self.text):
            open_weights = [name for name, weight in encoder.named_parameters() if weight.requires_grad]
            if open_weights or encoder.training or state_sha256(encoder) != encoder.fingerprint:
                raise RunError(f"{encoder.name} is not frozen ({open_weights[:1] or 'its weights or mode changed'}).")


class Head:
    """A head in the making: its first weights, drawn by the seed, and at the end its card."""

    def __init__(self, config: TrainConfig, out: Path, frozen: Frozen, device: str, loading: Loading):
        self.config, self.out, self.frozen, self.device, self.loading = config, out, frozen, device, loading
        self.stopwatch = Stopwatch()
        self.sets = load_pairs(config.pairs)
        vision, text = frozen.vision, frozen.text
        torch.manual_seed(config.seed)
        embedder = make_head(config.head, vision.width, text.dim).to(device)
        pairs = pairs_identity(self.sets)
        identity = run_identity(config, encoder_identity(vision), encoder_identity(text), pairs)
        self.state = TrainState(embedder, config.recipe, identity, loading.images_at_once)
        self.trained_on: dict[str, Any] = {"pairs": name_of(self.sets), **pairs}

    @property
    def is_streamed(self) -> bool:
        """Whether its pairs come from a stream."""
        return any(isinstance(pairs, ShardSet) for pairs in self.sets)

    def run(self, streams: SharedStreams, interval: CheckpointInterval, watching: Watching) -> "Run":
        """All that trains it, from where its state is."""
        recipe, position = self.config.recipe, self.state.position
        drawing = Drawing(recipe.batch_size, recipe.noun_share, self.config.seed, recipe.sets_apart, recipe.bfloat16)
        skipped = SkipLog(self.out / SKIPPED, self.loading.max_skipped, position.get("skipped", {}))
        held_out = _held_out(watching.held_out, streams, drawing, self.out)
        batches = open_batches(streams, self.sets, drawing, skipped, position)
        watch = Watch(self.out, self.state.step, watching, held_out)
        return Run(self, batches, _total_steps(self.config, batches), interval, watch)

    def finish(self) -> HeadCard:
        """Writes the head, and gives its card."""
        self.frozen.require()
        card = self._card()
        if processes.is_first():
            write_places(self.out, self.frozen.vision, self.frozen.text)
            save_head(self.out, self.state.embedder, card)
        return card

    def _card(self) -> HeadCard:
        vision, text, state = self.frozen.vision, self.frozen.text, self.state
        return HeadCard(
            name=self.out.resolve().name,
            encoder=frozen_part(vision),
            text=frozen_part(text),
            width=vision.width,
            dim=text.dim,
            patch_scale=self.config.recipe.patch_scale,
            temperature=state.temperature.item(),
            step=state.step,
            sha256=state_sha256(state.embedder),
            train={**self.trained_on, "seed": self.config.seed, **self.config.recipe.describe()},
            provenance=self.stopwatch.provenance(self.device),
            kind=self.config.head,
        )


class Run:
    """A head and its batches, step after step. Whatever ends its block, the last good state is in the checkpoint."""

    def __init__(self, head: Head, batches: Batches, total_steps: int, interval: CheckpointInterval, watch: Watch):
        self.head, self.state, self.batches, self.total_steps, self.watch = (
            head,
            head.state,
            batches,
            total_steps,
            watch,
        )
        keep = watch.watching.keep_checkpoints
        self.checkpoints = Checkpoints(head.state, head.out / RESUME_STATE, interval, keep)

    def __enter__(self) -> "Run":
        self.batches.plan(self.total_steps)
        self.checkpoints.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        try:
            self.checkpoints.__exit__(*error)
        finally:
            self.watch.close()
            self.batches.close()

    @property
    def is_done(self) -> bool:
        return self.state.step >= self.total_steps

    def step(self) -> tuple[float, float]:
        """One step of the optimizer; its loss, and how many pairs a second it took."""
        started, step = time.monotonic(), self.state.step
        lr = learning_rate(self.head.config.recipe, step, self.total_steps)
        loss = self.state.update(self.batches.batch(step), lr)
        rate = self.batches.batch_size / (time.monotonic() - started)
        self.watch.step(self.state, step, loss, rate)
        self.checkpoints.save_if_due()
        return loss, rate

    def finish(self) -> HeadCard:
        """Writes the head with all that is known of its pairs now."""
        self.head.trained_on |= self.batches.describe() | _smaller_batches(self.batches, self.head.config.recipe)
        return self.head.finish()


def open_batches(
    streams: SharedStreams, sets: Sets, drawing: Drawing, skipped: SkipLog, position: dict[str, Any]
) -> Batches:
    """From memory where all sets are numbered, as a stream where one of them is of shards."""
    if any(isinstance(pairs, ShardSet) for pairs in sets):
        return StreamedBatches(streams, sets, drawing, skipped, position)
    if drawing.bfloat16:
        raise UsageError(
            "--bfloat16 is for shards: the patch tokens of files are kept in the cache, in full precision."
        )
    files = [pairs for pairs in sets if isinstance(pairs, Pairs)]
    return CachedBatches(streams.vision, streams.text, files, drawing, skipped, streams.loading.workers)


def _held_out(pairs: str | None, streams: SharedStreams, drawing: Drawing, out: Path) -> Batch | None:
    """A batch of pairs that are not trained on, always the same."""
    if pairs is None:
        return None
    apart = SharedStreams(streams.vision, streams.text, streams.loading)
    batches = open_batches(apart, load_pairs(pairs), drawing, SkipLog(out / f"held-out-{SKIPPED}", 1.0, {}), {})
    batches.plan(1)
    try:
        return batches.batch(0)
    finally:
        batches.close()


def _total_steps(config: TrainConfig, batches: Batches) -> int:
    recipe = config.recipe
    if recipe.steps is not None:
        return recipe.steps
    if batches.num_pairs is None:
        raise UsageError(
            f"--pairs {config.pairs}: how many pairs an epoch has is not known (no *_stats.json of img2dataset beside "
            "every tar). Give --steps in place of epochs."
        )
    return (recipe.epochs or 0) * (batches.num_pairs // batches.batch_size)


def _smaller_batches(batches: Batches, recipe: Recipe) -> dict[str, int]:
    """What the card says where the pairs are fewer than the batch that was asked for."""
    if batches.batch_size == recipe.batch_size:
        return {}
    note(f"batches of {batches.batch_size:,} pairs, not {recipe.batch_size:,}: there are no more")
    return {"batch_size_used": batches.batch_size}


def pairs_identity(sets: Sets) -> Identity:
    """What tells pairs from others, as a card holds it.

    `pairs_fingerprint` is over all captions, the names and sizes of images (of tars, for shards), and the weights of
    the sets. `pairs_contents` is over what these files hold; it is left out where no set has files.
    """
    lines = [pairs.fingerprint + ("" if pairs.weight is None else f" weight {pairs.weight:g}") for pairs in sets]
    contents = [pairs.contents for pairs in sets]
    return {"pairs_fingerprint": text_hash(lines)} | ({CONTENTS: text_hash(contents)} if any(contents) else {})
