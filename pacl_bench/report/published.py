"""The numbers that papers print, each with its source. They are in published.csv and nowhere else. No torch here."""

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from pacl_bench.report.runs import GAP, grouped
from pacl_bench.report.tabular import Cell, Line

UNKNOWN_PROTOCOL = "protocol unknown"  # of the paper's own numbers: the slides do not say it
TODAY = "2024-2026"  # the "table" of other papers' numbers


@dataclass(frozen=True)
class Published:
    """One printed number, in percent. What its source does not say is empty.

    `encoder`, `text_encoder`, `training_set` and `dataset` are as printed; what ends in `_name` is what this program
    calls the same thing. `mask`: masks, or a generator of masks, were used upstream. `preset`: the segmentation preset
    here that follows the same protocol.
    """

    table: str
    method: str
    encoder: str
    encoder_name: str
    text_encoder: str
    text_name: str
    training_set: str
    training_name: str
    annotation: str
    mask: str
    dataset: str
    dataset_name: str
    metric: str
    value: float
    protocol: str
    preset: str
    source: str

    @property
    def cell(self) -> Cell:
        preset = f", preset {self.preset}" if self.preset else ""
        return Cell.printed(self.value, f"{self.source}; {self.protocol}{preset}")


@cache
def published(table: int | str) -> list[Published]:
    """The printed numbers of one of the paper's tables, or of TODAY, in the order of print."""
    return [row for row in every_published() if row.table == str(table)]


@cache
def every_published() -> list[Published]:
    """The printed numbers of all tables."""
    lines = (files("pacl_bench.report") / "published.csv").read_text(encoding="utf-8").splitlines()
    return [Published(**{**row, "value": float(row["value"])}) for row in csv.DictReader(lines)]  # type: ignore[arg-type]


def segmentation_lines(table: int | str) -> dict[str, Line]:
    """The methods of a table of segmentation, by name: a column for each data set."""
    return {
        name: Line(name, _detail(rows[0]), {row.dataset_name: row.cell for row in rows})
        for name, rows in grouped(published(table), lambda row: row.method).items()
    }


def _detail(row: Published) -> str:
    told = [row.encoder, row.training_set]
    told += ["seen classes annotated"] * (row.annotation == "yes") + ["masks upstream"] * (row.mask == "yes")
    return " · ".join(part for part in told if part and part != GAP)
