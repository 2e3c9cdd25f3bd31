"""pacl-bench head, and the encoders of a head named beside it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hub_server import serving
from PIL import Image

from pacl_bench.model.head_files import read_card

FROZEN = Path(__file__).parents[1] / "frozen" / "v1"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def pacl(pacl: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command in a folder with a head."""
    shutil.copytree(FROZEN / "heads" / "trained", tmp_path / "heads" / "trained")
    monkeypatch.chdir(tmp_path)
    return pacl


def test_info_and_card(pacl: Run) -> None:
    code, out, _ = pacl("head", "info", "heads/trained", "--json")
    told = {row["what"]: row["is"] for row in json.loads(out)}
    card = read_card(Path("heads/trained"))
    assert code == 0
    assert (told["vision encoder"], told["its sha256"], told["steps"]) == ("tiny-clip", card.encoder.sha256, 8)
    assert pacl("head", "card", "heads/trained", "--results", str(FROZEN))[1] == "heads/trained/README.md\n"
    assert "## Measured" in Path("heads/trained/README.md").read_text()
    code, _, err = pacl("head", "info", "heads")
    assert (code, err.count("\n")) == (2, 1)
    assert "holds no head" in err


def test_to_the_hub_and_back(pacl: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving() as (address, repositories):
        template = f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setenv("HF_TOKEN", "hf_none")
        assert pacl("head", "push", "heads/trained", "me/again")[:2] == (0, f"{address}/me/again\n")
        assert pacl("head", "pull", "me/again")[:2] == (0, "heads/again\n")
    assert read_card(Path("heads/again")).sha256 == read_card(Path("heads/trained")).sha256
    assert repositories.keys() == {"me/again"}


def test_encoders_beside_a_head_in_show(pacl: Run) -> None:
    Image.new("RGB", (64, 64)).save("photo.png")
    shown = ("show", "alignment", "photo.png", "--word", "zebra", "--heads", "heads/trained")
    assert pacl(*shown, "--encoder", "tiny-clip", "--text", "tiny-clip")[0] == 0
    code, _, err = pacl(*shown, "--encoder", "tiny-dino")
    assert (code, err.count("\n")) == (2, 1)
    assert "was trained on other weights of tiny-clip" in err
    code, _, err = pacl("show", "alignment", "photo.png", "--word", "zebra", "--encoders", "tiny-clip", "--text", "x")
    assert (code, err.count("\n")) == (2, 1)
    assert "--encoder and --text are of --heads" in err
