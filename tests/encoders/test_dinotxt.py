"""dino.txt beside its authors' own code: a clone of theirs, made small by its numbers alone, with random weights.

The clones of facebookresearch/dinov3 and facebookresearch/dinov2 are named by PACL_DINOV3_CLONE and PACL_DINOV2_CLONE.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from official import untrained_dinotxt
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize

from pacl_bench import load_aligned, load_encoder, load_text_encoder, records
from pacl_bench.encoders import dinotxt
from pacl_bench.errors import UsageError
from pacl_bench.model.aligned import load_before
from pacl_bench.training.loop import train
from pacl_bench.training.recipe import TrainConfig, make_recipe

OF_PACKAGE = {
    "dinov3": ("dinotxt-l16", "dinov3_vitl16_dinotxt_tet1280d20h24l", 16),
    "dinov2": ("dinotxt-l14", "dinov2_vitl14_reg4_dinotxt_tet1280d20h24l", 14),
}
SMALLER = {  # of a ViT-L, and of the text encoder
    "embed_dim=1024": "embed_dim=64",
    "depth=24": "depth=2",
    "num_heads=16": "num_heads=2",
    "embed_dim=2048": "embed_dim=128",
    "dim=1280": "dim=64",
    "num_heads=20": "num_heads=2",
    "num_layers=24": "num_layers=2",
}
NUMBERS = {
    "dinov3": ("hub/backbones.py", "hub/dinotxt.py"),
    "dinov2": ("models/vision_transformer.py", "hub/dinotxt.py"),
}
TEXTS = ["a photo of a cat", "Two  DOGS &amp; a café, \u201cquoted\u201d!", "", "!", "word " * 100]


class Release(NamedTuple):
    """A clone, the folder with its released files, and its model and tokenizer with the same weights."""

    spec: str
    clone: Path
    folder: Path
    model: Any
    tokenizer: Any
    patch_size: int


@pytest.fixture(scope="module", params=["dinov3", "dinov2"])
def release(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Release:
    return _released(request.param, tmp_path_factory)


@pytest.fixture(scope="module")
def dinov3(tmp_path_factory: pytest.TempPathFactory) -> Release:
    return _released("dinov3", tmp_path_factory)


def _released(package: str, tmp_path_factory: pytest.TempPathFactory) -> Release:
    original = os.environ.get(f"PACL_{package.upper()}_CLONE")
    if original is None:
        pytest.skip(f"PACL_{package.upper()}_CLONE names no clone of facebookresearch/{package}")
    clone, folder = tmp_path_factory.getbasetemp() / f"clone-{package}", tmp_path_factory.mktemp(package)
    if not clone.exists():
        shutil.copytree(Path(original) / package, clone / package)
        for file in (clone / package / name for name in NUMBERS[package]):
            text = file.read_text()
            for number, small in SMALLER.items():
                text = text.replace(number, small)
            file.write_text(text)
    name, function, patch_size = OF_PACKAGE[package]
    torch.manual_seed(0)
    model, tokenizer = untrained_dinotxt(clone, function)
    for file, weights in _files(package, model).items():
        torch.save(weights, folder / file)
    spec = f"{name}@{folder}?clone={clone}&size={4 * patch_size}"
    return Release(spec, clone, folder, model, tokenizer, patch_size)


def _files(package: str, model: Any) -> dict[str, dict[str, Tensor]]:
    """The weights in files as they are released."""
    vision, text = model.visual_model, model.text_model
    if package == "dinov2":
        return {
            "dinov2_vitl14_reg4_pretrain.pth": vision.backbone.model.state_dict(),
            "dinov2_vitl14_reg4_dinotxt_tet1280d20h24l_vision_head.pth": vision.head.state_dict(),
            "dinov2_vitl14_reg4_dinotxt_tet1280d20h24l_text_encoder.pth": text.state_dict(),
        }
    backbone = "visual_model.backbone."
    others = {name: weight for name, weight in model.state_dict().items() if not name.startswith(backbone)}
    return {
        "dinov3_vitl16_pretrain_lvd1689m-8aa4cbdd.pth": vision.backbone.state_dict(),
        "dinov3_vitl16_dinotxt_vision_head_and_text_encoder-a442d8f5.pth": others,
    }


@torch.no_grad()
def test_tokens_and_embeddings_of_images_are_the_authors_own(release: Release) -> None:
    encoder = load_encoder(release.spec)
    images = torch.randn(2, 3, 3 * release.patch_size, 5 * release.patch_size)
    features = encoder(images)
    cls_token, patch_tokens = release.model.visual_model.get_class_and_patch_tokens(images)[:2]
    torch.testing.assert_close(features.patch_tokens, patch_tokens, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(features.cls_token, cls_token, rtol=1e-5, atol=1e-5)
    assert (features.grid, encoder.width, encoder.patch_size) == ((3, 5), 64, release.patch_size)
    torch.testing.assert_close(encoder.project(features.patch_tokens), patch_tokens, rtol=1e-5, atol=1e-5)
    expected = release.model.encode_image(images)
    torch.testing.assert_close(encoder.image_embedding(features), expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_texts_are_the_authors_own_and_patches_are_compared_to_the_second_half(release: Release) -> None:
    text = load_text_encoder(release.spec)
    whole = release.model.encode_text(release.tokenizer.tokenize(TEXTS))
    torch.testing.assert_close(text(TEXTS), normalize(whole[:, 64:], dim=-1), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(text.for_images(TEXTS), normalize(whole, dim=-1), rtol=1e-5, atol=1e-5)
    assert (text.dim, text.for_images.dim) == (64, 128)
    assert text.fingerprint == text.for_images.fingerprint
    assert text.settings != text.for_images.settings  # or the cache would take the one for the other


@torch.no_grad()
def test_images_are_classified_by_both_halves(release: Release) -> None:
    """As notebooks/dinotxt_inference.ipynb does."""
    model = load_before(load_encoder(release.spec))
    names = ["cat", "dog", "tree"]
    prompts = [[f"a photo of a {name}.", f"a bad photo of a {name}."] for name in names]
    vectors = [normalize(release.model.encode_text(release.tokenizer.tokenize(few)), dim=-1) for few in prompts]
    classes = normalize(torch.stack([one.mean(0) for one in vectors]), dim=-1)
    side = 4 * release.patch_size
    images = torch.randn(4, 3, side, side)
    expected = normalize(release.model.encode_image(images), dim=-1) @ classes.T
    given = model.class_embeddings(names, ["a photo of a {}.", "a bad photo of a {}."], for_images=True)
    torch.testing.assert_close(model.image_text_similarity(model.vision(images), given), expected, rtol=1e-5, atol=1e-5)


def test_the_weights_may_lie_in_the_folder_of_weights(release: Release, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACL_WEIGHTS", str(release.folder))
    name = release.spec.partition("@")[0]
    found = load_encoder(f"{name}?clone={release.clone}")
    assert found.fingerprint == load_encoder(release.spec).fingerprint
    assert found.image_size == 224


@pytest.mark.usefixtures("voc")
def test_commands_take_it_by_name(release: Release, pacl: Any, tmp_path: Path) -> None:
    for label in ("cat", "dog"):
        (tmp_path / "animals" / label).mkdir(parents=True)
        Image.new("RGB", (60, 90), {"cat": "grey", "dog": "brown"}[label]).save(tmp_path / "animals" / label / "1.png")
    named = ("--encoders", f"dinotxt={release.spec}", "--results", str(tmp_path / "results"))
    code, _, said = pacl("segment", "--protocol", "dinotxt", *named, "--datasets", "voc20")
    assert code == 0, said
    code, _, said = pacl("classify", *named, "--datasets", f"folder:{tmp_path / 'animals'}")
    assert code == 0, said
    assert {"miou", "top1"} <= set(records.load(tmp_path / "results").metric)


def test_a_card_that_names_a_clone_is_not_obeyed(dinov3: Release, tmp_path: Path, pairs_csv: Path, pacl: Any) -> None:
    recipe = make_recipe("small", {"steps": 1, "batch_size": 4})
    train(TrainConfig(dinov3.spec, dinov3.spec, str(pairs_csv), recipe, 0), tmp_path / "h", resume=False, device="cpu")
    os.environ["PACL_OWN_CODE"] = ""  # as in a process of tomorrow
    with pytest.raises(UsageError, match="names code to run, 'dinotxt-l16@") as refused:
        load_aligned(tmp_path / "h")
    assert str(refused.value).endswith(f"--encoder {dinov3.spec}.")
    (tmp_path / "h" / "places.json").write_text(json.dumps({"encoder": dinov3.spec, "text": dinov3.spec}))
    with pytest.raises(UsageError, match="names code to run"):
        load_aligned(tmp_path / "h")
    assert load_aligned(tmp_path / "h", encoder=dinov3.spec, text=dinov3.spec).vision.width == 64


@pytest.fixture
def copy(dinov3: Release, tmp_path: Path) -> Path:
    """The released files, to spoil."""
    return Path(shutil.copytree(dinov3.folder, tmp_path / "released"))


def test_a_missing_file_is_asked_for_by_its_name(dinov3: Release, copy: Path) -> None:
    (copy / "dinov3_vitl16_pretrain_lvd1689m-8aa4cbdd.pth").unlink()
    line = r"dinov3_vitl16_pretrain_lvd1689m-8aa4cbdd.pth is not there. It is released at https://dl.fbai"
    with pytest.raises(UsageError, match=line):
        load_encoder(f"dinotxt-l16@{copy}?clone={dinov3.clone}")


def test_files_that_are_something_else_are_told_in_one_line(dinov3: Release, copy: Path) -> None:
    backbone, head = sorted(copy.iterdir(), key=lambda file: "pretrain" not in file.name)
    shutil.copy(backbone, head)
    with pytest.raises(UsageError, match=r"visual_model\.head\.ln_final\.weight is in none of the files"):
        load_encoder(f"dinotxt-l16@{copy}?clone={dinov3.clone}")
    dinotxt._model.cache_clear()
    torch.save({name: weight[..., :1] for name, weight in torch.load(backbone).items()}, backbone)
    with pytest.raises(UsageError, match="size mismatch") as error:
        load_encoder(f"dinotxt-l16@{copy}?clone={dinov3.clone}")
    assert "\n" not in str(error.value)
    backbone.write_text("<html>Sign in</html>")
    with pytest.raises(UsageError, match="is a web page, no checkpoint"):
        load_encoder(f"dinotxt-l16@{copy}?clone={dinov3.clone}")


def test_a_package_of_another_clone_in_the_same_process(dinov3: Release, tmp_path: Path) -> None:
    load_encoder(dinov3.spec)
    shutil.copytree(dinov3.clone, tmp_path / "second")
    with pytest.raises(UsageError, match="this process has imported another dinov3, of "):
        load_encoder(f"dinotxt-l16@{dinov3.folder}?clone={tmp_path / 'second'}")


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("dino.txt", "Did you mean 'dinotxt-l16'?"),
        ("dinotxt-l16", "dinotxt-l16 is code of facebookresearch/dinov3. Name your clone of it: "),
        ("dinotxt-l14?clone=/nowhere", "dinotxt-l14: /nowhere is no clone of facebookresearch/dinov2"),
        ("dinotxt-l16?clone=/nowhere&block=3", "Unknown option 'block'"),
        ("dinotxt:other?clone=/nowhere", "Unknown encoder library 'dinotxt'"),
    ],
)
def test_what_is_missing_without_a_clone(name: str, line: str) -> None:
    for load in (load_encoder, load_text_encoder):
        with pytest.raises(UsageError) as error:
            load(name)
        assert line in str(error.value)


def test_a_folder_of_weights_is_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dinov3" / "hub").mkdir(parents=True)
    (tmp_path / "dinov3" / "hub" / "dinotxt.py").touch()
    with pytest.raises(UsageError, match=r"f.pth is no folder. Name the folder with the files of the release: dinotxt"):
        load_encoder(f"dinotxt-l16@f.pth?clone={tmp_path}")
    monkeypatch.delenv("PACL_WEIGHTS")
    with pytest.raises(UsageError, match=r"PACL_WEIGHTS is not set\. Name the folder"):
        load_encoder(f"dinotxt-l16?clone={tmp_path}")
