"""The timm adapter: prefix tokens of any number, any image shape, the stride trick, files in official formats."""

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from pacl_bench import load_encoder
from pacl_bench.encoders import timm as timm_library
from pacl_bench.encoders.base import Preprocess, Tap
from pacl_bench.encoders.timm import TimmVisionEncoder
from pacl_bench.errors import NoTextSpace, UsageError

RANDOM_SHA256 = "f0437afd2bcc884f1bf79300dad291c5a8bd5fdb6abe85a239f08dc836f7fe2e"


def small_vit(**options) -> torch.nn.Module:
    torch.manual_seed(0)
    size = {"img_size": 64, "patch_size": 16, "embed_dim": 32, "depth": 3, "num_heads": 2, "num_classes": 0}
    return timm.models.VisionTransformer(**{**size, "dynamic_img_size": True, **options}).eval()


def encoder_of(trunk: torch.nn.Module, **options) -> TimmVisionEncoder:
    return TimmVisionEncoder("small", trunk, Preprocess(64, 16, (0.5,) * 3, (0.5,) * 3), **options)


@pytest.mark.parametrize("registers", [0, 4])
@pytest.mark.parametrize("no_embed_class", [False, True])
def test_prefix_tokens_are_dropped_and_cls_is_kept(registers: int, no_embed_class: bool) -> None:
    trunk = small_vit(reg_tokens=registers, no_embed_class=no_embed_class)
    images = torch.randn(2, 3, 64, 64)
    features = encoder_of(trunk)(images)
    with torch.no_grad():
        tokens = trunk.forward_features(images)
    torch.testing.assert_close(features.patch_tokens, tokens[:, 1 + registers :])
    torch.testing.assert_close(features.cls_token, tokens[:, 0])


def test_a_model_without_cls_token() -> None:
    trunk = small_vit(class_token=False, global_pool="avg")
    features = encoder_of(trunk)(torch.randn(2, 3, 64, 80))
    assert features.cls_token is None
    assert features.patch_tokens.shape == (2, 20, 32)


