"""What commands print: rows as a table, or as JSON for other programs."""

import json
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

COST = {"tokens_per_image": "tokens", "ms_per_image": "ms", "tokens_from": "tokens from", "peak_memory_mb": "peak MB"}


def print_rows(rows: Sequence[dict[str, Any]], title: str, as_json: bool) -> None:
    """Rows as a table, or as JSON for other programs."""
    if as_json:
        print(json.dumps(list(rows), indent=1, allow_nan=False))
        return
    console = Console(emoji=False)  # a name may hold :ok:, which is no emoji
    if not console.is_terminal:  # in a pipe, lines are as long as they are
        console = Console(width=10_000, emoji=False)
    table = Table(title=title, title_justify="left", box=None, header_style="bold")
    for column, value in (rows[0] if rows else {}).items():
        table.add_column(column, justify="right" if isinstance(value, int | float) else "left", overflow="fold")
    for row in rows:
        table.add_row(
            *(
                "" if value is None else f"{value:,}" if isinstance(value, int) else escape(str(value))
                for value in row.values()
            )
        )
    console.print(table)


def print_records(found: Sequence[Any], as_json: bool) -> None:
    """The headline numbers of records, or all of them as JSON."""
    from pacl_bench.records import tidy_rows

    rows = [row for record in found for row in tidy_rows(record)]
    if as_json:
        print_rows(rows, "", as_json)
        return
    shown = [
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
            **(
                {name: row[column] for column, name in COST.items()}
                if any(row["tokens_per_image"] for row in rows)
                else {}
            ),
        }
        for row in rows
        if not row["class_name"]
    ]
    print_rows(shown, "Records", as_json)
