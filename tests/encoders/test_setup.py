"""An encoder run as somebody else runs it, and one that wraps a model in hand."""

import open_clip
import pytest
import torch
from open_clip.transformer import QuickGELU, VisionTransformer
from torch import nn

from pacl_bench import from_open_clip, load_encoder
from pacl_bench.encoders.base import VisionEncoder
from pacl_bench.encoders.setup import Pixels, Setup
from pacl_bench.errors import UsageError

IMAGES = torch.randn(2, 3, 48, 80, generator=torch.Generator().manual_seed(0))


def patches(encoder: VisionEncoder) -> torch.Tensor:
    return encoder(IMAGES).patch_tokens


@pytest.fixture
def visual() -> VisionTransformer:
    torch.manual_seed(0)
    return VisionTransformer(64, 16, 32, 3, 4, 4.0, output_dim=24, act_layer=QuickGELU)


def test_an_encoder_is_set_up_as_if_it_had_been_loaded_so() -> None:
    plain = load_encoder("tiny-clip")
    before, settings = patches(plain), plain.settings
    changed = plain.set_up(Setup("sclip", "bicubic+0.1"))
    assert torch.equal(patches(changed), patches(load_encoder("tiny-clip?attention=sclip&pos=bicubic+0.1")))
    assert changed.settings == load_encoder("tiny-clip?attention=sclip&pos=bicubic+0.1").settings
    assert changed.fingerprint == plain.fingerprint
    assert torch.equal(patches(plain), before)
    assert plain.settings == settings
    assert plain.set_up(Setup()).settings == settings


def test_activation_epsilon_and_pixels_change_in_the_copy_alone(visual: VisionTransformer) -> None:
    plain = from_open_clip(visual)
    before = patches(plain)
    changed = plain.set_up(Setup(activation="GELU", norm_eps=1e-2, pixels=Pixels((0.1, 0.2, 0.3), (1.0, 2.0, 3.0))))
    torch.manual_seed(0)
    norm = lambda width: nn.LayerNorm(width, eps=1e-2)  # noqa: E731
    expected = VisionTransformer(64, 16, 32, 3, 4, 4.0, output_dim=24, act_layer=nn.GELU, norm_layer=norm)
    expected.load_state_dict(visual.state_dict())
    other = from_open_clip(expected)
    torch.testing.assert_close(patches(changed), patches(other))
    tokens = patches(other)
    torch.testing.assert_close(changed.project(tokens), other.project(tokens))
    told = {"activation": "GELU", "norm_eps": 1e-2}
    assert {name: changed.settings[name] for name in told} == told
    assert changed.preprocess.mean == (0.1, 0.2, 0.3)
    assert plain.settings["activation"] == "QuickGELU"
    assert "norm_eps" not in plain.settings
    assert torch.equal(patches(plain), before)


def test_what_an_encoder_has_no_part_for_is_left_out(vit_file) -> None:
    timm = load_encoder(f"vit=timm:vit_tiny_patch16_224@{vit_file}")
    changed = timm.set_up(Setup("sclip", "bilinear", "GELU", 1e-6, Pixels((0.0,) * 3, (1.0,) * 3)))
    assert (changed.attention, changed.pos, changed.preprocess.std) == ("clip", "bilinear", (1.0,) * 3)
    rotating = load_encoder("random:vit_small_patch16_dinov3").set_up(Setup(pos="bilinear"))
    assert rotating.pos == "bicubic"
    assert load_encoder("pixels").set_up(Setup("sclip", "bilinear")).attention == "clip"
    with pytest.raises(UsageError, match="changes the last block, 3; leave out block"):
        load_encoder("tiny-clip?block=1").set_up(Setup("sclip"))


def test_a_model_in_hand_is_an_encoder_and_stays_as_it_is(small_clip, clip_spec: str) -> None:
    visual = small_clip.visual
    visual.train()
    try:
        wrapped, loaded = from_open_clip(visual, "mine"), load_encoder(clip_spec)
        assert torch.equal(patches(wrapped), patches(loaded))
        assert wrapped.fingerprint == loaded.fingerprint
        assert (wrapped.name, wrapped.projection_dim, wrapped.preprocess) == ("mine", 24, loaded.preprocess)
        assert visual.training
        assert all(weight.requires_grad for weight in visual.parameters())
        assert not any(weight.requires_grad for weight in wrapped.parameters())
    finally:
        visual.eval()


def test_it_follows_a_model_that_is_trained_on(visual: VisionTransformer) -> None:
    encoder = from_open_clip(visual)
    before = patches(encoder)
    optimizer = torch.optim.SGD(visual.parameters(), lr=0.1)
    visual(torch.randn(2, 3, 64, 64)).square().sum().backward()
    optimizer.step()
    assert not torch.allclose(patches(encoder), before)
    assert torch.equal(patches(encoder), patches(from_open_clip(visual)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_model_in_half_precision_is_measured_in_single(visual: VisionTransformer, dtype: torch.dtype) -> None:
    full = patches(from_open_clip(visual))
    half = from_open_clip(visual.to(dtype))
    assert patches(half).dtype == torch.float32
    torch.testing.assert_close(patches(half), full, rtol=0, atol=0.1)
    assert next(visual.parameters()).dtype == dtype


def test_photos_for_a_model_built_by_hand_are_prepared_as_for_openais(visual: VisionTransformer) -> None:
    preprocess = from_open_clip(visual).preprocess
    assert (preprocess.image_size, preprocess.mean) == (64, open_clip.OPENAI_DATASET_MEAN)


def test_what_has_no_patch_tokens_is_refused(small_clip) -> None:
    with pytest.raises(UsageError, match=r"a whole CLIP; give its vision tower, model\.visual"):
        from_open_clip(small_clip)
    with pytest.raises(UsageError, match="mine: a Linear is no vision transformer of open_clip"):
        from_open_clip(nn.Linear(2, 2), "mine")