@pytest.mark.parametrize("shape", [(37, 500), (64, 64), (16, 16), (150, 33)])
@pytest.mark.parametrize("stride", [None, 16, 8, 5])
def test_images_of_any_shape_at_any_stride(shape: tuple[int, int], stride: int | None) -> None:
    encoder = encoder_of(small_vit(reg_tokens=4))
    features = encoder(torch.randn(1, 3, *shape), stride)
    step = stride or 16
    assert features.grid == ((shape[0] - 16) // step + 1, (shape[1] - 16) // step + 1)
    assert features.patch_tokens.shape == (1, features.grid[0] * features.grid[1], 32)


def test_a_stride_of_the_patch_size_changes_nothing() -> None:
    encoder = encoder_of(small_vit())
    images = torch.randn(1, 3, 64, 96)
    assert torch.equal(encoder(images, 16).patch_tokens, encoder(images).patch_tokens)
    encoder(images, 4)
    assert torch.equal(encoder(images, 16).patch_tokens, encoder(images).patch_tokens)


def test_block_and_tap() -> None:
    trunk = small_vit()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = trunk.forward_intermediates(
            images, indices=[1], norm=False, output_fmt="NLC", intermediates_only=True
        )
    tokens = encoder_of(trunk, block=1, tap="pre-norm")(images).patch_tokens
    torch.testing.assert_close(tokens, expected[0])
    assert encoder_of(trunk, block=-2).block == 1
    with pytest.raises(UsageError, match="blocks are 0 to 2"):
        encoder_of(trunk, block=3)


@pytest.mark.parametrize("tap", ["pre-norm", "post-norm"])
def test_several_blocks_of_one_pass_are_those_of_a_pass_each(tap: Tap) -> None:
    trunk = small_vit(reg_tokens=2)
    images = torch.randn(2, 3, 64, 96)
    for features, block in zip(encoder_of(trunk, tap=tap).blocks(images, [2, 0, -2], stride=8), (2, 0, 1), strict=True):
        expected = encoder_of(trunk, block=block, tap=tap)(images, stride=8)
        assert features.grid == expected.grid == (7, 11)
        assert torch.equal(features.patch_tokens, expected.patch_tokens)
        assert torch.equal(features.cls_token, expected.cls_token)
    with pytest.raises(UsageError, match="blocks are 0 to 2"):
        encoder_of(trunk).blocks(images, [0, 3])


@pytest.mark.parametrize(("registers", "no_embed_class"), [(0, False), (4, True)])
def test_positional_embeddings_are_interpolated_as_asked(registers: int, no_embed_class: bool) -> None:
    trunk = small_vit(reg_tokens=registers, no_embed_class=no_embed_class)
    images = torch.randn(1, 3, 48, 96)
    features = encoder_of(trunk, pos="bilinear")(images)
    prefix = 0 if no_embed_class else 1
    position = trunk.pos_embed[:, prefix:].unflatten(1, (4, 4)).permute(0, 3, 1, 2)
    resized = torch.nn.functional.interpolate(position, size=(3, 6), mode="bilinear", antialias=True)
    wide = small_vit(reg_tokens=registers, no_embed_class=no_embed_class, img_size=(48, 96))
    state = {**trunk.state_dict(), "pos_embed": torch.cat([trunk.pos_embed[:, :prefix], resized.flatten(2).mT], 1)}
    wide.load_state_dict(state)
    with torch.no_grad():
        expected = wide.forward_features(images)[:, 1 + registers :]
    torch.testing.assert_close(features.patch_tokens, expected)
    assert not torch.allclose(features.patch_tokens, encoder_of(trunk)(images).patch_tokens, atol=1e-3)
    assert encoder_of(trunk, pos="bilinear").settings["pos"] == "bilinear"
    assert "pos" not in encoder_of(trunk).settings
    square = torch.randn(1, 3, 64, 64)
    assert torch.equal(encoder_of(trunk, pos="bilinear")(square).patch_tokens, encoder_of(trunk)(square).patch_tokens)
    assert trunk.patch_embed.grid_size == (4, 4)  # the trunk is as it was


def test_random_weights_are_the_same_on_every_machine() -> None:
    encoder = load_encoder("random:vit_tiny_patch16_224")
    torch.manual_seed(3)
    again = load_encoder("random:vit_tiny_patch16_224?block=3&pos=bilinear")
    assert encoder.fingerprint == again.fingerprint == RANDOM_SHA256
    assert (encoder.name, encoder.settings["architecture"]) == ("random:vit_tiny_patch16_224",) * 2
    weights = dict(encoder.trunk.named_parameters())
    assert weights["blocks.0.attn.qkv.weight"].std().item() == pytest.approx(0.02, rel=0.01)
    assert not weights["patch_embed.proj.bias"].any()
    assert encoder(torch.randn(1, 3, 64, 96)).patch_tokens.shape == (1, 24, 192)
    with pytest.raises(UsageError, match="takes no file of weights"):
        load_encoder("random:vit_tiny_patch16_224@file.pt")


def test_an_image_smaller_than_a_patch_is_an_error() -> None:
    with pytest.raises(UsageError, match="smaller than one patch"):
        encoder_of(small_vit())(torch.randn(1, 3, 15, 64))


def test_a_file_is_loaded_strictly(vit_file: Path, tmp_path: Path) -> None:
    encoder = load_encoder(f"timm:vit_tiny_patch16_224@{vit_file}")
    own = timm.create_model("vit_tiny_patch16_224").eval()
    from safetensors.torch import load_file

    own.load_state_dict(load_file(vit_file))
    images = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        torch.testing.assert_close(encoder(images).patch_tokens, own.forward_features(images)[:, 1:])
    with pytest.raises(UsageError, match="does not fit timm's vit_small"):
        load_encoder(f"timm:vit_small_patch16_224@{vit_file}")
    other = tmp_path / "other.safetensors"
    save_file({"something.else": torch.zeros(3)}, other)
    with pytest.raises(UsageError, match="does not fit timm's vit_tiny"):
        load_encoder(f"timm:vit_tiny_patch16_224@{other}")


def test_dinov2s_first_release_is_converted(tmp_path: Path) -> None:
    """Meta's own .pth: names of its repository, a mask token, registers apart; timm's conversion takes it."""
    trunk = timm.create_model("vit_small_patch14_reg4_dinov2.lvd142m", pretrained=False)
    state = {"mask_token": torch.zeros(1, 384)}
    for name, value in trunk.state_dict().items():
        if name == "pos_embed":  # Meta's has an entry for CLS, timm keeps it in the CLS token
            state[name] = torch.cat([torch.zeros(1, 1, 384), value], dim=1)
        elif name == "reg_token":
            state["register_tokens"] = value
        else:
            state[name] = value
    file = tmp_path / "dinov2_vits14_reg4_pretrain.pth"
    torch.save(state, file)
    encoder = load_encoder(f"dinov2-s14-reg@{file}")
    assert encoder.image_size == 224
    features = encoder(torch.randn(1, 3, 28, 42))
    assert features.grid == (2, 3)
    assert features.patch_tokens.shape == (1, 6, 384)


def test_a_pickle_with_code_is_not_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self):
            return (Path(tmp_path / "sprung").touch, ())

    file = tmp_path / "trap.pt"
    torch.save({"model": Trap()}, file)
    with pytest.raises(
        UsageError,
        match=r"is a pickle of more than weights \(of getattr\), and nothing of that kind is loaded",
    ):
        load_encoder(f"timm:vit_tiny_patch16_224@{file}")
    assert not (tmp_path / "sprung").exists()


