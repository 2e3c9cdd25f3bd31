"""How tokens and images come to the text space: by the library's own pooling and projection, whatever it is."""

from pathlib import Path

import open_clip
import pytest
import torch
from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer
from timm.models.vision_transformer import VisionTransformer as VisionTransformerOfTimm
from torch import nn
from torch.nn.functional import normalize

from pacl_bench import from_open_clip, load_encoder, load_text_encoder
from pacl_bench.encoders import open_clip_text
from pacl_bench.encoders.base import PatchFeatures, TextEncoder
from pacl_bench.encoders.open_clip import OpenClipVisionEncoder
from pacl_bench.encoders.timm import TimmVisionEncoder
from pacl_bench.errors import NoTextSpace, UsageError
from pacl_bench.model.aligned import AlignedModel


def clips(**changes: object) -> nn.Module:
    """A small vision transformer of open_clip's own, its norms unlike those of a new one."""
    size: dict = {"image_size": 48, "patch_size": 16, "width": 32, "layers": 2, "heads": 2, "mlp_ratio": 2.0}
    return differing(VisionTransformer(**{**size, "output_dim": 24, **changes}))


def timms(model: str, pool: str, proj: str = "", image_size: int = 160) -> nn.Module:
    """A small ViT of timm as open_clip wraps it."""
    return differing(TimmModel(model, embed_dim=24, image_size=image_size, pool=pool, proj=proj))


def siglip() -> nn.Module:
    """SigLIP's tower, small: patch tokens alone and a pooling head, no projection behind it."""
    visual = TimmModel("test_vit", embed_dim=64, image_size=160, pool="map", proj="none")
    visual.trunk = VisionTransformerOfTimm(
        160, 16, num_classes=0, global_pool="map", embed_dim=64, depth=2, num_heads=2, class_token=False,
        dynamic_img_size=True,
    )  # fmt: skip
    return differing(visual)


def differing(visual: nn.Module) -> nn.Module:
    """With every weight drawn: scales of 1 and biases of 0 would hide what is forgotten or done in another order."""
    for name, weight in visual.named_parameters():
        weight.data.add_(torch.randn_like(weight), alpha=0.3 if weight.ndim == 1 else 0.02)
        assert bool(weight.isfinite().all()), name
    return visual.eval()


COCA = {"attentional_pool": True, "attn_pooler_queries": 5, "attn_pooler_heads": 2}
TOWERS = {
    "CLIP's": ("token", lambda: clips()),
    "averaged, norm before": ("average", lambda: clips(pool_type="avg")),
    "averaged, norm after (CLIPA)": ("average", lambda: clips(pool_type="avg", final_ln_after_pool=True)),
    "CLS, norm after": ("token", lambda: clips(final_ln_after_pool=True)),
    "CoCa's": ("attention", lambda: clips(**COCA)),
    "timm, CLS": ("token", lambda: timms("test_vit", "token")),
    "timm, averaged": ("average", lambda: timms("test_vit2", "avg")),
    "timm, averaged, linear": ("average", lambda: timms("test_vit2", "", proj="linear")),
    "SigLIP's": ("attention", siglip),
    "attention, without the CLS token": ("attention", lambda: timms("test_vit", "map")),
    "PE-Core's": ("attention", lambda: timms("vit_pe_core_tiny_patch16_384", "map", image_size=384)),
}


@pytest.fixture(params=TOWERS)
def tower(request: pytest.FixtureRequest) -> tuple[str, nn.Module]:
    torch.manual_seed(0)
    pooling, make = TOWERS[request.param]
    return pooling, make()


def test_the_image_embedding_is_the_librarys_own(tower: tuple[str, nn.Module]) -> None:
    pooling, visual = tower
    encoder = from_open_clip(visual)
    images = torch.randn(2, 3, encoder.image_size, encoder.image_size)
    with torch.no_grad():
        expected = visual(images)
    torch.testing.assert_close(encoder.image_embedding(encoder(images)), expected, rtol=1e-5, atol=1e-5)
    assert encoder.pooling == pooling
    assert encoder.projection_dim == expected.shape[1]


def test_each_token_goes_alone(tower: tuple[str, nn.Module]) -> None:
    """Through the tower's own pooling, as if an image were that token."""
    _, visual = tower
    encoder = from_open_clip(visual)
    tokens = encoder(torch.randn(1, 3, encoder.image_size, encoder.image_size)).patch_tokens
    found = encoder.project(tokens)[0]
    with torch.no_grad():
        for token, embedding in zip(tokens[0, :3], found, strict=False):
            torch.testing.assert_close(embedding, pooled_alone(encoder, token[None, None])[0], rtol=1e-5, atol=1e-5)


def pooled_alone(encoder: object, token: torch.Tensor) -> torch.Tensor:
    """The library's own head, given a sequence that holds one token in every place."""
    if isinstance(encoder, OpenClipVisionEncoder):
        return encoder.visual._pool(token.expand(-1, 3, -1))[0] @ encoder.visual.proj
    assert isinstance(encoder, TimmVisionEncoder)
    assert encoder.projection is not None
    return encoder.projection(encoder.trunk.forward_head(encoder.trunk.norm(token).expand(-1, 3, -1)))


