"""What decides the trained weights: recipe, encoders, pairs, seed. No torch here."""

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

from pacl_bench.errors import UsageError
from pacl_bench.model.head_files import RESIDUAL
from pacl_bench.registry import lookup


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
    head: str = RESIDUAL  # its kind, one of HEADS in model/embedder.py


def learning_rate(recipe: Recipe, step: int, total_steps: int) -> float:
    """Linear warm-up, then a cosine to zero."""
    if step < recipe.warmup_steps:
        return recipe.lr * (step + 1) / recipe.warmup_steps
    progress = (step - recipe.warmup_steps) / max(1, total_steps - recipe.warmup_steps)
    return recipe.lr * (1 + math.cos(math.pi * progress)) / 2
