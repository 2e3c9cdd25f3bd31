"""Study files that hold an experiment: what they mean, what is said of mistakes, that all shipped ones are right."""

import re
from pathlib import Path

import pytest

from pacl_bench.data.catalog import declarations
from pacl_bench.data.classification import GROUPS
from pacl_bench.data.pair_names import split_sum
from pacl_bench.data.pairs import PAIR_SOURCES
from pacl_bench.encoders.request import requested
from pacl_bench.errors import UsageError
from pacl_bench.studies.experiment import Experiment, Heads, Picture, load_experiment, load_study, shipped_studies
from pacl_bench.studies.heads import wanted_heads
from pacl_bench.studies.study import Study
from pacl_bench.world import WORLD_CLASSIFICATION, WORLD_PAIRS, WORLD_SEGMENTATION

RIGHT = """
[train.small]
encoders = ["tiny-clip"]
pairs = ["world-1k"]
recipe = "small"

[measure.table1]
evaluator = "patches"
trained = ["small"]
datasets = ["world-things"]

[[measure.table2]]
evaluator = "segment"
encoders = ["tiny-clip"]
datasets = ["world-things"]

[[measure.table2]]
name = "dense"
evaluator = "segment"
encoders = ["tiny-clip"]
datasets = ["world-things"]
settings = { stride = 4 }

[picture.figure2]
kind = "alignment"
trained = ["small"]
datasets = ["world-things"]
showing = "zebra"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "mine.toml").write_text(RIGHT)
    return tmp_path / "mine.toml"


def users(experiment: Experiment) -> list[Study | Picture]:
    return [*(study for studies in experiment.measure.values() for study in studies), *experiment.picture.values()]


def test_a_file_holds_heads_measurements_and_pictures(file: Path) -> None:
    things = ["world-things"]
    assert load_experiment(file) == Experiment(
        "mine",
        {"small": Heads(["tiny-clip"], ["world-1k"], recipe="small")},
        {
            "table1": [Study("patches", "patches", datasets=things, trained=["small"])],
            "table2": [
                Study("segment", "segment", ["tiny-clip"], [], things),
                Study("dense", "segment", ["tiny-clip"], [], things, {"stride": 4}),
            ],
        },
        {"figure2": Picture("alignment", things, "zebra", trained=["small"])},
    )


def test_only_a_part_needs_only_its_heads(file: Path) -> None:
    whole = load_experiment(file)
    assert [*whole.only(["table2"]).measure] == ["table2"]
    assert whole.only(["table2"]).train == whole.only(["table2"]).picture == {}
    assert [*whole.only(["figure2"]).train] == ["small"]
    with pytest.raises(UsageError, match=r"^--only: Unknown part of mine 'tabel1'. Did you mean 'table1'\?$"):
        whole.only(["tabel1"])


def test_seeds_of_the_command_are_those_of_tables_without(file: Path) -> None:
    file.write_text(RIGHT.replace('recipe = "small"', 'recipe = "small"\nseeds = [5]'))
    assert load_experiment(file).with_seeds([0, 1]).train["small"].seeds == [5]
    file.write_text(RIGHT)
    heads = load_experiment(file).with_seeds([0, 1]).train["small"]
    assert [head.name for head in wanted_heads(heads)] == ["pacl-tiny-clip.world-1k", "pacl-tiny-clip.world-1k.seed1"]


def test_a_file_may_select_from_another(file: Path) -> None:
    part = file.with_name("part.toml")
    part.write_text('from = "mine.toml"\nonly = ["table1"]')
    assert load_experiment(part) == load_experiment(file).only(["table1"])
    assert load_study(part).evaluator == "patches"
    with pytest.raises(UsageError, match="holds 3 measurements, not one"):
        load_study(file)
    for text, line in (
        ('from = "mine.toml"\nonly = ["table3"]', "part.toml: only: Unknown part of mine 'table3'"),
        ('from = "paper"\nonly = "table1"', 'part.toml: write from = "paper"'),
        ('from = "papr"\nonly = ["table1"]', "Unknown study 'papr'. Did you mean 'paper'"),
        ('from = "paper"\nonyl = ["table1"]', "part.toml: onyl: Unknown key 'onyl'. Did you mean 'only'"),
    ):
        part.write_text(text)
        with pytest.raises(UsageError) as refused:
            load_experiment(part)
        assert line in str(refused.value)


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        (('"world-1k"]', '"world-1k"]\nencoder = ["x"]'), "train.small.encoder = ['x']: Unknown key 'encoder'. Did"),
        (('pairs = ["world-1k"]', ""), "train.small.pairs = "),
        (('"world-1k"]', '"world-1k"]\nchange = { lr = -1 }'), "train.small.change.lr = -1: should be greater"),
        (('"world-1k"]', '"world-1k"]\ngrid = { lr = [1, -1] }'), "train.small.grid.lr = -1: should be greater"),
        (('"world-1k"]', '"world-1k"]\ngrid = { lr = 1 }'), "train.small.grid"),
        (('"world-1k"]', '"world-1k"]\ngrid = { lrr = [1] }'), "train.small.grid.lrr: Unknown setting of a recipe"),
        (('recipe = "small"', 'recipe = "smal"'), "train.small.recipe: Unknown recipe 'smal'. Did you mean 'small'?"),
        (('"world-1k"]', '"world-1k"]\nseeds = [-1]'), "train.small.seeds[0] = -1: should be greater"),
        (('["world-1k"]', '["a", "b"]\nname = "x"'), "train.small.name = 'x': goes with one encoder"),
        (('"patches"', '"patchs"'), "Unknown evaluator 'patchs'. Did you mean 'patches'?"),
        (('stride = 4', 'strid = 4'), "measure.table2.settings.strid = 4: Unknown key 'strid'. Did you mean"),
        (('["small"]', '["smal"]'), "measure.table1.trained = 'smal': Unknown table of heads 'smal'. Did"),
        (('"alignment"', '"aligment"'), "picture.figure2.kind = 'aligment': should be 'alignment'"),
        (('showing = "zebra"', ""), "picture.figure2: 'showing' is missing"),
        (('[train.small]', 'report = 3\n[train.small]'), "report = 3: should be a valid boolean"),
        (('[train.small]', 'repot = true\n[train.small]'), "repot = True: Unknown key 'repot'. Did you mean 'report'?"),
        (('[train.small]', 'picture = 3\n[train.small]'), "Cannot"),
        (('[train.small]', '[train]\nbig = 3\n[train.small]'), "train.big = 3: should be a table [train.big]"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_file_and_key(file: Path, wrong: tuple[str, str], line: str) -> None:
    file.write_text(RIGHT.replace(*wrong, 1))
    with pytest.raises(UsageError) as refused:
        load_experiment(file)
    assert str(refused.value).startswith(f"{file}: ")
    assert line in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", shipped_studies())
def test_every_shipped_file_is_complete(name: str) -> None:
    """It begins with the command that runs it, and every name in it is known."""
    file = shipped_studies()[name]
    assert file.read_text().startswith(f"# pacl-bench run {name}\n# ")
    experiment = load_experiment(Path(name))
    assert experiment == load_experiment(file)
    sets = {*GROUPS, *declarations(), *WORLD_SEGMENTATION, *WORLD_CLASSIFICATION}
    for user in users(experiment):
        assert {one.partition("?noise=")[0] for one in user.datasets} <= sets
        for encoder in user.encoders:
            requested(encoder)
    for heads in experiment.train.values():
        for head in wanted_heads(heads):
            requested(head.encoder)
            assert set(split_sum(head.pairs)) <= {*PAIR_SOURCES, *WORLD_PAIRS}


def test_the_example_in_the_docs_is_right(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "studies.md").read_text(encoding="utf-8")
    for number, text in enumerate(re.findall(r"```toml\n(.*?)```", page, re.DOTALL)):
        (tmp_path / f"{number}.toml").write_text(text)
        assert load_experiment(tmp_path / f"{number}.toml").measure


def test_the_paper_is_whole() -> None:
    paper = load_experiment(Path("paper"))
    assert [*paper.measure] == ["table1", "figure3", "table2", "table3", "figure8"]
    assert [*paper.picture] == ["figure2", "figure4", "figure6", "gallery"]
    assert len(wanted_heads(paper.train["cells"])) == 9
    assert [study.settings.get("stride") for study in paper.measure["table2"]] == [None, 4]
    assert paper.measure["table2"][0].datasets == ["voc20", "context59", "coco_stuff171", "ade150"]
    needed = {name: len(set(wanted_names(paper.only([name])))) for name in (*paper.measure, *paper.picture)}
    assert needed == {
        "table1": 2, "figure3": 0, "table2": 1, "table3": 9, "figure8": 2, "figure2": 1, "figure4": 0, "figure6": 1,
        "gallery": 1,
    }  # fmt: skip


def wanted_names(experiment: Experiment) -> list[str]:
    return [head.name for heads in experiment.train.values() for head in wanted_heads(heads)]


def test_the_quickstart_has_the_shape_of_the_paper() -> None:
    paper, quick = load_experiment(Path("paper")), load_experiment(Path("quickstart"))
    assert {*paper.measure, *paper.picture} == {*quick.measure, *quick.picture}
    assert quick.measure["figure8"][0].datasets == list(WORLD_CLASSIFICATION)
    assert quick.measure["table2"][0].datasets == list(WORLD_SEGMENTATION)
