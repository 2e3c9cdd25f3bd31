"""The numbers the paper's slides print, each with its source. They are in published.csv and nowhere else."""

import csv
import math
from importlib.resources import files

from pacl_bench.report.rows import GAP, Row

UNKNOWN_PROTOCOL = "published, protocol unknown"


def published(table: int) -> list[Row]:
    """The printed numbers of one of the paper's tables, in the paper's order: one row a number, `value` in percent.

    `encoder`, `text encoder` and `dataset` are as printed; `encoder_name`, `text_name` and `dataset_name` are what this
    program calls the same thing. What the slides do not say is GAP.
    """
    lines = (files("pacl_bench.report") / "published.csv").read_text(encoding="utf-8").splitlines()
    return [_row(printed) for printed in csv.DictReader(lines) if printed["table"] == str(table)]


def _row(printed: dict[str, str]) -> Row:
    told = {name: value or GAP for name, value in printed.items()}
    unknown = {"ci_low": math.nan, "ci_high": math.nan, "chance": math.nan}
    return {
        **told,
        **unknown,
        "value": float(printed["value"]),
        "text encoder": told["text_encoder"],
        "training set": told["training_set"],
        "protocol": UNKNOWN_PROTOCOL,
        "file": "published.csv",
    }
