"""The shipped pair: what its tokenizer refuses, what the encoders can and cannot tell."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from pacl_bench.errors import RunError, UsageError
from pacl_bench.world import STUFF, THINGS, WORLD_CLASSIFICATION, WORLD_PAIRS, vocabulary
from pacl_bench.world.encoders import (
    CONTEXT_LENGTH,
    PATCH_SIZE,
    TINY_CLIP,
    TINY_DINO,
    WIDTH,
    WorldTokenizer,
    load_tiny_clip,
    load_tiny_dino,
)
from pacl_bench.world.pretrain import (
    ClipRecipe,
    DinoRecipe,
    balanced,
    pretrain_tiny_clip,
    pretrain_tiny_dino,
    random_crop,
    recolour,
    take_step,
    to_pixels,
    zero_shot_top1,
)


def test_tokens_begin_end_and_pad():
    tokenize = WorldTokenizer()
    tokens = tokenize(["A photo of a zebra.", "zebra"])
    assert tokens.shape == (2, CONTEXT_LENGTH)
    assert tokens[1].tolist() == [tokenize.begin, *tokenize.encode("zebra"), tokenize.end] + [0] * (CONTEXT_LENGTH - 3)
    assert tokens.argmax(dim=1).tolist() == [6, 2]  # CLIP pools at the largest number: the end


def test_each_word_has_its_own_number():
    tokenize = WorldTokenizer()
    numbers = tokenize.encode(" ".join(vocabulary()))
    assert sorted(numbers) == list(range(2, tokenize.vocab_size - 1))


def test_a_long_caption_keeps_its_end_token():
    tokenize = WorldTokenizer()
    tokens = tokenize("zebra " * 100)
    assert tokens[0, -1] == tokenize.end


def test_an_unknown_word_is_refused_with_the_nearest_known_one():
    with pytest.raises(UsageError, match=r"'zebras'.*Did you mean 'zebra'"):
        WorldTokenizer()(["a photo of two zebras."])


def test_an_unknown_word_lists_the_known_ones():
    with pytest.raises(UsageError) as error:
        WorldTokenizer()("xylophone")
    assert "\n" not in str(error.value)
    assert all(word in str(error.value) for word in (*THINGS, *STUFF))


def test_the_weights_are_small():
    assert TINY_CLIP.stat().st_size + TINY_DINO.stat().st_size < 4_000_000  # bytes


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    pairs = next(iter(WORLD_PAIRS.values()))
    return to_pixels([pairs[index][0] for index in range(8)])


def test_tiny_clip_is_frozen_and_gives_unit_embeddings(images):
    clip = load_tiny_clip()
    assert not any(weight.requires_grad for weight in clip.parameters())
    assert not clip.training
    image_embeddings, text_embeddings, _ = clip(images, WorldTokenizer()(["a red zebra on the grass."]))
    assert torch.allclose(image_embeddings.norm(dim=-1), torch.ones(8), atol=1e-5)
    assert text_embeddings.shape == (1, image_embeddings.shape[1])


def test_tiny_clip_tells_things_apart():
    """At least five times chance, the least the world's studies need."""
    top1 = zero_shot_top1(load_tiny_clip(), WORLD_CLASSIFICATION["world-clean"])
    assert top1 > 5 / len(THINGS)


def test_tiny_dino_gives_a_token_for_each_patch(images):
    dino = load_tiny_dino()
    tokens = dino.forward_features(images)
    assert tokens.shape == (8, 1 + (images.shape[-1] // PATCH_SIZE) ** 2, WIDTH)


def test_tiny_dino_has_not_collapsed(images):
    """Self-distillation without care ends with one token for everything."""
    tokens = functional.normalize(load_tiny_dino().forward_features(images)[:, 1:].flatten(0, 1), dim=-1)
    similarity = (tokens @ tokens.T).numpy()
    assert np.std(similarity) > 0.1


# --- the recipe that made them --------------------------------------------------------------------------------------

SHORT_CLIP = ClipRecipe(steps=4, batch_size=4, whole_share=0.25)
SHORT_DINO = DinoRecipe(steps=4, batch_size=4, prototypes=8)


@pytest.mark.parametrize(("pretrain", "recipe"), [(pretrain_tiny_clip, SHORT_CLIP), (pretrain_tiny_dino, SHORT_DINO)])
def test_a_resumed_run_ends_with_the_same_weights(pretrain, recipe, tmp_path, monkeypatch):
    monkeypatch.setattr("pacl_bench.world.pretrain.CHECKPOINT_EVERY", 3)  # of 4 steps
    monkeypatch.setattr("pacl_bench.world.pretrain.WORLD_CLASSIFICATION", {})
    pretrain(tmp_path, tmp_path / "whole.safetensors", recipe)
    pretrain(tmp_path, tmp_path / "resumed.safetensors", recipe, resume=True)
    assert (tmp_path / "whole.safetensors").read_bytes() == (tmp_path / "resumed.safetensors").read_bytes()


def test_a_run_leaves_a_log_with_recipe_and_figures(tmp_path, monkeypatch):
    counts = {"world-counts": replace(WORLD_CLASSIFICATION["world-counts"], size=20)}
    monkeypatch.setattr("pacl_bench.world.pretrain.WORLD_CLASSIFICATION", counts)
    pretrain_tiny_clip(tmp_path, tmp_path / "weights.safetensors", SHORT_CLIP)
    lines = [json.loads(line) for line in (tmp_path / "tiny-clip" / "log.jsonl").read_text().splitlines()]
    assert lines[0]["steps"] == 4
    assert set(lines[-1]["figures"]) == set(counts)


def test_crops_are_parts_of_their_own_image():
    images = torch.arange(2).float()[:, None, None, None].expand(2, 3, 64, 64) * torch.ones(2, 3, 64, 64)
    crops = random_crop(images, 24)
    assert crops.shape == (2, 3, 24, 24)
    assert crops[0].unique().tolist() == [0.0]
    assert crops[1].unique().tolist() == [1.0]


def test_recolouring_keeps_shapes_and_changes_values(images):
    changed = recolour(images)
    assert changed.shape == images.shape
    assert not torch.allclose(changed, images)


def test_balanced_targets_use_all_prototypes_alike():
    targets = balanced(torch.randn(64, 8) * 5 + torch.arange(8))
    assert torch.allclose(targets.sum(dim=1), torch.ones(64), atol=1e-5)
    assert targets.mean(dim=0).max() < 2 / 8


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_pre_training_stops_before_a_loss_that_is_no_number_gets_into_the_weights(loss: float) -> None:
    model = torch.nn.Linear(2, 2)
    before = model.weight.detach().clone()
    with pytest.raises(RunError, match="loss of pre-training became NaN"):
        take_step(model(torch.ones(1, 2)).sum() * loss, model, [torch.optim.SGD(model.parameters(), 0.1)])
    assert torch.equal(model.weight, before)
