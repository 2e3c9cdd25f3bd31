"""A table as HTML, Markdown, LaTeX, csv and Parquet: one template or one call each. No torch here."""

import math
import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from pacl_bench.errors import UsageError
from pacl_bench.report.runs import GAP
from pacl_bench.report.tabular import Cell, Table

TEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "–": "--", "×": r"$\times$", "†": r"\dag{}", "·": r"\textperiodcentered{}", "↳": r"$\hookrightarrow$", "\n": " ",
}  # fmt: skip
DECIMALS = 6  # in csv files: more than any table shows


def to_html(table: Table, cell_id: Callable[[Cell], int] | None = None) -> str:
    """A `<table>`; with `cell_id` the one of the page, whose numbers can be pressed and lines be ticked."""
    return templates("html").get_template("table.html").render(table=table, cell_id=cell_id)


def to_markdown(table: Table) -> str:
    """A GitHub table: intervals in the cells, the best of a column bold, published numbers in italics."""
    return templates("md").get_template("table.md").render(table=table)


def to_latex(table: Table, caption: str = "", label: str = "") -> str:
    """A `table` environment for booktabs and multirow; what leads its column is underlined."""
    return templates("tex").get_template("table.tex").render(table=table, caption=caption, label=label)


def to_csv(tables: Sequence[Table]) -> bytes:
    """Every number of the tables, one a line."""
    return tidy(tables).round(DECIMALS).to_csv(index=False).encode()


def to_parquet(tables: Sequence[Table]) -> bytes:
    """The same as Parquet; a UsageError where pyarrow is not installed."""
    try:
        import pyarrow  # noqa: F401  # pandas asks for it with a long message of its own
    except ImportError:
        raise UsageError("--format parquet needs pyarrow: pip install 'pacl-bench[parquet]'.") from None
    return tidy(tables).to_parquet(index=False)


def tidy(tables: Sequence[Table]) -> pd.DataFrame:
    """The numbers of several tables below one another."""
    frames = [frame for frame in (table.tidy() for table in tables) if len(frame)]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


@cache
def templates(form: str) -> Environment:
    """The templates of a form: names are escaped as it needs them to be."""
    signs: dict[str, Any] = {} if form != "tex" else {
        "block_start_string": "(%", "block_end_string": "%)", "variable_start_string": "((",
        "variable_end_string": "))", "comment_start_string": "(#", "comment_end_string": "#)",
    }  # fmt: skip
    made = Environment(
        loader=PackageLoader("pacl_bench.report"),
        autoescape=form == "html",
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        **signs,
    )
    made.filters |= {"tex": escape_tex, "md": escape_markdown, "known": known, "share": share}
    made.globals |= {"GAP": GAP}
    return made


def escape_tex(text: str) -> str:
    """Text as LaTeX shows it."""
    return "".join(TEX.get(char, char) for char in text)


def escape_markdown(text: str) -> str:
    """Text that is no markup, also within the cell of a table."""
    return re.sub(r"([\\|*_`$\[\]])", r"\\\1", " ".join(text.split())).replace("<", "&lt;").replace(">", "&gt;")


def known(value: float) -> bool:
    """Whether a number is there."""
    return not math.isnan(value)


def share(value: float) -> str:
    """A fraction as a place on a bar from 0 to 100, in few letters; without one, out of sight."""
    return f"{100 * value:.5g}" if known(value) else "-9"


def slug(text: str) -> str:
    """A name as an id: letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
