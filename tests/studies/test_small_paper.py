"""The whole paper in small, offline, from files as their owners ship them; killed at random moments and gone on with.

More kills: `python tests/samples/small_paper.py FOLDER --kills 10` (with tests/samples on PYTHONPATH).
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from small_paper import write_small_paper

from pacl_bench.model.head_files import read_card
from pacl_bench.studies.experiment import load_experiment
from pacl_bench.studies.orchestra import run_experiment
from pacl_bench.studies.plan import Setting, make_plan
from pacl_bench.studies.steps import TrainStep
from pacl_bench.training.encoded_stream import EncodedStream
from pacl_bench.training.loop import train
from pacl_bench.training.recipe import Loading

SAMPLES = Path(__file__).parents[1] / "samples"


@pytest.mark.slow
def test_a_paper_that_is_killed_ends_with_the_records_of_one_that_is_not(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    command = [sys.executable, str(SAMPLES / "small_paper.py"), str(folder), "--kills", "1"]
    ran = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path()})
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "the same records" in ran.stdout
    whole, heads = folder / "whole", folder / "whole" / "heads"
    assert len(list(heads.glob("*/head.json"))) == 9
    assert len(list((whole / "results" / "records").rglob("*.json"))) == 3 + 4 + 2 * 4 + 2 + 9 + 3 * 2
    page = (whole / "results" / "report" / "report.html").read_text()
    assert "No record yet" not in page
    assert "No picture yet" not in page


def test_nine_cells_take_three_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """A pass for each encoder, over the nested sets of Table 3; the heads are those that are trained alone."""
    images: list[int] = []
    encode = EncodedStream._tokens

    def counted(stream: EncodedStream, chunks: list) -> torch.Tensor:
        images.append(sum(len(chunk.texts) for chunk in chunks))
        return encode(stream, chunks)

    monkeypatch.setattr(EncodedStream, "_tokens", counted)
    monkeypatch.setenv("PACL_DATA", str(tmp_path / "data"))
    experiment = load_experiment(write_small_paper(tmp_path)).only(["table3"])
    setting = Setting(tmp_path / "heads", tmp_path / "results", loading=Loading(workers=0))
    steps = [step for step in make_plan(experiment, setting).steps if isinstance(step, TrainStep)]
    assert [len(step.cells) for step in steps] == [3, 3, 3]
    run_experiment(experiment, setting, dry_run=True)
    told = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert "training heads, 3 steps, 9 heads in 3 passes" in told
    assert told.count("144 pairs, 5.5 passes, 78 images to encode, not 144") == 3
    assert not images
    for step in steps:
        step.run()
    side_by_side, cells = sum(images), [cell for step in steps for cell in step.cells]
    images.clear()
    alone = [train(cell.config, tmp_path / "alone" / cell.folder.name, loading=setting.loading) for cell in cells]
    assert [card.sha256 for card in alone] == [read_card(cell.folder).sha256 for cell in cells]
    assert side_by_side < 0.7 * sum(images)


def path() -> str:
    return os.pathsep.join([str(SAMPLES), *filter(None, [os.environ.get("PYTHONPATH")])])
