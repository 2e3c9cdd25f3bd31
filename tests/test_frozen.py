"""What earlier versions wrote (tests/frozen, one folder a schema) is read, used and gone on with by today's code."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pacl_bench import load_aligned, records
from pacl_bench.encoders.base import TextEncoder, VisionEncoder
from pacl_bench.model.head_files import load_embedder, read_card
from pacl_bench.records import Record
from pacl_bench.studies.runner import run_study
from pacl_bench.studies.study import Study
from pacl_bench.training.loop import train
from pacl_bench.training.recipe import RECIPES, Recipe, TrainConfig

FROZEN = Path(__file__).parent / "frozen"
VERSIONS = sorted(folder.name for folder in FROZEN.iterdir() if folder.is_dir())
HEADS = ["heads/trained"]
STUDIES = [  # as tests/frozen/make.py measured them
    Study("patches", "patches", ["tiny-clip"], HEADS, ["folder:scenes"], {"purity": 0.6}),
    Study("coherence", "coherence", ["tiny-clip", "tiny-dino"], [], ["folder:scenes"]),
    Study("segment", "segment", ["tiny-clip"], HEADS, ["folder:scenes"], {"thresholds": [0.2]}),
    Study("classify", "classify", ["tiny-clip"], HEADS, ["folder:classes"]),
]


@pytest.fixture(params=VERSIONS)
def frozen(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of what a version wrote, as the working directory, with its cache."""
    copy = tmp_path / request.param
    shutil.copytree(FROZEN / request.param, copy)
    monkeypatch.chdir(copy)
    monkeypatch.setenv("PACL_CACHE", str(copy / "cache"))
    return copy


@pytest.fixture
def nothing_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails where an image or a text is encoded: the cache does not hold it under today's key."""

    def refuse(*given: object) -> None:
        raise AssertionError("encoded anew")

    monkeypatch.setattr(VisionEncoder, "blocks", refuse)
    monkeypatch.setattr(TextEncoder, "forward", refuse)


def measured_again(results: Path, rerun: str) -> list[Record]:
    return [record for study in STUDIES for record in run_study(study, results, rerun)]  # type: ignore[arg-type]


def without_samples(config: dict) -> dict:
    """What a version wrote that did not look into the files of a set."""
    dataset = {name: value for name, value in config["dataset"].items() if name != "contents_sample"}
    return {**config, "dataset": dataset}


def test_heads_give_the_same_patch_embeddings(frozen: Path) -> None:
    tokens = torch.linspace(-1, 1, 3 * 96).reshape(1, 3, 96)
    for name in ("trained", "untrained"):
        weights = {key: value.numpy() for key, value in load_file(frozen / "heads" / name / "head.safetensors").items()}
        hidden = np.maximum(tokens.numpy() @ weights["hidden.weight"].T + weights["hidden.bias"], 0)
        skip = tokens.numpy() @ weights["skip.weight"].T + weights["skip.bias"]
        expected = hidden @ weights["out.weight"].T + weights["out.bias"] + skip
        model = load_aligned(f"heads/{name}")
        np.testing.assert_allclose(model.patch_embeddings(tokens).numpy(), expected, atol=1e-5)
    card = read_card(frozen / "heads" / "trained")
    assert (card.kind, card.step, card.width, card.dim) == ("residual", 8, 96, 64)


def test_a_card_is_written_as_it_was(frozen: Path) -> None:
    card = read_card(frozen / "heads" / "trained")
    assert {"schema": 1, **card.content()} == json.loads(Path("heads/trained/head.json").read_text())


def test_a_stopped_run_goes_on_to_the_same_weights(frozen: Path, nothing_encoded: None) -> None:
    recipe = Recipe(**{**vars(RECIPES["small"]), "steps": 8, "batch_size": 8, "warmup_steps": 2})
    config = TrainConfig("tiny-clip", "tiny-clip", "pairs/pairs.csv", recipe, 0)
    card = train(config, Path("heads/stopped"), resume=True)
    assert card.step == 8
    resumed, whole = (load_embedder(folder, read_card(folder)) for folder in map(Path, ("heads/stopped", *HEADS)))
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, rtol=0, atol=1e-5)
    log = [json.loads(line)["step"] for line in Path("heads/stopped/log.jsonl").read_text().splitlines()]
    assert log == list(range(8))


def test_records_are_loaded(frozen: Path) -> None:
    table = records.load(frozen)
    assert len(table) == sum(len(record.measurements) for record in records.read_all(frozen / "records"))
    assert set(table.study) == {"patches", "coherence", "segment", "classify"}
    assert set(table[table.model == "trained"]["head"]) == {read_card(frozen / "heads" / "trained").sha256}
    assert table.groupby("study").size().to_dict() == {"classify": 14, "coherence": 12, "patches": 64, "segment": 34}


def test_nothing_is_measured_anew(frozen: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {file: file.read_bytes() for file in Path("records").rglob("*.json")}
    monkeypatch.setattr(records, "write", None)
    assert len(measured_again(frozen, "missing")) == len(files) == 8
    assert {file: file.read_bytes() for file in Path("records").rglob("*.json")} == files


def test_the_cache_is_found_and_gives_the_same_numbers(frozen: Path, nothing_encoded: None, tmp_path: Path) -> None:
    before = {record.key: record for record in records.read_all(frozen / "records")}
    after = {record.key: record for record in measured_again(tmp_path / "anew", "always")}
    assert after.keys() == before.keys()
    for key, record in after.items():
        assert without_samples(record.config) == before[key].config
        for then, now in zip(before[key].measurements, record.measurements, strict=True):
            assert (then.metric, then.protocol, then.n, then.class_name) == (
                now.metric, now.protocol, now.n, now.class_name
            )  # fmt: skip
            assert now.value == pytest.approx(then.value, abs=0.02)  # another processor may decide a tie otherwise
