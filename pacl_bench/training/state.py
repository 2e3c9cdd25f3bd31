"""What changes while a head is trained, and how it is kept on disk to go on from."""

import io
import json
import math
import time
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pacl_bench import processes
from pacl_bench.errors import RunError, UsageError
from pacl_bench.files import write_bytes
from pacl_bench.model.compatibility import compatibility
from pacl_bench.model.loss import info_nce, shared_info_nce
from pacl_bench.training.batches import Batch
from pacl_bench.training.identity import Identity, changed
from pacl_bench.training.recipe import CheckpointInterval, Recipe

RESUME_STATE, SKIPPED = "checkpoint.pt", "skipped.jsonl"


class TrainState:
    """What changes while training: the head, the temperature, the optimizer, the step."""

    def __init__(self, embedder: nn.Module, recipe: Recipe, identity: Identity, images_at_once: int | None = None):
        self.embedder, self.recipe, self.identity = embedder, recipe, identity
        self.images_at_once = images_at_once  # whose gradient is computed at once; None: all of a batch
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
        self.optimizer.zero_grad()
        loss = self._differentiated(batch)
        processes.add_up([weight.grad for weight in self._trained if weight.grad is not None])
        self._require_finite(loss)
        self.consistent = False
        self.optimizer.step()
        if not all(bool(weight.isfinite().all()) for weight in (*self.embedder.parameters(), self.log_temperature)):
            raise RunError(f"The weights became infinite at step {self.step}. Lower --lr; checkpoints are of before.")
        self.step, self.position = self.step + 1, batch.position
        self.consistent = True
        return loss.item()

    @torch.no_grad()
    def loss(self, batch: Batch) -> float:
        """Of a batch that is not trained on, in nats."""
        return self._loss(self._compatibility(batch, batch.patch_tokens), batch).item()

    def _differentiated(self, batch: Batch) -> Float[Tensor, ""]:
        """The loss, with its gradients in the weights.

        Where a batch is taken in pieces, each piece is worked through twice: all for the compatibilities of the whole
        batch, so that no negative is lost, and then, one by one, for the gradient that they hand down. That saves the
        memory of what lies between tokens and compatibilities, as GradCache does (arXiv 2101.06983).
        """
        pieces = batch.patch_tokens.split(self.images_at_once or max(1, len(batch.patch_tokens)))
        if len(pieces) == 1:
            loss = self._loss(self._compatibility(batch, pieces[0]), batch)
            loss.backward()
            return loss.detach()
        with torch.no_grad():
            phi = torch.cat([self._compatibility(batch, piece) for piece in pieces])
        loss = self._loss(phi.requires_grad_(), batch)
        loss.backward()
        assert phi.grad is not None
        for piece, slopes in zip(pieces, phi.grad.split(len(pieces[0])), strict=True):
            self._compatibility(batch, piece).backward(slopes)
        return loss.detach()

    def _compatibility(
        self, batch: Batch, patch_tokens: Float[Tensor, "image patch width"]
    ) -> Float[Tensor, "image pair"]:
        device = self.log_temperature.device
        patch_embeddings = self.embedder(patch_tokens.to(device))
        return compatibility(patch_embeddings, batch.text_embeddings.to(device), self.recipe.patch_scale)

    def _loss(self, phi: Float[Tensor, "own pair"], batch: Batch) -> Float[Tensor, ""]:
        same_text = None if self.recipe.same_text_is_negative else batch.same_text.to(phi.device)
        if processes.world_size() == 1:
            return info_nce(phi, self.temperature, same_text)
        return shared_info_nce(phi, self.temperature, batch.own.to(phi.device), same_text)

    @property
    def _trained(self) -> list[nn.Parameter]:
        return [weight for group in self.optimizer.param_groups for weight in group["params"]]

    def _require_finite(self, loss: Float[Tensor, ""]) -> None:
        """Before the weights are touched: a NaN never gets into them."""
        gradients = [parameter.grad for parameter in self.embedder.parameters() if parameter.grad is not None]
        if not all(bool(value.isfinite().all()) for value in (loss, *gradients)):
            raise RunError(
                f"The loss became {loss.item()} at step {self.step}; the state before it is kept. "
                "Lower --lr or raise --temperature."
            )

    def save(self, file: Path) -> None:
        """Writes the state whole or not at all; a WriteError where the disk is full."""
        content = {
            "identity": json.dumps(self.identity, sort_keys=True),
            "step": self.step,
            "position": self.position,
            "embedder": self.embedder.state_dict(),
            "log_temperature": self.log_temperature.detach(),
            "optimizer": self.optimizer.state_dict(),
        }
        in_memory = io.BytesIO()
        torch.save(content, in_memory)
        write_bytes(file, in_memory.getvalue())

    def load(self, file: Path) -> None:
        """Takes up the state in a checkpoint; a UsageError where it is damaged or of another run."""
        if not file.is_file():
            raise UsageError(f"--resume: {file} not found. Leave --resume out to start anew.")
        content = _read(file, self.log_temperature.device)
        differing = changed(_identity_in(content, file), self.identity, self.recipe)
        if differing:
            raise UsageError(
                f"--resume: {file.parent} was trained with another {', '.join(differing)}. Choose another --out."
            )
        try:
            self.embedder.load_state_dict(content["embedder"])
            self.log_temperature.data.copy_(content["log_temperature"])
            self.optimizer.load_state_dict(content["optimizer"])
            self.step, self.position = int(content["step"]), dict(content.get("position", {}))
        except Exception:  # whatever is missing or of another shape
            raise _damaged(file) from None


class Checkpoints:
    """Keeps a run's state in a file: within its block from time to time, and once more when that ends.

    Args:
        keep: how many earlier states stay beside it, each under the number of its step.
    """

    def __init__(self, state: TrainState, file: Path, interval: CheckpointInterval, keep: int = 0):
        self.state, self.file, self.interval, self.keep = state, file, interval, keep
        self.step, self.saved = state.step, time.monotonic()

    def save_if_due(self) -> None:
        """To be called after each step."""
        if self.interval.is_over(self.state.step - self.step, time.monotonic() - self.saved):
            self.save()

    def save(self) -> None:
        """Of several processes the first writes: all have the same state."""
        if processes.is_first():
            self.state.save(self.file)
            self._rotate()
        self.step, self.saved = self.state.step, time.monotonic()

    def _rotate(self) -> None:
        if self.keep:
            self.state.save(self.file.with_stem(f"{self.file.stem}-{self.state.step:08}"))
            for old in sorted(self.file.parent.glob(f"{self.file.stem}-*{self.file.suffix}"))[: -self.keep]:
                old.unlink()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *error: object) -> None:
        if self.state.consistent:  # whatever ended the block: what the file holds is the last good state
            self.save()


def saved_identity(file: Path) -> Identity:
    """What decides the weights of the run that a checkpoint is of."""
    return _identity_in(_read(file, torch.device("cpu")), file)


def _read(file: Path, device: torch.device) -> dict[str, Any]:
    try:
        return dict(torch.load(file, map_location=device, weights_only=True))
    except Exception:  # whatever a damaged file makes the reader raise
        raise _damaged(file) from None


def _identity_in(content: dict[str, Any], file: Path) -> Identity:
    try:
        return dict(json.loads(content["identity"]))
    except (KeyError, TypeError, ValueError):
        raise _damaged(file) from None


def _damaged(file: Path) -> UsageError:
    return UsageError(f"--resume: {file} is damaged. Move {file.parent} away and start anew.")
