"""The paper's tables, from records: measured rows first, the published ones below them.

A table is a DataFrame. Its index tells the rows apart, its columns are (column, part): `value`, `ci_low`, `ci_high`,
`chance`. NaN is a gap. Accuracies and mIoU are in percent, AUROC in [0, 1].
"""

from collections.abc import Iterable, Sequence

import pandas as pd

from pacl_bench.records import Record
from pacl_bench.report.published import UNKNOWN_PROTOCOL, published
from pacl_bench.report.rows import (
    AFTER,
    GAP,
    METHODS,
    PARTS,
    Row,
    every_block,
    in_percent,
    measured,
    require_one_a_cell,
    without_inner_blocks,
)

MEASURED = "measured"  # the source of all rows but the published
ABLATION = "ablate"  # the study that fills Table 3
MAJORITY = "majority class"
PATCH_PROTOCOLS = ["all-classes", "present-classes", "present-classes, images of 2+ classes", "binary"]
MEASURED_ALWAYS = ["all-classes", "present-classes", "binary"]  # columns of Table 1 that older records fill too
COHERENCE_METRICS = {
    "auroc": "AUROC",
    "mean_per_class_auroc": "mean of classes",
    "average_precision": "average precision",
}
TABLE_2_SETS = ["voc20", "context59", "coco_stuff171", "ade150"]

MODEL = ["model", "head", "seed", "study", "variant"]  # what tells models of one encoder apart
TABLE_1_INDEX = ["source", "dataset", "encoder", "method", "text encoder", "training set", *MODEL, "patches"]
TABLE_2_INDEX = [
    "source", "protocol", "method", "encoder", "text encoder", "training set", "annotation", "mask", *MODEL,
]  # fmt: skip
PROTOCOLS_INDEX = ["dataset", "protocol", "study", "variant"]
TABLE_3_INDEX = ["source", "dataset", "protocol", "training set", "recipe", "seed", "variant"]
FIGURE_3_INDEX = ["dataset", "protocol", "encoder", "method", "training set", *MODEL, "pairs"]
LAYERS_INDEX = ["dataset", "protocol", "encoder", "study", "variant"]
RECALL_INDEX = ["dataset", "study", "variant", "class"]
FIGURE_8_INDEX = ["metric", "encoder", "method", "text encoder", "training set", *MODEL]


def table1(records: Iterable[Record]) -> pd.DataFrame:
    """Patch classification, %: for each encoder and data set before alignment, with an untrained head, and after.

    Columns: the protocols side by side, behind each what always answering the most frequent candidate class scores;
    the published accuracy, whose protocol nobody knows.
    """
    rows = [
        {**row, "source": MEASURED, "column": row["protocol"] if row["metric"] == "patch_accuracy" else _majority(row)}
        for row in in_percent(measured(records, "patches"))
        if row["metric"] in ("patch_accuracy", "majority_class_share")
    ]
    # of a data set, whatever part of it a protocol counts
    patches = {row["file"]: row["n"] for row in rows if row["protocol"] == PATCH_PROTOCOLS[0]}
    rows = [{**row, "patches": f"{patches.get(row['file'], row['n']):,}"} for row in rows]
    filled = {row["column"] for row in rows} | set(MEASURED_ALWAYS)
    columns = [column for protocol in PATCH_PROTOCOLS for column in (protocol, f"{MAJORITY}: {protocol}")]
    printed = [{**row, "column": UNKNOWN_PROTOCOL} for row in published(1)]
    return stacked(
        TABLE_1_INDEX,
        [*(column for column in columns if column in filled), UNKNOWN_PROTOCOL],
        wide(rows, TABLE_1_INDEX, order=_with_every_method(rows)),
        wide(printed, TABLE_1_INDEX),
    )


def _majority(row: Row) -> str:
    return f"{MAJORITY}: {row['protocol']}"


