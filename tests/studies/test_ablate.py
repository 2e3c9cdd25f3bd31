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
from pacl_bench.errors import UsageError
from pacl_bench.records import Record
from pacl_bench.studies import heads as module
from pacl_bench.studies.ablate import ablation, read_grid
from pacl_bench.studies.experiment import Heads
from pacl_bench.studies.heads import wanted_heads
from pacl_bench.studies.orchestra import run_experiment
from pacl_bench.studies.plan import Setting
from pacl_bench.studies.study import Study
from pacl_bench.training import run as training
from pacl_bench.training.state import TrainState

SHORT = {"batch_size": 8, "steps": 2}


def run(heads: Heads, tmp_path: Path, datasets: tuple[str, ...] = ("world-things",), **how: str) -> list[Record]:
    setting = Setting(tmp_path / "heads", tmp_path / "results", **how)  # type: ignore[arg-type]
    outcome = run_experiment(ablation(heads, datasets), setting)
    outcome.require_success()
    return outcome.records


def names(heads: Heads) -> list[str]:
    return [head.name for head in wanted_heads(heads)]


def test_shards_and_weights_in_the_names_of_heads(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "mine", [3, 4])
    for pairs, name in (
        ("cc12m+yfcc15m", "pacl-tiny-clip.cc12m+yfcc15m"),
        ("cc3m:0.2+cc12m:0.8", "pacl-tiny-clip.cc3m=0.2+cc12m=0.8"),
        (f"{folder}/{{00000..00001}}.tar", "pacl-tiny-clip.mine"),
        (f"{folder}/00001.tar+cc3m", "pacl-tiny-clip.00001+cc3m"),
    ):
        assert names(Heads(["tiny-clip"], [pairs], change=SHORT)) == [name]


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
    heads = Heads([clip_spec], [str(folder), f"{folder}+{pairs_csv}"], recipe="small", change=SHORT)
    found = run(heads, tmp_path, ("voc20",))
    assert {record.key.model for record in found} == {"pacl-small-clip.mine", "pacl-small-clip.mine+pairs"}
    assert loads[clip_spec] == 1 + 2  # once to see that it is there, once a cell
    monkeypatch.setattr("pacl_bench.studies.steps.train_many", None)
    again = run(heads, tmp_path, ("voc20",))
    assert [record.key for record in again] == [record.key for record in found]


def test_what_differs_from_the_recipe_stands_in_the_name() -> None:
    for grid, name in (
        ({}, ""),
        ({"steps": [3]}, ".steps=3"),
        ({"epochs": [2], "temperature": [0.1]}, ".epochs=2.temperature=0.1"),
        ({"noun_share": [0.0], "betas": [[0.9, 0.95]]}, ".betas=0.9+0.95.noun_share=0"),
        ({"learn_temperature": [False]}, ".learn_temperature=False"),
        ({"patch_scale": [10.0]}, ""),  # as in the recipe
        ({"block": [1], "tap": ["pre-norm"]}, ".block=1.tap=pre-norm"),
    ):
        assert names(Heads(["tiny-clip"], ["cc12m"], recipe="small", change=SHORT, grid=grid)) == [
            f"pacl-tiny-clip.cc12m{name}"
        ]
    other = Heads(["tiny-clip"], ["cc12m"], recipe="small", grid={"steps": [3]}, seeds=[1], head="linear")
    assert names(other) == ["pacl-tiny-clip.cc12m.seed1.steps=3.head=linear"]
    texts = Heads(["dino-b16"], ["cc12m"], ["clip-b16", "mini=transformers:/x"])
    assert names(texts) == ["pacl-dino-b16.cc12m.text=clip-b16", "pacl-dino-b16.cc12m.text=mini"]


def test_lists_make_grids() -> None:
    heads = Heads(["a", "b"], ["c", "d"], recipe="small", grid={"patch_scale": [1, 100], "block": [0, 2]}, seeds=[0, 1])
    found = wanted_heads(heads)
    assert len(found) == len({head.name for head in found}) == 2 * 2 * 2 * 2 * 2
    assert {head.encoder for head in found} == {"a?block=0", "a?block=2", "b?block=0", "b?block=2"}
    assert {head.recipe.patch_scale for head in found} == {1, 100}


def test_a_grid_is_read() -> None:
    grid = read_grid(["patch_scale=1,10", "temperature=0.03, 0.07", "betas=0.9+0.95", "same-text-is-negative=true"])
    assert grid == {
        "patch_scale": [1, 10], "temperature": [0.03, 0.07], "betas": [[0.9, 0.95]], "same_text_is_negative": [True],
    }  # fmt: skip
    assert read_grid(["head=residual,linear"]) == {"head": ["residual", "linear"]}
    for text, line in ((["patch_scale"], "write KEY=A,B"), (["lr=1", "lr=2"], "lr is given twice")):
        with pytest.raises(UsageError, match=line):
            read_grid(text)


