"""Encoders of a user's own code: what may be returned, what is said where it may not, and that its source counts."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pacl_bench import load_encoder, load_text_encoder
from pacl_bench.caching.encoded_set import EncodedSet
from pacl_bench.data.class_folders import LabelledFiles
from pacl_bench.data.pair_readers import read_csv
from pacl_bench.encoders import load_every_block
from pacl_bench.encoders.spec import parse_spec
from pacl_bench.encoders.view import View
from pacl_bench.errors import RunError, UsageError
from pacl_bench.image_sets import ImageSet
from pacl_bench.model.aligned import load_aligned
from pacl_bench.training.loop import train
from pacl_bench.training.recipe import TrainConfig, make_recipe

MEANS = """
from torch import nn

class Means(nn.Module):
    patch_size, image_size, mean, std = 8, 32, 0.5, [0.5, 0.5, 0.5]

    def forward(self, images):
        return nn.functional.avg_pool2d(images, 8)
"""
OTHERS = """
import torch
from pathlib import Path
from pacl_bench.encoders.base import Preprocess, TextEncoder, VisionEncoder
from torch import nn

class Shown(nn.Module):
    patch_size, image_size, mean, std = 8, 32, (0.1, 0.2, 0.3), 1
    def __init__(self, function):
        super().__init__()
        self.function = function
    def forward(self, given):
        return self.function(given)

class Two(VisionEncoder):
    patch_size, width, image_size, num_blocks, block = 8, 3, 32, 2, 1
    preprocess = Preprocess(32, 8, (0.5,) * 3, (0.5,) * 3)
    projection_dim = 3
    def encode_blocks(self, images, stride, grid, blocks):
        means = nn.functional.avg_pool2d(images, 8, stride).flatten(2).mT
        return [(means.mean(1), means * (block + 1)) for block in blocks]
    def project(self, tokens):
        return tokens

class Lengths(TextEncoder):
    dim = 3
    def encode(self, texts):
        return torch.tensor([[len(text), 1.0, 2.0] for text in texts])

def tokens(): return Shown(lambda images: nn.functional.avg_pool2d(images, 8).flatten(2).mT)
def with_cls(): return Shown(lambda images: torch.zeros(len(images), 17, 4))
def a_list(): return Shown(lambda images: [images])
def fixed(): return Shown(lambda images: nn.functional.avg_pool2d(images, 8) + torch.zeros(1, 3, 4, 4))
def words(): return Shown(lambda texts: torch.tensor([[len(text), 1.0] for text in texts]))
def one_number(): return Shown(lambda texts: torch.zeros(3))
def drawn(): return nn.Conv2d(3, 4, 8, 8)
def both(): return Two(), Lengths()
def two(): return Two()
def lengths(): return Lengths()
def unset(): return VisionEncoder()
def nothing(): pass
def fails():
    raise ValueError("too wide")
def typed(scale: int, weights: Path | None = None, mode="a"):
    return Shown(lambda images: nn.functional.avg_pool2d(images, 8) * scale)
def forgetful():
    class Forgetful(Two):
        settings = {"mine": 1}
    return Forgetful()
number = 3
instance = Shown(lambda images: nn.functional.avg_pool2d(images, 8))
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "means.py").write_text(MEANS)
    (tmp_path / "others.py").write_text(OTHERS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "name", "model", "options"),
    [
        ("python:enc.py:f", "python:enc.py:f", "enc.py:f", {}),
        ("mine=python:a=b/enc.py:f?x=1&y=a:b", "mine", "a=b/enc.py:f", {"x": "1", "y": "a:b"}),
        ("python:/home/me@lab/enc.py:f?w=/a/b@c.pt", None, "/home/me@lab/enc.py:f", {"w": "/a/b@c.pt"}),
        (r"python:C:\enc.py:f?w=C:\w.pt", None, r"C:\enc.py:f", {"w": r"C:\w.pt"}),
        ("python:/odd?name/enc.py:f?x=1", None, "/odd?name/enc.py:f", {"x": "1"}),
        ("python:package.module:Class?mean=0.4+0.5+0.6", None, "package.module:Class", {"mean": "0.4+0.5+0.6"}),
    ],
)
def test_names(text: str, name: str | None, model: str, options: dict) -> None:
    spec = parse_spec(text)
    assert (spec.name, spec.library, spec.model, spec.options) == (name or text, "python", model, options)
    assert spec.file is None


@pytest.mark.parametrize("text", ["python:", "python:enc.py", "python:enc.py:", "python::f", "python:enc.py:f@w.pt"])
def test_a_name_without_a_function(text: str) -> None:
    with pytest.raises(UsageError, match=r"names no function: write python:FILE.py:FUNCTION"):
        parse_spec(text)


