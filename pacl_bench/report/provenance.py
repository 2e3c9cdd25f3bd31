"""Where the numbers of a report come from: models, data sets, settings, machines, as tables of text."""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, NamedTuple

from pacl_bench.report.runs import AFTER, GAP, Run, grouped, method, recipe, training_set

Rows = list[dict[str, str]]  # of one table: all have the same columns
Alike = dict[Hashable, list[Run]]


class ProvenanceTable(NamedTuple):
    """How a table is made."""

    shared: Callable[[Run], Hashable]  # equal for runs that have a row in common; quickly told
    rows: Callable[[Sequence[Sequence[Run]]], Rows]  # of the runs that share it


def provenance_tables(runs: Iterable[Run]) -> dict[str, Rows]:
    """Every table of where the numbers come from that has a row, by its title.

    Of many records most say the same: one walk finds the runs that share what a table tells of.
    """
    found: dict[str, Alike] = {title: {} for title in TABLES}
    for run in runs:
        for title, table in TABLES.items():
            found[title].setdefault(table.shared(run), []).append(run)
    return {title: rows for title, table in TABLES.items() if (rows := table.rows(list(found[title].values())))}


def _encoders(alike: Sequence[Sequence[Run]]) -> Rows:
    """Every frozen encoder that was measured, by the sha256 of its weights."""
    return _distinct(row for run, *_ in alike for row in _encoder_rows(run))


def _heads(alike: Sequence[Sequence[Run]]) -> Rows:
    """Every head that was measured: what it was trained on and how."""
    return _distinct(_head_row(run) for run, *_ in alike if run.head)


def _datasets(alike: Iterable[Sequence[Run]]) -> Rows:
    """Every data set that was measured on, with how much of it. A set that changed in between has two rows."""
    return _distinct(_dataset_row(run) for run, *_ in alike)


def _settings(alike: Sequence[Sequence[Run]]) -> Rows:
    """Every evaluator's settings, defaults filled in."""
    return _distinct(_settings_row(run) for run, *_ in alike)


def _machines(alike: Sequence[Sequence[Run]]) -> Rows:
    """Every combination of code, packages and machine, with how many records it made."""
    rows: Counter[tuple[tuple[str, str], ...]] = Counter()
    for same in alike:
        rows[tuple(_machine_row(same[0]).items())] += len(same)
    return [{"records": str(count), **dict(row)} for row, count in rows.items()]


def images_used(runs: Iterable[Run]) -> str:
    """One sentence: "Measured on voc20 (392 of 1,449 official images)."; empty where nothing was measured."""
    of_size = grouped(
        _datasets(grouped(runs, _dataset).values()), lambda row: (row["images used"], row["official images"])
    )
    told = [
        f"{', '.join(dict.fromkeys(row['data set'] for row in rows))} ({used} of {official} official images)"
        for (used, official), rows in of_size.items()
    ]
    return f"Measured on {'; '.join(told)}." if told else ""


def days(runs: Iterable[Run]) -> str:
    """When they were measured: "2026-11-23 to 2026-11-24"; empty where no record says so."""
    created = sorted({(run.record.provenance.get("created") or "")[:10] for run in runs} - {""})
    return " to ".join(dict.fromkeys([created[0], created[-1]])) if created else ""


def _model(run: Run) -> Hashable:
    return run.model, _id(run, "model")


def _dataset(run: Run) -> Hashable:
    return run.dataset, _id(run, "dataset")


def _setting(run: Run) -> Hashable:
    return run.evaluator, run.variant, _id(run, "settings")


def _making(run: Run) -> Hashable:
    made = run.record.provenance
    return (*(made.get(name) for name in ("commit", "python", "machine", "device")), id(made.get("packages")))


def _id(run: Run, part: str) -> int:
    """Equal for runs that share this part of their configuration in memory: a cheap first sieve for many records."""
    return id(run.record.config.get(part))


def _encoder_rows(run: Run) -> Rows:
    text = run.record.config.get("model", {}).get("text") or {}
    told = {name: value for name, value in run.vision.items() if name not in ("name", "sha256")}
    return [
        {"encoder": part["name"], "tower": tower, "sha256": part["sha256"][:12], "settings": _told(options)}
        for tower, part, options in (("vision", run.vision, told), ("text", text, {}))
        if part
    ]


def _head_row(run: Run) -> dict[str, str]:
    head = run.head or {}
    train = head.get("train", {})
    return {
        "head": run.model,
        "sha256": head["sha256"][:12],
        "method": method(head),
        "encoder": run.encoder,
        "text encoder": run.text,
        "training set": training_set(head),
        "captions": _number(train.get("captions")) if method(head) == AFTER else GAP,
        "recipe": recipe(head),
        "seed": run.seed,
    }


def _dataset_row(run: Run) -> dict[str, str]:
    dataset = run.record.config.get("dataset", {})
    return {
        "data set": run.dataset,
        "images used": _number(dataset.get("images")),
        "official images": _number(dataset.get("official_images")),
        "fingerprint": (dataset.get("fingerprint") or GAP)[:12],
    }


def _settings_row(run: Run) -> dict[str, str]:
    given = run.record.config.get("settings", {})
    chosen = {name: value for name, value in given.items() if not name.endswith("_hash")}
    return {"evaluator": run.evaluator, "variant": run.variant, "settings": _told(chosen)}


def _machine_row(run: Run) -> dict[str, str]:
    made = run.record.provenance
    packages = ", ".join(f"{name} {version}" for name, version in made.get("packages", {}).items())
    where = [made.get("machine"), made.get("device"), made.get("python") and f"Python {made['python']}"]
    return {
        "commit": made.get("commit") or GAP,
        "machine": ", ".join(part for part in where if part) or GAP,
        "packages": packages or GAP,
    }


def _told(options: dict[str, Any]) -> str:
    """ "block=10, size=224"; groups are opened, lists (channel means) left to the record."""
    opened = [pair for name, value in options.items() for pair in _opened(name, value)]
    return ", ".join(f"{name}={value}" for name, value in opened if not isinstance(value, list)) or GAP


def _opened(name: str, value: Any) -> list[tuple[str, Any]]:
    return list(value.items()) if isinstance(value, dict) else [(name, value)]


def _number(count: int | None) -> str:
    return GAP if count is None else f"{count:,}"


def _distinct(rows: Iterable[dict[str, str]]) -> Rows:
    """Each row once, sorted."""
    return [dict(row) for row in sorted({tuple(row.items()) for row in rows})]


TABLES = {
    "Encoders": ProvenanceTable(_model, _encoders),
    "Heads": ProvenanceTable(_model, _heads),
    "Data sets": ProvenanceTable(_dataset, _datasets),
    "Settings": ProvenanceTable(_setting, _settings),
    "Code and machine": ProvenanceTable(_making, _machines),
}
