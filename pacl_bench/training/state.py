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

from pacl_bench.errors import RunError, UsageError
from pacl_bench.files import append_lines, write_bytes, write_text
from pacl_bench.model.compatibility import compatibility
from pacl_bench.model.loss import info_nce
from pacl_bench.training.batches import Batch
from pacl_bench.training.identity import Identity, changed
from pacl_bench.training.recipe import CheckpointInterval, Recipe

RESUME_STATE, LOG, SKIPPED = "checkpoint.pt", "log.jsonl", "skipped.jsonl"


class TrainState:
    """What changes while training: the head, the temperature, the optimizer, the step."""

    def __init__(self, embedder: nn.Module, recipe: Recipe, identity: Identity):
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
    """Keeps a run's state in a file: within its block from time to time, and once more when that ends."""

    def __init__(self, state: TrainState, file: Path, interval: CheckpointInterval):
        self.state, self.file, self.interval = state, file, interval
        self.step, self.saved = state.step, time.monotonic()

    def save_if_due(self) -> None:
        """To be called after each step."""
        if self.interval.is_over(self.state.step - self.step, time.monotonic() - self.saved):
            self.save()

    def save(self) -> None:
        self.state.save(self.file)
        self.step, self.saved = self.state.step, time.monotonic()

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


class Log:
    """JSON lines, one a step; a resumed run first takes back what the checkpoint had not seen."""

    def __init__(self, file: Path, first_step: int):
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines() if file.is_file() else []
        kept = [line for line in lines if _step_of(line) < first_step]
        write_text(file, "".join(f"{line}\n" for line in kept))
        self.file = file

    def write(self, **values: float | int) -> None:
        append_lines(self.file, [json.dumps({key: round(value, 8) for key, value in values.items()})])


def _step_of(line: str) -> float:
    """The step of a line of the log; infinity for one that is torn, as the last one may be, or damaged."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf
