"""The open_clip adapter, on small checkpoints saved in the official formats."""

import warnings
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from open_clip import CLIP, CustomTextCLIP
from open_clip.model import CLIPTextCfg, CLIPVisionCfg
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from safetensors.torch import save_file

from pacl_bench import load_encoder, load_text_encoder
from pacl_bench.encoders.open_clip_text import OpenClipTextEncoder
from pacl_bench.encoders.weights_files import read_state_dict
from pacl_bench.errors import UsageError


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("tap", ["pre-norm", "post-norm"])
def test_cls_embedding_is_open_clips_own(small_clip, clip_spec: str, tap: str, images: torch.Tensor) -> None:
    encoder = load_encoder(f"{clip_spec}?tap={tap}")
    features = encoder(images)
    assert features.cls_token is not None
    with torch.no_grad():
        expected = small_clip.encode_image(images)
    torch.testing.assert_close(encoder.project(features.cls_token), expected, rtol=1e-5, atol=1e-5)
    assert features.grid == (4, 4)
    assert features.patch_tokens.shape == (3, 16, 32)
    assert (encoder.patch_size, encoder.width, encoder.image_size, encoder.projection_dim) == (16, 32, 64, 24)


def test_patch_tokens_are_those_of_the_block_named(small_clip, clip_spec: str, images: torch.Tensor) -> None:
    states = {}
    for number, block in enumerate(small_clip.visual.transformer.resblocks):
        block.register_forward_hook(lambda _module, _given, out, number=number: states.__setitem__(number, out))
    with torch.no_grad():
        small_clip.encode_image(images)
    for block in (0, 1):
        tokens = load_encoder(f"{clip_spec}?block={block}")(images).patch_tokens
        torch.testing.assert_close(tokens, states[block][:, 1:], rtol=1e-5, atol=1e-5)
    normed = load_encoder(f"{clip_spec}?block=-1&tap=post-norm")(images).patch_tokens
    torch.testing.assert_close(normed, small_clip.visual.ln_post(states[1][:, 1:]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("tap", ["pre-norm", "post-norm"])
def test_several_blocks_of_one_pass_are_those_of_a_pass_each(clip_spec: str, tap: str, images: torch.Tensor) -> None:
    features = load_encoder(f"{clip_spec}?tap={tap}").blocks(images, [1, 0, -1])
    for block, found in zip((1, 0, 1), features, strict=True):
        expected = load_encoder(f"{clip_spec}?tap={tap}&block={block}")(images)
        assert torch.equal(found.patch_tokens, expected.patch_tokens)
        assert torch.equal(found.cls_token, expected.cls_token)


def test_positional_embeddings_are_interpolated_as_asked(small_clip, clip_spec: str) -> None:
    image = torch.randn(1, 3, 48, 96)
    encoder = load_encoder(f"{clip_spec}?pos=bilinear&block=0")
    own = small_clip.visual.positional_embedding
    table = own[1:].unflatten(0, (4, 4)).permute(2, 0, 1)[None]
    resized = torch.nn.functional.interpolate(table, size=(3, 6), mode="bilinear", antialias=True)[0].flatten(1).T
    with torch.no_grad():
        patches = small_clip.visual.conv1(image).flatten(2).mT[0] + resized
        tokens = torch.cat([(small_clip.visual.class_embedding + own[0])[None], patches])[None]
        expected = small_clip.visual.transformer.resblocks[0](small_clip.visual.ln_pre(tokens))[:, 1:]
    torch.testing.assert_close(encoder(image).patch_tokens, expected, rtol=1e-5, atol=1e-5)
    assert encoder.settings["pos"] == "bilinear"
    assert "pos" not in load_encoder(clip_spec).settings


def test_text_embeddings_are_open_clips_own_of_unit_norm(small_clip, clip_spec: str) -> None:
    encoder = load_text_encoder(clip_spec)
    texts = ["a photo of a cat.", "two dogs on a long, long sofa", "grass"]
    with torch.no_grad():
        expected = small_clip.encode_text(open_clip.get_tokenizer("small-test-vit")(texts), normalize=True)
    torch.testing.assert_close(encoder(texts), expected, rtol=1e-5, atol=1e-5)
    assert encoder.dim == 24
    assert encoder([]).shape == (0, 24)
    assert load_text_encoder(clip_spec).tokenizer is encoder.tokenizer  # its words are read once


TOWERS: dict[str, dict] = {
    "CLIP's": {},
    "CLIP's with eos": {"pool_type": "eos", "eos_id": 1},
    "SigLIP's": {"no_causal_mask": True, "pool_type": "last"},
    "CLIP's with last": {"pool_type": "last"},
}


@pytest.mark.parametrize(
    ("model", "tower", "positions"),
    [(CLIP, "CLIP's", 9), (CustomTextCLIP, "CLIP's", 9), (CustomTextCLIP, "CLIP's with eos", 9)]
    + [(CustomTextCLIP, "SigLIP's", 32), (CustomTextCLIP, "CLIP's with last", 32)],
)
def test_causal_towers_are_run_at_the_longest_text(model: type, tower: str, positions: int) -> None:
    """And give what they give at full length; towers that see their padding are run at all of it."""
    torch.manual_seed(0)
    vision = CLIPVisionCfg(layers=1, width=32, head_width=16, patch_size=16, image_size=32)
    text = CLIPTextCfg(context_length=32, vocab_size=100, width=32, heads=2, layers=2, **TOWERS[tower])
    clip = model(24, vision, text).eval()

    def tokenizer(texts: list[str]) -> torch.Tensor:
        """A begin, a word a letter, the end, padding."""
        tokens = torch.zeros(len(texts), 32, dtype=torch.int64)
        for row, text in zip(tokens, texts, strict=True):
            row[: len(text) + 2] = torch.tensor([2, *range(10, 10 + len(text)), 1 if "eos" in tower else 99])
        return tokens

    encoder = OpenClipTextEncoder("small", clip, tokenizer)
    seen = []
    clip.get_submodule("transformer" if model is CLIP else "text.transformer").register_forward_pre_hook(
        lambda _module, given: seen.append(given[0].shape[1])
    )
    texts = ["cats", "leopard", ""]
    found = encoder(texts)
    assert seen == [positions]
    with torch.no_grad():
        expected = clip.encode_text(tokenizer(texts), normalize=True)
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-6)
    assert encoder.lengths(texts) == ([6, 9, 2] if positions == 9 else [4, 7, 0])


def test_texts_of_about_the_same_tokens_share_a_batch(clip_spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sorted by tokens, not by characters."""
    encoder = load_text_encoder(clip_spec)
    monkeypatch.setattr(encoder, "BATCH", 2)
    batches = []
    encode = encoder.encode
    monkeypatch.setattr(encoder, "encode", lambda texts: batches.append(texts) or encode(texts))
    texts = ["a photograph", "x , y , z , w", "two photographs", "a , b , c , d"]
    encoder(texts)
    assert batches == [["a photograph", "two photographs"], ["x , y , z , w", "a , b , c , d"]]


def test_preprocessing_is_open_clips_own(small_clip, clip_spec: str) -> None:
    random = np.random.default_rng(0)
    photo = Image.fromarray(random.integers(0, 256, (75, 131, 3), dtype=np.uint8))
    config = PreprocessCfg(**small_clip.visual.preprocess_cfg)
    theirs = image_transform_v2(config, is_train=False)
    torch.testing.assert_close(load_encoder(clip_spec).preprocess(photo), theirs(photo))


@pytest.mark.parametrize("shape", [(37, 500), (64, 64), (16, 16), (150, 33)])
def test_images_of_any_shape(clip_spec: str, shape: tuple[int, int]) -> None:
    features = load_encoder(clip_spec)(torch.randn(2, 3, *shape))
    assert features.grid == (shape[0] // 16, shape[1] // 16)
    assert features.patch_tokens.shape == (2, features.grid[0] * features.grid[1], 32)


def test_the_whole_of_a_long_photo_is_shown(clip_spec: str) -> None:
    encoder = load_encoder(clip_spec)
    pixels = encoder.preprocess.whole(Image.new("RGB", (500, 37)))
    assert pixels.shape == (3, 64, 864)  # 64 * 500 / 37 = 864.9, tiled by patches of 16
    assert encoder.preprocess(Image.new("RGB", (500, 37))).shape == (3, 64, 64)


def test_a_stride_of_the_patch_size_changes_nothing(clip_spec: str, images: torch.Tensor) -> None:
    encoder = load_encoder(clip_spec)
    assert torch.equal(encoder(images, stride=16).patch_tokens, encoder(images).patch_tokens)


def test_the_stride_trick_makes_the_grid_denser(clip_spec: str, images: torch.Tensor) -> None:
    encoder = load_encoder(clip_spec)
    features = encoder(images, stride=4)
    assert features.grid == (13, 13)
    assert features.patch_tokens.shape == (3, 169, 32)
    assert encoder.grid_of((224, 224), 4) == (53, 53)  # 2,809 tokens, the paper's number for B/16 at 224
    assert torch.equal(encoder(images).patch_tokens, load_encoder(clip_spec)(images).patch_tokens)  # and is undone
    with pytest.raises(UsageError, match="--stride 17"):
        encoder(images, stride=17)


def test_rows_and_columns_are_not_swapped(clip_spec: str) -> None:
    """Changing the top right corner changes most the token of the top right patch."""
    encoder = load_encoder(f"{clip_spec}?block=0")
    image = torch.randn(1, 3, 48, 96)
    changed = image.clone()
    changed[..., :16, -16:] += 3
    difference = (encoder(changed).patch_tokens - encoder(image).patch_tokens).norm(dim=-1)[0]
    assert difference.argmax().item() == 5  # row 0, col 5 of 3 x 6


def test_weights_are_frozen(clip_spec: str) -> None:
    for encoder in (load_encoder(clip_spec), load_text_encoder(clip_spec)):
        assert not encoder.training
        assert not any(weight.requires_grad for weight in encoder.parameters())


@pytest.mark.slow
def test_openai_weights_run_with_quick_gelu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """clip-b32 from a local file: the real architecture, random weights."""
    clip = open_clip.create_model("ViT-B-32", force_quick_gelu=True).eval()
    save_file(clip.state_dict(), tmp_path / "clip-b32.safetensors")
    monkeypatch.setenv("PACL_WEIGHTS", str(tmp_path))
    image = torch.randn(1, 3, 224, 224)
    encoder = load_encoder("clip-b32")
    with torch.no_grad():
        expected = clip.encode_image(image)
    torch.testing.assert_close(encoder.project(encoder(image).cls_token), expected, rtol=1e-4, atol=1e-4)
    without = load_encoder(f"open_clip:ViT-B-32@{tmp_path / 'clip-b32.safetensors'}")
    assert not torch.allclose(without.project(without(image).cls_token), expected, rtol=1e-3, atol=1e-3)
    assert encoder.preprocess.mean == open_clip.OPENAI_DATASET_MEAN
    assert encoder.grid_of((224, 224)) == (7, 7)


def test_torchscript_archives_are_read(small_clip, tmp_path: Path, images: torch.Tensor) -> None:
    """OpenAI's own .pt files are TorchScript archives."""
    archive = tmp_path / "small.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(small_clip.visual, images[:1], check_trace=False), archive)
    state = read_state_dict(archive)
    own = small_clip.visual.state_dict()
    assert state.keys() == own.keys()
    assert all(torch.equal(state[name], own[name]) for name in own)


def test_a_file_that_does_not_fit_is_refused(clip_file: Path) -> None:
    with pytest.raises(UsageError, match="does not fit this architecture"):
        load_encoder(f"open_clip:ViT-B-32@{clip_file}")


def test_a_convolutional_clip_has_no_patch_tokens(tmp_path: Path) -> None:
    weights = tmp_path / "rn50.safetensors"
    save_file(open_clip.create_model("RN50").state_dict(), weights)
    with pytest.raises(UsageError, match="no vision transformer"):
        load_encoder(f"open_clip:RN50@{weights}")


def test_a_file_keeps_the_preprocessing_of_its_tag(
    clip_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    tag = {"mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6), "interpolation": "bilinear", "resize_mode": "squash"}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "small-test-vit", {"mine": tag})
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (75, 131, 3), dtype=np.uint8))
    preprocess = load_encoder(f"open_clip:small-test-vit/mine@{clip_file}").preprocess
    theirs = image_transform_v2(PreprocessCfg(size=64, **tag), is_train=False)
    torch.testing.assert_close(preprocess(photo), theirs(photo))
    assert preprocess.whole(photo).shape == (3, 64, 112)  # a view of the whole is never squashed
    assert capsys.readouterr().err == ""
    with pytest.raises(UsageError, match=r"Unknown pretrained tag of small-test-vit 'mien'. Did you mean 'mine'"):
        load_encoder(f"open_clip:small-test-vit/mien@{clip_file}")
    # without its tag it is shown photos as OpenAI's CLIP is, as ever, but that is told
    encoder = load_encoder(f"open_clip:small-test-vit@{clip_file}")
    assert encoder.preprocess.mean == open_clip.OPENAI_DATASET_MEAN
    assert "resize" not in encoder.settings["preprocess"]
    assert f"name their tag: open_clip:small-test-vit/mine@{clip_file}" in capsys.readouterr().err


def test_what_lies_on_the_hub_alone_is_told_apart_from_weights(
    small_clip, clip_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The configuration of some text towers, the tokenizers of others; the weights are there."""
    with pytest.raises(UsageError) as error:
        load_encoder(f"open_clip:roberta-ViT-B-32@{clip_file}")
    line = "open_clip:roberta-ViT-B-32: the configuration of its text tower, roberta-base, lies on the hub, and its"
    assert str(error.value).startswith(line)
    config = open_clip.get_model_config("small-test-vit")
    config["text_cfg"]["hf_tokenizer_name"] = "nobody/words"
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "words-on-the-hub", config)
    with pytest.raises(UsageError) as error:
        load_text_encoder(f"open_clip:words-on-the-hub@{clip_file}")
    line = "open_clip:words-on-the-hub: the tokenizer of words-on-the-hub lies on the hub, and its download failed ("
    assert str(error.value).startswith(line)
    assert "no weights" not in str(error.value)
