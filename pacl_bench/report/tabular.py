"""Tables: lines in groups, columns, and cells that know their interval, chance, seeds and records. No torch here."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from statistics import fmean, stdev
from typing import Any, Literal

import pandas as pd
from scipy.special import stdtrit

from pacl_bench.report.compare import WIDTH_95, differing, paired_error
from pacl_bench.report.runs import GAP, Number, grouped

PART = "†"  # of the official set only
ENOUGH_SEEDS = 5  # from here on an interval over seeds is told; below it the lowest and the highest
PARTS = ["value", "low", "high", "chance", "n", "seeds"]  # of a cell, where a table becomes a data frame
Kind = Literal["measured", "published", "difference"]


@dataclass(frozen=True, eq=False)
class Cell:
    """One number of a table. Measured ones are fractions in [0, 1], published ones too."""

    value: float
    low: float = math.nan  # the 95 % interval of one seed, or of five and more; of two to four the lowest and highest
    high: float = math.nan
    chance: float = math.nan
    n: int = 0
    numbers: tuple[Number, ...] = ()  # one for each seed; none where the number is published
    kind: Kind = "measured"
    source: str = ""  # of a published number

    @classmethod
    def of(cls, numbers: Sequence[Number]) -> "Cell":
        """What was measured of one model: one number for each seed it was trained with."""
        first = numbers[0]
        low, high = spread(numbers)
        value = fmean(number.value for number in numbers) if len(numbers) > 1 else first.value
        return cls(value, low, high, first.chance, first.n, tuple(numbers))

    @classmethod
    def printed(cls, percent: float, source: str) -> "Cell":
        return cls(percent / 100, kind="published", source=source)

    @classmethod
    def difference(cls, after: "Cell", before: "Cell") -> "Cell | None":
        """How much higher one is than the other, with the paired interval over images where there are counts by image;
        None where the two are not comparable.
        """
        if differing(after.numbers[0], before.numbers[0]):
            return None
        value, error = after.value - before.value, paired_error(after.numbers, before.numbers)
        reach = math.nan if error is None else WIDTH_95 * error
        return cls(value, value - reach, value + reach, numbers=(*after.numbers, *before.numbers), kind="difference")

    @property
    def seeds(self) -> tuple[str, ...]:
        return tuple(number.run.seed for number in self.numbers)

    @property
    def records(self) -> tuple[str, ...]:
        """Their paths below the folder of records."""
        return tuple(number.run.file for number in self.numbers)

    @property
    def sources(self) -> tuple[str, str]:
        """The records it comes from, and where it was printed, as text."""
        return " ".join(self.records), self.source

    @property
    def is_part(self) -> bool:
        """Measured on a part of the official set only."""
        return any(number.run.is_part for number in self.numbers)


@dataclass(frozen=True, eq=False)
class Line:
    """A row of a table."""

    name: str
    detail: str = ""  # the second line of its head: what tells it from others of this name
    cells: dict[str, Cell] = field(default_factory=dict)  # by the name of the column
    is_control: bool = False  # there to be compared with; never ranked
    variants: tuple["Line", ...] = ()  # the same model under other settings
    command: str = ""  # fills a gap, before the name of the column

    @property
    def is_measured(self) -> bool:
        """Whether any number of it was measured."""
        return any(cell.kind == "measured" for cell in self.cells.values())

    @property
    def all(self) -> list["Line"]:
        """The line and its variants."""
        return [self, *self.variants]


@dataclass(frozen=True)
class Group:
    """Lines below a title of their own."""

    title: str
    lines: list[Line]
    note: str = ""

    @property
    def is_measured(self) -> bool:
        """Whether any number of it was measured."""
        return any(line.is_measured for line in self.lines)


@dataclass(frozen=True)
class Column:
    """A column of numbers."""

    name: str
    shown: str = ""  # where another name is shown: the paper's
    note: str = ""  # more for the second line of its head


@dataclass(frozen=True)
class Table:
    """Numbers under one protocol, to be shown in any form."""

    choices: dict[str, str]  # which of a section's tables this is: {"view": "all models", "protocol": ...}
    columns: list[Column]
    groups: list[Group]
    first: str = "Model"  # the head of the column of names
    percent: bool = True  # shown in percent with one digit behind the point; else as fractions with three
    ranked: bool = True  # the best of each column is underlined
    of_models: bool = True  # its lines are models, of which two can be compared
    omitted: int = 0  # places for numbers that were left out to be short

    @cached_property
    def lines(self) -> list[Line]:
        """All lines, variants behind their own."""
        return [one for group in self.groups for line in group.lines for one in line.all]

    @property
    def cells(self) -> Iterator[Cell]:
        return (cell for line in self.lines for cell in line.cells.values())

    @property
    def is_measured(self) -> bool:
        """Whether any number of it was measured."""
        return any(line.is_measured for line in self.lines)

    @cached_property
    def is_part(self) -> bool:
        """Whether any number is of a part of the official set only."""
        return any(number.run.is_part for cell in self.cells for number in cell.numbers)

    @property
    def name(self) -> str:
        """What it is called among a section's tables."""
        return " · ".join(self.choices.values())

    def show(self, value: float) -> str:
        """A value as text, rounded once."""
        if math.isnan(value):
            return GAP
        return f"{100 * value:.1f}" if self.percent else f"{value:.3f}"

    def show_cell(self, cell: Cell) -> str:
        """The cell's value as text: a published one with the digits it was printed with, a difference with its sign."""
        if cell.kind == "published":
            percent = round(100 * cell.value, 4)
            return f"{percent:.1f}" if round(percent, 1) == percent else f"{percent:.2f}"
        return ("+" if cell.kind == "difference" and cell.value >= 0 else "") + self.show(cell.value)

    def show_spread(self, cell: Cell) -> str:
        """ "47.7–58.5 ×3" for three seeds, "47.7–58.5" for the interval of one; empty where neither is known."""
        if math.isnan(cell.low):
            return ""
        if cell.kind == "difference":
            low, high = (("+" if bound >= 0 else "") + self.show(bound) for bound in (cell.low, cell.high))
            return f"[{low}, {high}]"
        seeds = f" ×{len(cell.numbers)}" if cell.kind == "measured" and len(cell.numbers) > 1 else ""
        return f"{self.show(cell.low)}–{self.show(cell.high)}{seeds}"

    def head(self, column: Column) -> str:
        """The second line of a column's head: its name here, what guessing scores on it, what was counted."""
        counted = "" if self.shared_head else self._counted(column)
        told = [column.name if column.shown else "", counted, column.note]
        return " · ".join(filter(None, told))

    @cached_property
    def shared_head(self) -> str:
        """What the heads of all columns would say alike; it stands once, in the corner."""
        told = {self._counted(column) for column in self.columns}
        return told.pop() if len(told) == 1 and len(self.columns) > 2 else ""

    def _counted(self, column: Column) -> str:
        cells = self._measured(column)
        chances = sorted({self.show(cell.chance) for cell in cells} - {GAP}, key=float)
        counts = sorted({cell.n for cell in cells})
        told = [f"chance {_range(chances)}"] if chances else []
        told += [f"n {_range([f'{count:,}' for count in counts])}"] if counts else []
        return " · ".join(told) + (PART if column.name in self._parts else "")

    def mark(self, column: Column, cell: Cell) -> str:
        """A dagger at a number of a part of the official set, where the head of its column does not say so for all."""
        return PART if cell.is_part and column.name not in self._parts else ""

    @cached_property
    def _parts(self) -> set[str]:
        """The columns whose measured numbers are all of a part of the official set."""
        measured = {column.name: self._measured(column) for column in self.columns}
        return {name for name, cells in measured.items() if cells and all(cell.is_part for cell in cells)}

    def _measured(self, column: Column) -> list[Cell]:
        cells = (line.cells.get(column.name) for line in self.lines)
        return [cell for cell in cells if cell is not None and cell.kind == "measured"]

    @cached_property
    def best(self) -> set[Cell]:
        """The cells that lead their column: the best, and all that a paired test cannot tell from it.

        Controls, published numbers and differences are never ranked, nor are numbers that answer another question than
        most of the column do: another size, stride, data or prompts.
        """
        leading: set[Cell] = set()
        controls = {cell for line in self.lines if line.is_control for cell in line.cells.values()}
        for column in self.columns if self.ranked else []:
            alike = self.comparable([cell for cell in self._measured(column) if cell not in controls])
            if len(alike) > 1:
                top = max(alike, key=lambda cell: cell.value)
                leading |= {cell for cell in alike if cell is top or _is_tied(cell, top)}
        return leading

    def comparable(self, cells: Sequence[Cell]) -> list[Cell]:
        """The largest group of cells that answer the same question, the first of equally large ones."""
        groups = grouped(cells, lambda cell: repr((cell.numbers[0].run.asked, cell.numbers[0].protocol)))
        return max(groups.values(), key=len, default=[])

    def shortened(self, most: int) -> "Table":
        """With no more than about `most` lines and columns, where there are more: those with the highest numbers.

        What papers print stays.
        """
        if len(self.lines) <= most and len(self.columns) <= most:
            return self
        left, kept = most, {}
        for group in sorted(self.groups, key=_highest, reverse=True):
            kept[group.title] = replace(group, lines=group.lines[:left] if group.is_measured else group.lines)
            left -= min(left, len(group.lines)) if group.is_measured else 0
        groups = [kept[group.title] for group in self.groups if kept[group.title].lines]
        highest = {column.name for column in sorted(self.columns, key=self._highest_in, reverse=True)[:most]}
        short = replace(self, groups=groups, columns=[column for column in self.columns if column.name in highest])
        return replace(short, omitted=len(self.lines) * len(self.columns) - len(short.lines) * len(short.columns))

    def _highest_in(self, column: Column) -> float:
        return max((cell.value for cell in self._measured(column)), default=0.0)

    def frame(self) -> pd.DataFrame:
        """The table as it looks: a row for each line, columns (name, part) with the parts value, low, high, chance, n
        and seeds. In percent where the table is shown so; NaN is a gap.
        """
        scale = 100.0 if self.percent else 1.0
        rows = [
            {
                (column.name, part): value
                for column in self.columns
                for part, value in zip(PARTS, _values(line.cells.get(column.name), scale), strict=True)
            }
            for line in self.lines
        ]
        index = [
            (group.title, one.name, one.detail) for group in self.groups for line in group.lines for one in line.all
        ]
        columns = pd.MultiIndex.from_product(
            [[column.name for column in self.columns], PARTS], names=["column", "part"]
        )
        names = pd.MultiIndex.from_tuples(index, names=["group", "line", "detail"])
        return pd.DataFrame(rows, index=names, columns=columns) if rows else pd.DataFrame(columns=columns)

    def tidy(self) -> pd.DataFrame:
        """One row a number: which of the section's tables, line and column it stands in, the number with all that is
        known of it, and the records it comes from.
        """
        scale = 100.0 if self.percent else 1.0
        names = [*self.choices, "group", "line", "detail", "column", "kind", *PARTS, "records", "source"]
        rows = [
            (
                *self.choices.values(),
                group.title,
                one.name,
                one.detail,
                name,
                cell.kind,
                *_values(cell, scale),
                " ".join(cell.records),
                cell.source,
            )
            for group in self.groups
            for line in group.lines
            for one in line.all
            for name, cell in one.cells.items()
        ]
        return pd.DataFrame(rows, columns=names)

    def _repr_html_(self) -> str:
        """How a notebook shows it."""
        from pacl_bench.report.forms import to_html

        return to_html(self)


