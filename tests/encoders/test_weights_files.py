"""Files as people have them: under any prefix, with other heads or none, in Hugging Face's names; or no checkpoints."""

import gzip
import io
import json
import pickle
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import numpy as np
import open_clip
import pytest
import timm
import torch
import transformers
from safetensors.torch import save_file

from pacl_bench import load_encoder
from pacl_bench.encoders.weights_files import read_state_dict
from pacl_bench.errors import UsageError

MODEL = "vit_tiny_patch16_224"
Weights = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def weights() -> Weights:
    """A ViT-Ti/16 without classifier."""
    torch.manual_seed(0)
    return timm.create_model(MODEL, num_classes=0).state_dict()


@pytest.fixture(scope="module")
def expected(weights: Weights) -> torch.Tensor:
    trunk = timm.create_model(MODEL, num_classes=0).eval()
    trunk.load_state_dict(weights)
    with torch.no_grad():
        return trunk.forward_features(torch.ones(1, 3, 224, 224))[:, 1:]


def below(prefix: str, weights: Weights) -> Weights:
    return {f"{prefix}{name}": weight for name, weight in weights.items()}


HEAD = {"head.weight": torch.ones(37, 192), "head.bias": torch.ones(37)}
FILES: dict[str, Callable[[Weights], object]] = {
    "headless": lambda weights: {"state_dict": weights, "epoch": 3, "arch": MODEL},
    "fine-tuned on other classes": lambda weights: weights | HEAD,
    "DataParallel": lambda weights: {"state_dict": below("module.", weights)},
    "compiled": lambda weights: below("_orig_mod.", weights),
    "both": lambda weights: below("module._orig_mod.", weights),
    "Lightning": lambda weights: {"state_dict": below("model.", weights), "hyper_parameters": {"lr": 0.1}},
    "DINO": lambda weights: {
        "student": below("module.backbone.", {name: weight + 1 for name, weight in weights.items()}),
        "teacher": below("backbone.", weights) | {"head.last_layer.weight_v": torch.ones(2, 2)},
        "args": Namespace(arch="vit_tiny", lr=np.float64(0.1)),
    },
    "flat teacher": lambda weights: (
        below("student.backbone.", {name: weight + 1 for name, weight in weights.items()})
        | below("teacher.backbone.", weights)
    ),
    "MoCo v3": lambda weights: {
        "state_dict": below("module.base_encoder.", weights | {"head.0.weight": torch.ones(2, 2)})
        | below("module.momentum_encoder.", {name: weight + 1 for name, weight in weights.items()})
        | {"module.predictor.0.weight": torch.ones(2, 2)},
        "scaler": {"scale": 1.0},
    },
    "MAE": lambda weights: {
        "model": weights
        | {"mask_token": torch.ones(1, 1, 8), "decoder_pred.bias": torch.ones(8), "decoder_blocks.0.x": torch.ones(1)}
    },
    "a loop of one's own": lambda weights: {
        "model_state_dict": weights,
        "optimizer_state_dict": {"state": {0: {"exp_avg": torch.ones(2)}}},
        "curve": np.ones(3),
        "seen": {1, 2},
    },
    "timm with an average": lambda weights: {"state_dict": weights, "state_dict_ema": weights, "arch": MODEL},
    "an average alone": lambda weights: {"model_ema": {"module": below("module.", weights)}},
}  # fmt: skip
TOLD = {
    "a loop of one's own": "the weights are those of 'model_state_dict'",
    "timm with an average": "the weights are those of 'state_dict', not their average 'state_dict_ema'",
    "an average alone": "the weights are those of 'module'",
    "fine-tuned on other classes": "",
    "compiled": "the encoder's weights are those below '_orig_mod.'",
    "both": "those below '_orig_mod.'",
    "Lightning": "those below 'model.'",
    "DINO": "those below 'backbone.'",
    "flat teacher": "those below 'teacher.backbone.'",
    "MoCo v3": "those below 'base_encoder.'",
    "MAE": "2 weights on top of the encoder are left out (decoder_pred.bias ...)",
}


