"""Training a PACL head on image-caption pairs. Read `train` top to bottom."""

import time
from pathlib import Path
from typing import Any

import torch

from pacl_bench.data.pair_readers import Pairs
from pacl_bench.data.pairs import load_pairs, name_of
from pacl_bench.data.shards import ShardSet
from pacl_bench.encoders import load_encoder, load_text_encoder
from pacl_bench.encoders.base import TextEncoder, VisionEncoder, state_sha256
from pacl_bench.errors import RunError, UsageError
from pacl_bench.model.embedder import head_class, make_head
from pacl_bench.model.head_files import CARD, FrozenPart, HeadCard, save_head
from pacl_bench.model.locating import portable
from pacl_bench.progress import bar, note
from pacl_bench.provenance import Stopwatch
from pacl_bench.registry import text_hash
from pacl_bench.training.batches import Batches, Drawing, Sets
from pacl_bench.training.identity import encoder_identity, run_identity
from pacl_bench.training.in_memory import CachedBatches
from pacl_bench.training.recipe import Loading, Recipe, TrainConfig, learning_rate
from pacl_bench.training.skip_log import SkipLog
from pacl_bench.training.state import LOG, RESUME_STATE, SKIPPED, Log, TrainState, interrupts_wait
from pacl_bench.training.streamed import StreamedBatches


def train(
    config: TrainConfig,
    out: Path,
    resume: bool = False,
    device: str = "cpu",
    checkpoint_every: int = 100,
    loading: Loading | None = None,
) -> HeadCard:
    """Trains a head and writes it to the folder `out`, with its log and the list of skipped pairs.

    Args:
        resume: go on from the last checkpoint in `out`; the weights become those of an uninterrupted run.
        checkpoint_every: steps between checkpoints.
        loading: how pairs are read, and how many of them may fail.

    Raises:
        UsageError: `out` holds another run. RunError: the loss became NaN, too many pairs failed, or Ctrl-C; the last
            good state is kept.
    """
    _refuse_to_overwrite(out, resume)
    head_class(config.head)  # before anything is loaded: is there such a kind?
    loading = loading or Loading()
    recipe = config.recipe
    stopwatch = Stopwatch()
    vision = load_encoder(config.encoder).to(device)
    text = load_text_encoder(config.text).to(device)
    _require_frozen(vision, text)
    sets = load_pairs(config.pairs)

    torch.manual_seed(config.seed)
    embedder = make_head(config.head, vision.width, text.dim).to(device)
    identity = run_identity(config, encoder_identity(vision), encoder_identity(text), pairs_fingerprint(sets))
    state = TrainState(embedder, recipe, identity)
    if resume:
        state.load(out / RESUME_STATE)
    trained_on: dict[str, Any] = {"pairs": name_of(sets), "pairs_fingerprint": pairs_fingerprint(sets)}
    if recipe.steps != 0:
        drawing = Drawing(recipe.batch_size, recipe.noun_share, config.seed)
        skipped = SkipLog(out / SKIPPED, loading.max_skipped, state.position.get("skipped", {}))
        batches = open_batches(vision, text, sets, drawing, skipped, loading, state.position)
        _run(state, batches, recipe, _total_steps(config, batches), out, checkpoint_every)
        trained_on |= batches.describe() | _smaller_batches(batches, recipe)

    _require_frozen(vision, text)
    card = _card(config, state, vision, text, trained_on, stopwatch.provenance(device), out)
    save_head(out, embedder, card)
    return card


def _run(
    state: "TrainState",
    batches: Batches,
    recipe: Recipe,
    total_steps: int,
    out: Path,
    checkpoint_every: int,
) -> None:
    """The loop. Whatever ends it, the last good state is in the checkpoint."""
    batches.plan(total_steps)
    log = Log(out / LOG, state.step)
    try:
        with interrupts_wait() as interrupted, bar("loss", "rate") as progress:
            task = progress.add_task("training", total=total_steps, completed=state.step, loss="", rate="")
            for step in range(state.step, total_steps):
                started = time.monotonic()
                loss = state.update(batches.batch(step), learning_rate(recipe, step, total_steps))
                rate = batches.batch_size / (time.monotonic() - started)
                log.write(
                    step=step, loss=loss, lr=state.lr, temperature=state.temperature.item(), pairs_per_second=rate
                )
                progress.update(task, advance=1, loss=f"loss {loss:.3f}", rate=f"{rate:.0f} pairs/s")
                if state.step % checkpoint_every == 0:
                    state.save(out / RESUME_STATE)
                if interrupted():
                    raise KeyboardInterrupt
    except KeyboardInterrupt:
        raise RunError(f"Stopped at step {state.step} of {total_steps}. Go on with --resume --out {out}.") from None
    finally:
        if state.consistent:
            state.save(out / RESUME_STATE)
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


def _refuse_to_overwrite(out: Path, resume: bool) -> None:
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file; a folder is wanted.")
    if not resume and any((out / name).exists() for name in (CARD, RESUME_STATE)):
        raise UsageError(f"--out {out} already holds a head or a run. Add --resume to go on, or choose another folder.")


def _require_frozen(*encoders: VisionEncoder | TextEncoder) -> None:
    """PACL trains e_v alone. Weights cannot change unnoticed: they are hashed again and compared."""
    for encoder in encoders:
        open_weights = [name for name, weight in encoder.named_parameters() if weight.requires_grad]
        if open_weights or encoder.training or state_sha256(encoder) != encoder.fingerprint:
            raise RunError(f"{encoder.name} is not frozen ({open_weights[:1] or 'its weights or mode changed'}).")


def pairs_fingerprint(sets: Sets) -> str:
    """Over all images and captions (of shards: the names and sizes of the tars), and the weights."""
    return text_hash(
        [pairs.fingerprint + ("" if pairs.weight is None else f" weight {pairs.weight:g}") for pairs in sets]
    )


def _card(
    config: TrainConfig,
    state: TrainState,
    vision: VisionEncoder,
    text: TextEncoder,
    trained_on: dict[str, Any],
    provenance: dict[str, Any],
    out: Path,
) -> HeadCard:
    return HeadCard(
        name=out.resolve().name,
        encoder=_part(vision),
        text=_part(text),
        width=vision.width,
        dim=text.dim,
        patch_scale=config.recipe.patch_scale,
        temperature=state.temperature.item(),
        step=state.step,
        sha256=state_sha256(state.embedder),
        train={**trained_on, "seed": config.seed, **config.recipe.describe()},
        provenance=provenance,
        kind=config.head,
    )


def _part(encoder: VisionEncoder | TextEncoder) -> FrozenPart:
    """A frozen encoder as a card has it: nothing in it depends on where the machine keeps its files."""
    return FrozenPart(portable(encoder.name), portable(encoder.spec), encoder.fingerprint, encoder.settings)


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