def _highest(group: Group) -> float:
    return max((cell.value for line in group.lines for cell in line.cells.values() if cell.numbers), default=0.0)


def spread(numbers: Sequence[Number]) -> tuple[float, float]:
    """The interval of one number; of two to four seeds the lowest and highest; of more the 95 % t-interval of the mean.

    Two to four seeds say too little of their spread for an interval.
    """
    if len(numbers) == 1:
        return numbers[0].low, numbers[0].high
    values = [number.value for number in numbers]
    if len(values) < ENOUGH_SEEDS:
        return min(values), max(values)
    reach = float(stdtrit(len(values) - 1, 0.975)) * stdev(values) / math.sqrt(len(values))
    return fmean(values) - reach, fmean(values) + reach


def _is_tied(cell: Cell, top: Cell) -> bool:
    error = paired_error(cell.numbers, top.numbers)
    return error is not None and top.value - cell.value <= WIDTH_95 * error


def _range(texts: Sequence[str]) -> str:
    return texts[0] if len(texts) == 1 else f"{texts[0]}–{texts[-1]}"


def _values(cell: Cell | None, scale: float) -> tuple[Any, ...]:
    if cell is None:
        return (math.nan,) * 5 + ("",)
    seeds = " ".join(seed for seed in cell.seeds if seed != GAP)
    return scale * cell.value, scale * cell.low, scale * cell.high, scale * cell.chance, cell.n or math.nan, seeds