@pytest.mark.parametrize("kind", FILES)
def test_a_vit_in_whatever_file(
    kind: str, weights: Weights, expected: torch.Tensor, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    file = tmp_path / "w.pth"
    torch.save(FILES[kind](weights), file)
    encoder = load_encoder(f"timm:{MODEL}@{file}")
    torch.testing.assert_close(encoder(torch.ones(1, 3, 224, 224)).patch_tokens, expected)
    told = capsys.readouterr().err.replace("\n", " ")
    assert TOLD.get(kind, "") in told
    assert bool(told) == bool(TOLD.get(kind))


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda weights: below("a.", weights) | below("b.", weights), "holds several encoders, below a., b.: save the"),
        (lambda weights: {"online": weights, "target": weights}, "holds several sets of weights, online, target: save"),
        (lambda weights: {"optimizer": {"a": torch.ones(2)}}, "holds no weights."),
        (lambda weights: below("a.", {k: v for k, v in weights.items() if k != "norm.bias"}), "does not fit timm's"),
        (lambda weights: weights | {"blocks.12.norm1.weight": torch.ones(192)}, "blocks.12.norm1.weight"),
        (lambda weights: {k.replace("norm.", "fc_norm."): v for k, v in weights.items()}, "does not fit timm's"),
    ],
)
def test_what_does_not_fit_exactly_is_refused(
    change: Callable[[Weights], Weights], line: str, weights: Weights, tmp_path: Path
) -> None:
    torch.save(change(weights), tmp_path / "w.pth")
    with pytest.raises(UsageError) as error:
        load_encoder(f"timm:{MODEL}@{tmp_path / 'w.pth'}")
    assert line in str(error.value)
    assert "\n" not in str(error.value)


def test_a_classifier_of_the_released_size_is_kept(tmp_path: Path) -> None:
    """As before: heads that were trained on such a file know the sha256 of all its weights."""
    own = timm.create_model(MODEL)
    torch.save(own.state_dict(), tmp_path / "w.pth")
    assert "trunk.head.weight" in load_encoder(f"timm:{MODEL}@{tmp_path / 'w.pth'}").state_dict()