def test_a_torch_module_of_ten_lines(folder: Path) -> None:
    encoder = load_encoder("m=python:means.py:Means")
    images = torch.randn(2, 3, 35, 50)
    features = encoder(images)
    expected = torch.nn.functional.avg_pool2d(images[..., :32, :48], 8).flatten(2).mT
    assert torch.equal(features.patch_tokens, expected)
    assert (features.grid, features.cls_token) == ((4, 6), None)
    assert (encoder.name, encoder.patch_size, encoder.image_size, encoder.width) == ("m", 8, 32, 3)
    assert (encoder.preprocess.mean, encoder.preprocess.std) == ((0.5,) * 3, (0.5,) * 3)
    assert encoder.architecture == "python:means.py:Means"
    with pytest.raises(UsageError, match="--stride 4: the stride of m is its own, 8"):
        encoder(images, stride=4)
    assert [block.name for block in load_every_block("python:means.py:Means?block=all")] == ["python:means.py:Means"]


def test_what_else_may_be_returned(folder: Path) -> None:
    images = torch.randn(2, 3, 32, 32)
    means = load_encoder("python:means.py:Means")(images).patch_tokens
    for name in ("others.py:tokens", "others.py:instance", "others.py:two?block=0"):
        assert torch.equal(load_encoder(f"python:{name}")(images).patch_tokens, means), name
    assert torch.equal(load_encoder("python:others.py:typed?scale=3")(images).patch_tokens, 3 * means)
    shown = load_encoder(
        "python:others.py:tokens?image_size=64&mean=0.4&std=0.5+0.25+1&interpolation=nearest"
    ).preprocess
    assert vars(shown) == {
        "image_size": 64, "patch_size": 8, "mean": (0.4,) * 3, "std": (0.5, 0.25, 1.0), "interpolation": "nearest",
        "resize": "shortest",
    }  # fmt: skip
    two = load_every_block("two=python:others.py:two?block=all")
    assert [(one.name, one.spec) for one in two] == [
        ("two block 0", "python:others.py:two?block=0"), ("two block 1", "python:others.py:two?block=1"),
    ]  # fmt: skip
    assert torch.equal(two[1](images).patch_tokens, 2 * means)


def test_text(folder: Path) -> None:
    expected = torch.nn.functional.normalize(torch.tensor([[3.0, 1.0], [5.0, 1.0]]), dim=-1)
    encoder = load_text_encoder("t=python:others.py:words")
    torch.testing.assert_close(encoder(["cat", "horse"]), expected)
    assert (encoder.name, encoder.dim) == ("t", 2)
    assert load_text_encoder("python:others.py:lengths")(["cat"]).shape == (1, 3)
    assert load_text_encoder("python:others.py:both?block=1").dim == load_encoder("python:others.py:both").width == 3


def test_weights_that_nobody_trained_are_the_same_at_every_load(folder: Path) -> None:
    name = "python:others.py:drawn?patch_size=8&image_size=32&mean=0.5&std=0.5"
    before = torch.get_rng_state()
    assert load_encoder(name).fingerprint == load_encoder(name).fingerprint
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("gone.py:f", "python:gone.py:f: the file gone.py does not exist."),
        ("means:Means", "there is no module 'means'. A file is named with its ending: means.py."),
        ("no.such.module:f", "python:no.such.module:f does not import: ModuleNotFoundError: No module named 'no'"),
        ("means.py:Maens", "Unknown function of means.py 'Maens'. Did you mean 'Means'?"),
        ("broken.py:f", "broken.py:f does not import: SyntaxError"),
        ("missing.py:f", "ModuleNotFoundError: No module named 'no_such_library' (missing.py, line 2)"),
        ("leaves.py:f", "python:leaves.py:f does not import: SystemExit: 3 (leaves.py, line 1)"),
        ("others.py:fails", "others.py:fails raised: ValueError: too wide (others.py, line 4"),
        ("others.py:number", "python:others.py:number is an int; a function or a torch module is wanted."),
        ("others.py:nothing", "returned nothing; --encoder wants a torch module or a VisionEncoder."),
        ("others.py:lengths", "returned a Lengths; --encoder wants a torch module or a VisionEncoder."),
        ("others.py:unset", "a VisionEncoder, which has not set its patch_size, width, image_size, preprocess."),
        ("others.py:drawn", "a Conv2d, which does not say its patch_size, image_size, mean, std. Set them"),
        ("others.py:with_cls", "a tensor (1, 17, 4) for 1 image(s) of 4 x 4 patches of 8 pixels; wanted"),
        ("others.py:a_list", "gives a list for 1 image(s)"),
        ("others.py:forgetful", "`settings` of Forgetful must hold what super().settings does."),
        ("others.py:typed", "python:others.py:typed wants the option scale: python:others.py:typed?scale=..."),
        ("others.py:typed?scale=big", "scale=big: Input should be a valid integer"),
        ("others.py:tokens?scale=2", "Unknown option 'scale'"),
        ("others.py:typed?scale=1&mod=b", "Unknown option 'mod'"),
        ("others.py:tokens?image_sise=2", "Unknown option 'image_sise'. Did you mean 'image_size'?"),
        ("others.py:tokens?image_size=-2", "image_size=-2: Input should be greater than 0"),
        ("others.py:tokens?mean=0.5+0.5", "mean=0.5+0.5 must be three numbers (0.48+0.46+0.41 as an option) or one."),
        ("others.py:tokens?interpolation=cubic", "Unknown interpolation 'cubic'. Did you mean 'bicubic'?"),
        ("others.py:two?blok=1", "Unknown option 'blok'. Did you mean 'block'?"),
        ("others.py:two?block=2", "block=2 does not exist; its blocks are 0 to 1."),
    ],
)  # fmt: skip
def test_wrong_vision_encoders(folder: Path, name: str, line: str) -> None:
    (folder / "broken.py").write_text("def f(:\n")
    (folder / "missing.py").write_text("\nimport no_such_library\n")
    (folder / "leaves.py").write_text("raise SystemExit(3)\n")
    with pytest.raises(UsageError) as error:
        load_encoder(f"python:{name}")
    assert line in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("others.py:two", "returned a Two; --text wants a torch module or a TextEncoder."),
        ("others.py:one_number", "gives a tensor (3,) for 2 texts; wanted are embeddings (2, dim)."),
        ("others.py:words?dim=3", "Unknown option 'dim'"),
    ],
)
def test_wrong_text_encoders(folder: Path, name: str, line: str) -> None:
    with pytest.raises(UsageError) as error:
        load_text_encoder(f"python:{name}")
    assert line in str(error.value)


