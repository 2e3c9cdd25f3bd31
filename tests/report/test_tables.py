from dataclasses import replace

import pandas as pd
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
from pacl_bench.report.published import UNKNOWN_PROTOCOL
from pacl_bench.report.rows import AFTER, BEFORE, GAP, UNTRAINED, method, training_set
from pacl_bench.report.tables import (
    MAJORITY,
    MEASURED,
    figure3_numbers,
    figure8_numbers,
    flat,
    layers_numbers,
    protocols_table,
    recall_table,
    table1,
    table2,
    table3,
)


def lines(table: pd.DataFrame, **wanted: str) -> list[dict]:
    """The lines of a table whose index says so, as dicts: index names, and columns as (column, part)."""
    rows = [
        {**dict(zip(table.index.names, key, strict=True)), **dict(zip(table.columns, values, strict=True))}
        for key, values in zip(table.index, table.to_numpy(), strict=True)
    ]
    return [row for row in rows if all(row[name.replace("_", " ")] == value for name, value in wanted.items())]


def test_a_head_of_no_steps_is_never_called_trained():
    assert [method(None), method(head(step=0)), method(head())] == [BEFORE, UNTRAINED, AFTER]
    assert training_set(head(step=0)) == GAP
    assert training_set(head()) == "flickr8k + coco-train2017 (1,080 images)"


def test_table1_puts_protocols_side_by_side_in_percent():
    [row] = lines(table1([patches("pacl-vits14", 0.351, head=head())]), model="pacl-vits14")
    assert row["all-classes", "value"] == pytest.approx(35.1)
    assert row["all-classes", "chance"] == pytest.approx(5)
    assert row["present-classes", "chance"] == pytest.approx(61)
    assert row["binary", "value"] == pytest.approx(100 * 0.351**0.3)
    assert row["all-classes", "ci_low"] < 35.1 < row["all-classes", "ci_high"]
    assert row[f"{MAJORITY}: all-classes", "value"] == pytest.approx(18.7)
    assert pd.isna(row[UNKNOWN_PROTOCOL, "value"])


def test_the_majority_class_stands_behind_each_protocol():
    made = patches("pacl-vits14", 0.351, head=head())
    several = "present-classes, images of 2+ classes"
    added = [Measurement("majority_class_share", 0.7, "present-classes", 40_321)]
    added += [Measurement("patch_accuracy", 0.5, several, 20_000, chance=0.4)]
    added += [Measurement("majority_class_share", 0.45, several, 20_000)]
    table = table1([replace(made, measurements=[*made.measurements, *added])])
    assert list(dict.fromkeys(column for column, _ in table.columns)) == [
        "all-classes", f"{MAJORITY}: all-classes", "present-classes", f"{MAJORITY}: present-classes",
        several, f"{MAJORITY}: {several}", "binary", UNKNOWN_PROTOCOL,
    ]  # fmt: skip
    [row] = lines(table, model="pacl-vits14")
    assert (row[several, "value"], row[several, "chance"]) == pytest.approx((50, 40))
    assert row[f"{MAJORITY}: {several}", "value"] == pytest.approx(45)
    assert row["patches"] == "40,321"


def test_recall_of_each_class_by_model():
    table = recall_table([patches("a", 0.3, head=head()), patches("b", 0.4, head=head(seed=1))])
    assert list(table.index.get_level_values("class")) == ["cat"]
    assert table["a", "value"].tolist() == [pytest.approx(30)]
    assert table["b", "ci_low"].tolist() == [pytest.approx(25)]


def test_coherence_holds_what_was_recorded():
    [old] = lines(figure3_numbers([coherence("a", 0.7)]))
    assert {key[0] for key in old if isinstance(key, tuple)} == {"AUROC"}
    rows = lines(figure3_numbers([with_pr(coherence("a", 0.7), 0.3), with_pr(coherence("b", 0.8), 0.2)]))
    assert [row["AUROC", "value"] for row in rows] == pytest.approx([0.8, 0.7])
    assert [row["mean of classes", "value"] for row in rows] == pytest.approx([0.75, 0.65])
    assert [row["average precision", "chance"] for row in rows] == pytest.approx([0.1, 0.1])