def test_a_model_that_averages_has_no_cls_token() -> None:
    encoder = from_open_clip(clips(pool_type="avg", final_ln_after_pool=True))
    cls_token = encoder(torch.randn(1, 3, 48, 48)).cls_token
    assert cls_token is None
    with pytest.raises(UsageError, match="no CLS token"):
        encoder.project(cls_token)
    assert from_open_clip(clips())(torch.randn(1, 3, 48, 48)).cls_token is not None


@pytest.fixture
def averaging(tmp_path: Path) -> str:
    """A small CLIPA in a file, by name."""
    (tmp_path / "arch").mkdir()
    config = (Path(__file__).parents[1] / "open_clip_configs" / "small-test-vit.json").read_text()
    averaged = '"vision_cfg": {"no_ln_pre": true, "pool_type": "avg", "final_ln_after_pool": true,'
    (tmp_path / "arch" / "small-averaging.json").write_text(config.replace('"vision_cfg": {', averaged))
    open_clip.add_model_config(tmp_path / "arch")
    torch.manual_seed(0)
    torch.save(open_clip.create_model("small-averaging").state_dict(), tmp_path / "clip.pt")
    return f"open_clip:small-averaging@{tmp_path / 'clip.pt'}"


def test_taps_of_models_that_average_or_attend(averaging: str) -> None:
    images = torch.randn(1, 3, 64, 64)
    plain, normed = load_encoder(averaging), load_encoder(f"{averaging}?tap=post-norm")
    found, expected = normed.project(normed(images).patch_tokens), plain.project(plain(images).patch_tokens)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    with pytest.raises(UsageError, match="norm of an average; leave out tap=post-norm"):
        normed.image_embedding(normed(images))
    with pytest.raises(UsageError, match="final norm stands behind its pooling head"):
        OpenClipVisionEncoder("coca", clips(**COCA), plain.preprocess, tap="post-norm")


def test_an_unreleased_way_of_pooling_has_no_text_space() -> None:
    """CoCa's two pooling heads, one behind the other, which open_clip calls untested."""
    encoder = from_open_clip(clips(**{**COCA, "attentional_pool": "cascade"}, output_dim=32))
    assert encoder.projection_dim is None
    with pytest.raises(NoTextSpace):
        encoder.image_embedding(encoder(torch.randn(1, 3, 48, 48)))


class _Words(TextEncoder):
    name, dim = "words", 24


def test_the_record_says_how_tokens_reached_the_text_space() -> None:
    siglips, clip = from_open_clip(siglip()), from_open_clip(clips())
    described = AlignedModel("siglip", siglips, _Words()).describe()["encoder"]
    assert described["pooling"] == "attention"
    # a plain CLIP's record is what it always was, and a head takes patch tokens as they are
    assert "pooling" not in AlignedModel("clip", clip, _Words()).describe()["encoder"]
    assert "pooling" not in AlignedModel("head", siglips, _Words(), nn.Identity()).describe()["encoder"]


def test_images_are_classified_by_the_models_own_cosines() -> None:
    visual = siglip()
    model = AlignedModel("siglip", from_open_clip(visual), _Words())
    images = torch.randn(3, 3, model.vision.image_size, model.vision.image_size)
    classes = normalize(torch.randn(5, 64), dim=-1)
    with torch.no_grad():
        expected = normalize(visual(images), dim=-1) @ classes.T
    found = model.image_text_similarity(model.vision(images), classes)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    clip = AlignedModel("clip", from_open_clip(clips()), _Words())
    with pytest.raises(UsageError, match="no CLS token"):
        clip.image_text_similarity(PatchFeatures(None, torch.zeros(1, 9, 32), (3, 3)), torch.zeros(1, 24))


def test_texts_are_canonicalised_as_in_training(monkeypatch: pytest.MonkeyPatch, clip_file: Path) -> None:
    """By open_clip's own tokenizer of the architecture: SigLIP's takes away capitals and punctuation."""
    tokenizers = pytest.importorskip("tokenizers")
    transformers = pytest.importorskip("transformers")
    vocabulary = tokenizers.models.WordLevel({"<unk>": 0, "a": 1, "cat": 2, "A": 3, "Cat": 4, ".": 5}, "<unk>")
    words = tokenizers.Tokenizer(vocabulary)
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    own = transformers.PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>", pad_token="<unk>")
    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", lambda *_given, **_named: own)
    config = {**open_clip.get_model_config("small-test-vit")}
    siglip = open_clip.get_model_config("ViT-B-16-SigLIP2")["text_cfg"]
    config["text_cfg"] = config["text_cfg"] | {name: siglip[name] for name in ("hf_tokenizer_name", "tokenizer_kwargs")}
    monkeypatch.setattr("open_clip.factory.get_model_config", lambda _name: config)
    monkeypatch.setattr(open_clip_text, "tokenizer_of", open_clip_text.tokenizer_of.__wrapped__)  # which keeps none
    encoder = load_text_encoder(f"open_clip:small-test-vit@{clip_file}")
    assert encoder.tokenizer(["A Cat."])[0, :3].tolist() == [1, 2, 0]