def test_a_module_that_fails_on_an_image_says_where(folder: Path) -> None:
    encoder = load_encoder("f=python:others.py:fixed")
    with pytest.raises(
        RunError, match=r"f failed on images of 1 x 3 x 32 x 64: RuntimeError: .*\(others.py, line 3\d\)"
    ):
        encoder(torch.zeros(1, 3, 32, 64))


def photos(pairs_csv: Path) -> ImageSet:
    files = [file for file in read_csv(pairs_csv).photos.files if file.name in ("0.jpg", "1.jpg")]
    return LabelledFiles("photos", pairs_csv.parent, ["a"], [(file, 0) for file in files])


def test_changed_code_never_reads_old_tokens(folder: Path, pairs_csv: Path) -> None:
    helper = folder / "helper.py"
    helper.write_text("SCALE = 2\n")
    file = folder / "scaled.py"
    own = "    def forward(self, images):\n        return nn.functional.avg_pool2d(images, 8) * {} * helper.SCALE\n"
    file.write_text(f"import helper\n{MEANS.partition('    def')[0]}{own.format(1)}")
    images = photos(pairs_csv)

    def first_token() -> float:
        return float(
            next(EncodedSet(load_encoder("python:scaled.py:Means"), images, View(whole=False)).features())[
                1
            ].patch_tokens[0, 0, 0]
        )

    first = first_token()
    assert first_token() == first != 0
    file.write_text(file.read_text().replace("* 1 *", "* 4 *"))
    assert first_token() == pytest.approx(4 * first, rel=1e-3)
    helper.write_text("SCALE = 1\n")  # of the same size, within the same second
    assert first_token() == pytest.approx(2 * first, rel=1e-3)
    file.write_text(file.read_text().replace("* 4 *", "* 1 *"))
    helper.write_text("SCALE = 2\n")
    assert first_token() == first


