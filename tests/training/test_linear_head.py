"""A head of another kind from the command line to the report: what adding one costs is its line in HEADS."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pacl_bench import cli, load_aligned, records


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["pacl-bench", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_a_linear_head_is_trained_and_measured(
    voc: Path, clip_spec: str, pairs_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = ["train", "--encoder", clip_spec, "--text", clip_spec, "--pairs", str(pairs_csv), "--batch-size", "4"]
    for kind in ("linear", "residual"):
        assert run(monkeypatch, *train, "--steps", "3", "--head", kind, "--out", str(tmp_path / kind)) == 0
    weights = load_file(tmp_path / "linear" / "head.safetensors")
    assert {name: tuple(value.shape) for name, value in weights.items()} == {"weight": (24, 32), "bias": (24,)}
    tokens = torch.randn(1, 5, 32)
    expected = tokens @ weights["weight"].T + weights["bias"]
    torch.testing.assert_close(load_aligned(tmp_path / "linear").patch_embeddings(tokens), expected)

    heads, results = f"{tmp_path}/linear,{tmp_path}/residual", str(tmp_path / "results")
    for command in ("patches", "segment"):
        assert run(monkeypatch, command, "--heads", heads, "--results", results) == 0
    assert run(monkeypatch, "report", "--results", results) == 0
    linear, residual = (
        json.loads((tmp_path / "results/records/patches" / kind / "voc20.default.json").read_text())["config"]
        for kind in ("linear", "residual")
    )
    assert linear["model"]["head"]["kind"] == "linear"
    assert "kind" not in residual["model"]["head"]
    table = records.load(tmp_path / "results")
    assert table[table.metric == "patch_accuracy"].groupby("model")["head"].nunique().to_dict() == {
        "linear": 1,
        "residual": 1,
    }


def test_a_kind_nobody_knows_is_told_before_anything_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    for command in (["train", "--encoder", "clip-b16", "--text", "clip-b16"], ["ablate"]):
        assert run(monkeypatch, *command, "--pairs", "cc3m", "--head", "liner", "--out", str(tmp_path / "h")) == 2
        assert capsys.readouterr().err == "pacl-bench: Unknown head 'liner'. Did you mean 'linear'?\n"
    assert not (tmp_path / "h").exists()
