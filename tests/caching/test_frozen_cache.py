"""What earlier versions cached is found under its key, and read, for ever."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pacl_bench import load_encoder, load_text_encoder
from pacl_bench.caching.encoded_set import EncodedSet
from pacl_bench.caching.texts import cached_texts
from pacl_bench.data.classification import load_classification
from pacl_bench.data.pairs import load_pairs
from pacl_bench.data.segmentation import load_segmentation
from pacl_bench.data.vocabulary import load_templates
from pacl_bench.encoders.base import TextEncoder, VisionEncoder
from pacl_bench.encoders.view import View
from pacl_bench.image_sets import ImageSet
from pacl_bench.training.in_memory import TrainingTexts

FROZEN = Path(__file__).parents[1] / "frozen" / "v1"
WHOLE, SQUARE = View(whole=True), View(whole=False)


@pytest.fixture(autouse=True)
def frozen_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy, since what is used is touched; whoever encodes anything fails."""
    shutil.copytree(FROZEN / "cache", tmp_path / "cache")
    monkeypatch.setenv("PACL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(VisionEncoder, "forward", None)
    monkeypatch.setattr(TextEncoder, "forward", None)


def photos() -> ImageSet:
    return load_pairs(str(FROZEN / "pairs" / "pairs.csv"))[0].photos


def classes() -> ImageSet:
    return load_classification(f"folder:{FROZEN}/classes")


def scenes() -> ImageSet:
    return load_segmentation(f"folder:{FROZEN}/scenes")


@pytest.mark.parametrize(
    ("key", "name", "load", "view"),
    [
        ("1249729fe5412372978f254d6a619bbd", "tiny-clip", photos, SQUARE),
        ("718061853e44d4d21cf519a9eb59136b", "tiny-clip", classes, SQUARE),
        ("767a750fadf9ef55b49cf8260b2dafea", "tiny-clip", scenes, WHOLE),
        ("9e81a1634d3d4dfc38b73a9971833cc8", "tiny-dino", scenes, WHOLE),
    ],
)
def test_patch_tokens(key: str, name: str, load: Callable[[], ImageSet], view: View) -> None:
    encoder, images = load_encoder(name), load()
    encoded = EncodedSet(encoder, images, view)
    assert encoded.key == key
    features = [features.patch_tokens for _, features in encoded.features()]
    assert len(features) == len(images)
    (direct,) = encoder.blocks(view.tensor(encoder, images, 2)[None], [encoder.block])
    torch.testing.assert_close(features[2], direct.patch_tokens, rtol=2e-3, atol=1e-3)


@pytest.mark.parametrize("load", [classes, scenes])
def test_prompts(load: Callable[[], ImageSet]) -> None:
    encoder, templates = load_text_encoder("tiny-clip"), load_templates("paper7")
    names = load().classnames  # type: ignore[attr-defined]
    prompts = [template.replace("{}", name) for name in names for template in templates]
    torch.testing.assert_close(cached_texts(encoder, prompts), encoder._unit_norm(prompts), rtol=0, atol=1e-5)


def test_captions() -> None:
    texts = TrainingTexts(load_pairs(str(FROZEN / "pairs" / "pairs.csv"))[0].captions, load_text_encoder("tiny-clip"))
    assert texts.embeddings(list(range(len(texts)))).shape == (185, 64)
