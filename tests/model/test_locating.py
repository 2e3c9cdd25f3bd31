"""A head trained where its encoders lie in one folder is used where they lie in another, or are named beside it."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from pacl_bench import load_aligned, load_encoder
from pacl_bench.errors import UsageError
from pacl_bench.model.head_files import FrozenPart, HeadCard, read_card
from pacl_bench.model.locating import located, portable
from pacl_bench.studies.runner import run_study
from pacl_bench.studies.study import Study
from pacl_bench.training.loop import train
from pacl_bench.training.recipe import TrainConfig, make_recipe

SPEC = "open_clip:small-test-vit@{}/mine.pt?block=0"


@pytest.fixture
def trained(tmp_path: Path, clip_file: Path, pairs_csv: Path) -> HeadCard:
    """The card of a head whose CLIP lay in a folder that is there no more."""
    there = tmp_path / "there"
    there.mkdir()
    shutil.copy(clip_file, there / "mine.pt")
    config = TrainConfig(SPEC.format(there), SPEC.format(there), str(pairs_csv), make_recipe("small", {"steps": 0}), 0)
    card = train(config, tmp_path / "heads" / "h", resume=False, device="cpu")
    load_aligned(tmp_path / "heads" / "h")  # where they lay: this machine remembers
    shutil.move(there, tmp_path / "elsewhere")
    return card


def test_a_card_names_no_folder_of_the_machine(trained: HeadCard, tmp_path: Path) -> None:
    assert trained.encoder.spec == trained.encoder.name == "open_clip:small-test-vit@mine.pt?block=0"
    assert str(tmp_path) not in (tmp_path / "heads/h/head.json").read_text().replace(str(trained.train["pairs"]), "")
    assert trained.encoder.settings["architecture"] == "open_clip:small-test-vit"


@pytest.mark.parametrize("name", ["mine.pt", "open_clip:small-test-vit.pt"])
def test_weights_are_found_by_name_in_the_folder_of_weights(
    trained: HeadCard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Under the name of their file, or of the encoder as it is looked for at any time."""
    weights = tmp_path / "weights"
    weights.mkdir()
    shutil.copy(tmp_path / "elsewhere" / "mine.pt", weights / name)
    monkeypatch.setenv("PACL_WEIGHTS", str(weights))
    model = load_aligned(tmp_path / "heads" / "h")
    assert model.vision.block == 0
    assert model.vision.name == trained.encoder.name


def test_encoders_are_named_or_given_beside_the_head(trained: HeadCard, tmp_path: Path) -> None:
    here = SPEC.format(tmp_path / "elsewhere")
    model = load_aligned(str(tmp_path / "heads" / "h"), encoder=here, text=here)
    given = load_encoder(here)
    other = load_aligned(tmp_path / "heads" / "h", given, model.text)
    assert model.describe() == other.describe()
    assert model.describe()["encoder"]["name"] == trained.encoder.name  # type: ignore[index]
    assert given.name == here
    tokens = torch.randn(1, 4, 32)
    assert torch.equal(model.patch_embeddings(tokens), other.patch_embeddings(tokens))


def test_the_line_for_what_is_not_found_says_the_ways(trained: HeadCard, tmp_path: Path, clip_file: Path) -> None:
    with pytest.raises(UsageError) as error:
        load_aligned(tmp_path / "heads" / "h")
    told = str(error.value)
    assert "Put mine.pt" in told
    assert f"(sha256 of its weights {trained.encoder.sha256[:12]}) into PACL_WEIGHTS" in told
    assert "beside --heads: --encoder NAME@FILE" in told
    assert "\n" not in told
    other = tmp_path / "other.pt"  # of other weights
    torch.save({name: weight * 2 for name, weight in torch.load(clip_file)["state_dict"].items()}, other)
    with pytest.raises(UsageError, match=r"was trained on other weights.*--encoder NAME@FILE"):
        load_aligned(tmp_path / "heads" / "h", encoder=f"open_clip:small-test-vit@{other}?block=0")


def test_records_are_the_same_wherever_the_weights_lie(
    trained: HeadCard, tmp_path: Path, voc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heads, here = [str(tmp_path / "heads" / "h")], SPEC.format(tmp_path / "elsewhere")
    study = Study("s", "patches", heads=heads, datasets=["voc20"], encoder=here, text=here)
    (first,) = run_study(study, tmp_path / "results")
    monkeypatch.setenv("PACL_WEIGHTS", str(tmp_path / "elsewhere"))
    (again,) = run_study(Study("s", "patches", heads=heads, datasets=["voc20"]), tmp_path / "results")
    assert again == first  # read, not measured anew
    with pytest.raises(UsageError, match="are of --heads"):
        run_study(Study("s", "patches", encoders=["tiny-clip"], datasets=["voc20"], text=here), tmp_path / "results")


def part(spec: str, name: str = "") -> FrozenPart:
    return FrozenPart(name or spec, spec, "0" * 64, {})


def test_folders_of_transformers_are_named_by_their_last_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "there" / "minilm"
    folder.mkdir(parents=True)
    assert portable(f"transformers:{folder}?pool=cls") == "transformers:minilm?pool=cls"
    assert portable("transformers:org/minilm") == "transformers:org/minilm"
    monkeypatch.setenv("PACL_WEIGHTS", str(tmp_path / "there"))
    assert located(part("transformers:minilm?pool=cls")) == f"transformers:{folder}?pool=cls"
    assert located(part("transformers:/gone/minilm")) == f"transformers:{folder}"
    assert located(part("transformers:org/other")) == "transformers:org/other"


def test_what_is_named_by_no_file_stays_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for text in ("clip-b16", "timm:vit_small?block=3", "python:/w/enc.py:Mine?x=1", "open_clip:ViT-B-16/openai"):
        assert portable(text) == text
        assert located(part(text)) == text
    # a file that is nowhere leaves the tag, which the library may have from the hub
    assert located(part("open_clip:ViT-B-16/openai@mine.pt?block=3")) == "open_clip:ViT-B-16/openai?block=3"
    monkeypatch.setenv("PACL_WEIGHTS", str(tmp_path))
    (tmp_path / "alias.pth").touch()
    found = located(part("timm:vit_small@/gone/x.pt", "alias"))
    assert found == f"timm:vit_small@{tmp_path / 'alias.pth'}"


def test_cards_of_earlier_versions_with_absolute_paths(trained: HeadCard, tmp_path: Path) -> None:
    file = tmp_path / "heads" / "h" / "head.json"
    card = json.loads(file.read_text())
    for name in ("encoder", "text"):
        card[name]["spec"] = card[name]["name"] = SPEC.format(tmp_path / "elsewhere")
    file.write_text(json.dumps(card))
    assert load_aligned(tmp_path / "heads" / "h").vision.name == SPEC.format(tmp_path / "elsewhere")
    assert read_card(tmp_path / "heads" / "h").encoder.spec.endswith("elsewhere/mine.pt?block=0")
