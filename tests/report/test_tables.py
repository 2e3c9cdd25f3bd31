"""The tables of each section against records with known numbers."""

from dataclasses import replace

import pytest
from report_samples import (
    DATASET,
    PRESENT,
    SWEPT,
    classify,
    coherence,
    head,
    of_block,
    patches,
    protocols,
    segment,
    typical,
    with_pr,
)

from pacl_bench.errors import UsageError
from pacl_bench.records import Measurement, Record
from pacl_bench.report import all_tables, table
from pacl_bench.report.lines import ALL_MODELS, PAPERS
from pacl_bench.report.runs import AFTER, BEFORE, GAP, UNTRAINED, method, training_set
from pacl_bench.report.tables.patches import DIFFERENCE
from pacl_bench.report.tabular import Line, Table


def values(found: Table, **wanted: str) -> dict[tuple[str, str], dict[str, float]]:
    """The measured values of a table in percent (or as they are shown), by name and detail of their line."""
    scale = 100 if found.percent else 1
    return {
        (line.name, line.detail): {name: round(scale * cell.value, 4) for name, cell in line.cells.items()}
        for line in found.lines
        if line.is_measured
    }


def lines(found: Table, name: str) -> list[Line]:
    return [line for line in found.lines if line.name == name]


def test_a_head_of_no_steps_is_never_called_trained():
    assert [method(None), method(head(step=0)), method(head())] == [BEFORE, UNTRAINED, AFTER]
    assert training_set(head(step=0)) == GAP
    assert training_set(head()) == "flickr8k + coco-train2017 (1,080 images)"


def test_table1_puts_before_untrained_and_after_side_by_side():
    [sheet, *_] = all_tables("table1", typical())
    assert [column.name for column in sheet.columns] == ["before", "untrained", "after", DIFFERENCE]
    found = values(sheet)
    assert found["clip-b16", "1,080 images"] == {"before": 12.3, "untrained": 4.8, "after": 41.2, DIFFERENCE: 28.9}
    assert found["vits14", "1,080 images"] == {"untrained": 4.6, "after": 35.1}
    [after] = [column for column in sheet.columns if column.name == "after"]
    assert sheet.head(after) == "chance 5.0 · n 40,321† · majority class 18.7"


def test_table1_has_a_table_for_each_protocol_and_one_of_all_models():
    made = patches("pacl-vits14", 0.351, head=head())
    several = "present-classes, images of 2+ classes"
    added = [Measurement("patch_accuracy", 0.5, several, 20_000, chance=0.4)]
    found = all_tables("table1", [replace(made, measurements=[*made.measurements, *added])])
    protocols_ = ["all-classes", "present-classes", several, "binary"]
    assert [one.choices["protocol"] for one in found] == protocols_ * 2
    assert [one.choices["view"] for one in found] == [PAPERS] * 4 + [ALL_MODELS] * 4
    [cell] = found[6].cells
    assert (cell.value, cell.chance, cell.n) == (0.5, 0.4, 20_000)


def test_a_protocol_that_is_new_to_the_report_is_shown_too():
    made = patches("m", 0.3, head=head())
    added = replace(made, measurements=[*made.measurements, Measurement("patch_accuracy", 0.5, "ternary", 9)])
    assert "ternary" in {one.choices["protocol"] for one in all_tables("table1", [added])}


def test_published_accuracies_stand_under_their_encoder():
    found = table("table1", [])
    assert [
        (line.name, {name: round(100 * cell.value, 2) for name, cell in line.cells.items()}) for line in found.lines
    ] == [
        ("CLIP ViT-B/16", {"before": 52.49, "after": 96.51}),
        ("CLIP ViT-L/14", {"before": 27.91, "after": 95.33}),
    ]
    assert {cell.kind for cell in found.cells} == {"published"}


def test_recall_of_each_class_by_model():
    found = table("confusion", [patches("a", 0.3, head=head(patch_scale=1)), patches("b", 0.4, head=head())])
    [cat] = found.lines
    assert cat.name == "cat"
    assert [cell.value for cell in cat.cells.values()] == [0.3, 0.3]
    assert [column.name for column in found.columns] == [
        "vits14 PACL head · 1,080 images · patch_scale 1", "vits14 PACL head · 1,080 images · patch_scale 10",
    ]  # fmt: skip


