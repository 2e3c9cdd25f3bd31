"""What an aligned model says of a photo in one call: the same as the commands, and what can be worked out by hand."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import interpolate

from pacl_bench import load_aligned
from pacl_bench.data.vocabulary import load_templates
from pacl_bench.errors import UsageError
from pacl_bench.model.aligned import AlignedModel
from pacl_bench.model.compatibility import patch_similarity
from pacl_bench.paths import cache_root, data_root, folders, weights_root
from pacl_bench.studies.pictures import segmented

HEAD = Path(__file__).parents[1] / "frozen" / "v1" / "heads" / "trained"
NAMES = ["zebra", "kite", "grass"]


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    draw = np.random.default_rng(0)
    coarse = draw.integers(0, 256, size=(6, 10, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((150, 96), Image.Resampling.BICUBIC)


@pytest.fixture
def model() -> AlignedModel:
    return load_aligned(HEAD)


def test_a_photo_is_segmented_as_the_command_does(model: AlignedModel, photo: Image.Image, tmp_path: Path) -> None:
    found = model.segment(photo, NAMES)
    (expected,) = segmented(model, [photo], NAMES, load_templates("paper7"))
    assert (found.label_map.numpy() == expected).mean() > 0.999  # ties alone may fall otherwise
    assert len(found.label_map.unique()) > 1
    assert torch.equal(found.scores.argmax(0), found.label_map)
    photo.save(tmp_path / "photo.png")
    assert torch.equal(model.segment(str(tmp_path / "photo.png"), NAMES).label_map, found.label_map)
    smaller = model.segment(photo, NAMES, templates="simple", size=32)
    assert smaller.scores.shape == (3, 96, 150)
    assert not torch.equal(smaller.scores, found.scores)


@pytest.mark.parametrize("names", ["cat", []])
def test_a_text_in_place_of_a_list_is_refused(model: AlignedModel, photo: Image.Image, names: str | list[str]) -> None:
    """Its letters would be taken for names."""
    for ask in (model.segment, model.classify, model.patch_similarity):
        with pytest.raises(UsageError, match=r"A list of (names|texts) is wanted, \['cat', 'sofa'\], not "):
            ask(photo, names)
    assert model.classify(photo, ("zebra", "grass")).keys() == {"zebra", "grass"}


def test_patches_beside_texts(model: AlignedModel, photo: Image.Image) -> None:
    found = model.patch_similarity(photo, ["a zebra", "grass"])
    pixels = model.vision.preprocess.whole(photo)
    features = model.vision(pixels[None])
    texts = model.text(["a zebra", "grass"])
    torch.testing.assert_close(model.embed_text(["a zebra", "grass"]), texts)
    expected = patch_similarity(model.patch_embeddings(features.patch_tokens), texts)[0]
    torch.testing.assert_close(found.flatten(1), expected)
    assert found.shape[1:] == features.grid
    one = model.segment(photo, ["zebra", "kite"], templates="simple")
    per_patch = model.patch_similarity(photo, [load_templates("simple")[0].replace("{}", "zebra")])
    dense = interpolate(per_patch[None], (96, 150), mode="bilinear", align_corners=False)[0]
    torch.testing.assert_close(one.scores[:1], dense)


def test_a_photo_is_classified(model: AlignedModel, photo: Image.Image) -> None:
    found = model.classify(photo, NAMES)
    features = model.vision(model.vision.preprocess(photo)[None])
    scores = model.image_text_similarity(features, model.class_embeddings(NAMES, load_templates("paper7")))[0]
    assert found == {NAMES[at]: scores[at].item() for at in scores.argsort(descending=True)}


def test_folders_within_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACL_DATA", "of-the-environment")
    monkeypatch.delenv("PACL_WEIGHTS")
    with folders(data="a", cache="c"):
        assert (data_root(), cache_root(), weights_root()) == (Path("a"), Path("c"), None)
        with folders(data=Path("b"), weights="w"):
            assert (data_root(), cache_root(), weights_root()) == (Path("b"), Path("c"), Path("w"))
        assert (data_root(), weights_root()) == (Path("a"), None)
    assert data_root() == Path("of-the-environment")
