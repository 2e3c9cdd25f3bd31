"""What the page tells of a number that is pressed: its seeds, settings, provenance, record, and the command again.

Many records say the same of their model, data and settings, so each such text is held once and told by its number.
"""

from collections.abc import Sequence
from typing import Any

from pacl_bench.report.again import measure_again, measure_like
from pacl_bench.report.compare import paired_error
from pacl_bench.report.runs import AFTER, GAP, Number, Run, grouped
from pacl_bench.report.tabular import Cell, Table

MOST_PAIRS = 20_000  # of lines whose paired errors a page holds


class Details:
    """The numbers of a page, each with an id, and the runs they come from."""

    def __init__(self) -> None:
        self._ids: dict[Cell, int] = {}
        self._cells: list[dict[str, Any]] = []
        self._runs: dict[str, int] = {}
        self._told: list[dict[str, Any]] = []
        self._texts: dict[str, int] = {}
        self._asked: dict[str, int] = {}
        self._questions: list[dict[str, str]] = []
        self._errors: dict[str, float] = {}

    def cell(self, cell: Cell) -> int:
        """The id of a cell, under which `content` tells of it."""
        if cell not in self._ids:
            self._ids[cell] = len(self._cells)
            self._cells.append(self._of_cell(cell))
        return self._ids[cell]

    def compare(self, table: Table) -> None:
        """Keeps the paired error of every two comparable numbers of a column that have counts by image."""
        for column in table.columns if table.of_models else []:
            cells = [line.cells[column.name] for line in table.lines if column.name in line.cells]
            counted = [
                cell for cell in cells if cell.kind == "measured" and all(one.run.counts for one in cell.numbers)
            ]
            for alike in grouped(counted, lambda cell: repr(cell.numbers[0].run.asked)).values():
                self._compare(alike)

    def content(self) -> dict[str, Any]:
        """Everything, as the page's script reads it."""
        return {
            "cells": self._cells,
            "runs": self._told,
            "texts": list(self._texts),
            "asked": self._questions,
            "errors": self._errors,
        }

    def _compare(self, cells: Sequence[Cell]) -> None:
        for at, one in enumerate(cells):
            for other in cells[at + 1 :]:
                error = paired_error(one.numbers, other.numbers) if len(self._errors) < MOST_PAIRS else None
                if error is not None:
                    first, second = sorted((self.cell(one), self.cell(other)))
                    self._errors[f"{first} {second}"] = round(error, 6)

    def _of_cell(self, cell: Cell) -> dict[str, Any]:
        if cell.kind == "published":
            return {"source": cell.source}
        numbers = [[self._run(one.run), _short(one.value), _short(one.low), _short(one.high)] for one in cell.numbers]
        told: dict[str, Any] = {"numbers": numbers, "n": cell.n, "chance": _short(cell.chance)}
        if cell.kind == "difference":
            return told | {"difference": _short(cell.value)}
        return told | {"protocol": self._text(cell.numbers[0].protocol), "asked": self._question(cell.numbers[0])}

    def _run(self, run: Run) -> int:
        if run.file not in self._runs:
            self._runs[run.file] = len(self._told)
            made = run.record.provenance
            self._told.append(
                {
                    "record": run.file,
                    "seed": run.seed,
                    "head": _digest(run.head) if run.head else "",
                    "model": self._text(describe_model(run)),
                    "data": self._text(describe_data(run)),
                    "settings": self._text(describe_settings(run)),
                    "made": self._text(describe_making(run)),
                    "seconds": made.get("seconds"),
                    "again": [self._text(measure_like(run)), self._text(measure_again(run)[len(measure_like(run)) :])],
                }
            )
        return self._runs[run.file]

    def _text(self, text: str) -> int:
        return self._texts.setdefault(text, len(self._texts))

    def _question(self, number: Number) -> int:
        asked = number.run.asked
        if repr(asked) not in self._asked:
            self._asked[repr(asked)] = len(self._questions)
            self._questions.append({field: str(value) for field, value in asked.items()})
        return self._asked[repr(asked)]


def describe_model(run: Run) -> str:
    """Both towers, and what the head was trained on and how; the same for all seeds."""
    towers = [f"{run.encoder} ({_digest(run.vision)})" if run.vision else run.model]
    text = run.record.config.get("model", {}).get("text")
    towers += [f"text encoder {run.text} ({_digest(text)})"] if text else []
    towers += [run.method] if run.head else []
    trained = f", trained on {run.training_set}, {run.recipe}" if run.method == AFTER else ""
    return " + ".join(towers) + trained


def describe_data(run: Run) -> str:
    """The set, how much of it, and its fingerprint."""
    dataset = run.record.config.get("dataset", {})
    used, official = dataset.get("images"), dataset.get("official_images")
    told = f"{run.dataset}: {used:,} of {official:,} images" if used and official else run.dataset
    return f"{told}, fingerprint {(dataset.get('fingerprint') or GAP)[:12]}"


def describe_settings(run: Run) -> str:
    """Templates, vocabulary and all else that was set, by name, with the hash of the texts where there is one."""
    settings = run.record.config.get("settings", {})
    told = [
        f"{name}={_value(value)}" + (f" ({settings[f'{name}_hash'][:8]})" if f"{name}_hash" in settings else "")
        for name, value in settings.items()
        if value not in (None, [], "") and not name.endswith("_hash")
    ]
    return ", ".join([*told, f"variant {run.variant}", f"study {run.study}"])


def describe_making(run: Run) -> str:
    """Code, machine and day."""
    made = run.record.provenance
    parts = [f"commit {made.get('commit') or GAP}", made.get("device"), made.get("machine")]
    return ", ".join([part for part in parts if part] + [(made.get("created") or "")[:10]]).strip(", ")


def _digest(part: dict[str, Any]) -> str:
    return (part.get("sha256") or GAP)[:8]


def _value(value: Any) -> str:
    return "+".join(map(str, value)) if isinstance(value, list) else str(value)


def _short(value: float) -> float | None:
    """A number with the digits that are ever shown; None where it is not there, for JSON."""
    return None if value != value else round(value, 6)  # NaN
