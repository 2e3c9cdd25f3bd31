"""The tables of libraries and of short names say what is so: loaders, options, sizes, text spaces, licences."""

from dataclasses import fields
from importlib import import_module

import open_clip
import pytest
import timm
import torch

from pacl_bench import from_open_clip, load_encoder
from pacl_bench.encoders import timm as timm_library
from pacl_bench.encoders.base import Preprocess
from pacl_bench.encoders.spec import VisionOptions
from pacl_bench.encoders.table import ATTENTIONS, ENCODERS, LIBRARIES
from pacl_bench.encoders.timm import TimmVisionEncoder, any_size

OF_LIBRARIES = [
    name for name, entry in ENCODERS.items() if entry.library in ("timm", "open_clip") and not entry.weights
]


@pytest.fixture
def without_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Encoders of the official architectures with random weights, in place of the hub's; on the device in force."""

    def clip_of(name: str, arch: str, tag: str) -> torch.nn.Module:
        # what the hub's own download would set
        config = open_clip.get_pretrained_cfg(arch, tag)
        device = str(torch.get_default_device())
        return open_clip.create_model(arch, load_weights=False, device=device, force_preprocess_cfg=config)

    monkeypatch.setattr("pacl_bench.encoders.timm._from_hub", lambda name, model: timm_library._create(model))
    monkeypatch.setattr("pacl_bench.encoders.open_clip_weights._from_hub", clip_of)


@pytest.mark.parametrize("name", LIBRARIES)
def test_every_library_has_loaders_and_known_options(name: str) -> None:
    library = LIBRARIES[name]
    known = {field.name for field in fields(VisionOptions)} | {"clone"}
    assert library.load_vision or library.load_text
    assert set(library.options or ()) <= known
    assert library.takes_file or not library.needs_file
    for place in filter(None, (library.load_vision, library.load_text)):
        module, _, function = place.partition(":")
        assert callable(getattr(import_module(module), function))


def test_every_entry_is_of_a_library_and_complete() -> None:
    assert {entry.library for entry in ENCODERS.values()} <= set(LIBRARIES)
    for name, entry in ENCODERS.items():
        assert entry.patch, name
        assert entry.size, name
        assert entry.note, name
        assert entry.attention in ATTENTIONS, name
        assert bool(entry.licence) == (entry.library not in ("pixels", "random")), name
        assert not entry.text or LIBRARIES[entry.library].load_text, name
        assert entry.weights is None or ENCODERS[entry.weights].model == entry.model, name
        if entry.library == "timm":
            assert timm.get_pretrained_cfg(entry.model).license == entry.licence, name


@pytest.mark.parametrize("name", OF_LIBRARIES)
@pytest.mark.usefixtures("without_weights")
def test_every_entry_loads_and_takes_images_of_any_shape(name: str) -> None:
    """On the device of torch that has shapes and no numbers: the largest need no memory."""
    entry = ENCODERS[name]
    assert entry.patch is not None
    assert entry.size is not None
    with torch.device("meta"):
        encoder = load_encoder(name)
        features = encoder(torch.zeros(1, 3, 3 * entry.patch, 5 * entry.patch))
    assert (encoder.patch_size, encoder.image_size) == (entry.patch, entry.size)
    assert features.patch_tokens.shape == (1, 15, encoder.width)
    assert (encoder.projection_dim is not None) == entry.text


OFFICIAL = {  # the smallest of each family, and how many tokens come before the patches
    "dinov3-s16": ("vit_small_patch16_dinov3.lvd1689m", 5),
    "eupe": ("vit_tiny_patch16_dinov3_qkvb.eupe_lvd1689m", 5),
    "pe-spatial": ("vit_pe_spatial_tiny_patch16_512.fb", 1),
    "tipsv2-b14": ("vit_base_patch14_reg1_tipsv2.webli", 2),
    "radio-v3-b16": ("vit_base_patch16_radio_v3.c_radio", 8),
}