def test_hugging_faces_vit(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=64, num_hidden_layers=6, num_attention_heads=2, intermediate_size=192, image_size=160,
        layer_norm_eps=1e-6,
    )  # fmt: skip
    for model, name in (
        (transformers.ViTModel(config), "base"),
        (transformers.ViTForImageClassification(config), "top"),
    ):
        model.eval().save_pretrained(tmp_path / name)
        image = torch.randn(1, 3, 160, 160)
        with torch.no_grad():
            states = model.base_model(image).last_hidden_state
        features = load_encoder(f"timm:test_vit@{tmp_path / name / 'model.safetensors'}")(image)
        torch.testing.assert_close(features.patch_tokens, states[:, 1:], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(features.cls_token, states[:, 0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("registers", [0, 4])
def test_hugging_faces_dinov2(registers: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    size = {"hidden_size": 384, "num_attention_heads": 6, "image_size": 518, "patch_size": 14, "layerscale_value": 0.5}
    if registers:
        model = transformers.Dinov2WithRegistersModel(transformers.Dinov2WithRegistersConfig(**size))
    else:
        model = transformers.Dinov2Model(transformers.Dinov2Config(**size))
    model.eval().save_pretrained(tmp_path)
    name = "dinov2-s14-reg" if registers else "dinov2-s14"
    encoder = load_encoder(f"{name}@{tmp_path / 'model.safetensors'}?block=0&tap=pre-norm")
    image = torch.randn(1, 3, 518, 518)
    with torch.no_grad():
        states = model.encoder.layer[0](model.embeddings(image))
        states = states if isinstance(states, torch.Tensor) else states[0]
    torch.testing.assert_close(encoder(image).patch_tokens, states[:, 1 + registers :], rtol=1e-4, atol=1e-5)
    assert all(torch.equal(block.ls2.gamma, torch.full((384,), 0.5)) for block in encoder.trunk.blocks)


@pytest.fixture
def hugging_clip(tmp_path: Path) -> Path:
    """Of the architecture of small-test-vit."""
    torch.manual_seed(0)
    config = open_clip.get_model_config("small-test-vit")
    vision, text = config["vision_cfg"], config["text_cfg"]
    shared = {"hidden_act": "gelu"}
    model = transformers.CLIPModel(
        transformers.CLIPConfig(
            vision_config={
                "hidden_size": vision["width"], "num_hidden_layers": vision["layers"], "patch_size": 16,
                "num_attention_heads": vision["width"] // vision.get("head_width", 64), "image_size": 64,
                "intermediate_size": 4 * vision["width"], **shared,
            },
            text_config={
                "hidden_size": text["width"], "num_hidden_layers": text["layers"], "vocab_size": text["vocab_size"],
                "num_attention_heads": text["heads"], "intermediate_size": 4 * text["width"],
                "max_position_embeddings": text["context_length"], **shared,
            },
            projection_dim=config["embed_dim"],
        )
    )  # fmt: skip
    model.eval().save_pretrained(tmp_path)
    return tmp_path / "model.safetensors"


def test_hugging_faces_clip(small_clip: torch.nn.Module, hugging_clip: Path) -> None:
    model = transformers.CLIPModel.from_pretrained(hugging_clip.parent)
    encoder = load_encoder(f"open_clip:small-test-vit@{hugging_clip}")
    image = torch.randn(2, 3, 64, 64)
    features = encoder(image)
    with torch.no_grad():
        pooled = model.vision_model(image)
        expected = model.visual_projection(pooled.pooler_output)
    torch.testing.assert_close(features.patch_tokens, pooled.last_hidden_state[:, 1:], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(encoder.project(features.cls_token), expected, rtol=1e-4, atol=1e-5)
    from pacl_bench.encoders.open_clip_weights import load_clip

    clip = load_clip("x", "small-test-vit", None, hugging_clip)
    tokens = open_clip.get_tokenizer("small-test-vit")(["a cat", "two dogs on a sofa"])
    with torch.no_grad():
        states = model.text_model(tokens).last_hidden_state[torch.arange(2), tokens.argmax(1)]
        torch.testing.assert_close(clip.encode_text(tokens), model.text_projection(states), rtol=1e-4, atol=1e-5)


def test_hugging_faces_clip_with_another_activation(small_clip: torch.nn.Module, hugging_clip: Path) -> None:
    config = json.loads((hugging_clip.parent / "config.json").read_text())
    config["vision_config"]["hidden_act"] = "quick_gelu"
    (hugging_clip.parent / "config.json").write_text(json.dumps(config))
    with pytest.raises(
        UsageError, match=r"config.json says quick_gelu, and open_clip:small-test-vit runs GELU. Name the"
    ):
        load_encoder(f"open_clip:small-test-vit@{hugging_clip}")


def test_a_clip_below_a_prefix(small_clip: torch.nn.Module, tmp_path: Path) -> None:
    torch.save({"state_dict": below("model.clip.", small_clip.state_dict())}, tmp_path / "w.ckpt")
    image = torch.randn(1, 3, 64, 64)
    encoder = load_encoder(f"open_clip:small-test-vit@{tmp_path / 'w.ckpt'}")
    with torch.no_grad():
        expected = small_clip.encode_image(image)
    torch.testing.assert_close(encoder.project(encoder(image).cls_token), expected, rtol=1e-5, atol=1e-5)


def test_safetensors_by_content(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2)}, tmp_path / "W.SAFETENSORS")
    (tmp_path / "W.SAFETENSORS").rename(tmp_path / "w.pth")
    assert read_state_dict(tmp_path / "w.pth")["a"].tolist() == [1, 1]


@pytest.mark.parametrize("ending", ["safetensors", "bin"])
def test_weights_in_pieces(ending: str, weights: Weights, expected: torch.Tensor, tmp_path: Path) -> None:
    places = {name: f"model-0000{number % 2 + 1}-of-00002.{ending}" for number, name in enumerate(weights)}
    for piece in set(places.values()):
        part = {name: weight for name, weight in weights.items() if places[name] == piece}
        save_file(part, tmp_path / piece) if ending == "safetensors" else torch.save(part, tmp_path / piece)
    index = tmp_path / f"model.{ending}.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    encoder = load_encoder(f"timm:{MODEL}@{index}")
    torch.testing.assert_close(encoder(torch.ones(1, 3, 224, 224)).patch_tokens, expected)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_weights_of_half_precision_run_in_single(kind: torch.dtype, weights: Weights, tmp_path: Path) -> None:
    save_file({name: weight.to(kind) for name, weight in weights.items()}, tmp_path / "half.safetensors")
    encoder = load_encoder(f"timm:{MODEL}@{tmp_path / 'half.safetensors'}")
    rounded = {f"trunk.{name}": weight.to(kind).float() for name, weight in weights.items()}
    for name, weight in rounded.items():
        assert torch.equal(encoder.state_dict()[name], weight)


def as_dinov3_is_released(weights: Weights) -> Weights:
    """Under the names of facebookresearch/dinov3, which keeps one bias for query, key (always 0) and value."""
    released = {}
    for name, weight in weights.items():
        for timms, theirs in (("reg_token", "storage_tokens"), ("gamma_1", "ls1.gamma"), ("gamma_2", "ls2.gamma")):
            name = name.replace(timms, theirs)
        released[name] = weight
    for name in [name for name in released if name.endswith("attn.q_bias")]:
        query, value = released.pop(name), released.pop(name.replace("q_bias", "v_bias"))
        released[name.replace("q_bias", "qkv.bias")] = torch.cat([query, torch.zeros_like(query), value])
    return released


def test_dinov3s_biases_are_never_lost(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    torch.manual_seed(0)
    trunk = timm.create_model("vit_small_patch16_dinov3_qkvb", num_classes=0).eval()
    for name, weight in trunk.named_parameters():
        if name.endswith(("q_bias", "v_bias")):
            weight.data.normal_()
    file, image = tmp_path / "dinov3.pth", torch.randn(1, 3, 64, 64)
    torch.save(as_dinov3_is_released(trunk.state_dict()), file)
    with torch.no_grad():
        expected = trunk.forward_features(image)[:, 5:]
    found = load_encoder(f"timm:vit_small_patch16_dinov3_qkvb.lvd1689m@{file}")(image).patch_tokens
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    with pytest.raises(UsageError, match=rf"leaves out\. Name timm:vit_small_patch16_dinov3_qkvb.lvd1689m@{file}"):
        load_encoder(f"dinov3-s16@{file}")
    plain = timm.create_model("vit_small_patch16_dinov3", num_classes=0).eval()
    zeros = {
        name.replace("qkv.weight", "qkv.bias"): torch.zeros(3 * 384) for name in plain.state_dict() if "qkv.w" in name
    }
    torch.save(as_dinov3_is_released(plain.state_dict()) | zeros, file)
    with torch.no_grad():
        expected = plain.forward_features(image)[:, 5:]
    torch.testing.assert_close(load_encoder(f"dinov3-s16@{file}")(image).patch_tokens, expected, rtol=1e-5, atol=1e-5)
    assert capsys.readouterr().out == ""  # where timm's conversion prints


def test_a_file_of_a_folder_of_transformers_is_told_so(hugging_clip: Path) -> None:
    with pytest.raises(UsageError, match=rf"It may be of transformers, .*: transformers:{hugging_clip.parent}\."):
        load_encoder(f"timm:{MODEL}@{hugging_clip}")
    with pytest.raises(UsageError, match=rf": transformers:{hugging_clip.parent}\."):
        load_encoder(f"open_clip:ViT-S-16@{hugging_clip}?size=64")


def test_a_file_in_the_home_folder(weights: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    save_file(weights, tmp_path / "w.safetensors")
    assert load_encoder(f"timm:{MODEL}@~/w.safetensors").width == 192


def test_a_folder_is_not_called_missing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is a folder\. Name the file of weights in it\."):
        load_encoder(f"timm:{MODEL}@{tmp_path}")


ARCHIVE = io.BytesIO()
np.savez(ARCHIVE, a=np.ones(2))
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 344\n"
NO_CHECKPOINTS = {
    "a.pth": (b"", "is empty."),
    "b.pth": (b"hello world", "is a text file ('hello world' ...), no checkpoint."),
    "c.safetensors": (b"\n<!DOCTYPE html><html>", "is a web page, no checkpoint: what the download gave in its place."),
    "d.bin": (POINTER, "is a pointer of git-lfs, not the weights: fetch them with `git lfs pull`."),
    "e.pth.tar": (gzip.compress(b"x" * 100), "is compressed by gzip: unpack it first."),
    "f.index.json": (b'{"metadata": {}, "weight_map": {}}', 'is a text file (\'{"metadata": {}'),
    "f2.index.json": (b'{"weight_map": {"a": "gone.bin"}}', "names gone.bin, which is not beside it."),
    "f3-00001-of-00002.bin": (b"", "holds a part of the weights. Name their index: model.safetensors.index.json."),
    "g.pt": (b"PK\x05\x06" + bytes(18), "is a pickle of another kind than torch makes of weights."),
    "g2.pt": (b"PK\x03\x04" + bytes(18), "is incomplete: its end is missing. Fetch it again."),
    "g4.npz": (ARCHIVE.getvalue(), "is a zip archive of something else."),
    "g3.pt": (pickle.dumps({"a": 1}, protocol=4), "is a pickle of another kind than torch makes of weights."),
    "h.safetensors": (b"\x10" + bytes(7) + b'{"a": 1}', "is damaged, or no checkpoint:"),
    "i.tar": (bytes(257) + b"ustar" + bytes(300), "is a tar archive: unpack it first."),
    "j.pth": (b"\x80\x02]q\x00.", "is damaged, or no checkpoint:"),
}


@pytest.mark.parametrize("name", NO_CHECKPOINTS)
def test_a_file_that_is_no_checkpoint_is_called_what_it_is(name: str, tmp_path: Path) -> None:
    content, line = NO_CHECKPOINTS[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError) as error:
        load_encoder(f"timm:{MODEL}@{tmp_path / name}")
    assert f"{tmp_path / name} {line}" in str(error.value)
    assert "\n" not in str(error.value)
