"""A disk that may not be written to: one line that names the file, or the work goes on and keeps nothing."""

import errno
import os
import re
import sys
from pathlib import Path

import pytest
from read_only import read_only
from report_samples import classify

from pacl_bench import cli, records
from pacl_bench.caching import disk
from pacl_bench.files import WriteError
from pacl_bench.report import write_report
from pacl_bench.studies.runner import run_study
from pacl_bench.studies.study import Study
from pacl_bench.training.loop import train
from pacl_bench.training.recipe import RECIPES, Recipe, TrainConfig

CAUSES = f"({os.strerror(errno.EROFS)}|{os.strerror(errno.EACCES)})"
STEPS = Recipe(**{**vars(RECIPES["small"]), "steps": 2, "batch_size": 4, "warmup_steps": 1})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What becomes read-only in a test."""
    made = tmp_path / "disk"
    made.mkdir()
    return made


def said(file: Path) -> str:
    """What a line begins with that names the file, as a pattern."""
    return f"^{re.escape(str(file))} cannot be written: {CAUSES}. Choose a folder that may be written to"


def files(folder: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("begun", [False, True])
def test_training(folder: Path, begun: bool, clip_spec: str, pairs_csv: Path) -> None:
    config = TrainConfig(clip_spec, clip_spec, str(pairs_csv), STEPS)
    if begun:
        (folder / "head").mkdir()
    with read_only(folder), pytest.raises(WriteError, match=f"^{re.escape(str(folder / 'head'))}.*written: {CAUSES}"):
        train(config, folder / "head")
    assert files(folder) == {}
    assert train(config, folder / "head").step == 2


def test_a_study(
    folder: Path, voc: Path, clip_spec: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    words = ["patches", "--encoders", clip_spec, "--datasets", "voc20", "--results", str(folder)]
    monkeypatch.setattr(sys, "argv", ["pacl-bench", *words])
    with read_only(folder), pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("pacl-bench: "))
    assert re.match(said(folder / "records"), line.removeprefix("pacl-bench: "))
    assert files(folder) == {}


def test_what_is_measured_already_can_be_asked_for(folder: Path, voc: Path, clip_spec: str) -> None:
    study = Study("patches", "patches", [clip_spec], datasets=["voc20"])
    found = run_study(study, folder)
    with read_only(folder):
        assert run_study(study, folder) == found


@pytest.mark.parametrize("filled", [False, True])
def test_a_cache_is_read_and_nothing_is_kept_in_it(
    folder: Path, voc: Path, clip_spec: str, filled: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture,
) -> None:  # fmt: skip
    study = Study("segment", "segment", [clip_spec], datasets=["voc20"])
    (expected,) = run_study(study, tmp_path / "first")
    monkeypatch.setenv("PACL_CACHE", str(folder))
    if filled:
        run_study(study, tmp_path / "second")
    before = files(folder)
    capfd.readouterr()
    disk.say_not_kept.cache_clear()
    with read_only(folder):
        (found,) = run_study(study, tmp_path / "third")
    assert found.measurements == expected.measurements
    assert capfd.readouterr().err.count("What is encoded is not kept") == (0 if filled else 1)
    assert files(folder) == before


def test_a_report(folder: Path) -> None:
    records.write(folder / "records", classify("clip", 0.5))
    before = files(folder)
    with read_only(folder), pytest.raises(WriteError, match=said(folder / "report")):
        write_report(folder)
    assert files(folder) == before
