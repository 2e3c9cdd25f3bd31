"""Each training-free variant against its paper's formula, written out token by token and head by head."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from open_clip.transformer import QuickGELU, VisionTransformer

from pacl_bench import load_encoder, load_text_encoder
from pacl_bench.cli.catalog import encoders as listed_encoders
from pacl_bench.encoders.attention import VARIANTS
from pacl_bench.encoders.base import Preprocess
from pacl_bench.encoders.open_clip import OpenClipVisionEncoder
from pacl_bench.encoders.table import ATTENTIONS, ENCODERS
from pacl_bench.errors import UsageError
from pacl_bench.model.aligned import load_aligned, load_before
from pacl_bench.training.loop import train
from pacl_bench.training.recipe import RECIPES, TrainConfig

HEADS, WIDTH = 4, 32
WITH_RESIDUAL = {"clip", "maskclip", "sclip"}


@pytest.fixture(scope="module")
def visual() -> VisionTransformer:
    """CLIP's ViT with 3 blocks of random weights and biases, and QuickGELU as OpenAI's."""
    torch.manual_seed(0)
    visual = VisionTransformer(64, 16, WIDTH, 3, HEADS, 4.0, output_dim=24, act_layer=QuickGELU).eval()
    for weight in visual.transformer.resblocks.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    return visual


def encoder_of(visual: VisionTransformer, **options) -> OpenClipVisionEncoder:
    return OpenClipVisionEncoder("small", visual, Preprocess(64, 16, (0.5,) * 3, (0.5,) * 3), **options)


def layer_norm(x: torch.Tensor, norm: torch.nn.LayerNorm) -> torch.Tensor:
    centred = x - x.mean()
    return centred / math.sqrt(centred.square().mean() + norm.eps) * norm.weight + norm.bias


def affinity(attention: str, q: list, k: list, i: int, j: int, places: list) -> list[float]:
    """The logits of token i to token j: one number for each softmax that is added up."""
    scale = 1 / math.sqrt(WIDTH // HEADS)
    if attention == "clip":
        return [float(q[i] @ k[j]) * scale]
    if attention == "sclip":
        return [float(q[i] @ q[j]) * scale, float(k[i] @ k[j]) * scale]
    if attention == "clearclip":
        return [float(q[i] @ q[j]) * scale]
    if attention == "naclip":
        near = 0.0
        if places[i] is not None and places[j] is not None:
            (row, col), (other_row, other_col) = places[i], places[j]
            near = math.exp(-((row - other_row) ** 2 + (col - other_col) ** 2) / (2 * 5**2))
        return [float(k[i] @ k[j]) * scale + near]
    return [0.0 if i == j else -math.inf]  # maskclip


def reference_block(block, tokens: torch.Tensor, grid: tuple[int, int], attention: str) -> torch.Tensor:
    """One image's tokens "token width" through the block, in double precision, without a matrix product of batches."""
    places = [None] + [(row, col) for row in range(grid[0]) for col in range(grid[1])]
    inner = [layer_norm(token, block.ln_1) for token in tokens]
    weight, bias = block.attn.in_proj_weight.chunk(3), block.attn.in_proj_bias.chunk(3)
    q, k, v = ([weight[part] @ token + bias[part] for token in inner] for part in range(3))
    size, numbers, changed = WIDTH // HEADS, range(len(tokens)), []
    for i in numbers:
        joined = []
        for head in range(HEADS):
            part = slice(head * size, (head + 1) * size)
            qs, ks, vs = ([token[part] for token in tokens_of] for tokens_of in (q, k, v))
            logits = [affinity(attention, qs, ks, i, j, places) for j in numbers]
            out = torch.zeros(size, dtype=torch.float64)
            for row in zip(*logits, strict=True):
                total = sum(math.exp(logit) for logit in row)
                out += sum(math.exp(logit) / total * value for logit, value in zip(row, vs, strict=True))
            joined.append(out)
        y = block.attn.out_proj.weight @ torch.cat(joined) + block.attn.out_proj.bias
        if attention in WITH_RESIDUAL:
            y = tokens[i] + y
            hidden = block.mlp.c_fc.weight @ layer_norm(y, block.ln_2) + block.mlp.c_fc.bias
            y = y + block.mlp.c_proj.weight @ (hidden / (1 + torch.exp(-1.702 * hidden))) + block.mlp.c_proj.bias
        changed.append(y)
    return torch.stack(changed)


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("stride", [16, 10])
@torch.no_grad()
def test_patch_tokens_follow_the_formula(visual: VisionTransformer, attention: str, stride: int) -> None:
    encoder = encoder_of(visual, attention=attention).double()
    images = torch.randn(1, 3, 48, 64, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    before, features = encoder.blocks(images, [1, 2], stride)
    assert features.grid == ((3, 4) if stride == 16 else (4, 5))
    tokens = torch.cat([before.cls_token[:, None], before.patch_tokens], 1)[0]
    expected = reference_block(visual.transformer.resblocks[2], tokens, features.grid, attention)
    torch.testing.assert_close(features.patch_tokens[0], expected[1:], rtol=1e-6, atol=1e-6)
    in_text_space = torch.stack([layer_norm(token, visual.ln_post) @ visual.proj for token in expected[1:]])
    torch.testing.assert_close(encoder.project(features.patch_tokens)[0], in_text_space, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("attention", VARIANTS)
@pytest.mark.parametrize("tap", ["pre-norm", "post-norm"])
def test_only_the_patch_tokens_of_the_last_block_change(visual: VisionTransformer, attention: str, tap: str) -> None:
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    own, changed = encoder_of(visual.float(), tap=tap), encoder_of(visual.float(), tap=tap, attention=attention)
    plain, other = own.blocks(images, [0, 1, 2]), changed.blocks(images, [0, 1, 2])
    for block in (0, 1):
        assert torch.equal(plain[block].patch_tokens, other[block].patch_tokens)
    assert torch.equal(plain[2].cls_token, other[2].cls_token)
    assert not torch.allclose(plain[2].patch_tokens, other[2].patch_tokens, atol=1e-2)
    assert torch.equal(changed(images).patch_tokens, other[2].patch_tokens)
    assert torch.equal(changed(images[1:]).patch_tokens, other[2].patch_tokens[1:])


def test_an_attention_is_an_option_of_any_clip() -> None:
    own, changed = load_encoder("tiny-clip"), load_encoder("mine=tiny-clip?attention=naclip")
    assert own.fingerprint == changed.fingerprint
    assert changed.settings == {**own.settings, "attention": "naclip"}
    assert "attention" not in own.settings  # heads trained before there was a choice still fit
    assert load_encoder("tiny-clip?attention=clip").settings == own.settings
    model = load_before(changed)
    features = model.vision(torch.randn(1, 3, 64, 64))
    assert model.patch_embeddings(features.patch_tokens).shape == (1, 64, model.text.dim)


def test_a_head_fits_the_attention_it_was_trained_on(clip_spec: str, pairs_csv: Path, tmp_path: Path) -> None:
    recipe = replace(RECIPES["small"], batch_size=4, steps=1)
    train(TrainConfig(f"{clip_spec}?attention=sclip", clip_spec, str(pairs_csv), recipe), tmp_path / "head")
    assert load_aligned(tmp_path / "head").vision.attention == "sclip"
    with pytest.raises(UsageError, match="was trained on small-clip with attention=sclip, not clip"):
        load_aligned(tmp_path / "head", load_encoder(clip_spec))


def test_every_variant_has_a_name_and_the_weights_of_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(VARIANTS) | {"clip"} == set(ATTENTIONS)
    monkeypatch.setenv("PACL_WEIGHTS", str(tmp_path))
    for attention in VARIANTS:
        entry = ENCODERS[f"{attention}-b16"]
        assert (entry.attention, entry.model) == (attention, ENCODERS["clip-b16"].model)
        for load in (load_encoder, load_text_encoder):
            with pytest.raises(UsageError, match=f"Looked for {tmp_path}/clip-b16"):
                load(f"{attention}-b16")
    (tmp_path / "clip-b16.pt").touch()
    local = {row["name"]: row["local"] for row in listed_encoders()}
    assert local["clip-b16"] == local["sclip-b16"] == "yes"
    assert local["clip-b32"] == "no"


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("tiny-clip?attention=sclip&block=1", "attention=sclip changes the last block, 3; leave out block"),
        ("tiny-clip?attention=self", "attention=self must be one of clip, maskclip, sclip, clearclip, naclip"),
        ("tiny-dino?attention=sclip", "attention=sclip is for open_clip's own ViTs"),
        ("dino-b16?attention=sclip", "Unknown option 'attention'"),
    ],
)
def test_an_attention_that_cannot_be_had(name: str, line: str) -> None:
    with pytest.raises(UsageError) as error:
        load_encoder(name)
    assert line in str(error.value)
    assert "\n" not in str(error.value)
