"""The quickstart in small: the paper's effects are there, the report is filled, a second run measures nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from quickstart_frozen import in_short

from pacl_bench import records
from pacl_bench.data.noise import MARK

FROZEN = Path(__file__).parents[1] / "frozen" / "quickstart.json"
AGAIN = """
import sys
from dataclasses import replace
from pathlib import Path
from pacl_bench.studies.experiment import load_experiment
from pacl_bench.studies.orchestra import run_experiment
from pacl_bench.studies.plan import Setting
from pacl_bench.studies.quickstart import with_noise

out = Path(sys.argv[1])
experiment = replace(with_noise(load_experiment(Path("quickstart-smoke")), [0.0, 1.0]), report=False)
outcome = run_experiment(experiment, Setting(out / "heads", out / "results"))
print(len(outcome.records), outcome.failures)
"""


def python(*words: str, **environment: str) -> str:
    """What a process of its own prints, which draws the world much faster: without the shape checks of the tests."""
    ran = subprocess.run([sys.executable, *words], env=os.environ | environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command as a newcomer gives it."""
    out = tmp_path_factory.mktemp("quickstart")
    told = python("-m", "pacl_bench.cli", "quickstart", "--smoke", "--json", "--out", str(out), "--noise", "0,1")
    assert len(json.loads(told)) > 100
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


@pytest.mark.slow
def test_records_and_heads_are_those_of_the_first_version(smoke: Path) -> None:
    """Its keys, configurations and numbers, as far as machines agree."""
    then, now = json.loads(FROZEN.read_text()), in_short(smoke)
    assert now["heads"].keys() == then["heads"].keys()
    for name, head in now["heads"].items():
        assert head["step"] == then["heads"][name]["step"]
        assert head["train"].items() >= then["heads"][name]["train"].items()
    clear = {path: record for path, record in now["records"].items() if MARK.strip("?") not in path}
    assert clear.keys() == then["records"].keys()
    for path, record in clear.items():
        before = then["records"][path]
        assert record["settings"].items() >= before["settings"].items()  # a later version may know more of them
        assert record["rows"] == before["rows"]
        assert record["numbers"].keys() == before["numbers"].keys()
        for number, (value, n) in record["numbers"].items():
            assert (value, n) == (pytest.approx(before["numbers"][number][0], abs=0.02), before["numbers"][number][1])


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
        value(numbers, model=model, dataset="world-things", metric="miou", protocol="dataset-miou, background=none")
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
    for name in ("figure2", "figure4", "figure6", "gallery"):
        assert (report / f"{name}.png").stat().st_size > 10_000
        assert (report / f"{name}.pdf").is_file()
    for name in ("figure3", "figure8"):
        assert (report / f"{name}.svg").stat().st_size > 10_000
    page = (report / "report.html").read_text()
    assert "No record yet" not in page
    assert "No picture yet" not in page
    assert HEAD in page


def test_a_second_run_measures_nothing(smoke: Path) -> None:
    made = [*(smoke / "results" / "records").rglob("*.json"), *(smoke / "heads").rglob("head.json")]
    before = {file: file.stat().st_mtime_ns for file in made}
    told = python("-c", AGAIN, str(smoke), PACL_CACHE=str(smoke / "cache"))
    assert told == f"{len(before) - 3} []\n"  # of all files, three are heads
    assert {file: file.stat().st_mtime_ns for file in made} == before


def test_numbers_fall_to_chance_as_images_drown(smoke: Path) -> None:
    table = records.load(smoke / "results" / "records")
    table = table[(table.study != "ablate") & (table.class_name == "") & (table.model == HEAD)]
    for metric, protocol, dataset in (
        ("patch_accuracy", "all-classes", "world-things"),
        ("miou", "dataset-miou, background=none", "world-things"),
        ("top1", "zero-shot", "world-clean"),
    ):
        clear, gone = (
            value(table, dataset=f"{dataset}{noise}", metric=metric, protocol=protocol) for noise in ("", "?noise=1")
        )
        assert clear.value > 4 * clear.chance
        assert gone.value < 2 * gone.chance
    report = smoke / "results" / "report"
    assert (report / "noise.svg").stat().st_size > 5_000
    assert "100 % noise" in (report / "report.html").read_text()