@pytest.fixture
def small(pairs_csv: Path) -> Heads:
    things = ["zebra", "kite", "balloon", "donut"]  # words that the built-in text encoder knows
    lines = [f"{number}.jpg,a {thing}" for number, thing in zip((0, 1, 2, 4), things, strict=True)]
    pairs_csv.write_text("\n".join(["filepath,caption", *lines]))
    return Heads(["tiny-clip"], [str(pairs_csv)], recipe="small", change={"steps": 2}, grid={"batch_size": [4]})


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The heads that were measured; the measuring itself is left out."""
    measured: list[str] = []

    def named(study: Study, *given: object, **named: object) -> list:
        measured.extend(Path(head).name for head in study.heads)
        return []

    monkeypatch.setattr("pacl_bench.studies.steps.run_study", named)
    return measured


def test_cells_of_one_name_stand_side_by_side(small: Heads, tmp_path: Path, quick: list[str]) -> None:
    """Two csv files of one stem, then another recipe under the same name: neither is refused or overwritten."""
    shutil.copytree(Path(small.pairs[0]).parent, tmp_path / "other")
    (tmp_path / "other" / "0.jpg").unlink()
    both = replace(small, pairs=[*small.pairs, str(tmp_path / "other" / "pairs.csv")])
    run(both, tmp_path)
    first, second = quick
    assert first == "pacl-tiny-clip.pairs.batch_size=4"
    assert re.fullmatch(r"pacl-tiny-clip\.pairs\.batch_size=4-[0-9a-f]{8}", second)
    made = {file: file.read_bytes() for file in (tmp_path / "heads").rglob("head.*")}
    run(replace(both, pairs=both.pairs[::-1]), tmp_path)
    assert quick[2:] == [second, first]
    run(replace(both, change={"steps": 2, "batch_size": 4, "lr": 1.0}, grid={}), tmp_path)
    run(replace(both, texts=["tiny-clip"]), tmp_path)
    assert quick[6:] == [first, second]
    assert {file: file.read_bytes() for file in made} == made
    assert len(list((tmp_path / "heads").glob("*/head.json"))) == 4


def test_nothing_need_be_there_to_show_what_was_trained(small: Heads, tmp_path: Path) -> None:
    (measured,) = run(small, tmp_path)
    Path(small.pairs[0]).unlink()
    assert run(small, tmp_path, rerun="never") == [measured]


def test_a_head_of_an_earlier_version_is_used_under_its_name(small: Heads, tmp_path: Path, quick: list[str]) -> None:
    """What differed from the recipe was not told in names; a card may lack a setting that came later."""
    run(replace(small, change={"steps": 2, "batch_size": 4}, grid={}), tmp_path)
    card = tmp_path / "heads" / "pacl-tiny-clip.pairs" / "head.json"
    content = json.loads(card.read_text())
    del content["train"]["noun_share"]
    card.write_text(json.dumps(content))
    run(small, tmp_path)
    assert quick == ["pacl-tiny-clip.pairs"] * 2


def test_a_stopped_cell_goes_on_and_another_goes_elsewhere(
    small: Heads, tmp_path: Path, quick: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    update = TrainState.update

    def stopped(state: TrainState, *given):
        if state.step == 1:
            raise KeyboardInterrupt
        return update(state, *given)

    plain = replace(small, change={"steps": 2, "batch_size": 4}, grid={})
    monkeypatch.setattr(TrainState, "update", stopped)
    with pytest.raises(KeyboardInterrupt):
        run(plain, tmp_path)
    monkeypatch.setattr(TrainState, "update", update)
    run(replace(plain, change={**plain.change, "lr": 1.0}), tmp_path)
    run(plain, tmp_path)
    assert quick[0].startswith("pacl-tiny-clip.pairs-")
    assert quick[1] == "pacl-tiny-clip.pairs"
    log = (tmp_path / "heads" / "pacl-tiny-clip.pairs" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in log] == [0, 1]


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ({"texts": ["tiny-clp"]}, "Did you mean 'tiny-clip'"),
        ({"encoders": ["tiny-clp"]}, "Did you mean 'tiny-clip'"),
        ({"head": "liner"}, "Did you mean 'linear'"),
        ({"pairs": []}, "Nothing to train"),
        ({"recipe": "smal"}, "Did you mean 'small'"),
        ({"grid": {"patch_scal": [1]}}, r"--grid.patch_scal: .* Did you mean 'patch_scale'"),
        ({"grid": {"patch_scale": [-1]}}, r"--grid.patch_scale = -1: should be greater"),
        ({"grid": {"block": [7]}}, "block=7 does not exist"),
    ],
)
def test_everything_is_looked_for_before_the_first_step(small: Heads, tmp_path: Path, wrong: dict, line: str) -> None:
    with pytest.raises(UsageError, match=line):
        run(replace(small, **wrong), tmp_path)
    assert not (tmp_path / "heads").exists()


def test_data_sets_are_looked_for_before_the_first_step(small: Heads, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Did you mean 'world-things'"):
        run(small, tmp_path, ("world-thing",))
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
