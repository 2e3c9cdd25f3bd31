"""What commands print: rows as a table, or as JSON for other programs."""

import json
import shlex
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

if TYPE_CHECKING:
    from pacl_bench.records import Measurement, Record

WIDTH, MOST_LINES = 80, 60  # of a summary
WIDEST = 10_000  # letters of a line that is never broken
LONG_CELL = 40  # two of them hardly fit a line
AREAS = ("auroc", "mean_per_class_auroc", "average_precision")  # told as fractions
COST = {"tokens_per_image": "tokens", "ms_per_image": "ms", "tokens_from": "tokens from", "peak_memory_mb": "peak MB"}


def print_rows(rows: Sequence[dict[str, Any]], title: str, as_json: bool) -> None:
    """Rows as a table, or as JSON for other programs; row below row where a table would tear words apart."""
    if as_json:
        print(json.dumps(list(rows), indent=1, allow_nan=False))
        return
    console = Console(emoji=False)  # a name may hold :ok:, which is no emoji
    table = _table(rows, title)
    if not console.is_terminal:  # in a pipe, lines are as long as they are
        Console(width=WIDEST, emoji=False).print(table)
    elif console.measure(table, options=console.options.update_width(WIDEST)).minimum <= console.width:
        console.print(table)
    else:
        console.print(title, style="bold", markup=False)
        for row in rows:
            console.print(_block(row), highlight=False)


def _table(rows: Sequence[dict[str, Any]], title: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, header_style="bold")
    for column, value in (rows[0] if rows else {}).items():
        table.add_column(column, justify="right" if isinstance(value, int | float) else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(_cell, row.values()))
    return table


def _block(row: dict[str, Any]) -> Group:
    """The first value of a row, and below it the others by name: short ones in one line, a long one in its own."""
    (_, name), *others = row.items()
    told = [f"{key}: {cell}" for key, value in others if (cell := _cell(value))]
    lines = [
        line
        for is_long, cells in groupby(told, key=lambda cell: len(cell) > LONG_CELL)
        for line in (cells if is_long else [" · ".join(cells)])
    ]
    return Group(f"\n[bold]{_cell(name)}[/bold]", *(Padding(line, (0, 0, 0, 2)) for line in lines))


def _cell(value: object) -> str:
    """As rich's markup takes it."""
    return "" if value is None else f"{value:,}" if isinstance(value, int) else escape(str(value))


def print_records(found: "Sequence[Record]", results: Path, everything: bool = False, as_json: bool = False) -> None:
    """A summary of records that fits a terminal, and where they and their report are; or all numbers, or JSON.

    Args:
        results: the folder below which they were written.
    """
    from pacl_bench.records import tidy_rows

    rows = [row for record in found for row in tidy_rows(record)]
    if as_json:
        print_rows(rows, "", as_json)
    elif everything:
        print_rows(_every_number(rows), "Records", as_json)
    else:
        lines = [*summary_lines(found), *_places(found, results)]
        Console(emoji=False, soft_wrap=True).print("\n".join(lines), markup=False, highlight=False)


def summary_lines(found: "Sequence[Record]") -> list[str]:
    """The headline numbers, data set by data set, in lines of at most WIDTH letters."""
    rows = [row for record in found for row in _headline_rows(record)]
    groups: dict[str, list[str]] = {}
    for head, line in rows:
        groups.setdefault(head, [_columns(head, "value", "95 % interval", "chance")]).append(line)
    lines = [line for group in groups.values() for line in [*group, ""]]
    if len(lines) > MOST_LINES:
        left = len(lines) - MOST_LINES
        lines = [*lines[:MOST_LINES], f"... and {left} lines more: --all", ""]
    others = sum(not row.class_name for record in found for row in record.measurements) - len(rows)
    return [*lines, f"{others} numbers more: --all, or --json"] if others > 0 else lines


def _headline_rows(record: "Record") -> "list[tuple[str, str]]":
    """What is measured, and the line of the model: of each metric that comes first, the first protocol."""
    from pacl_bench.evaluators import EVALUATORS

    evaluator = EVALUATORS.get(record.config.get("evaluator", ""))
    shown: dict[str, Measurement] = {}
    for row in record.measurements:
        if not row.class_name and (evaluator is None or row.metric in (evaluator.headline or [row.metric])):
            shown.setdefault(row.metric, row)
    key = record.key
    study = [] if key.study == record.config.get("evaluator") else [key.study]
    variant = [] if key.variant == "default" else [key.variant]
    return [
        (" · ".join([*study, key.dataset, row.metric, row.protocol, *variant]), _line(key.model, row))
        for row in shown.values()
    ]


def _line(model: str, row: "Measurement") -> str:
    bounds = [_shown(row, bound) for bound in (row.ci_low, row.ci_high) if bound is not None]
    chance = "" if row.chance is None else _shown(row, row.chance)
    return _columns(f"  {model}", _shown(row, row.value), " to ".join(bounds), chance)


def _shown(row: "Measurement", value: float) -> str:
    """Areas as fractions, shares in percent."""
    return f"{value:.3f}" if row.metric in AREAS else f"{100 * value:.1f} %"


def _columns(name: str, *cells: str) -> str:
    """A name and three columns to its right; a name that is too long has a line of its own."""
    right = "".join(f"{cell:>{width}}" for cell, width in zip(cells, (9, 18, 9), strict=True))
    room = WIDTH - len(right)
    return f"{name:<{room}}{right}" if len(name) < room else f"{name}\n{right:>{WIDTH}}"


def _places(found: "Sequence[Record]", results: Path) -> list[str]:
    """Where the records are, and their report or the command that writes it."""
    folder = results / "records"
    files = sorted({str(folder / record.key.path) for record in found})
    report = results / "report" / "report.html"
    told = report if report.is_file() else f"pacl-bench report --results {shlex.quote(str(results))}"
    where = files[0] if len(files) == 1 else f"{folder} ({len(files)} files)"
    return ["", f"Records: {where}", f"Report:  {told}"] if files else ["Nothing was measured."]


def _every_number(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    has_cost = any(row["tokens_per_image"] for row in rows)
    return [
        {
            "model": row["model"],
            "dataset": row["dataset"],
            "variant": row["variant"],
            "protocol": row["protocol"],
            "metric": row["metric"],
            "value": f"{row['value']:.4f}",
            "95 % interval": "" if row["ci_low"] is None else f"{row['ci_low']:.4f} to {row['ci_high']:.4f}",
            "chance": "" if row["chance"] is None else f"{row['chance']:.4f}",
            "n": row["n"],
            **({name: row[column] for column, name in COST.items()} if has_cost else {}),
        }
        for row in rows
        if not row["class_name"]
    ]
