"""What can be set in training: recipe, encoders, pairs, seed, which decide the weights, and how pairs are loaded.

Recipe and Loading are the one place where a setting's default, bounds and meaning are declared: the options of
`pacl-bench train` are made from them and checked by them; RECIPES and the cards of heads hold Recipe's fields. No torch
here.
"""

import math
import re
from dataclasses import asdict
from typing import Annotated, Any

from pydantic import Field
from pydantic.dataclasses import dataclass

from pacl_bench.errors import UsageError
from pacl_bench.model.head_files import RESIDUAL
from pacl_bench.registry import listed, lookup
from pacl_bench.validation.configs import without_defaults
from pacl_bench.validation.values import STRICT, Written, as_option, made

LATER = ("sets_apart", "bfloat16")  # fields that came after 0.1: told where they are not at their default
LARGEST = 1_000_000  # of what float32 numbers are multiplied by: far larger ones lead to infinity
Steps = Annotated[int | None, Field(ge=0, description="Training steps; 0 writes the untrained head.")]
Seed = Annotated[int, Field(ge=0, lt=2**63, description="Of everything that is drawn: first weights, batches, nouns.")]
SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}  # of a unit; without one, steps are meant
OFTEN = "100,10m"  # how often a checkpoint is written: what a killed run has lost at most
Beta = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True, config=STRICT)
class Recipe:
    """Everything that changes the trained weights, besides encoders, pairs and seed."""

    batch_size: Annotated[int, Field(ge=2, description="Pairs a step; each is contrasted with all others.")]
    epochs: Annotated[int | None, Field(ge=1, description="Passes over the pairs; either epochs or steps.")]
    steps: Steps
    lr: Annotated[
        float, Field(ge=0, le=LARGEST, description="Highest learning rate, after warm-up; a cosine leads it to 0.")
    ]
    betas: Annotated[tuple[Beta, Beta], Field(strict=False, description="AdamW's decay of its two moments.")] = (
        0.9,
        0.98,
    )
    eps: Annotated[float, Field(ge=0, le=1, description="AdamW's term that keeps its division finite.")] = 1e-6
    weight_decay: Annotated[float, Field(ge=0, le=LARGEST, description="AdamW's, of the head's weights.")] = 0.2
    warmup_steps: Annotated[int, Field(ge=0, description="Steps in which the learning rate grows from 0.")] = 0
    patch_scale: Annotated[
        float,
        Field(
            ge=0,
            le=LARGEST,
            description="Sharpness of the softmax over patches; 1 in the paper, whose equations have none.",
        ),
    ] = 1.0
    temperature: Annotated[float, Field(ge=1e-4, le=LARGEST, description="Of the contrastive loss, at the start.")] = (
        0.07
    )
    learn_temperature: Annotated[bool, Field(description="Train the temperature too.")] = False
    noun_share: Annotated[
        float, Field(ge=0, le=1, description="How often a noun of the caption, in a template, replaces the caption.")
    ] = 0.5
    same_text_is_negative: Annotated[
        bool, Field(description="Count equal texts in a batch as negatives: two pairs may have the same noun.")
    ] = False

    sets_apart: Annotated[
        bool,
        Field(
            description="Of a sum of shards, show each set in an order of its own: heads of nested sums can then be "
            "trained from one pass."
        ),
    ] = False
    bfloat16: Annotated[
        bool, Field(description="Encode images from shards under autocast to bfloat16; measuring stays in float32.")
    ] = False

    def describe(self) -> dict[str, Any]:
        """As it stands in JSON."""
        told = {**asdict(self), "betas": list(self.betas)}
        return without_defaults(told, {name: getattr(Recipe, name) for name in LATER})


RECIPES: dict[str, Recipe] = {
    # The paper's (PAPER.md): AdamW 5e-4, cosine to zero, 10 epochs of 30M pairs at batch 4096. Its temperature is
    # fixed at an unknown value, its patch scale unknown, its share of nouns unknown.
    "paper": Recipe(batch_size=4096, epochs=10, steps=None, lr=5e-4),
    # For thousands of pairs and a laptop.
    "small": Recipe(
        batch_size=96, epochs=None, steps=400, lr=2e-3, patch_scale=10.0, learn_temperature=True, warmup_steps=20
    ),
}


