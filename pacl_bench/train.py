"""Training a PACL head on image-caption pairs. Read `train` top to bottom."""

import json
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pacl_bench.batches import Batch, Batches, Drawing, Loading, Sets, SkipLog, open_batches
from pacl_bench.data.pairs import load_pairs, name_of
from pacl_bench.data.vocabulary import text_hash
from pacl_bench.encoders import load_encoder, load_text_encoder
from pacl_bench.encoders.base import TextEncoder, VisionEncoder, state_sha256
from pacl_bench.errors import RunError, UsageError
from pacl_bench.files import write_text
from pacl_bench.model.checkpoint import CARD, FrozenPart, HeadCard, save_head
from pacl_bench.model.compatibility import compatibility
from pacl_bench.model.embedder import VisionEmbedder
from pacl_bench.model.loss import info_nce
from pacl_bench.progress import bar
from pacl_bench.provenance import Stopwatch
from pacl_bench.registry import lookup

CHECKPOINT, LOG, SKIPPED = "checkpoint.pt", "log.jsonl", "skipped.jsonl"


@dataclass(frozen=True)
class Recipe:
    """Everything that changes the trained weights, besides encoders, pairs and seed."""

    batch_size: int
    epochs: int | None  # either epochs or steps
    steps: int | None
    lr: float
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-6
    weight_decay: float = 0.2
    warmup_steps: int = 0
    patch_scale: float = 1.0  # the paper's equations have none
    temperature: float = 0.07
    learn_temperature: bool = False
    noun_share: float = 0.5  # how often a noun of the caption in a template stands in for the caption
    same_text_is_negative: bool = False  # two pairs of a batch may share a text: "a photo of the large dog."

    def describe(self) -> dict[str, Any]:
        """As it stands in JSON."""
        return {**asdict(self), "betas": list(self.betas)}


RECIPES: dict[str, Recipe] = {
    # The paper's (PAPER.md): AdamW 5e-4, cosine to zero, 10 epochs of 30M pairs at batch 4096. Its temperature is
    # fixed at an unknown value, its patch scale unknown, its share of nouns unknown.
    "paper": Recipe(batch_size=4096, epochs=10, steps=None, lr=5e-4),
    # For thousands of pairs and a laptop.
    "small": Recipe(
        batch_size=96, epochs=None, steps=400, lr=2e-3, patch_scale=10.0, learn_temperature=True, warmup_steps=20
    ),
}


def make_recipe(name: str, changes: dict[str, Any]) -> Recipe:
    """A recipe by name with single values changed; a change that is None is none.

    Steps replace the recipe's epochs, and epochs its steps.
    """
    changes = {key: value for key, value in changes.items() if value is not None}
    if "steps" in changes and "epochs" in changes:
        raise UsageError("--steps and --epochs both say how long to train. Give one.")
    if "steps" in changes:
        changes["epochs"] = None
    elif "epochs" in changes:
        changes["steps"] = None
    return replace(lookup(RECIPES, name, "recipe"), **changes)


@dataclass(frozen=True)
class TrainConfig:
    """What to train on what. Two runs with the same config on the same files give the same weights."""

    encoder: str
    text: str
    pairs: str
    recipe: Recipe
    seed: int = 0


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
    loading = loading or Loading()
    recipe = config.recipe
    stopwatch = Stopwatch()
    vision = load_encoder(config.encoder).to(device)
    text = load_text_encoder(config.text).to(device)
    _require_frozen(vision, text)
    sets = load_pairs(config.pairs)

    torch.manual_seed(config.seed)
    embedder = VisionEmbedder(vision.width, text.dim).to(device)
    state = TrainState(embedder, recipe, _identity(config, vision, text, sets))
    if resume:
        state.load(out / CHECKPOINT)
    trained_on: dict[str, Any] = {"pairs": name_of(sets), "pairs_fingerprint": pairs_fingerprint(sets)}
    if recipe.steps != 0:
        drawing = Drawing(recipe.batch_size, recipe.noun_share, config.seed)
        skipped = SkipLog(out / SKIPPED, loading.max_skipped, state.position.get("skipped", {}))
        batches = open_batches(vision, text, sets, drawing, skipped, loading, state.position)
        _run(state, batches, recipe, _total_steps(config, batches), out, checkpoint_every)
        trained_on |= batches.describe()

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
                    state.save(out / CHECKPOINT)
                if interrupted():
                    raise KeyboardInterrupt
    except KeyboardInterrupt:
        raise RunError(f"Stopped at step {state.step} of {total_steps}. Go on with --resume --out {out}.") from None
    finally:
        if state.consistent:
            state.save(out / CHECKPOINT)
        log.close()
        batches.close()