def test_the_source_is_what_its_author_wrote(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules of the package or folder count, wherever they are imported; others do not."""

    def source(name: str) -> object:
        return load_encoder(f"python:{name}").settings["source"]

    package = folder / "place" / "lab"
    (package / "deep").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "unused.py").write_text("")
    (package / "deep" / "used.py").write_text("X = 1\n")  # a folder without __init__.py
    (package / "enc.py").write_text(f"{MEANS}\ndef make():\n    from .deep import used\n    return Means()\n")
    monkeypatch.syspath_prepend(folder / "place")
    before = source("lab.enc:make")
    (package / "unused.py").write_text("X = 2\n")
    assert source("lab.enc:make") == before
    (package / "deep" / "used.py").write_text("X = 2\n")
    assert source("lab.enc:make") != before
    before = source("lab.enc:make")
    (package / "__init__.py").write_text("X = 2\n")
    assert source("lab.enc:make") != before

    (folder / "alone.py").write_text(MEANS)
    (folder / "moved").mkdir()
    (folder / "moved" / "renamed.py").write_text(MEANS)
    assert source("alone.py:Means") == source("moved/renamed.py:Means") == source("means.py:Means")
    assert "torch" in sys.modules


def test_two_folders_may_have_a_helper_of_one_name_each(folder: Path) -> None:
    for name, scale in (("v1", 1), ("v2", 2)):
        (folder / name).mkdir()
        (folder / name / "helper.py").write_text(f"SCALE = {scale}\n")
        text = MEANS.replace("images, 8)", "images, 8) * helper.SCALE")
        (folder / name / "enc.py").write_text(f"import helper\n{text}")
    images = torch.randn(1, 3, 32, 32)
    tokens = [load_encoder(f"python:{name}/enc.py:Means")(images).patch_tokens for name in ("v1", "v2", "v1")]
    assert torch.equal(tokens[1], 2 * tokens[0])
    assert torch.equal(tokens[0], tokens[2])
    (folder / "v1" / "timm.py").write_text("")
    (folder / "v1" / "enc.py").write_text(f"import timm\n{MEANS}")
    import timm

    with pytest.raises(UsageError, match=r"v1/timm.py has the name of another module, .*Rename the file"):
        load_encoder("python:v1/enc.py:Means")
    assert sys.modules["timm"] is timm


def test_a_file_called_as_a_library_does_not_stand_for_it(folder: Path) -> None:
    (folder / "timm.py").write_text(MEANS)
    import timm

    load_encoder("python:timm.py:Means")
    assert sys.modules["timm"] is timm


def test_of_a_weights_file_the_content_counts(folder: Path) -> None:
    (folder / "a.pt").write_text("weights")
    (folder / "b.pt").write_text("weights")
    settings = [load_encoder(f"python:others.py:typed?scale=1&weights={file}").settings for file in ("a.pt", "b.pt")]
    assert settings[0] == settings[1]
    assert str(settings[0]["options"]).startswith("{'scale': 1, 'weights': 'sha256 ")
    (folder / "b.pt").write_text("others")
    assert load_encoder("python:others.py:typed?scale=1&weights=b.pt").settings != settings[0]
    assert load_encoder("python:others.py:typed?scale=2&weights=a.pt").settings != settings[0]


@pytest.mark.parametrize("alias", ["", "mine="])
def test_code_that_a_card_names_runs_only_where_the_user_names_it(
    folder: Path, pairs_csv: Path, alias: str, pacl: Callable[..., tuple[int, str, str]], monkeypatch
) -> None:
    """A card is data of anybody's: `python:os:system?command=...` in it must not be obeyed."""
    monkeypatch.setenv("PACL_OWN_CODE", "")
    recipe = make_recipe("small", {"steps": 0})
    train(TrainConfig("m=python:means.py:Means", "python:others.py:words", str(pairs_csv), recipe, 0), folder / "head")
    monkeypatch.setenv("PACL_OWN_CODE", "")  # another process
    given = ["--encoder", "m=python:means.py:Means", "--text", "python:others.py:words"]
    for named, line in ((given[2:], "--encoder python:means.py:Means."), (given[:2], "--text python:others.py:words.")):
        code, _, said = pacl("segment", "--heads", str(folder / "head"), "--datasets", "world-things", *named)
        assert code == 2
        assert said.strip().endswith(line)
        monkeypatch.setenv("PACL_OWN_CODE", "")
    with pytest.raises(UsageError, match=r"names code to run, 'python:means\.py:Means'"):
        load_aligned(folder / "head")
    load_aligned(folder / "head", encoder=given[1], text=given[3])
    load_aligned(folder / "head")  # named by now
    card = json.loads((folder / "head" / "head.json").read_text())
    card["encoder"]["spec"] = f"{alias}python:os:system?command=touch {folder}/obeyed"
    (folder / "head" / "head.json").write_text(json.dumps(card))
    with pytest.raises(UsageError, match=r"names code to run, '.*python:os:system\?command=touch"):
        load_aligned(folder / "head")
    assert not (folder / "obeyed").exists()


def test_a_head_is_trained_on_own_code_and_refused_on_changed(folder: Path, pairs_csv: Path) -> None:
    recipe = make_recipe("small", {"steps": 2, "batch_size": 4})
    config = TrainConfig("m=python:means.py:Means", "python:others.py:words", str(pairs_csv), recipe, 0)
    card = train(config, folder / "head")
    assert (card.encoder.spec, card.width, card.dim) == ("python:means.py:Means", 3, 2)
    model = load_aligned(folder / "head")
    assert not any(weight.requires_grad for weight in [*model.vision.parameters(), *model.text.parameters()])
    assert model.patch_embeddings(model.vision(torch.randn(1, 3, 32, 32)).patch_tokens).shape == (1, 16, 2)
    (folder / "means.py").write_text(MEANS.replace("avg_pool", "max_pool"))
    with pytest.raises(UsageError, match="was trained on m with source="):
        load_aligned(folder / "head")
