"""The examples, installed by pip and used through the command line, as their README says."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("target")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", target, EXAMPLES / "pacl-bench-example"], check=True)
    return target


@pytest.fixture
def pacl(installed: Path, tmp_path: Path):
    """Runs a command in a process that finds the installed package; gives the rows it prints."""
    path = os.pathsep.join([str(installed), *filter(None, sys.path)])

    def run(*arguments: str) -> list[dict]:
        command = [sys.executable, "-c", "from pacl_bench.cli import main; main()", *arguments, "--json"]
        environment = {**os.environ, "PYTHONPATH": path, "COLUMNS": "200"}
        ran = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
        assert ran.returncode == 0, ran.stderr
        return json.loads(ran.stdout)

    return run


def test_its_names_are_listed(pacl) -> None:
    encoders = {row["name"]: row for row in pacl("list", "encoders")}
    assert encoders["patch-colour"]["loads as"] == "python:pacl_bench_example.encoders:PatchColour"
    assert encoders["letters"]["what"] == "of the package pacl-bench-example"
    sets = {row["name"]: row for row in pacl("list", "datasets")}
    assert sets["squares"] == {
        "name": "squares", "kind": "segmentation", "what": "a red and a blue square on grey", "images": 8,
        "classes": 2, "found": "in its package",
    }  # fmt: skip


def test_encoders_and_data_set_are_measured_and_trained(pacl, tmp_path: Path) -> None:
    file = f"contrast=python:{EXAMPLES / 'contrast.py'}:Contrast"
    rows = pacl("coherence", "--encoders", f"patch-colour,{file}", "--datasets", "squares")
    auroc = {row["model"]: row["value"] for row in rows if row["metric"] == "auroc" and not row["class_name"]}
    assert auroc == {"patch-colour": pytest.approx(1), "contrast": pytest.approx(1)}  # colour tells the two apart

    for number, colour in enumerate(("red", "blue", "green", "black")):
        Image.fromarray(np.full((240, 240, 3), [40 * number, 30, 200 - 40 * number], np.uint8)).save(
            tmp_path / f"{colour}.png"
        )
    with (tmp_path / "pairs.csv").open("w", newline="") as handle:
        rows = [(f"{colour}.png", f"a {colour} square") for colour in ("red", "blue", "green", "black")]
        csv.writer(handle).writerows([("filepath", "caption"), *rows])
    training = ("--encoder", "patch-colour", "--text", "letters", "--pairs", "pairs.csv", "--steps", "2")
    head = pacl("train", *training, "--out", "heads/colour")
    assert (head[0]["head"], head[0]["steps"]) == ("heads/colour", 2)
    card = json.loads((tmp_path / "heads" / "colour" / "head.json").read_text())
    assert (card["encoder"]["spec"], card["width"], card["dim"]) == ("patch-colour", 3, 26)
    assert card["encoder"]["settings"]["architecture"] == "python:pacl_bench_example.encoders:PatchColour"
    assert len(card["encoder"]["settings"]["source"]) == 64