def test_no_text_space(vit_file: Path) -> None:
    encoder = load_encoder(f"timm:vit_tiny_patch16_224@{vit_file}")
    with pytest.raises(NoTextSpace, match="no text space"):
        encoder.project(torch.zeros(1, 192))


@pytest.mark.shared
def test_real_weights(request: pytest.FixtureRequest) -> None:
    """The ViT-S/14 of ../shared by FILE: a DINOv2 architecture in half precision."""
    file = Path(__file__).parents[3] / "shared" / "weights" / "vits14-saliency.safetensors"
    encoder = load_encoder(f"vits14=timm:vit_small_patch14_dinov2.lvd142m@{file}?block=10&size=224")
    assert (encoder.name, encoder.block, encoder.num_blocks, encoder.image_size) == ("vits14", 10, 12, 224)
    features = encoder(torch.randn(1, 3, 28, 70))
    assert features.grid == (2, 5)
    assert bool(features.patch_tokens.isfinite().all())


UNUSUAL = {  # model, depth, height and width in pixels, prefix tokens in what forward_features gives
    "MobileCLIP's stem": ("vit_base_mci_224", 2, (224, 224), 1),
    "ViTamin's stem": ("vitamin_small_224", 2, (224, 224), 0),
    "ResNet stem": ("vit_small_r26_s32_224", 2, (224, 224), 1),
    "NaFlex": ("naflexvit_base_patch16_radio_v3", None, (64, 96), 8),
    "NaFlex with a pooling head": ("naflexvit_base_patch16_siglip", None, (64, 96), 0),
    "CaiT": ("cait_xxs24_224", 2, (224, 224), 1),
    "ConViT": ("convit_tiny", None, (224, 224), 1),
    "BEiT": ("beit_base_patch16_224", 2, (224, 224), 1),
    "relative positions": ("vit_relpos_small_patch16_224", 2, (224, 224), 0),
    "distilled": ("deit_tiny_distilled_patch16_224", 2, (224, 224), 2),
}