def recall_table(records: Iterable[Record]) -> pd.DataFrame:
    """Patch recall of each class, %, every class of the set being a candidate; a column for each model."""
    rows = [
        {**row, "class": row["class_name"], "column": row["model"]}
        for row in in_percent(measured(records, "patches", "patch_recall", of_classes=True))
        if row["protocol"] == PATCH_PROTOCOLS[0]
    ]
    columns = list(dict.fromkeys(row["column"] for row in rows))
    return stacked(RECALL_INDEX, columns, wide(rows, RECALL_INDEX))


def table2(records: Iterable[Record]) -> pd.DataFrame:
    """Zero-shot segmentation, mIoU in %: a row for each model and protocol, a column for each data set.

    The paper's four data sets are always there, measured or not. The study `ablate` is Table 3's, and records that
    compare protocols are `protocols_table`'s.
    """
    rows = [
        {**row, "source": MEASURED, "column": row["dataset"]}
        for row in in_percent(measured([one for one in records if not compares_protocols(one)], "segment", "miou"))
        if row["study"] != ABLATION
    ]
    rows.sort(key=lambda row: row["protocol"])
    printed = [{**row, "column": row["dataset_name"]} for row in published(2)]
    columns = dict.fromkeys([*(row["column"] for row in rows), *TABLE_2_SETS])  # what was measured comes first
    return stacked(TABLE_2_INDEX, list(columns), wide(rows, TABLE_2_INDEX), wide(printed, TABLE_2_INDEX))


def protocols_table(records: Iterable[Record]) -> pd.DataFrame:
    """Zero-shot segmentation, mIoU in %, of the records that compare protocols: these down, models across."""
    compared = [record for record in records if compares_protocols(record)]
    rows = [{**row, "column": row["model"]} for row in in_percent(measured(compared, "segment", "miou"))]
    columns = list(dict.fromkeys(row["column"] for row in rows))
    return stacked(PROTOCOLS_INDEX, columns, wide(rows, PROTOCOLS_INDEX))


def compares_protocols(record: Record) -> bool:
    """Whether a record scores more of `dataset-miou` than background left out and background as a class."""
    protocols = {one.protocol for one in record.measurements if one.metric == "miou"}
    return sum(protocol.startswith("dataset-miou") for protocol in protocols) > 2


def table3(records: Iterable[Record]) -> pd.DataFrame:
    """Ablation, mIoU in %: training sets down, encoders (vision × text) across.

    Only the study `ablate` fills it: a head measured for another study was not necessarily trained under the
    conditions the grid holds fixed. Heads of one encoder, training set, recipe and seed claim one cell: an error.
    """
    rows = [
        {**row, "source": MEASURED, "column": f"{row['encoder']} × {row['text encoder']}", **_trained_on(row)}
        for row in in_percent(measured(records, "segment", "miou"))
        if row["study"] == ABLATION
    ]
    rows.sort(key=lambda row: [row[name] for name in ("dataset", "protocol", "images", "recipe", "seed")])
    printed = [
        {**row, "dataset": row["dataset_name"], "column": f"{row['encoder_name']} × {row['text_name']}"}
        for row in published(3)
    ]
    columns = dict.fromkeys(row["column"] for row in [*rows, *printed])
    return stacked(TABLE_3_INDEX, list(columns), wide(rows, TABLE_3_INDEX), wide(printed, TABLE_3_INDEX))


def figure3_numbers(records: Sequence[Record]) -> pd.DataFrame:
    """Semantic coherence, in [0, 1], of each encoder; the best AUROC first within a data set and kind of pairs.

    Of an encoder measured block by block only, the last block; `layers_numbers` has all.
    """
    rows = [
        {**row, "pairs": f"{row['n']:,}", "column": COHERENCE_METRICS[row["metric"]]}
        for row in without_inner_blocks(records, measured(records, "coherence"))
        if row["metric"] in COHERENCE_METRICS
    ]
    auroc = {(row["file"], row["protocol"]): row["value"] for row in rows if row["metric"] == "auroc"}
    rows.sort(
        key=lambda row: (
            *(row[name] for name in ("study", "variant", "dataset", "protocol")),
            -auroc.get((row["file"], row["protocol"]), 0.0),
        )
    )
    filled = {row["column"] for row in rows} | {"AUROC"}
    columns = [column for column in COHERENCE_METRICS.values() if column in filled]
    return stacked(FIGURE_3_INDEX, columns, wide(rows, FIGURE_3_INDEX))


