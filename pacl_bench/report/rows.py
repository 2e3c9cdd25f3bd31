"""Records as rows: one a number, with everything that tells two measured models apart. No torch here."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from pacl_bench.errors import UsageError
from pacl_bench.records import Record, block_name

Row = dict[str, Any]  # one number: what identity() says of its record, and the fields of a Measurement

GAP = "–"  # what is not there, is not known, or has no meaning for a row
BEFORE, UNTRAINED, AFTER = "before alignment", "untrained head", "PACL head"
METHODS = (BEFORE, UNTRAINED, AFTER)
ELSEWHERE = "predictions made elsewhere"

PARTS = ["value", "ci_low", "ci_high", "chance"]  # of one cell of a table


def measured(
    records: Iterable[Record], evaluator: str, metric: str | None = None, of_classes: bool = False
) -> list[Row]:
    """Every number of an evaluator's records, over all classes or of each, in the order of the paper's tables.

    Values are as recorded, fractions in [0, 1]; what is not known of one is NaN.
    """
    rows = [
        {**identity(record), **asdict(measurement)}
        for record in records
        if record.config.get("evaluator") == evaluator
        for measurement in record.measurements
        if bool(measurement.class_name) == of_classes and metric in (None, measurement.metric)
    ]
    for row in rows:
        row |= {part: math.nan for part in PARTS if row[part] is None}
    return sorted(rows, key=_place)


def every_block(records: Iterable[Record]) -> dict[str, tuple[str, int]]:
    """(encoder, block) of the records of encoders that were measured block by block, by file."""
    found = {}
    for record in records:
        encoder = record.config.get("model", {}).get("encoder") or {}
        block = encoder.get("block")
        base = record.key.model.removesuffix(block_name("", block)) if block is not None else record.key.model
        if base != record.key.model:
            found[str(record.key.path)] = base, block
    return found


def without_inner_blocks(records: Iterable[Record], rows: Iterable[Row]) -> list[Row]:
    """The rows with one block of an encoder that was measured block by block: as it comes, else the last.

    Which one that is, each figure's own rows say: those of one study, variant and data set.
    """
    rows = list(rows)
    blocks = every_block(records)
    as_it_comes = {(row["model"], *_figure_of(row)) for row in rows}
    last: dict[tuple[str, ...], int] = {}
    for row in rows:
        if row["file"] in blocks:
            encoder, block = blocks[row["file"]]
            last[encoder, *_figure_of(row)] = max(last.get((encoder, *_figure_of(row)), 0), block)

    def stands(row: Row) -> bool:
        if row["file"] not in blocks:
            return True
        encoder, block = blocks[row["file"]]
        its = (encoder, *_figure_of(row))
        return block == last[its] and its not in as_it_comes

    return list(filter(stands, rows))


def _figure_of(row: Row) -> tuple[str, ...]:
    return row["study"], row["variant"], row["dataset"]


def in_percent(rows: Iterable[Row]) -> list[Row]:
    """The rows with value, interval and chance in percent."""
    return [{**row, **{part: row[part] * 100 for part in PARTS}} for row in rows]


def require_one_a_cell(rows: Iterable[Row], cell: Sequence[str]) -> None:
    """Raises a UsageError that names the records where two rows agree in all of `cell`: they are never averaged."""
    seen: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        first = seen.setdefault(tuple(row[name] for name in cell), row)
        if first is not row:
            raise UsageError(
                f"Two numbers for one cell of a table ({row['dataset']}, {row['metric']}, {row['protocol']}): "
                f"{first['file']} and {row['file']} below records/. Move one of these records away."
            )


def identity(record: Record) -> dict[str, Any]:
    """What tells this record's model, data and settings from another's, as a table shows it."""
    model = record.config.get("model", {})
    head = model.get("head")
    return {
        "study": record.key.study,
        "variant": record.key.variant,
        "dataset": record.key.dataset,
        "encoder": _name(model.get("encoder")),
        "method": ELSEWHERE if "predictions" in model else method(head),
        "text encoder": _name(model.get("text")),
        "training set": training_set(head),
        "images": ((head or {}).get("train") or {}).get("images") or 0,  # of the training set
        "recipe": recipe(head),
        "model": record.key.model,
        "head": head["sha256"][:8] if head else GAP,
        "seed": _seed(head),
        "file": str(record.key.path),
    }


def method(head: dict[str, Any] | None) -> str:
    """One of METHODS. A head of 0 steps holds random weights and is never passed off as a trained one."""
    if head is None:
        return BEFORE
    return UNTRAINED if head.get("step") == 0 else AFTER


def training_set(head: dict[str, Any] | None) -> str:
    """What the head was trained on: "flickr8k + voc_tags (1,638 images)"."""
    if method(head) != AFTER or head is None or "train" not in head:
        return GAP
    pairs = head["train"]["pairs"].replace("+", " + ")
    images = head["train"].get("images")
    return pairs if images is None else f"{pairs} ({images:,} images)"


def recipe(head: dict[str, Any] | None) -> str:
    """How the head was trained: "400 steps, batch 96, lr 0.002, patch_scale 10"."""
    if method(head) != AFTER or head is None:
        return GAP
    train = head.get("train", {})
    told = [f"{head['step']:,} steps"] if "step" in head else []
    told += [f"{short} {train[name]:g}" for name, short in (("batch_size", "batch"), ("lr", "lr")) if name in train]
    return ", ".join([*told, f"patch_scale {head['patch_scale']:g}"])


def _seed(head: dict[str, Any] | None) -> str:
    # of the head's weights; the record's own seed is the bootstrap's
    return str(((head or {}).get("train") or {}).get("seed", GAP))


def _name(part: dict[str, Any] | None) -> str:
    return part["name"] if part else GAP


def _place(row: dict[str, Any]) -> tuple[Any, ...]:
    shared = (row["study"], row["variant"], row["dataset"], row["encoder"])
    return (
        *shared,
        (*METHODS, ELSEWHERE).index(row["method"]),
        row["training set"],
        row["model"],
        row["seed"],
        row["file"],
    )