def make_recipe(name: str, changes: dict[str, Any], written: Written = as_option) -> Recipe:
    """A recipe by name with single values changed; a change that is None is none.

    Steps replace the recipe's epochs, and epochs its steps. A UsageError for a value that Recipe does not take.

    Args:
        written: how a value that is wrong is written where it comes from.
    """
    changes = {key: value for key, value in changes.items() if value is not None}
    if "steps" in changes and "epochs" in changes:
        raise UsageError("--steps and --epochs both say how long to train. Give one.")
    if "steps" in changes:
        changes["epochs"] = None
    elif "epochs" in changes:
        changes["steps"] = None
    return made(Recipe, {**lookup(RECIPES, name, "recipe").describe(), **changes}, written)


@dataclass(frozen=True, config=STRICT)
class TrainConfig:
    """What to train on what. Two runs with the same config on the same files give the same weights."""

    encoder: str
    text: str
    pairs: str
    recipe: Recipe
    seed: Seed = 0
    head: str = RESIDUAL  # its kind, one of HEADS in model/embedder.py


@dataclass(frozen=True, config=STRICT)
class Loading:
    """How pairs are loaded and worked through. Nothing in it changes the weights, by more than rounding."""

    workers: Annotated[
        int | None,
        Field(
            ge=0,
            le=256,
            description="Processes that read and decode images, 0 for none; default all cores but one for a GPU; "
            "else none for files, and for shards 1 of four or more cores.",
        ),
    ] = None
    max_skipped: Annotated[
        float, Field(ge=0, le=1, description="Share of pairs that may fail before training stops.")
    ] = 0.1
    encoder_batch: Annotated[
        int | None,
        Field(ge=1, description="Images of shards a pass through the encoder; default 32 on a CPU, else 256."),
    ] = None
    images_at_once: Annotated[
        int | None,
        Field(
            ge=1,
            description="Images of a batch whose gradient is computed at once, for less memory; all texts stay "
            "negatives. Default all.",
        ),
    ] = None


@dataclass(frozen=True, config=STRICT)
class Watching:
    """What is told and kept of a run while it lasts. Nothing in it changes the weights."""

    held_out: Annotated[
        str | None, Field(description="Pairs that are not trained on: the loss of a batch of them is in the log.")
    ] = None
    held_out_every: Annotated[int, Field(ge=1, description="Steps between two losses of the pairs held out.")] = 100
    tensorboard: Annotated[bool, Field(description="Write the curves for TensorBoard too, into --out/tensorboard.")] = (
        False
    )
    wandb: Annotated[
        str | None,
        Field(description="Project of Weights & Biases that gets the curves; WANDB_MODE=offline keeps them."),
    ] = None
    keep_checkpoints: Annotated[
        int, Field(ge=0, description="Earlier checkpoints that stay beside the last one, by their steps.")
    ] = 0


@dataclass(frozen=True)
class CheckpointInterval:
    """How often the state of a run is kept to go on from: after so many steps or seconds, whichever comes first."""

    steps: int | None = None
    seconds: int | None = None

    def is_over(self, steps: int, seconds: float) -> bool:
        """Whether these are enough since the last time."""
        return (self.steps is not None and steps >= self.steps) or (
            self.seconds is not None and seconds >= self.seconds
        )


def checkpoint_interval(text: str) -> CheckpointInterval:
    """What --checkpoint-every says: steps, a time, or both, like 100, 10m, or 100,10m."""
    found: dict[str, int] = {}
    for part in listed(text):
        number = re.fullmatch(r"(\d+)([smh]?)", part)
        name = "seconds" if number and number[2] else "steps"
        if number is None or int(number[1]) == 0 or name in found:
            raise UsageError(f"--checkpoint-every {text}: steps, a time, or both are wanted, like 100, 10m or 100,10m.")
        found[name] = int(number[1]) * SECONDS[number[2]]
    return CheckpointInterval(**found)


def learning_rate(recipe: Recipe, step: int, total_steps: int) -> float:
    """Linear warm-up, then a cosine to zero."""
    if step < recipe.warmup_steps:
        return recipe.lr * (step + 1) / recipe.warmup_steps
    progress = (step - recipe.warmup_steps) / max(1, total_steps - recipe.warmup_steps)
    return recipe.lr * (1 + math.cos(math.pi * progress)) / 2