@pytest.mark.parametrize("family", OFFICIAL)
@pytest.mark.usefixtures("without_weights")
def test_patch_tokens_are_the_librarys_own(family: str) -> None:
    model, prefix = OFFICIAL[family]
    torch.manual_seed(0)
    encoder = load_encoder(f"timm:{model}")
    assert isinstance(encoder, TimmVisionEncoder)
    image = torch.randn(1, 3, 4 * encoder.patch_size, 6 * encoder.patch_size)
    with torch.no_grad():
        expected = encoder.trunk.forward_features(image)
    features = encoder(image)
    torch.testing.assert_close(features.patch_tokens, expected[:, prefix:], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(features.cls_token, expected[:, 0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("model", "pool"), [("vit_tiny_patch16_224", "map"), ("vit_pe_core_tiny_patch16_384", "map")]
)  # as SigLIP and PE-Core come from open_clip
def test_a_trunk_of_one_size_takes_any(model: str, pool: str) -> None:
    torch.manual_seed(0)
    trunk = timm.create_model(model, num_classes=0, global_pool=pool).eval()
    side = trunk.default_cfg["input_size"][-1]
    encoder = TimmVisionEncoder("any", any_size(trunk), Preprocess(side, 16, (0.5,) * 3, (0.5,) * 3))
    image = torch.randn(1, 3, side, side)
    with torch.no_grad():
        expected = trunk.forward_features(image)[:, trunk.num_prefix_tokens :]
    torch.testing.assert_close(encoder(image).patch_tokens, expected, rtol=1e-5, atol=1e-5)
    assert encoder(torch.randn(1, 3, 64, 96), stride=8).grid == (7, 11)
    assert any_size(encoder.trunk) is encoder.trunk


# a name for every row of the models that people compare in 2026, beyond those with a short name
BEYOND = {
    "SigLIP": ("open_clip:ViT-L-16-SigLIP-384/webli", True),
    "SigLIP 2": ("open_clip:ViT-gopt-16-SigLIP2-384/webli", True),
    "PE-Core, tiny": ("open_clip:PE-Core-T-16-384/meta", True),
    "PE-Core, small": ("open_clip:PE-Core-S-16-384/meta", True),
    "PE-Core, giant": ("open_clip:PE-Core-bigG-14-448/meta", True),
    "TIPSv2, so400m": ("timm:vit_so400m_patch14_reg1_tipsv2.webli", False),
    "TIPSv2, giant": ("timm:vit_giant_patch14_reg1_tipsv2.webli", False),
    "DINOv3, qkvb": ("timm:vit_small_patch16_dinov3_qkvb.lvd1689m", False),
    "C-RADIOv4": ("timm:vit_so400m_patch16_radio_v4.c_radio", False),
    "C-RADIOv3 at all sizes": ("timm:naflexvit_base_patch16_radio_v3.c_radio", False),
    "AIMv2": ("timm:aimv2_large_patch14_224.apple_pt", False),
    "CLIPA": ("open_clip:ViT-L-14-CLIPA/datacomp1b", True),
    "CoCa": ("open_clip:coca_ViT-B-32/laion2b_s13b_b90k", True),
    "EVA-02": ("open_clip:EVA02-B-16/merged2b_s8b_b131k", True),
}


@pytest.mark.parametrize("row", BEYOND)
@pytest.mark.usefixtures("without_weights")
def test_models_beyond_the_short_names_load(row: str) -> None:
    name, has_text = BEYOND[row]
    with torch.device("meta"):
        encoder = load_encoder(name)
        features = encoder(torch.zeros(1, 3, 3 * encoder.patch_size, 5 * encoder.patch_size))
        assert features.patch_tokens.shape == (1, 15, encoder.width)
        assert (encoder.projection_dim is not None) == has_text
        if has_text:
            assert encoder.project(features.patch_tokens).shape == (1, 15, encoder.projection_dim)
            assert encoder.image_embedding(features).shape == (1, encoder.projection_dim)


@pytest.mark.parametrize("arch", ["MobileCLIP-B", "ViTamin-S"])
def test_clips_with_a_convolutional_stem(arch: str) -> None:
    torch.manual_seed(0)
    clip = open_clip.create_model(arch, load_weights=False, text_cfg=small_text(arch)).eval()
    encoder = from_open_clip(clip.visual)
    images = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        expected = clip.encode_image(images)
    torch.testing.assert_close(encoder.image_embedding(encoder(images)), expected, rtol=1e-5, atol=1e-5)
    assert encoder.pooling == {"MobileCLIP-B": "token", "ViTamin-S": "average"}[arch]
    assert encoder(torch.randn(1, 3, 64, 96)).grid == (4, 6)


def small_text(arch: str) -> dict:
    """A text tower that costs no time."""
    config = open_clip.get_model_config(arch)
    assert config is not None
    return config["text_cfg"] | {"layers": 1, "vocab_size": 100}
