"""Tables as Markdown. A table for reading is a dict: the name of a column and its cells, all text."""

import math
from collections.abc import Collection, Mapping, Sequence

import pandas as pd

from pacl_bench.report.rows import GAP, PARTS
from pacl_bench.report.tables import MEASURED

Shown = dict[str, list[str]]

# a sentence above the table says these where they are the same in every measured row
OFTEN_CONSTANT = [
    "dataset", "method", "text encoder", "training set", "recipe", "model", "head", "seed", "study", "variant",
    "patches", "pairs",
]  # fmt: skip
TOLD_BY_MODEL = ["head", "seed"]  # left out where a model's name stands for one of them only


def table_section(table: pd.DataFrame, decimals: int = 1) -> str:
    """A table for reading: intervals in the cells, and what all measured rows share in a sentence above it."""
    names = {str(name): [str(value) for value in table.index.get_level_values(name)] for name in table.index.names}
    is_measured = [source == MEASURED for source in names.pop("source", [MEASURED] * len(table))]
    names = {
        name: cells for name, cells in names.items() if not (name in TOLD_BY_MODEL and _told_by_model(names, name))
    }
    shared = {name: _shared(names, name, is_measured) for name in OFTEN_CONSTANT if name in names}
    shared = {name: value for name, value in shared.items() if value is not None}
    told = ", ".join(f"{name} `{value}`" for name, value in shared.items() if value != GAP)
    numbers = show_numbers(table, is_measured, decimals)
    kept = {name: cells for name, cells in names.items() if name not in shared}
    return (f"In every measured row: {told}.\n\n" if told else "") + pipe_table({**kept, **numbers}, right=numbers)


def show_numbers(table: pd.DataFrame, is_measured: Sequence[bool], decimals: int) -> Shown:
    """The columns of a table as text.

    Chance stands in the head of a column where it is the same for all of it, else in each cell.
    """
    shown = {}
    for column in dict.fromkeys(name for name, _ in table.columns):
        value, low, high, chance = (list(map(float, table[column, part])) for part in PARTS)
        guesses = {show_cell(guess, decimals) for guess in chance} - {GAP}
        in_head = len(guesses) == 1
        cells = zip(value, low, high, [math.nan] * len(chance) if in_head else chance, strict=True)
        shown[f"{column} (chance {guesses.pop()})" if in_head else column] = [
            show_cell(cell[0], decimals, *cell[1:]) if measured else as_printed(cell[0])
            for cell, measured in zip(cells, is_measured, strict=True)
        ]
    return shown


def show_cell(
    value: float, decimals: int, ci_low: float = math.nan, ci_high: float = math.nan, chance: float = math.nan
) -> str:
    """ "34.8 [33.1, 36.5], chance 5.0": as much of it as is known."""
    if math.isnan(value):
        return GAP
    known = not (math.isnan(ci_low) or math.isnan(ci_high))
    interval = f" [{ci_low:.{decimals}f}, {ci_high:.{decimals}f}]" if known else ""
    guess = "" if math.isnan(chance) else f", chance {chance:.{decimals}f}"
    return f"{value:.{decimals}f}{interval}{guess}"


def as_printed(value: float) -> str:
    """A published number with the paper's own digits: one behind the point in Tables 2 and 3, two in Table 1."""
    return show_cell(value, 1 if round(value, 1) == value else 2)


def pipe_table(shown: Mapping[str, Sequence[str]], right: Collection[str] = ()) -> str:
    """A GitHub table; the columns in `right` are aligned to the right."""
    rows = [list(shown), ["---:" if name in right else "---" for name in shown]]
    rows += [list(row) for row in zip(*shown.values(), strict=True)]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |\n" for row in rows)


def _shared(names: Shown, name: str, is_measured: Sequence[bool]) -> str | None:
    """What a column says in every measured row, where the published rows say nothing; None if the column is needed.

    A row of gaps, which stands for a model nobody measured, does not count.
    """
    models = names.get("model", [""] * len(is_measured))
    rows = list(zip(names[name], is_measured, models, strict=True))
    values = {value for value, measured, model in rows if measured and model != GAP}
    printed = {value for value, measured, _ in rows if not measured}
    return (values or {GAP}).pop() if len(values) <= 1 and printed <= {GAP} else None


def _told_by_model(names: Shown, name: str) -> bool:
    models = names.get("model")
    return models is not None and len({*zip(models, names[name], strict=True)}) == len(set(models))
