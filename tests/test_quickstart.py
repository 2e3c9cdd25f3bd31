"""The quickstart in small: the paper's effects are there, the report is filled, a second run measures nothing."""

import json
import sys
from pathlib import Path

import pandas as pd
import pytest

from pacl_bench import cli, records


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from pacl_bench.quickstart import quickstart

    out = tmp_path_factory.mktemp("quickstart")
    quickstart(out, smoke=True)
    return out


@pytest.fixture(scope="module")
def numbers(smoke: Path) -> pd.DataFrame:
    table = records.load(smoke / "results" / "records")
    return table[(table.class_name == "") & (table.study != "ablate")]


def value(numbers: pd.DataFrame, **where: str) -> pd.Series:
    rows = numbers
    for column, wanted in where.items():
        rows = rows[rows[column] == wanted]
    assert len(rows) == 1
    return rows.iloc[0]


HEAD = "pacl-tiny-clip.world-4k"


def test_patches_align_only_after_training(numbers: pd.DataFrame) -> None:
    before, untrained, after = (
        value(numbers, model=model, dataset="world-things", metric="patch_accuracy", protocol="all-classes")
        for model in ("tiny-clip", "untrained-tiny-clip", HEAD)
    )
    assert after.ci_low > 1.5 * before.ci_high
    assert after.ci_low > 4 * untrained.ci_high


def test_patch_tokens_are_coherent_before_any_alignment(numbers: pd.DataFrame) -> None:
    for encoder in ("tiny-clip", "tiny-dino"):
        assert value(numbers, model=encoder, metric="auroc").ci_low > 0.6


def test_segmentation_follows(numbers: pd.DataFrame) -> None:
    before, after = (
        value(numbers, model=model, metric="miou", protocol="dataset-miou, background=none")
        for model in ("tiny-clip", HEAD)
    )
    assert after.value > 2 * before.value
    assert before.value > before.chance


def test_whole_images_are_classified_before_and_after(numbers: pd.DataFrame) -> None:
    for model in ("tiny-clip", HEAD):
        found = value(numbers, model=model, dataset="world-clean", metric="top1")
        assert found.value > 5 * found.chance


def test_the_report_is_filled(smoke: Path) -> None:
    report = smoke / "results" / "report"
    for name in ("figure2", "figure3", "figure4", "figure6", "figure8"):
        assert (report / f"{name}.png").stat().st_size > 10_000
        assert (report / f"{name}.pdf").is_file()
    page = (report / "report.html").read_text()
    assert "No record yet" not in page
    assert "No picture yet" not in page
    assert HEAD in page


def test_a_second_run_measures_nothing(
    smoke: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr("pacl_bench.ablate.train", None)
    monkeypatch.setattr("pacl_bench.quickstart.train", None)
    monkeypatch.setattr("pacl_bench.runner._measure", None)
    monkeypatch.setattr(sys, "argv", ["pacl-bench", "quickstart", "--smoke", "--json", "--out", str(smoke)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    assert json.loads(capsys.readouterr().out)
