"""Where the numbers of a report come from: models, data sets, settings, machines, as tables of text."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from pacl_bench.records import Record
from pacl_bench.report.rows import AFTER, GAP, method, recipe, training_set

Rows = list[dict[str, str]]  # of one table: all have the same columns


def encoders(records: Sequence[Record]) -> Rows:
    """Every frozen encoder that was measured, by the sha256 of its weights."""
    return _distinct([row for record in records for row in _encoder_rows(record)])


def heads(records: Sequence[Record]) -> Rows:
    """Every head that was measured: what it was trained on and how."""
    return _distinct([_head_row(record) for record in records if _model(record).get("head")])


def datasets(records: Sequence[Record]) -> Rows:
    """Every data set that was measured on, with how much of it. A set that changed in between has two rows."""
    return _distinct([_dataset_row(record) for record in records])


def settings(records: Sequence[Record]) -> Rows:
    """Every evaluator's settings, defaults filled in."""
    return _distinct([_settings_row(record) for record in records])


def machines(records: Sequence[Record]) -> Rows:
    """Every combination of code, packages and machine, with how many records it made."""
    rows = Counter(tuple(_machine_row(record).items()) for record in records)
    return [{"records": str(count), **dict(row)} for row, count in rows.items()]


def images_used(records: Sequence[Record], evaluator: str) -> str:
    """One sentence: "Measured on voc20 (392 of 1,449 official images)."; empty where nothing was measured."""
    rows = datasets([record for record in records if record.config.get("evaluator") == evaluator])
    told = [f"{row['data set']} ({row['images used']} of {row['official images']} official images)" for row in rows]
    return f"Measured on {', '.join(told)}." if told else ""


SECTIONS: dict[str, Callable[[Sequence[Record]], Rows]] = {
    "Encoders": encoders,
    "Heads": heads,
    "Data sets": datasets,
    "Settings": settings,
    "Code and machine": machines,
}


def _encoder_rows(record: Record) -> Rows:
    model = _model(record)
    vision, text = model.get("encoder") or {}, model.get("text") or {}
    told = {name: value for name, value in vision.items() if name not in ("name", "sha256")}
    return [
        {"encoder": part["name"], "tower": tower, "sha256": part["sha256"][:12], "settings": _told(options)}
        for tower, part, options in (("vision", vision, told), ("text", text, {}))
        if part
    ]


def _head_row(record: Record) -> dict[str, str]:
    model = _model(record)
    head = model["head"]
    train = head.get("train", {})
    return {
        "head": record.key.model,
        "sha256": head["sha256"][:12],
        "method": method(head),
        "encoder": (model.get("encoder") or {}).get("name", GAP),
        "text encoder": (model.get("text") or {}).get("name", GAP),
        "training set": training_set(head),
        "captions": _number(train.get("captions")) if method(head) == AFTER else GAP,
        "recipe": recipe(head),
        "seed": str(train.get("seed", GAP)),
    }


def _dataset_row(record: Record) -> dict[str, str]:
    dataset = record.config.get("dataset", {})
    return {
        "data set": record.key.dataset,
        "images used": _number(dataset.get("images")),
        "official images": _number(dataset.get("official_images")),
        "fingerprint": (dataset.get("fingerprint") or GAP)[:12],
    }


def _settings_row(record: Record) -> dict[str, str]:
    chosen = {name: value for name, value in record.config.get("settings", {}).items() if not name.endswith("_hash")}
    return {
        "evaluator": record.config.get("evaluator", GAP),
        "variant": record.key.variant,
        "settings": _told(chosen),
    }


def _machine_row(record: Record) -> dict[str, str]:
    made = record.provenance
    packages = ", ".join(f"{name} {version}" for name, version in made.get("packages", {}).items())
    where = [made.get("machine"), made.get("device"), made.get("python") and f"Python {made['python']}"]
    return {
        "commit": made.get("commit") or GAP,
        "machine": ", ".join(part for part in where if part) or GAP,
        "packages": packages or GAP,
    }


def _model(record: Record) -> dict[str, Any]:
    return record.config.get("model", {})


def _told(options: dict[str, Any]) -> str:
    """ "block=10, size=224"; groups are opened, lists (channel means) left to the record."""
    opened = [pair for name, value in options.items() for pair in _opened(name, value)]
    return ", ".join(f"{name}={value}" for name, value in opened if not isinstance(value, list)) or GAP


def _opened(name: str, value: Any) -> list[tuple[str, Any]]:
    return list(value.items()) if isinstance(value, dict) else [(name, value)]


def _number(count: int | None) -> str:
    return GAP if count is None else f"{count:,}"


def _distinct(rows: Rows) -> Rows:
    """Each row once, sorted."""
    return [dict(row) for row in sorted({tuple(row.items()) for row in rows})]