@pytest.fixture
def shallow(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> TimmVisionEncoder:
    """An encoder of an official architecture with random weights and few blocks."""
    model, depth, _, _ = UNUSUAL[request.param]
    options = {} if depth is None else {"depth": depth}
    monkeypatch.setattr(timm_library, "_from_hub", lambda name, model: timm_library._create(model, **options))
    torch.manual_seed(0)
    encoder = load_encoder(f"timm:{model}")
    assert isinstance(encoder, TimmVisionEncoder)
    return encoder


@pytest.mark.parametrize(("shallow", "kind"), [(kind, kind) for kind in UNUSUAL], indirect=["shallow"])
@torch.no_grad()
def test_unusual_vits_give_the_librarys_own_tokens(shallow: TimmVisionEncoder, kind: str) -> None:
    _, _, shape, prefix = UNUSUAL[kind]
    images = torch.randn(1, 3, *shape)
    expected = shallow.trunk.forward_features(images)
    features = shallow(images)
    torch.testing.assert_close(features.patch_tokens, expected[:, prefix:], rtol=1e-5, atol=1e-5)
    assert features.grid == (shape[0] // shallow.patch_size, shape[1] // shallow.patch_size)
    if features.cls_token is not None:
        torch.testing.assert_close(features.cls_token, expected[:, 0], rtol=1e-5, atol=1e-5)
    if kind == "distilled":
        return
    with pytest.raises(UsageError, match=r"the stride of .* is its own"):
        shallow(images, stride=8)


@pytest.mark.parametrize("shallow", ["MobileCLIP's stem", "NaFlex"], indirect=True)
def test_hybrids_take_images_of_any_shape(shallow: TimmVisionEncoder) -> None:
    assert shallow(torch.randn(1, 3, 48, 96)).patch_tokens.shape == (1, 18, 768)


@pytest.mark.parametrize("shallow", ["BEiT"], indirect=True)
def test_positions_within_the_attention_are_of_one_size(shallow: TimmVisionEncoder) -> None:
    with pytest.raises(UsageError, match=r"takes images of 224 x 224 pixels alone.*--window 224"):
        shallow(torch.randn(1, 3, 224, 240))


@torch.no_grad()
def test_sams_tokens_before_and_behind_its_neck(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timm_library, "_from_hub", lambda name, model: timm_library._create(model, depth=2))
    torch.manual_seed(0)
    images = torch.randn(1, 3, 64, 96)
    encoder = load_encoder("timm:samvit_base_patch16")
    assert isinstance(encoder, TimmVisionEncoder)
    expected = encoder.trunk.forward_features(images).flatten(2).mT
    torch.testing.assert_close(encoder(images).patch_tokens, expected, rtol=1e-5, atol=1e-5)
    assert encoder.width == 256
    before = load_encoder("timm:samvit_base_patch16?tap=pre-norm")(images)
    assert before.patch_tokens.shape == (1, 24, 768)
    assert before.cls_token is None


@torch.no_grad()
def test_values_of_the_last_block_written_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """TIPSv2's way: x + the values projected, then the mlp, then the final norm."""
    monkeypatch.setattr(timm_library, "_from_hub", lambda name, model: timm_library._create(model, depth=2))
    torch.manual_seed(0)
    images = torch.randn(1, 3, 56, 84)
    encoder = load_encoder("timm:vit_base_patch14_reg1_tipsv2?tap=values")
    assert isinstance(encoder, TimmVisionEncoder)
    first, last = encoder.trunk.blocks
    for block in (first, last):  # layer scales begin at 0.00001, and would hide what they scale
        block.ls1.gamma.data.normal_()
        block.ls2.gamma.data.normal_()
    plain = encoder.trunk.forward_intermediates(images, [0], output_fmt="NLC", intermediates_only=True)[0]
    values = last.attn.qkv(last.norm1(plain)).chunk(3, dim=-1)[2]
    x = plain + last.ls1(last.attn.proj(values))
    expected = encoder.trunk.norm(x + last.ls2(last.mlp(last.norm2(x))))
    torch.testing.assert_close(encoder(images).patch_tokens, expected, rtol=1e-5, atol=1e-5)
    whole = encoder.trunk.forward_features(images)
    torch.testing.assert_close(encoder(images).cls_token, whole[:, 0], rtol=1e-5, atol=1e-5)
    with pytest.raises(UsageError, match="tap=values is for ViTs whose blocks take a token alone"):
        load_encoder("timm:beit_base_patch16_224?tap=values")


@pytest.mark.parametrize("model", ["convnext_atto", "swin_tiny_patch4_window7_224", "xcit_nano_12_p16_224"])
def test_what_has_no_token_a_patch_is_refused(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timm_library, "_from_hub", lambda name, model: timm_library._create(model))
    with pytest.raises(UsageError, match="no vision transformer"):
        load_encoder(f"timm:{model}")
