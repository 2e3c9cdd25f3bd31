"""Which records share a line: seeds of one model do, other settings fold below it, everything else stands apart."""

import pytest
from report_samples import head, segment

from pacl_bench.records import Record
from pacl_bench.report.lines import by_encoder, model_lines
from pacl_bench.report.reading import runs_of
from pacl_bench.report.runs import AFTER, BEFORE, UNTRAINED, Number, numbers


def measured(made: list[Record]) -> list[Number]:
    return [one for one in numbers(runs_of(made), "segment", "miou") if one.protocol.startswith("dataset")]


def seeds(*given: int, miou: float = 0.2, **more) -> list[Record]:
    return [segment(f"m{seed}", miou + seed / 100, head=head(seed=seed), **more) for seed in given]


def test_seeds_are_one_line_with_their_mean():
    [line] = model_lines(measured(seeds(0, 1, 2)))
    cell = line.cells["voc20"]
    assert (line.name, cell.value, cell.seeds) == (AFTER, pytest.approx(0.21), ("0", "1", "2"))
    assert cell.records == tuple(f"segment/m{seed}/voc20.default.json" for seed in range(3))


def test_another_recipe_is_another_line_that_says_what_differs():
    made = seeds(0, 1) + [segment("other", 0.3, head=head(patch_scale=1))]
    assert [line.detail for line in model_lines(measured(made))] == [
        "1,080 images · patch_scale 10", "1,080 images · patch_scale 1",
    ]  # fmt: skip


def test_settings_that_no_table_names_keep_heads_apart_too():
    made = seeds(0) + [segment("hot", 0.3, head=head(seed=1))]
    made[1].config["model"]["head"]["train"]["temperature"] = 0.5
    assert len(model_lines(measured(made))) == 2


def test_two_heads_of_one_seed_are_told_apart_by_name_and_studies_by_study():
    twice = [segment(name, 0.2, head=head()) for name in ("a", "b")]
    assert [line.detail for line in model_lines(measured(twice))] == ["1,080 images · a", "1,080 images · b"]
    studies = [segment("a", 0.2, head=head(), study=study) for study in ("segment", "mine")]
    assert [line.detail for line in model_lines(measured(studies))] == [
        "1,080 images · study mine", "1,080 images · study segment",
    ]  # fmt: skip


def test_studies_of_different_data_sets_share_a_line():
    made = [segment("a", 0.2, head=head()), segment("a", 0.3, head=head(), study="mine", dataset="voc21")]
    [line] = model_lines(measured(made))
    assert list(line.cells) == ["voc21", "voc20"]


def test_other_settings_fold_below_the_default_ones():
    made = seeds(0) + seeds(0, variant="stride=4", miou=0.4)
    [line] = model_lines(measured(made))
    assert line.cells["voc20"].value == pytest.approx(0.2)
    assert [(one.detail, one.cells["voc20"].value) for one in line.variants] == [("stride=4", pytest.approx(0.4))]


def test_a_model_measured_in_one_variant_alone_is_a_line_that_names_it():
    [line] = model_lines(measured(seeds(0, variant="stride=4")))
    assert (line.detail, line.variants) == ("1,080 images · stride=4", ())


def test_untrained_heads_and_encoders_that_have_a_head_are_controls():
    clip = {"encoder": "clip-b16", "text": "clip-b16"}
    made = [segment("clip-b16", 0.1, **clip), segment("none", 0.0, head=head(step=0))]
    assert [line.is_control for line in model_lines(measured(made))] == [False, True]
    made += [segment("pacl", 0.3, head=head(), **clip)]
    assert {line.name: line.is_control for line in model_lines(measured(made))} == {
        BEFORE: True, AFTER: False, UNTRAINED: True,
    }  # fmt: skip


def test_methods_that_change_the_attention_stand_beside_their_encoder():
    made = [segment(name, 0.2, encoder=name, text="t") for name in ("clip", "sclip")]
    made[1].config["model"]["encoder"]["attention"] = "sclip"
    [group] = by_encoder(measured(made))
    assert (group.title, [line.name for line in group.lines]) == ("clip", [BEFORE, "sclip"])


def test_gaps_know_the_command_that_fills_them():
    [line] = model_lines(measured(seeds(3, variant="stride=4", study="mine")))
    assert line.command == "pacl-bench segment --heads heads/m3 --study mine --datasets "
