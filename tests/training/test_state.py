"""One step of training against the equations, written out by hand."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from pacl_bench.errors import RunError
from pacl_bench.model.compatibility import compatibility
from pacl_bench.model.embedder import VisionEmbedder
from pacl_bench.model.loss import info_nce
from pacl_bench.training.batches import Batch
from pacl_bench.training.recipe import RECIPES, Recipe
from pacl_bench.training.state import TrainState

RECIPE = replace(
    RECIPES["small"], lr=7.0, betas=(0.8, 0.9), eps=0.05, weight_decay=0.3, patch_scale=3.0, temperature=0.2
)


def batch(seed: int) -> Batch:
    """Four pairs; the first two share a text."""
    generator = torch.Generator().manual_seed(seed)
    texts = torch.randn(4, 3, generator=generator)
    texts[1] = texts[0]
    same = torch.eye(4, dtype=torch.bool)
    same[0, 1] = same[1, 0] = True
    return Batch(torch.randn(4, 6, 5, generator=generator), texts, same, torch.arange(4), {"at": seed})


def by_hand(recipe: Recipe, weights: dict[str, Tensor], steps: list[tuple[Batch, float]]) -> dict[str, Tensor]:
    """AdamW: decay w by lr * weight_decay, then w -= lr * m / (sqrt(v) + eps), m and v corrected for their start."""
    weights = {name: weight.clone() for name, weight in weights.items()}
    first, second = ({name: torch.zeros_like(weight) for name, weight in weights.items()} for _ in range(2))
    for number, (shown, lr) in enumerate(steps, start=1):
        free = {name: weight.clone().requires_grad_() for name, weight in weights.items()}
        embedder = {name: weight for name, weight in free.items() if name != "log_temperature"}
        embedded = torch.func.functional_call(VisionEmbedder(5, 3), embedder, shown.patch_tokens)
        phi = compatibility(embedded, shown.text_embeddings, recipe.patch_scale)
        same = None if recipe.same_text_is_negative else shown.same_text
        info_nce(phi, free["log_temperature"].exp(), same).backward()
        for name, weight in weights.items():
            gradient = free[name].grad
            if gradient is None or (name == "log_temperature" and not recipe.learn_temperature):
                continue
            first[name] = recipe.betas[0] * first[name] + (1 - recipe.betas[0]) * gradient
            second[name] = recipe.betas[1] * second[name] + (1 - recipe.betas[1]) * gradient.square()
            mean, square = first[name] / (1 - recipe.betas[0] ** number), second[name] / (1 - recipe.betas[1] ** number)
            decay = 0.0 if name == "log_temperature" else recipe.weight_decay
            weights[name] = weight * (1 - lr * decay) - lr * mean / (square.sqrt() + recipe.eps)
    return weights


@pytest.mark.parametrize("changes", [{}, {"learn_temperature": False}, {"same_text_is_negative": True}])
def test_two_steps_are_those_of_adamw(changes: dict[str, bool]) -> None:
    torch.manual_seed(0)
    recipe, embedder = replace(RECIPE, **changes), VisionEmbedder(5, 3)
    before = {name: weight.detach().clone() for name, weight in embedder.named_parameters()}
    steps = [(batch(1), 0.1), (batch(2), 0.02)]
    expected = by_hand(recipe, before | {"log_temperature": torch.tensor(math.log(0.2))}, steps)
    state = TrainState(embedder, recipe, {})
    for shown, lr in steps:
        state.update(shown, lr)
    found = dict(embedder.named_parameters()) | {"log_temperature": state.log_temperature}
    for name, weight in expected.items():
        torch.testing.assert_close(found[name].detach(), weight, rtol=1e-4, atol=1e-6)
    assert (state.step, state.position, state.lr) == (2, {"at": 2}, 0.02)
    assert (expected["log_temperature"] != math.log(0.2)) == recipe.learn_temperature


def test_the_loss_is_that_before_the_step() -> None:
    torch.manual_seed(0)
    embedder, shown = VisionEmbedder(5, 3), batch(1)
    phi = compatibility(embedder(shown.patch_tokens), shown.text_embeddings, RECIPE.patch_scale)
    expected = info_nce(phi, 0.2, shown.same_text)
    assert TrainState(embedder, RECIPE, {}).update(shown, 0.1) == pytest.approx(expected.item(), rel=1e-5)


def test_a_step_into_infinite_weights_is_never_one_to_go_on_from() -> None:
    torch.manual_seed(0)
    embedder = VisionEmbedder(5, 3)
    torch.nn.init.constant_(embedder.skip.weight, 4.0)
    state = TrainState(embedder, replace(RECIPE, weight_decay=6.0), {})
    with pytest.raises(RunError, match="weights became infinite at step 0"):
        state.update(batch(1), 5e37)  # the decay alone makes -12e38 of a 4
    assert not state.consistent
    assert state.step == 0


@pytest.mark.parametrize("images_at_once", [1, 3])
def test_a_batch_in_pieces_keeps_all_negatives(images_at_once: int) -> None:
    """The same weights, temperature and loss as of the whole batch at once, in double precision."""
    states = []
    for at_once in (None, images_at_once):
        torch.manual_seed(0)
        state = TrainState(VisionEmbedder(5, 3).double(), replace(RECIPE, learn_temperature=True), {}, at_once)
        shown = batch(1)
        shown = shown._replace(patch_tokens=shown.patch_tokens.double(), text_embeddings=shown.text_embeddings.double())
        states.append((state.update(shown, 0.1), {**state.embedder.state_dict(), "t": state.log_temperature.detach()}))
    (loss, weights), (other, others) = states
    assert other == pytest.approx(loss, rel=1e-12)
    for name, weight in weights.items():
        torch.testing.assert_close(others[name], weight, rtol=1e-9, atol=1e-12)
