"""All benchmarks, one after the other; and each command of `pacl-bench bench` whole, on a small case."""

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from pacl_bench.bench import coverage, everything
from pacl_bench.cli import app
from pacl_bench.cli.bench import app as benchmarks
from pacl_bench.errors import RunError

FROZEN = Path(__file__).parents[1] / "frozen" / "v1"
SMALL = {
    "coherence": "--patches 1000 --width 8 --subset 1000 --device cpu",
    "segment": "--classes 4 --height 32 --width 48 --size 32 --repeats 1",
    "compatibility": "--batch 8 --patches 4 --dim 8 --repeats 1 --no-compile --device cpu",
    "coverage": "--sets 20",
    "report": "--records 20",
    "texts": f"--pairs {FROZEN}/pairs/pairs.csv --sample 2 --architecture small-test-vit",
    "plan": f"--pairs {FROZEN}/pairs/pairs.csv --steps 2 --shown 32 --device cpu",
    "train": "--batch 2 --steps 1 --workers 0 --architecture small-test-vit --device cpu",
}


def test_each_command_has_a_small_case() -> None:
    commands = {command.name for command in benchmarks.registered_commands}
    assert {*SMALL, "all"} == commands
    assert {command.split()[0] for command in (*everything.ON_A_DEVICE, *everything.ON_THE_CPU)} == {*SMALL}


@pytest.mark.slow
@pytest.mark.parametrize("command", SMALL)
def test_a_small_case_gives_rows(command: str, small_clip: torch.nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pacl_bench.bench.texts.CAPTIONS", 10)
    monkeypatch.setattr("pacl_bench.bench.plan.DATASET", f"folder:{FROZEN}/scenes")
    monkeypatch.setattr(coverage, "POPULATION", 500)
    monkeypatch.setattr(coverage, "PATCH_IMAGES", 100)
    monkeypatch.setattr(coverage, "SETS", ((3, 1.0, 40),))
    monkeypatch.setattr("pacl_bench.metrics.pair_counts.GROUPS", 2)
    ran = CliRunner().invoke(app, ["bench", command, *SMALL[command].split(), "--json"])
    assert ran.exit_code == 0, ran.output
    rows = json.loads(ran.stdout)
    assert rows
    assert all(row.keys() == rows[0].keys() for row in rows)


@pytest.fixture
def one_small(monkeypatch: pytest.MonkeyPatch) -> str:
    command = "compatibility --batch 8 --patches 4 --dim 8 --no-compile"
    monkeypatch.setattr(everything, "ON_A_DEVICE", (command,))
    monkeypatch.setattr(everything, "ON_THE_CPU", ())
    return command


def test_a_file_of_each_says_how_it_was_made(tmp_path: Path, one_small: str) -> None:
    (figure,) = everything.measure_all(tmp_path, "cpu")
    content = json.loads(Path(figure.file).read_text())
    assert Path(figure.file).name.startswith("compatibility-")
    assert content["command"] == figure.command == f"pacl-bench bench {one_small} --device cpu --json"
    assert content["packages"]["torch"]
    assert next(row["form"] for row in content["rows"]) == "pacl-bench"


def test_what_is_there_is_left_as_it_is(tmp_path: Path, one_small: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless it is of another command, or torn, or to be made again."""
    ran: list[str] = []
    monkeypatch.setattr(everything, "_rows", lambda command: ran.append(command) or [])

    def made(again: bool = False) -> str:
        (figure,) = everything.measure_all(tmp_path, "cpu", again)
        return figure.made

    assert [made(), made(), made(again=True)] == ["now", "before", "now"]
    (file,) = tmp_path.iterdir()
    for content in (file.read_text().replace("--batch 8", "--batch 9"), "{"):
        file.write_text(content)
        assert [made(), made()] == ["now", "before"]
    assert len(ran) == 4


def test_one_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(everything, "ON_A_DEVICE", ("compatibilty",))
    with pytest.raises(RunError, match="bench compatibilty --device cpu failed"):
        list(everything.measure_all(tmp_path, "cpu"))