def test_coherence_is_ordered_and_has_a_table_for_each_metric():
    made = [with_pr(coherence("a", 0.7, encoder="a"), 0.3), with_pr(coherence("b", 0.8, encoder="b"), 0.2)]
    found = {one.choices["protocol"]: one for one in all_tables("figure3", made)}
    assert list(found) == [f"{name}, pairs-across" for name in ("AUROC", "AUROC, mean of classes", "average precision")]
    assert [line.name for line in found["AUROC, pairs-across"].lines] == ["b", "a"]
    assert values(found["AUROC, mean of classes, pairs-across"])["a", ""] == {"voc20": 0.65}
    assert {cell.chance for cell in found["average precision, pairs-across"].cells} == {0.1}


def test_kinds_of_pairs_never_share_a_table():
    made = [coherence("a", 0.6), coherence("a", 0.9, scope="within", variant="scope=within")]
    assert [one.choices["protocol"] for one in all_tables("figure3", made)] == [
        "AUROC, pairs-across", "AUROC, pairs-within",
    ]  # fmt: skip


def test_blocks_are_columns_of_their_encoder():
    made = [of_block("clip", block, 0.6 + block / 100) for block in (0, 10, 2)]
    found = table("layers", [*made, coherence("dino", 0.5)])
    assert [column.name for column in found.columns] == ["block 0", "block 2", "block 10"]
    assert values(found) == {("clip", ""): {"block 0": 0.6, "block 2": 0.62, "block 10": 0.7}}
    assert values(table("figure3", made)) == {("clip block 10", ""): {"voc20": 0.7}}


def test_untrained_encoders_are_controls_of_coherence():
    floor = coherence("random", 0.5, encoder="random")
    floor.config["model"]["encoder"]["architecture"] = "random:vit"
    found = table("figure3", [floor, coherence("clip", 0.7, encoder="clip")])
    assert {line.name: line.is_control for line in found.lines} == {"clip": False, "random": True}


def test_table2_shows_one_protocol_at_a_time():
    found = all_tables("table2", [segment("clip-b16", 0.062, encoder="clip-b16", text="clip-b16")])
    of_all = {one.choices["protocol"]: one for one in found if one.choices["view"] == ALL_MODELS}
    assert list(of_all) == [DATASET, PRESENT]
    assert values(of_all[DATASET]) == {(BEFORE, ""): {"voc20": 6.2}}
    assert values(of_all[PRESENT]) == {(BEFORE, ""): {"voc20": pytest.approx(100 * 0.062**0.4, abs=1e-3)}}


def test_table2_stands_in_the_papers_rows_and_columns():
    clip = {"encoder": "clip-b16", "text": "clip-b16"}
    made = [segment("clip-b16", 0.5, **clip), segment("pacl", 0.6, **clip, head=head()), segment("v", 0.2, head=head())]
    found = table("table2", made)
    assert [column.shown for column in found.columns] == ["PV-20", "PC-59", "CS-171", "A-150"]
    names = [line.name for line in found.groups[0].lines]
    assert names == [
        "SPNet", "ZS3Net", "LSeg", "OpenSeg", "ViL-Seg", "GroupViT",
        "CLIP", "↳ measured here", "CLIP + PACL", "↳ measured here",
    ]  # fmt: skip
    assert [round(100 * line.cells["voc20"].value) for line in lines(found, "↳ measured here")] == [50, 60]
    assert [line.detail for line in found.groups[1].lines] == ["vits14 · 1,080 images"]
    assert found.groups[0].note == "protocol unknown"


def test_what_the_papers_rows_wait_for_says_its_command():
    twins = lines(table("table2", []), "↳ measured here")
    assert [line.command for line in twins] == ["pacl-bench run table2-segmentation"] * 2
    assert not any(line.cells for line in twins)


def test_other_papers_stand_beside_their_protocol_only():
    found = all_tables("table2", [segment("m", 0.2, head=head())])
    todays = {
        one.choices["protocol"]: [group.title for group in one.groups] for one in found if one.choices["view"] == PAPERS
    }
    assert "Printed in other papers, 2024–2026" in todays[DATASET]
    assert "Printed in other papers, 2024–2026" not in todays[PRESENT]
    every = found[-1]
    assert [column.name for column in every.columns] == [
        "voc20", "voc21", "context59", "context60", "coco_stuff171", "coco_object", "ade150", "cityscapes19",
    ]  # fmt: skip
    [line] = lines(every, "CorrCLIPv2-L")
    assert round(100 * line.cells["voc21"].value, 1) == 82.3
    assert "masks upstream" in line.detail
    assert "zdk258/CorrCLIP" in line.cells["voc21"].source


def test_table2_joins_the_data_sets_of_one_model_in_one_line():
    made = [segment("m", 0.2, head=head()), segment("m", 0.3, head=head(), dataset="voc21")]
    assert values(table("table2", made, view=ALL_MODELS)) == {(AFTER, "1,080 images"): {"voc20": 20, "voc21": 30}}


