"""The aligned model on two-dimensional tokens and texts whose answers can be worked out by hand."""

import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pacl_bench import load_aligned
from pacl_bench.encoders.base import PatchFeatures, TextEncoder, VisionEncoder
from pacl_bench.errors import UsageError
from pacl_bench.model.aligned import AlignedModel
from pacl_bench.model.compatibility import compatibility

FROZEN = Path(__file__).parents[1] / "frozen" / "v1" / "heads" / "trained"


class Flat(VisionEncoder):
    """Its projection makes tokens twice as long."""

    name = spec = "flat"

    def project(self, tokens: Tensor) -> Tensor:
        return 2 * tokens


class Words(TextEncoder):
    """Cats point along the first axis, dogs along the second; drawings lean to the left."""

    name = spec = "words"
    dim = 2

    def encode(self, texts: list[str]) -> Tensor:
        return torch.tensor([[float("cat" in t) - float("drawing" in t), float("dog" in t)] for t in texts])


@pytest.fixture
def model() -> AlignedModel:
    return AlignedModel("flat", Flat(), Words())


def test_a_class_is_the_mean_of_its_prompts_with_unit_norm(model: AlignedModel) -> None:
    """A dog is drawn along (-1, 1) / sqrt 2 and photographed along (0, 1); the cat's drawing points nowhere."""
    found = model.class_embeddings(["cat", "dog"], ["a {}", "a drawing of a {}"])
    lean, upright = torch.tensor([-1.0, 1.0]) / math.sqrt(2), torch.tensor([0.0, 1.0])
    mean = (lean + upright) / 2
    torch.testing.assert_close(found, torch.stack([torch.tensor([1.0, 0.0]), mean / mean.norm()]))
    torch.testing.assert_close(found.norm(dim=1), torch.ones(2))


def test_before_alignment_an_image_is_its_cls_token(model: AlignedModel) -> None:
    features = PatchFeatures(torch.tensor([[3.0, 4.0]]), torch.randn(1, 6, 2), (2, 3))
    similarity = model.image_text_similarity(features, torch.tensor([[5.0, 0.0], [0.0, 0.1], [-1.0, 0.0]]))
    torch.testing.assert_close(similarity, torch.tensor([[0.6, 0.8, -0.6]]))
    with pytest.raises(UsageError, match="flat has no CLS token"):
        model.image_text_similarity(features._replace(cls_token=None), torch.eye(2))


@pytest.mark.parametrize("patch_scale", [1.0, 10.0])
def test_after_alignment_it_is_phi_at_the_heads_scale(model: AlignedModel, patch_scale: float) -> None:
    torch.manual_seed(0)
    tokens, texts = torch.randn(2, 6, 2), torch.eye(2)
    model.head, model.patch_scale = torch.nn.Identity(), patch_scale  # type: ignore[assignment]
    found = model.image_text_similarity(PatchFeatures(None, tokens, (2, 3)), texts)
    torch.testing.assert_close(found, compatibility(tokens, texts, patch_scale))
    assert not torch.allclose(found, compatibility(tokens, texts, 11 - patch_scale), atol=1e-3)


def test_a_head_is_loaded_with_its_scale_from_a_text_or_a_path() -> None:
    for folder in (FROZEN, str(FROZEN)):
        model = load_aligned(folder)
        assert model.patch_scale == 10.0
        assert model.card is not None
        assert model.describe()["head"]["patch_scale"] == 10.0  # type: ignore[index]


@pytest.mark.parametrize("part", ["encoder", "text"])
@pytest.mark.parametrize(("field", "value"), [("sha256", "0" * 64), ("settings", {"architecture": "other"})])
def test_a_head_of_other_encoders_is_refused(tmp_path: Path, part: str, field: str, value: object) -> None:
    shutil.copytree(FROZEN, tmp_path / "head")
    card = json.loads((tmp_path / "head" / "head.json").read_text())
    card[part][field] = value
    (tmp_path / "head" / "head.json").write_text(json.dumps(card))
    with pytest.raises(UsageError, match=r"was trained on (other weights of )?tiny-clip"):
        load_aligned(tmp_path / "head")
