"""The grid of encoders and training sets: what is checked before, and what is loaded how often."""

import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from shard_samples import write_shards

from pacl_bench import cli
from pacl_bench.errors import UsageError
from pacl_bench.studies import ablate as module
from pacl_bench.studies.ablate import Grid, ablate, head_name
from pacl_bench.training import loop as training
from pacl_bench.training.recipe import RECIPES

RECIPE = replace(RECIPES["small"], batch_size=8, steps=2)


def test_shards_and_weights_in_the_names_of_heads(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "mine", [3, 4])
    grid = Grid(["tiny-clip"], [], "", RECIPE)
    for pairs, name in (
        ("cc12m+yfcc15m", "pacl-tiny-clip.cc12m+yfcc15m"),
        ("cc3m:0.2+cc12m:0.8", "pacl-tiny-clip.cc3m=0.2+cc12m=0.8"),
        (f"{folder}/{{00000..00001}}.tar", "pacl-tiny-clip.mine"),
        (f"{folder}/00001.tar+cc3m", "pacl-tiny-clip.00001+cc3m"),
    ):
        assert head_name("tiny-clip", pairs, grid) == name


def test_cells_are_trained_measured_and_found_again(
    voc: Path, clip_spec: str, pairs_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_shards(tmp_path / "mine", [6, 5])
    loads: Counter[str] = Counter()
    load = module.load_encoder

    def counted(name: str):
        loads[name] += 1
        return load(name)

    monkeypatch.setattr(module, "load_encoder", counted)
    monkeypatch.setattr(training, "load_encoder", counted)
    grid = Grid([clip_spec], [str(folder), f"{folder}+{pairs_csv}"], "", RECIPE)
    records = ablate(grid, tmp_path / "heads", tmp_path / "results")
    assert {record.key.model for record in records} == {"pacl-small-clip.mine", "pacl-small-clip.mine+pairs"}
    assert loads[clip_spec] == 1 + 2  # once to see that it is there, once a cell
    monkeypatch.setattr(module, "train", None)
    again = ablate(grid, tmp_path / "heads", tmp_path / "results")
    assert [record.key for record in again] == [record.key for record in records]
    (folder / "00001.tar").write_bytes((folder / "00000.tar").read_bytes() + bytes(512))
    with pytest.raises(UsageError, match="was trained with another pairs_fingerprint"):
        ablate(grid, tmp_path / "heads", tmp_path / "results")


def test_the_defaults_say_where_shards_were_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(sys, "argv", ["pacl-bench", "ablate", "--data-root", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    line = capsys.readouterr().err
    assert line.startswith(f"pacl-bench: cc12m: {tmp_path}/cc12m not found.")
    assert "--data-root or PACL_DATA" in line


def test_a_comma_within_braces_does_not_split(tmp_path: Path) -> None:
    assert cli.options.listed_pairs("/d/{a,b}/0.tar:0.5, cc3m:0.5") == ["/d/{a,b}/0.tar:0.5", "cc3m:0.5"]