def test_families_of_data_sets_have_tables_of_their_own():
    made = [segment("m", 0.2, head=head(), dataset=name) for name in ("voc20", "world-things", "my photos")]
    found = {one.choices["data"]: one for one in all_tables("table2", made) if one.choices["view"] == ALL_MODELS}
    assert {sets: [column.name for column in one.columns] for sets, one in found.items()} == {
        "benchmarks": ["voc20"], "built-in world": ["world-things"], "own data sets": ["my photos"],
    }  # fmt: skip


def test_a_record_that_compares_protocols_has_a_table_of_its_own():
    made = [segment("plain", 0.2, dataset="voc21"), protocols("before", 0.1), protocols("after", 0.1, head=head())]
    assert [line.detail for line in table("table2", made, view=ALL_MODELS).lines if line.is_measured] == [""]
    found = table("protocols", made)
    assert [line.name for line in found.lines] == [name.removeprefix("dataset-miou, ") for name in SWEPT]
    assert values(found)["background=threshold=0.3", ""] == {"before": 10, "after": 10}


def test_table3_crosses_training_sets_with_encoders():
    made = [
        segment("a", 0.10, head=head(pairs="flickr8k"), study="ablate"),
        segment("b", 0.12, head=head(pairs="flickr8k"), study="ablate", encoder="clip-b16", text="clip-b16"),
        segment("c", 0.14, head=head(), study="ablate"),
        segment("elsewhere", 0.99, head=head(pairs="flickr8k")),
    ]
    found = values(table("table3", made, view=ALL_MODELS, protocol=DATASET))
    assert found["flickr8k", "1,080 images"] == {"vits14 × minilm": 10, "clip-b16 × clip-b16": 12}
    assert found["flickr8k + coco-train2017", "1,080 images"] == {"vits14 × minilm": 14}


def test_table3_joins_seeds_and_keeps_recipes_apart():
    made = [
        segment("a", 0.10, head=head(seed=0), study="ablate"),
        segment("b", 0.12, head=head(seed=1), study="ablate"),
        segment("c", 0.14, head=head(patch_scale=1), study="ablate"),
    ]
    found = values(table("table3", made, view=ALL_MODELS, protocol=DATASET))
    name = "flickr8k + coco-train2017"
    assert found[name, "1,080 images · patch_scale 10"] == {"vits14 × minilm": 11}
    assert found[name, "1,080 images · patch_scale 1"] == {"vits14 × minilm": 14}


def test_table3_sets_what_was_measured_below_the_papers_number():
    made = [segment("m", 0.6, head=head(pairs="cc12m"), study="ablate", encoder="clip-b16", text="clip-b16")]
    first, twin, *_ = table("table3", made).lines
    assert {name: round(100 * cell.value, 1) for name, cell in first.cells.items()} == {
        "clip-b16 × clip-b16": 64.1, "clip-l14 × clip-l14": 62.7, "dino-b16 × clip-b16": 55.4,
    }  # fmt: skip
    assert (twin.name, twin.cells["clip-b16 × clip-b16"].value) == ("↳ measured here", 0.6)


def test_classification_has_a_table_for_each_metric():
    found = {one.choices["protocol"]: values(one) for one in all_tables("figure8", typical())}
    assert found["top-1 accuracy"][BEFORE, ""] == {"cifar10": 88, "caltech101": 68, "dtd": 48}
    assert found["mean per-class recall"][BEFORE, ""]["cifar10"] == pytest.approx(85.4, abs=0.1)


@pytest.mark.parametrize(
    ("name", "twice"),
    [
        ("table1", patches("m", 0.3)),
        ("table2", segment("m", 0.3)),
        ("table3", segment("m", 0.3, study="ablate", head=head())),
        ("figure3", coherence("m", 0.7)),
        ("figure8", classify("m", 0.7)),
    ],
)
def test_two_records_for_one_cell_are_an_error(name: str, twice: Record):
    with pytest.raises(UsageError, match=r"Two numbers for one cell .* and .*/m/"):
        all_tables(name, [twice, twice])


def test_two_heads_that_claim_one_cell_of_table3_are_both_named():
    made = [segment(name, 0.1, head=head(), study="ablate") for name in ("one", "two")]
    with pytest.raises(UsageError, match=r"ablate/one/voc20\.default\.json and ablate/two/voc20\.default\.json"):
        all_tables("table3", made)


def test_unknown_names_and_choices_say_what_there_is():
    with pytest.raises(UsageError, match="Did you mean 'table2'"):
        table("tabel2", [])
    with pytest.raises(UsageError, match="the paper's layout · voc20 · all-classes"):
        table("table1", [], protocol="none such")
