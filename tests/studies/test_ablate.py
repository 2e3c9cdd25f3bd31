"""The grid of encoders and training sets: what is checked before, and what is loaded how often."""

import json
import re
import shutil
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from shard_samples import write_shards

from pacl_bench import cli
from pacl_bench.errors import RunError, UsageError
from pacl_bench.studies import ablate as module
from pacl_bench.studies.ablate import Grid, ablate, head_name
from pacl_bench.studies.study import Study
from pacl_bench.training import run as training
from pacl_bench.training.recipe import RECIPES
from pacl_bench.training.state import TrainState

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


def test_what_differs_from_the_recipe_stands_in_the_name() -> None:
    grid = Grid(["tiny-clip"], [], "", RECIPE, base=RECIPE)
    assert head_name("tiny-clip", "cc12m", grid) == "pacl-tiny-clip.cc12m"
    for recipe, name in (
        (replace(RECIPE, steps=3), ".steps=3"),
        (replace(RECIPE, steps=None, epochs=2, temperature=0.1), ".epochs=2.temperature=0.1"),
        (replace(RECIPE, noun_share=0.0, betas=(0.9, 0.95)), ".betas=0.9+0.95.noun_share=0"),
        (replace(RECIPE, learn_temperature=False), ".learn_temperature=False"),
    ):
        assert head_name("tiny-clip", "cc12m", replace(grid, recipe=recipe)) == f"pacl-tiny-clip.cc12m{name}"
    other = replace(grid, recipe=replace(RECIPE, steps=3), seed=1, head="linear")
    assert head_name("tiny-clip", "cc12m", other) == "pacl-tiny-clip.cc12m.seed1.steps=3.head=linear"


@pytest.fixture
def small(pairs_csv: Path) -> Grid:
    things = ["zebra", "kite", "balloon", "donut"]  # words that the built-in text encoder knows
    lines = [f"{number}.jpg,a {thing}" for number, thing in zip((0, 1, 2, 4), things, strict=True)]
    pairs_csv.write_text("\n".join(["filepath,caption", *lines]))
    return Grid(["tiny-clip"], [str(pairs_csv)], "", replace(RECIPE, batch_size=4), "world-things", base=RECIPE)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The heads that were measured; the measuring itself is left out."""
    names: list[str] = []

    def named(study: Study, *given: object) -> list:
        names.extend(Path(head).name for head in study.heads)
        return []

    monkeypatch.setattr(module, "run_study", named)
    return names


def test_cells_of_one_name_stand_side_by_side(small: Grid, tmp_path: Path, quick: list[str]) -> None:
    """Two csv files of one stem, then another recipe under the same name: neither is refused or overwritten."""
    shutil.copytree(Path(small.pairs[0]).parent, tmp_path / "other")
    (tmp_path / "other" / "0.jpg").unlink()
    both = replace(small, pairs=[*small.pairs, str(tmp_path / "other" / "pairs.csv")])
    ablate(both, tmp_path / "heads", tmp_path)
    first, second = quick
    assert first == "pacl-tiny-clip.pairs.batch_size=4"
    assert re.fullmatch(r"pacl-tiny-clip\.pairs\.batch_size=4-[0-9a-f]{8}", second)
    made = {file: file.read_bytes() for file in (tmp_path / "heads").rglob("head.*")}
    ablate(replace(both, pairs=both.pairs[::-1]), tmp_path / "heads", tmp_path)
    assert quick[2:] == [second, first]
    ablate(replace(both, base=None, recipe=replace(small.recipe, lr=1.0)), tmp_path / "heads", tmp_path)
    ablate(replace(both, text="tiny-clip"), tmp_path / "heads", tmp_path)
    assert quick[6:] == [first, second]
    assert {file: file.read_bytes() for file in made} == made
    assert len(list((tmp_path / "heads").glob("*/head.json"))) == 4


def test_nothing_need_be_there_to_show_what_was_trained(small: Grid, tmp_path: Path, quick: list[str]) -> None:
    ablate(small, tmp_path / "heads", tmp_path)
    Path(small.pairs[0]).unlink()
    ablate(small, tmp_path / "heads", tmp_path, "never")
    assert quick[1:] == quick[:1]


def test_a_head_of_an_earlier_version_is_used_under_its_name(small: Grid, tmp_path: Path, quick: list[str]) -> None:
    """What differed from the recipe was not told in names; a card may lack a setting that came later."""
    ablate(replace(small, base=None), tmp_path / "heads", tmp_path)
    card = tmp_path / "heads" / "pacl-tiny-clip.pairs" / "head.json"
    content = json.loads(card.read_text())
    del content["train"]["noun_share"]
    card.write_text(json.dumps(content))
    ablate(small, tmp_path / "heads", tmp_path)
    assert quick == ["pacl-tiny-clip.pairs"] * 2


def test_a_stopped_cell_goes_on_and_another_goes_elsewhere(
    small: Grid, tmp_path: Path, quick: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    update = TrainState.update

    def stopped(state: TrainState, *given):
        if state.step == 1:
            raise KeyboardInterrupt
        return update(state, *given)

    monkeypatch.setattr(TrainState, "update", stopped)
    with pytest.raises(RunError, match="Stopped at step 1 of 2"):
        ablate(replace(small, base=None), tmp_path / "heads", tmp_path)
    monkeypatch.setattr(TrainState, "update", update)
    ablate(replace(small, base=None, recipe=replace(small.recipe, lr=1.0)), tmp_path / "heads", tmp_path)
    ablate(replace(small, base=None), tmp_path / "heads", tmp_path)
    assert quick[0].startswith("pacl-tiny-clip.pairs-")
    assert quick[1] == "pacl-tiny-clip.pairs"
    log = (tmp_path / "heads" / "pacl-tiny-clip.pairs" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in log] == [0, 1]


def test_everything_is_looked_for_before_the_first_step(small: Grid, tmp_path: Path) -> None:
    for wrong, line in (
        ({"dataset": "world-thing"}, "Did you mean 'world-things'"),
        ({"text": "tiny-clp"}, "Did you mean 'tiny-clip'"),
        ({"head": "liner"}, "Did you mean 'linear'"),
        ({"pairs": []}, "Nothing to train"),
    ):
        with pytest.raises(UsageError, match=line):
            ablate(replace(small, **wrong), tmp_path / "heads", tmp_path)
    assert not (tmp_path / "heads").exists()


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
