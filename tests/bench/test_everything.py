"""All benchmarks, one after the other."""

import json
from pathlib import Path

import pytest

from pacl_bench.bench import everything
from pacl_bench.errors import RunError


def test_a_file_of_each_says_how_it_was_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(everything, "ON_A_DEVICE", ("compatibility --batch 8 --patches 4 --dim 8 --no-compile",))
    monkeypatch.setattr(everything, "ON_THE_CPU", ())
    (file,) = everything.measure_all(tmp_path, "cpu")
    content = json.loads(file.read_text())
    assert file.name.startswith("compatibility-")
    assert content["command"].startswith("pacl-bench bench compatibility --batch 8")
    assert content["packages"]["torch"]
    assert next(row["form"] for row in content["rows"]) == "pacl-bench"


def test_one_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(everything, "ON_A_DEVICE", ("compatibilty",))
    with pytest.raises(RunError, match="bench compatibilty --device cpu failed"):
        list(everything.measure_all(tmp_path, "cpu"))