def test_blocks_are_columns_of_their_encoder():
    made = [of_block("clip", block, 0.6 + block / 100) for block in (0, 10, 2)]
    [row] = lines(layers_numbers([*made, coherence("dino", 0.5)]))
    assert [key[0] for key in row if isinstance(key, tuple) and key[1] == "value"] == ["block 0", "block 2", "block 10"]
    assert row["block 10", "value"] == pytest.approx(0.7)
    [last] = lines(figure3_numbers(made))
    assert last["AUROC", "value"] == pytest.approx(0.7)


def test_table1_shows_what_is_missing_of_before_untrained_and_after():
    rows = lines(table1([patches("pacl-vits14", 0.351, head=head())]), encoder="vits14")
    assert [(row["method"], row["model"]) for row in rows] == [(BEFORE, GAP), (UNTRAINED, GAP), (AFTER, "pacl-vits14")]
    assert pd.isna(rows[0]["all-classes", "value"])


def test_table1_keeps_seeds_variants_and_studies_apart():
    made = [
        patches("seed0", 0.3, head=head(seed=0)),
        patches("seed1", 0.4, head=head(seed=1)),
        patches("seed1", 0.5, head=head(seed=1), variant="purity=0.5"),
        patches("seed1", 0.6, head=head(seed=1), study="mine"),
    ]
    rows = lines(table1(made), method=AFTER)
    assert [round(row["all-classes", "value"]) for row in rows] == [60, 30, 40, 50]


def test_published_accuracies_have_a_column_of_their_own():
    rows = lines(table1([]), encoder="ViT-B/16")
    assert [row[UNKNOWN_PROTOCOL, "value"] for row in rows] == [52.49, 96.51]
    assert all(pd.isna(row["all-classes", "value"]) for row in rows)


def test_table2_has_a_row_for_each_protocol_and_a_column_for_each_data_set():
    table = table2([segment("clip-b16", 0.062, encoder="clip-b16", text="clip-b16")])
    assert list(dict.fromkeys(column for column, _ in table.columns)) == [
        "voc20", "context59", "coco_stuff171", "ade150",
    ]  # fmt: skip
    [dataset] = lines(table, protocol=DATASET)
    [present] = lines(table, protocol=PRESENT)
    assert dataset["voc20", "value"] == pytest.approx(6.2)
    assert present["voc20", "value"] == pytest.approx(100 * 0.062**0.4)
    assert pd.isna(dataset["ade150", "value"])


def test_table2_joins_the_data_sets_of_one_model_in_one_row():
    made = [segment("m", 0.2, head=head()), segment("m", 0.3, head=head(), dataset="voc21")]
    [row] = lines(table2(made), protocol=DATASET)
    assert (round(row["voc20", "value"]), round(row["voc21", "value"])) == (20, 30)


def test_a_record_that_compares_protocols_has_a_table_of_its_own():
    made = [segment("plain", 0.2, dataset="voc21"), protocols("before", 0.1), protocols("after", 0.1)]
    assert {row["model"] for row in lines(table2(made), source=MEASURED)} == {"plain"}
    [row] = lines(protocols_table(made), protocol=SWEPT[2])
    assert row["before", "value"] == row["after", "value"] == pytest.approx(10)
    assert len(lines(protocols_table(made), dataset="voc21")) == 3


def test_table2_shows_all_published_rows_as_of_unknown_protocol():
    rows = lines(table2([]), protocol=UNKNOWN_PROTOCOL)
    assert [row["method"] for row in rows] == [
        "SPNet", "ZS3Net", "LSeg", "OpenSeg", "ViL-Seg", "GroupViT", "CLIP", "CLIP + PACL",
    ]  # fmt: skip
    assert rows[-1]["ade150", "value"] == 31.4
    assert pd.isna(rows[2]["context59", "value"])