@contextmanager
def interrupts_wait() -> Iterator[Callable[[], bool]]:
    """Within the block Ctrl-C is remembered, to be asked for between two steps: no step is left half done.

    A second Ctrl-C interrupts at once.
    """
    pressed = threading.Event()

    def remember(number: int, frame: object) -> None:
        pressed.set()
        signal.signal(signal.SIGINT, own)

    if threading.current_thread() is not threading.main_thread():  # only the main thread is told of signals
        yield pressed.is_set
        return
    own = signal.signal(signal.SIGINT, remember)
    try:
        yield pressed.is_set
    finally:
        signal.signal(signal.SIGINT, own)


class TrainState:
    """What changes while training: the head, the temperature, the optimizer, the step."""

    def __init__(self, embedder: VisionEmbedder, recipe: Recipe, identity: dict[str, Any]):
        self.embedder, self.recipe, self.identity = embedder, recipe, identity
        device = next(embedder.parameters()).device
        # learnt as a logarithm, like CLIP's logit scale
        self.log_temperature = nn.Parameter(torch.tensor(math.log(recipe.temperature), device=device))
        groups: list[dict[str, Any]] = [{"params": list(embedder.parameters()), "weight_decay": recipe.weight_decay}]
        if recipe.learn_temperature:
            groups.append({"params": [self.log_temperature], "weight_decay": 0.0})
        self.optimizer = torch.optim.AdamW(groups, lr=recipe.lr, betas=recipe.betas, eps=recipe.eps)
        self.step = 0
        self.position: dict[str, Any] = {}  # of the batches, after the last step
        self.consistent = True  # False while a step is half done, and after one that went wrong

    @property
    def temperature(self) -> Float[Tensor, ""]:
        return self.log_temperature.exp()

    @property
    def lr(self) -> float:
        return self.optimizer.param_groups[0]["lr"]

    def update(self, batch: Batch, lr: float) -> float:
        """One step of the optimizer; the loss before it, in nats."""
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        device = self.log_temperature.device
        patch_embeddings = self.embedder(batch.patch_tokens.to(device))
        phi = compatibility(patch_embeddings, batch.text_embeddings.to(device), self.recipe.patch_scale)
        same_text = None if self.recipe.same_text_is_negative else batch.same_text.to(device)
        loss = info_nce(phi, self.temperature, same_text)
        self.optimizer.zero_grad()
        loss.backward()
        self._require_finite(loss)
        self.consistent = False
        self.optimizer.step()
        if not all(bool(weight.isfinite().all()) for weight in (*self.embedder.parameters(), self.log_temperature)):
            raise RunError(f"The weights became infinite at step {self.step}. Lower --lr; checkpoints are of before.")
        self.step, self.position = self.step + 1, batch.position
        self.consistent = True
        return loss.item()

    def _require_finite(self, loss: Float[Tensor, ""]) -> None:
        """Before the weights are touched: a NaN never gets into them."""
        gradients = [parameter.grad for parameter in self.embedder.parameters() if parameter.grad is not None]
        if not all(bool(value.isfinite().all()) for value in (loss, *gradients)):
            raise RunError(
                f"The loss became {loss.item()} at step {self.step}; the state before it is kept. "
                "Lower --lr or raise --temperature."
            )

    def save(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_name(f".{file.name}.partial")
        content = {
            "identity": json.dumps(self.identity, sort_keys=True),
            "step": self.step,
            "position": self.position,
            "embedder": self.embedder.state_dict(),
            "log_temperature": self.log_temperature.detach(),
            "optimizer": self.optimizer.state_dict(),
        }
        torch.save(content, temporary)
        temporary.replace(file)

    def load(self, file: Path) -> None:
        """Takes up the state in a checkpoint; a UsageError where it is of another run."""
        if not file.is_file():
            raise UsageError(f"--resume: {file} not found. Leave --resume out to start anew.")
        try:
            content = torch.load(file, map_location=self.log_temperature.device, weights_only=True)
            theirs = json.loads(content["identity"])
        except Exception:  # whatever a damaged file makes the reader raise
            raise UsageError(f"--resume: {file} is damaged. Move {file.parent} away and start anew.") from None
        changed = [key for key in self.identity if self.identity[key] != theirs.get(key)]
        if changed:
            raise UsageError(
                f"--resume: {file.parent} was trained with another {', '.join(changed)}. Choose another --out."
            )
        self.embedder.load_state_dict(content["embedder"])
        self.log_temperature.data.copy_(content["log_temperature"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.step, self.position = content["step"], content.get("position", {})


class Log:
    """JSON lines, one a step; a resumed run first takes back what the checkpoint had not seen."""

    def __init__(self, file: Path, first_step: int):
        lines = file.read_text().splitlines() if file.is_file() else []
        # a line is whole if it ends in a brace: the last one may be torn
        kept = [line for line in lines if line.endswith("}") and json.loads(line)["step"] < first_step]
        write_text(file, "".join(f"{line}\n" for line in kept))
        self.handle = file.open("a", buffering=1)

    def write(self, **values: float | int) -> None:
        self.handle.write(json.dumps({key: round(value, 8) for key, value in values.items()}) + "\n")

    def close(self) -> None:
        self.handle.close()


def learning_rate(recipe: Recipe, step: int, total_steps: int) -> float:
    """Linear warm-up, then a cosine to zero."""
    if step < recipe.warmup_steps:
        return recipe.lr * (step + 1) / recipe.warmup_steps
    progress = (step - recipe.warmup_steps) / max(1, total_steps - recipe.warmup_steps)
    return recipe.lr * (1 + math.cos(math.pi * progress)) / 2


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


def _refuse_to_overwrite(out: Path, resume: bool) -> None:
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file; a folder is wanted.")
    if not resume and any((out / name).exists() for name in (CARD, CHECKPOINT)):
        raise UsageError(f"--out {out} already holds a head or a run. Add --resume to go on, or choose another folder.")


def _require_frozen(*encoders: VisionEncoder | TextEncoder) -> None:
    """PACL trains e_v alone. Weights cannot change unnoticed: they are hashed again and compared."""
    for encoder in encoders:
        open_weights = [name for name, weight in encoder.named_parameters() if weight.requires_grad]
        if open_weights or encoder.training or state_sha256(encoder) != encoder.fingerprint:
            raise RunError(f"{encoder.name} is not frozen ({open_weights[:1] or 'its weights or mode changed'}).")


def _identity(config: TrainConfig, vision: VisionEncoder, text: TextEncoder, sets: Sets) -> dict[str, Any]:
    """What must be the same for a run to be resumed."""
    return {
        "encoder": {"sha256": vision.fingerprint, **vision.settings},
        "text": {"sha256": text.fingerprint, **text.settings},
        "pairs": pairs_fingerprint(sets),
        **config.recipe.describe(),
        "seed": config.seed,
    }


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
        encoder=FrozenPart(vision.name, vision.spec, vision.fingerprint, vision.settings),
        text=FrozenPart(text.name, text.spec, text.fingerprint, text.settings),
        width=vision.width,
        dim=text.dim,
        patch_scale=config.recipe.patch_scale,
        temperature=state.temperature.item(),
        step=state.step,
        sha256=state_sha256(state.embedder),
        train={**trained_on, "seed": config.seed, **config.recipe.describe()},
        provenance=provenance,
    )
