"""MoCo v2's ResNet-50, from a random checkpoint in the official format."""

from pathlib import Path

import pytest
import torch
from torchvision.models import resnet50

from pacl_bench import load_encoder
from pacl_bench.errors import UsageError


@pytest.fixture(scope="module")
def resnet() -> torch.nn.Module:
    torch.manual_seed(0)
    return resnet50(weights=None).eval()


@pytest.fixture(scope="module")
def checkpoint(resnet: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As facebookresearch/moco's main_moco.py saves it, by the torch of its day: a plain pickle with both encoders."""
    state = {}
    for encoder in ("encoder_q", "encoder_k"):
        for name, value in resnet.state_dict().items():
            if not name.startswith("fc."):
                state[f"module.{encoder}.{name}"] = value
        for layer, (rows, cols) in {"fc.0": (2048, 2048), "fc.2": (128, 2048)}.items():
            state[f"module.{encoder}.{layer}.weight"] = torch.zeros(1).expand(rows, cols)
            state[f"module.{encoder}.{layer}.bias"] = torch.zeros(rows)
    state["module.queue"] = torch.zeros(128, 64)
    state["module.queue_ptr"] = torch.zeros(1, dtype=torch.int64)
    optimizer = {"state": {}, "param_groups": [{"lr": 0.03, "momentum": 0.9, "params": [0, 1]}]}
    file = tmp_path_factory.mktemp("moco") / "mocov2-r50.pth.tar"
    saved = {"epoch": 800, "arch": "resnet50", "state_dict": state, "optimizer": optimizer}
    torch.save(saved, file, _use_new_zipfile_serialization=False)
    return file


def test_patch_tokens_are_the_feature_map(
    resnet: torch.nn.Module, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PACL_WEIGHTS", str(checkpoint.parent))
    maps = {}
    for stage in (2, 3):
        layer = getattr(resnet, f"layer{stage + 1}")
        layer.register_forward_hook(lambda _module, _given, out, stage=stage: maps.__setitem__(stage, out))
    images = torch.randn(2, 3, 75, 96)
    with torch.no_grad():
        resnet(images[:, :, :64])  # 11 rows of pixels lie below the last whole patch
    features = load_encoder("mocov2-r50")(images)
    assert features.cls_token is None
    assert features.grid == (2, 3)
    torch.testing.assert_close(features.patch_tokens[1, 1 * 3 + 2], maps[3][1, :, 1, 2])
    earlier = load_encoder("mocov2-r50?block=2")
    assert (earlier.patch_size, earlier.width) == (16, 1024)
    tokens = earlier(images[:, :, :64]).patch_tokens
    torch.testing.assert_close(tokens, maps[2].flatten(2).mT)
    assert load_encoder("mocov2-r50").preprocess.image_size == 224


def test_what_a_convolutional_network_cannot_do(checkpoint: Path) -> None:
    encoder = load_encoder(f"mocov2-r50@{checkpoint}")
    with pytest.raises(UsageError, match=r"--stride 8: the stride of .* is its own"):
        encoder(torch.zeros(1, 3, 64, 64), stride=8)
    with pytest.raises(UsageError, match="each of its stages has a grid of its own"):
        encoder.blocks(torch.zeros(1, 3, 64, 64), [2, 3])


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"linked at https://github\.com/facebookresearch/moco\."):
        load_encoder("mocov2-r50")
    other = tmp_path / "other.pth"
    torch.save({"conv1.weight": torch.zeros(64, 3, 7, 7)}, other)
    with pytest.raises(UsageError, match="is no checkpoint of MoCo's own code"):
        load_encoder(f"mocov2-r50@{other}")
    torch.save({"module.encoder_q.conv1.weight": torch.zeros(64, 3, 7, 7)}, other)
    with pytest.raises(UsageError, match="does not fit this architecture"):
        load_encoder(f"mocov2-r50@{other}")