def test_table3_crosses_training_sets_with_encoders():
    made = [
        segment("a", 0.10, head=head(pairs="flickr8k"), study="ablate"),
        segment("b", 0.12, head=head(pairs="flickr8k"), study="ablate", encoder="clip-b16", text="clip-b16"),
        segment("c", 0.14, head=head(), study="ablate"),
        segment("elsewhere", 0.99, head=head(pairs="flickr8k")),
    ]
    both, flickr = sorted(lines(table3(made), protocol=DATASET), key=lambda row: "coco" not in row["training set"])
    assert flickr["vits14 × minilm", "value"] == pytest.approx(10)
    assert flickr["clip-b16 × clip-b16", "value"] == pytest.approx(12)
    assert both["vits14 × minilm", "value"] == pytest.approx(14)
    assert pd.isna(both["clip-b16 × clip-b16", "value"])


def test_table3_keeps_seeds_and_recipes_apart():
    made = [
        segment("a", 0.10, head=head(seed=0), study="ablate"),
        segment("b", 0.12, head=head(seed=1), study="ablate"),
        segment("c", 0.14, head=head(patch_scale=1), study="ablate"),
    ]
    assert len(lines(table3(made), protocol=DATASET)) == 3


def test_table3_sets_published_numbers_into_the_same_columns():
    [row] = lines(table3([]), training_set="GCC12M")
    assert row["clip-b16 × clip-b16", "value"] == 64.1
    assert row["clip-l14 × clip-l14", "value"] == 62.7
    assert row["dino-b16 × clip-b16", "value"] == 55.4


@pytest.mark.parametrize(
    ("table", "twice"),
    [
        (table1, patches("m", 0.3)),
        (table2, segment("m", 0.3)),
        (table3, segment("m", 0.3, study="ablate", head=head())),
        (figure3_numbers, coherence("m", 0.7)),
        (figure8_numbers, classify("m", 0.7)),
    ],
)
def test_two_records_for_one_cell_are_an_error(table, twice: Record):
    with pytest.raises(UsageError, match=r"Two numbers for one cell .* and .*/m/"):
        table([twice, twice])


def test_two_heads_that_claim_one_cell_of_table3_are_both_named():
    made = [segment(name, 0.1, head=head(), study="ablate") for name in ("one", "two")]
    with pytest.raises(UsageError, match=r"ablate/one/voc20\.default\.json and ablate/two/voc20\.default\.json"):
        table3(made)


def test_coherence_is_ordered_by_auroc_within_a_kind_of_pairs():
    made = [coherence("a", 0.6), coherence("b", 0.7), coherence("b", 0.9, scope="within", variant="scope=within")]
    assert [row["model"] for row in lines(figure3_numbers(made), protocol="pairs-across")] == ["b", "a"]


def test_a_metric_without_an_interval_is_a_number_without_one():
    made = coherence("a", 0.6)
    bare = replace(made, measurements=[replace(m, ci_low=None, ci_high=None) for m in made.measurements])
    [row] = lines(figure3_numbers([bare]))
    assert row["AUROC", "value"] == 0.6
    assert pd.isna(row["AUROC", "ci_low"])


def test_classification_has_a_row_for_each_metric():
    rows = lines(figure8_numbers(typical()), model="clip-b16")
    assert [(row["metric"], round(row["cifar10", "value"], 1)) for row in rows] == [
        ("top1", 88.0),
        ("mean_per_class_recall", 85.4),
    ]


def test_csv_columns_say_which_part_of_a_cell_they_hold():
    columns = list(flat(table2([segment("m", 0.2)])))
    assert {"voc20", "voc20 ci_low", "voc20 ci_high", "voc20 chance", "protocol", "ade150"} <= set(columns)
    assert "ade150 ci_low" not in columns


@pytest.mark.parametrize("table", [table1, table2, table3, figure3_numbers, figure8_numbers])
def test_no_record_is_no_crash(table):
    assert isinstance(flat(table([])), pd.DataFrame)