def layers_numbers(records: Sequence[Record]) -> pd.DataFrame:
    """AUROC in [0, 1] of the encoders measured block by block; a column for each block."""
    blocks = every_block(records)
    rows = [
        {**row, "encoder": blocks[row["file"]][0], "column": f"block {blocks[row['file']][1]}"}
        for row in measured(records, "coherence", "auroc")
        if row["file"] in blocks
    ]
    columns = [f"block {block}" for block in sorted({block for _, block in blocks.values()})] if rows else []
    return stacked(LAYERS_INDEX, columns, wide(rows, LAYERS_INDEX))


def figure8_numbers(records: Iterable[Record]) -> pd.DataFrame:
    """Zero-shot classification, %: a row for each model and metric, a column for each data set."""
    rows = [
        {**row, "column": row["dataset"]}
        for metric in ("top1", "mean_per_class_recall")
        for row in in_percent(measured(records, "classify", metric))
    ]
    return stacked(FIGURE_8_INDEX, sorted({row["dataset"] for row in rows}), wide(rows, FIGURE_8_INDEX))


def wide(rows: Sequence[Row], index: Sequence[str], order: Sequence[tuple[str, ...]] | None = None) -> pd.DataFrame:
    """One line for each combination of `index`, a column for each of the rows' `column`.

    Args:
        order: the lines, also those that nothing fills; default as they first come.

    Raises:
        UsageError: two rows for one cell. They are never averaged.
    """
    rows = [{**dict.fromkeys(index, GAP), **row} for row in rows]
    require_one_a_cell(rows, [*index, "column"])
    frame = pd.DataFrame(rows, columns=[*index, "column", *PARTS])
    table = frame.pivot(index=list(index), columns="column", values=PARTS).swaplevel(axis=1)
    lines = order or list(dict.fromkeys(tuple(row[name] for name in index) for row in rows))
    return table.reindex(pd.MultiIndex.from_tuples(lines, names=index)) if lines else table


def stacked(index: Sequence[str], columns: Sequence[str], *tables: pd.DataFrame) -> pd.DataFrame:
    """The tables below one another with these columns; one that nothing fills is a column of gaps."""
    wanted = pd.MultiIndex.from_product([columns, PARTS], names=["column", "part"])
    filled = [table.reindex(columns=wanted) for table in tables if len(table)]
    empty = pd.DataFrame(columns=wanted, index=pd.MultiIndex.from_arrays([[]] * len(index), names=index), dtype=float)
    return pd.concat(filled) if filled else empty


def flat(table: pd.DataFrame) -> pd.DataFrame:
    """The table with one line of column names, for csv: `voc20`, `voc20 ci_low`, `voc20 ci_high`, `voc20 chance`."""
    kept = table.dropna(axis=1, how="all").round(4)
    kept.columns = [column if part == "value" else f"{column} {part}" for column, part in kept.columns]
    return kept.reset_index()


def _with_every_method(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """The lines of Table 1, with a line of gaps for what is missing of before, untrained and after."""
    group = ["source", "dataset", "encoder", "study", "variant"]
    lines = []
    for values in dict.fromkeys(tuple(row[name] for name in group) for row in rows):
        gap = {**dict.fromkeys(TABLE_1_INDEX, GAP), **dict(zip(group, values, strict=True))}
        same_group = [row for row in rows if all(row[name] == gap[name] for name in group)]
        for method in METHODS:
            found = [row for row in same_group if row["method"] == method]
            lines += [tuple(row[name] for name in TABLE_1_INDEX) for row in found or [{**gap, "method": method}]]
    return list(dict.fromkeys(lines))


def _trained_on(row: Row) -> dict[str, str]:
    """What was trained on nothing says so in the column that tells the training set."""
    return {} if row["method"] == AFTER else {"training set": f"none: {row['method']}"}
