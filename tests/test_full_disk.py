"""A full disk under every kind of file there is: one line that names it, and nothing half-written."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from full_disk import full_disk
from report_samples import classify, coherence

from pacl_bench import cli, load_text_encoder, records
from pacl_bench.caching import disk
from pacl_bench.caching.texts import cached_texts
from pacl_bench.data.shards import Skipped
from pacl_bench.data.tools.prepare import _write_all
from pacl_bench.files import WriteError
from pacl_bench.model.embedder import VisionEmbedder
from pacl_bench.model.head_files import FrozenPart, HeadCard, save_head
from pacl_bench.report import write_report
from pacl_bench.report.figures.style import new_axes, save
from pacl_bench.studies.predictions import write_label_map
from pacl_bench.training.recipe import RECIPES
from pacl_bench.training.skip_log import SkipLog
from pacl_bench.training.state import TrainState
from pacl_bench.training.watch import Log
from pacl_bench.world.encoders import save_weights
from pacl_bench.world.pretrain import Run

NOISE = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)  # not to be compressed
PART = FrozenPart("a", "a", "0" * 64, {})
CARD = HeadCard("head", PART, PART, 16, 16, 1.0, 0.07, 1, "0" * 64, {"note": "x" * 2000}, {})


def checkpoint(folder: Path) -> None:
    TrainState(VisionEmbedder(16, 16), RECIPES["small"], {}).save(folder / "checkpoint.pt")


def head(folder: Path) -> None:
    save_head(folder, VisionEmbedder(16, 16), CARD)


def log(folder: Path) -> None:
    Log(folder / "log.jsonl", 0).write(**{f"value {number}": 1.0 for number in range(100)})


def skipped(folder: Path) -> None:
    SkipLog(folder / "skipped.jsonl", 1.0, {}).add(1, [Skipped("broken image", "x" * 2000)])


def record(folder: Path) -> None:
    records.write(folder, coherence("clip-b16", 0.7))


def report(folder: Path) -> None:
    write_report(folder)


def figure(folder: Path) -> None:
    axes = new_axes(3.0, 3.0)
    axes.imshow(NOISE)
    assert axes.figure is not None
    save(axes.get_figure(root=True), folder / "figure.pdf")


def prediction(folder: Path) -> None:
    write_label_map(folder / "1.png", NOISE)


def prepared(folder: Path) -> None:
    _write_all({"1": lambda: NOISE}, folder)


def pretraining(folder: Path) -> None:
    Run(folder, {}).after_step(99, 1.0, torch.nn.Linear(16, 16))


def weights(folder: Path) -> None:
    save_weights(torch.nn.Linear(64, 64), folder / "tiny.safetensors")


@pytest.mark.parametrize(
    ("write", "name"),
    [
        (checkpoint, "checkpoint.pt"),
        (head, "head.safetensors"),
        (log, "log.jsonl"),
        (skipped, "skipped.jsonl"),
        (record, "coherence/clip-b16/voc20.default.json"),
        (report, "report"),
        (figure, "figure.pdf"),
        (prediction, "1.png"),
        (prepared, "1.png"),
        (pretraining, "checkpoint.pt"),
        (weights, "tiny.safetensors"),
    ],
)
def test_one_line_that_names_the_file(
    write: Callable[[Path], None], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pacl_bench.world.pretrain.CHECKPOINT_EVERY", 1)
    folder = tmp_path / "out"
    (folder / "records").mkdir(parents=True)
    if write is report:
        records.write(folder / "records", classify("clip", 0.5))
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    with full_disk(500), pytest.raises(WriteError) as raised:
        write(folder)
    assert str(raised.value).startswith(f"{folder / name} cannot be written: File too large. Make room there")
    after = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    logs = {file for file in after if file.suffix == ".jsonl"}  # to which lines are added
    assert {file: content for file, content in after.items() if file not in logs} == before


def test_a_head_without_room_for_its_card_is_no_head(tmp_path: Path) -> None:
    with full_disk(3700), pytest.raises(WriteError, match=r"head.json cannot be written"):
        save_head(tmp_path, VisionEmbedder(16, 16), replace(CARD, train={"note": "x" * 4000}))
    assert [file.name for file in tmp_path.iterdir()] == ["head.safetensors"]


def test_texts_are_embedded_and_not_kept(clip_spec: str, capfd: pytest.CaptureFixture) -> None:
    encoder, texts = load_text_encoder(clip_spec), [f"{number} cats" for number in range(20)]
    with full_disk(1000):
        embeddings = cached_texts(encoder, texts)
    assert embeddings.shape == (20, 24)
    assert disk.entries() == []
    assert list((disk.cache_root() / "texts").iterdir()) == []
    assert "What is encoded is not kept" in capfd.readouterr().err


def test_a_command_ends_with_one_line_and_exit_code_1(
    clip_spec: str, voc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    arguments = ["patches", "--encoders", clip_spec, "--datasets", "voc20", "--results", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["pacl-bench", *arguments])
    monkeypatch.setenv("PACL_CACHE_LIMIT", "0")
    with full_disk(5000), pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("pacl-bench:"))
    assert "voc20.default.json cannot be written: File too large" in line
    assert [path for path in tmp_path.rglob("*") if path.is_file() and "data" not in path.parts] == []
