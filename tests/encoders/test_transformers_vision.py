"""Vision and dual encoders of transformers, from folders that the library saved, beside what it makes itself."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import normalize

from pacl_bench import load_encoder, load_text_encoder
from pacl_bench.encoders.base import VisionEncoder
from pacl_bench.encoders.setup import Setup
from pacl_bench.errors import NoTextSpace, UsageError

transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

TOWER: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
VISION = TOWER | {"image_size": 32, "patch_size": 8}
TEXT = TOWER | {"vocab_size": 40, "max_position_embeddings": 12, "eos_token_id": 2, "bos_token_id": 1}
DUALS: dict[str, tuple[str, dict[str, Any], str]] = {  # model, options, processor
    "clip": ("CLIP", {"projection_dim": 16}, "CLIPImageProcessor"),
    "metaclip_2": ("MetaClip2", {"projection_dim": 16}, "CLIPImageProcessor"),
    "clipseg": ("CLIPSeg", {"projection_dim": 16}, "ViTImageProcessor"),
    "altclip": ("AltCLIP", {"projection_dim": 16}, "CLIPImageProcessor"),
    "chinese_clip": ("ChineseCLIP", {"projection_dim": 16}, "CLIPImageProcessor"),
    "siglip": ("Siglip", {}, "SiglipImageProcessor"),
    "siglip2": ("Siglip2", {}, "Siglip2ImageProcessor"),
    "tipsv2": ("Tipsv2", {}, "Tipsv2ImageProcessor"),
}
VITS: dict[str, tuple[str, dict[str, Any]]] = {
    "dinov2": ("Dinov2", {}),
    "dinov2_with_registers": ("Dinov2WithRegisters", {"num_register_tokens": 3}),
    "dinov3_vit": ("DINOv3ViT", {"num_register_tokens": 4}),
    "vit": ("ViT", {}),
    "clip_vision_model": ("CLIPVision", {}),
    "siglip_vision_model": ("SiglipVision", {}),
}


def differing(model: torch.nn.Module) -> torch.nn.Module:
    """With every weight drawn: scales of 1 and biases of 0 would hide what is forgotten or done in another order."""
    for weight in model.parameters():
        weight.data.add_(torch.randn_like(weight), alpha=0.2)
    return model.eval()


def class_of(name: str) -> Any:
    if not hasattr(transformers, name):
        pytest.skip(f"this version of transformers has no {name}")
    return getattr(transformers, name)


def tokenizer() -> Any:
    words = ["<pad>", "<s>", "</s>", "<unk>", *["a", "photo", "of", "cat", "dog", "grass", ".", ",", "A", "Cat"]]
    model = tokenizers.models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>")
    built = tokenizers.Tokenizer(model)
    built.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    built.post_processor = tokenizers.processors.TemplateProcessing(
        "<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    special = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=built, **special)


@pytest.fixture
def dual(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Any, str]:
    """A small dual encoder, and the name of the folder it was saved to."""
    kind, options, processor = DUALS[request.param]
    vision = TOWER | {"patch_size": 8, "num_patches": 16} if kind == "Siglip2" else VISION
    torch.manual_seed(0)
    config = class_of(f"{kind}Config")(text_config=TEXT, vision_config=vision, **options)
    model = differing(class_of(f"{kind}Model")(config))
    model.save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    sizes = {"patch_size": 8, "max_num_patches": 16} if kind == "Siglip2" else {"size": {"height": 32, "width": 32}}
    class_of(processor)(**sizes, do_center_crop=False).save_pretrained(tmp_path)
    return model, f"small=transformers:{tmp_path}"


def patch_input(images: torch.Tensor, kind: str) -> dict[str, torch.Tensor]:
    """What a model takes: images, or their patches."""
    if kind != "siglip2":
        return {"pixel_values": images}
    module = transformers.models.siglip2.image_processing_pil_siglip2
    patches = np.stack([module.convert_image_to_patches(image.numpy(), 8) for image in images])
    grid = torch.tensor([[images.shape[2] // 8, images.shape[3] // 8]] * len(images))
    mask = torch.ones(patches.shape[:2], dtype=torch.int64)
    return {"pixel_values": torch.from_numpy(patches), "pixel_attention_mask": mask, "spatial_shapes": grid}


def pooled(features: Any) -> torch.Tensor:
    return features if isinstance(features, torch.Tensor) else features.pooler_output


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dual", DUALS, indirect=True)
@torch.no_grad()
def test_a_dual_encoder_gives_what_the_library_does(dual: tuple[Any, str]) -> None:
    model, name = dual
    kind = model.config.model_type
    encoder = load_encoder(name)
    images = torch.randn(2, 3, 32, 32)
    features, given = encoder(images), patch_input(images, kind)
    close(features.patch_tokens, model.vision_model(**given).last_hidden_state[:, encoder.num_prefix :])
    close(encoder.image_embedding(features), pooled(model.get_image_features(**given)))
    assert features.grid == (4, 4)
    assert (features.cls_token is None) == kind.startswith("siglip")
    assert encoder.pooling == ("attention" if kind.startswith("siglip") else "token")
    assert (encoder.patch_size, encoder.width, encoder.image_size, encoder.num_blocks) == (8, 32, 32, 2)
    assert encoder.settings["architecture"] == f"transformers:{model.config.vision_config.model_type}"
    text = load_text_encoder(name)
    assert text.dim == encoder.projection_dim
    assert load_encoder(f"{name}?block=0").block == 0
    close(load_text_encoder(f"{name}?block=0")(["a cat"]), text(["a cat"]))


@pytest.mark.parametrize("dual", DUALS, indirect=True)
@torch.no_grad()
def test_texts_are_embedded_as_the_library_does(dual: tuple[Any, str]) -> None:
    """SigLIP's padded to their full length, without a mask; the others' padding is masked and changes nothing."""
    model, name = dual
    texts = ["a photo of a cat", "grass", "a dog " * 20]
    own = transformers.AutoTokenizer.from_pretrained(name.partition(":")[2])
    sees_padding = model.config.model_type.startswith("siglip")
    encoder = load_text_encoder(name)
    assert encoder.max_length == (10 if model.config.model_type == "altclip" else 12)  # RoBERTa counts from 2
    for text, found in zip(texts, encoder(texts), strict=True):
        padding = {"padding": "max_length"} if sees_padding else {}
        tokens = own([text], truncation=True, max_length=encoder.max_length, return_tensors="pt", **padding)
        if sees_padding:
            del tokens["attention_mask"]
        tokens.pop("token_type_ids", None)
        close(found, normalize(pooled(model.get_text_features(**tokens)), dim=-1)[0])


@pytest.mark.parametrize("dual", ["siglip", "siglip2"], indirect=True)
def test_siglips_texts_lose_capitals_and_punctuation(dual: tuple[Any, str]) -> None:
    text = load_text_encoder(dual[1])
    found = text(["A Cat.", "a cat"])
    close(found[0], found[1])


@pytest.mark.parametrize("kind", VITS)
@torch.no_grad()
def test_a_vision_model_gives_what_the_library_does(kind: str, tmp_path: Path) -> None:
    name, options = VITS[kind]
    torch.manual_seed(0)
    model = differing(class_of(f"{name}Model")(class_of(f"{name}Config")(**VISION, **options)))
    model.save_pretrained(tmp_path)
    class_of("BitImageProcessor")(size={"shortest_edge": 40}, crop_size={"height": 32, "width": 32}).save_pretrained(
        tmp_path
    )
    encoder = load_encoder(f"transformers:{tmp_path}")
    images = torch.randn(2, 3, 32, 32)
    out = model(images, output_hidden_states=True)
    features = encoder(images)
    prefix = options.get("num_register_tokens", 0) + (kind != "siglip_vision_model")
    close(features.patch_tokens, out.last_hidden_state[:, prefix:])
    if features.cls_token is not None:
        close(features.cls_token, out.last_hidden_state[:, 0])
    first = load_encoder(f"transformers:{tmp_path}?block=0&tap=pre-norm")(images)
    close(first.patch_tokens, out.hidden_states[1][:, prefix:])
    with pytest.raises(NoTextSpace):
        encoder.project(features.patch_tokens)
    assert encoder.preprocess.image_size == 32
    assert encoder.preprocess.resize == "shortest"


@pytest.mark.parametrize("dual", ["clip", "siglip"], indirect=True)
@torch.no_grad()
def test_other_sizes_and_strides(dual: tuple[Any, str]) -> None:
    """As the library brings positions to another grid itself, which is without antialias."""
    model, name = dual
    images = torch.randn(1, 3, 48, 24)
    encoder = load_encoder(f"{name}?pos=bicubic-noalias")
    expected = model.vision_model(images, interpolate_pos_encoding=True).last_hidden_state[:, encoder.num_prefix :]
    close(encoder(images).patch_tokens, expected)
    assert encoder(images, stride=4).grid == (11, 5)
    assert not torch.allclose(load_encoder(name)(images).patch_tokens, expected, rtol=1e-3, atol=1e-3)
    assert encoder.settings["pos"] == "bicubic-noalias"


@pytest.mark.parametrize("dual", ["siglip2", "tipsv2"], indirect=True)
@torch.no_grad()
def test_towers_that_bring_positions_to_the_grid_themselves(dual: tuple[Any, str]) -> None:
    model, name = dual
    images = torch.randn(1, 3, 48, 24)
    encoder = load_encoder(name)
    given = patch_input(images, model.config.model_type)
    expected = model.vision_model(**given).last_hidden_state[:, encoder.num_prefix :]
    torch.testing.assert_close(encoder(images).patch_tokens, expected, rtol=2e-4, atol=2e-4)
    assert encoder(images, stride=4).grid == (11, 5)


@pytest.mark.parametrize("dual", ["tipsv2"], indirect=True)
@torch.no_grad()
def test_values_are_those_of_the_last_block(dual: tuple[Any, str]) -> None:
    """x + values projected, then the mlp, then the final norm: written out."""
    model, name = dual
    images = torch.randn(1, 3, 32, 32)
    layer, vision = model.vision_model.encoder.layer[-1], model.vision_model
    before = vision(images, output_hidden_states=True).hidden_states[-2][:, 2:]
    linear = dict(layer.attention.named_modules())
    assert {"v_proj", "o_proj"} <= linear.keys(), linear.keys()
    attended = before + layer.layer_scale1(linear["o_proj"](linear["v_proj"](layer.norm1(before))))
    expected = vision.layernorm(attended + layer.layer_scale2(layer.mlp(layer.norm2(attended))))
    encoder = load_encoder(f"{name}?tap=values")
    close(encoder(images).patch_tokens, expected)
    close(encoder.project(expected), expected)  # text is as wide as vision: there is no projection
    plain = load_encoder(name)
    close(encoder(images).cls_token, plain(images).cls_token)
    close(plain.set_up(Setup(attention="maskclip"))(images).patch_tokens, expected)
    assert plain.tap == "post-norm"
    assert encoder.settings["tap"] == "values"


@pytest.mark.parametrize("dual", ["siglip"], indirect=True)
def test_photos_are_shown_as_the_processor_does(dual: tuple[Any, str], tmp_path: Path) -> None:
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (75, 131, 3), dtype=np.uint8))
    module = transformers.models.siglip.image_processing_pil_siglip
    theirs = module.SiglipImageProcessorPil(size={"height": 32, "width": 32})(photo, return_tensors="pt").pixel_values[
        0
    ]
    preprocess = load_encoder(dual[1]).preprocess
    torch.testing.assert_close(preprocess(photo), theirs, rtol=0, atol=1e-5)
    assert (preprocess.mean, preprocess.resize) == ((0.5, 0.5, 0.5), "squash")
    assert load_encoder(f"{dual[1]}?size=48").preprocess.image_size == 48


def saved(folder: Path, kind: str, **options: Any) -> str:
    class_of(f"{kind}Model")(class_of(f"{kind}Config")(**options)).save_pretrained(folder)
    return f"transformers:{folder}"


def test_one_line_for_what_is_not_there(tmp_path: Path) -> None:
    vit = saved(tmp_path / "vit", "Dinov2", **VISION)
    with pytest.raises(UsageError, match=r"has no preprocessor_config.json, which says how photos are shown to it"):
        load_encoder(vit)
    bert = saved(tmp_path / "bert", "Bert", **TOWER, vocab_size=40)
    with pytest.raises(UsageError, match=r"a BertModel \(bert\) gives no patch tokens"):
        load_encoder(bert)
    class_of("BitImageProcessor")().save_pretrained(tmp_path / "vit")
    with pytest.raises(UsageError, match="takes no file of weights"):
        load_encoder(f"{vit}@weights.pt")
    with pytest.raises(UsageError, match="tap=vaules must be one of pre-norm, post-norm, values"):
        load_encoder(f"{vit}?tap=vaules")
    dinov3 = saved(tmp_path / "dinov3", "DINOv3ViT", **VISION)
    class_of("BitImageProcessor")().save_pretrained(tmp_path / "dinov3")
    with pytest.raises(UsageError, match="its positions rotate"):
        load_encoder(f"{dinov3}?pos=bilinear")
    with pytest.raises(UsageError, match=r"the stride of .* is its own, 8"):
        load_encoder(dinov3)(torch.zeros(1, 3, 32, 32), stride=4)
    tokenizer().save_pretrained(tmp_path / "vit")
    with pytest.raises(UsageError, match="a Dinov2Model reads no texts"):
        load_text_encoder(vit)
    half = saved(tmp_path / "half", "CLIPText", **TEXT)
    tokenizer().save_pretrained(tmp_path / "half")
    with pytest.raises(UsageError, match="a CLIPTextModel is the text tower of a model, without its projection"):
        load_text_encoder(half)


@pytest.mark.parametrize("dual", ["clip"], indirect=True)
def test_the_pool_of_a_dual_encoder_is_its_own(dual: tuple[Any, str]) -> None:
    with pytest.raises(UsageError, match="pool is of sentence encoders"):
        load_text_encoder(f"{dual[1]}?pool=cls")
    assert isinstance(load_encoder(dual[1]), VisionEncoder)


@pytest.mark.parametrize("dual", ["clip"], indirect=True)
def test_a_processor_of_images_and_texts_in_one_file(dual: tuple[Any, str], tmp_path: Path) -> None:
    """As version 5 of transformers saves a CLIPProcessor."""
    expected = load_encoder(dual[1]).preprocess
    images = transformers.AutoImageProcessor.from_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").unlink()
    transformers.CLIPProcessor(images, tokenizer()).save_pretrained(tmp_path)
    assert load_encoder(dual[1]).preprocess == expected


def test_a_dual_encoder_without_some_of_its_weights_is_refused(tmp_path: Path) -> None:
    """Which transformers would draw at random: a classifier saved without text tower and projection."""
    config = transformers.CLIPConfig(text_config=TEXT, vision_config=VISION)
    transformers.CLIPForImageClassification(config).save_pretrained(tmp_path)
    transformers.CLIPImageProcessor().save_pretrained(tmp_path)
    with pytest.raises(UsageError, match=r"lacks \d+ of the weights of a CLIPModel \(text_model"):
        load_encoder(f"transformers:{tmp_path}")


def test_a_vit_whose_pooler_leads_to_the_text_space_has_none_for_patches(tmp_path: Path) -> None:
    config = transformers.VisionTextDualEncoderConfig.from_vision_text_configs(
        transformers.ViTConfig(**VISION), transformers.BertConfig(**TEXT)
    )
    transformers.VisionTextDualEncoderModel(config).save_pretrained(tmp_path)
    transformers.ViTImageProcessor().save_pretrained(tmp_path)
    encoder = load_encoder(f"transformers:{tmp_path}")
    assert encoder.projection_dim is None
    with pytest.raises(NoTextSpace):
        encoder.project(torch.zeros(1, 32))


def test_folders_are_told_what_is_wrong_with_them(tmp_path: Path) -> None:
    name = saved(tmp_path / "vit", "Dinov2", **VISION)
    transformers.BitImageProcessor().save_pretrained(tmp_path / "vit")
    weights = tmp_path / "vit" / "model.safetensors"
    with pytest.raises(UsageError, match=r"model.safetensors is a file. Name the folder it lies in"):
        load_encoder(f"transformers:{weights}")
    weights.write_text("version https://git-lfs.github.com/spec/v1")
    with pytest.raises(UsageError, match=r"model.safetensors is a pointer of git-lfs, not the weights"):
        load_encoder(name)
    weights.rename(tmp_path / "vit" / "pytorch_model.bin")
    with pytest.raises(UsageError, match=r"pytorch_model.bin is a pickle; folders are read from safetensors"):
        load_encoder(name)
