"""The report as one page of HTML, which needs no other file and no network, and as Markdown. No torch here."""

import base64
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

from markdown import markdown
from markupsafe import Markup
from PIL import Image

from pacl_bench.report import provenance
from pacl_bench.report.details import Details
from pacl_bench.report.figures.style import Drawing
from pacl_bench.report.forms import slug, templates, to_html, to_latex, to_markdown
from pacl_bench.report.headlines import default_table, disagreement
from pacl_bench.report.runs import Run
from pacl_bench.report.sections import Section
from pacl_bench.report.tabular import Table

HEADLINES = 3
PIXELS = 130  # an inch of a figure on the page
MOST_LINES = 100  # and columns, of a table on the page and in Markdown; csv, Parquet and tidy.csv have all
MOST_TEX = 60  # of a table that the page offers as LaTeX: no paper prints more
PageContent = dict[str, Any]


@dataclass(frozen=True)
class Made:
    """A section with its tables and figure, made from runs."""

    name: str
    section: Section
    tables: list[Table] = field(default_factory=list)
    drawing: Drawing | None = None
    picture: Path | None = None  # the PNG that `pacl-bench show` drew

    @property
    def is_gap(self) -> bool:
        """Nothing was measured or drawn for it."""
        return self.picture is self.drawing is None and not any(table.is_measured for table in self.tables)

    @cached_property
    def default(self) -> Table | None:
        """The table that is shown first."""
        return default_table(self.tables)

    @property
    def others(self) -> list[Table]:
        """The tables beside the default one that say anything new: measured numbers, or a view of its own."""
        views = {self.default.choices.get("view")} if self.default else set()
        told = []
        for table in self.tables:
            if table is not self.default and (table.is_measured or table.choices.get("view") not in views):
                told.append(table)
            views.add(table.choices.get("view"))
        return told

    @property
    def choices(self) -> dict[str, list[str]]:
        """What there is to choose between, where there is more than one: by view, data, protocol."""
        values: dict[str, dict[str, None]] = {}
        for table in self.tables:
            for name, value in table.choices.items():
                values.setdefault(name, {})[value] = None
        return {name: list(found) for name, found in values.items() if len(found) > 1}

    @cached_property
    def used(self) -> str:
        """How much of which data sets its numbers are of."""
        runs = {id(one.run): one.run for table in self.tables for cell in table.cells for one in cell.numbers}
        return provenance.images_used(runs.values())

    @property
    def disagreement(self) -> str:
        return disagreement(self.tables)

    @property
    def svg(self) -> Markup:
        return Markup(self.drawing.inline if self.drawing else "")  # matplotlib escapes names

    @property
    def width(self) -> int:
        """Of the figure on the page, in pixels: larger than on paper."""
        return round(PIXELS * self.drawing.inches) if self.drawing else 0

    @property
    def image(self) -> str:
        """The picture as an address that holds it whole: as WebP, which takes a third of PNG's room."""
        held = io.BytesIO()
        if self.picture is not None:
            Image.open(self.picture).convert("RGB").save(held, "WEBP", quality=85)
        return f"data:image/webp;base64,{base64.b64encode(held.getvalue()).decode()}"

    @property
    def html_text(self) -> Markup:
        return Markup(markdown(self.section.text))  # a section's own words


def html_page(content: PageContent) -> str:
    """The whole report in one file."""
    details = Details()
    for one in content["made"]:
        for table in one.tables:
            details.compare(table)
    given = content | {
        "style": Markup(_read("style.css")),
        "script": Markup(_read("page.js")),
        "how_to_read": Markup(markdown(_read("how_to_read.md"))),
        "table_html": lambda table: Markup(to_html(table, details.cell)),
        "table_tex": lambda table, one: _tex(table, one),
        "told": details.content,  # called last: the tables tell it which numbers they hold
    }
    return templates("html").get_template("page.html").render(given)


def markdown_page(content: PageContent) -> str:
    """The same in Markdown; its figures are the SVG files beside it."""
    given = content | {
        "how_to_read": _read("how_to_read.md"),
        "table_md": to_markdown,
    }
    return templates("md").get_template("page.md").render(given)


def latex_page(one: Made) -> str:
    """The tables of a section's default view, one for each protocol."""
    view = one.default.choices.get("view") if one.default else None
    tables = [table for table in one.tables if table.choices.get("view") == view]
    return "\n".join(_latex(table, one) for table in tables)


def _shortened(one: Made) -> Made:
    return replace(one, tables=[table.shortened(MOST_LINES) for table in one.tables])


def origins(runs: Sequence[Run]) -> PageContent:
    """What the page tells of all records together: how many, and where their numbers come from."""
    tables = {title: rows[:MOST_LINES] for title, rows in provenance.provenance_tables(runs).items()}
    return {"lead": _lead(runs), "provenance": tables, "days": provenance.days(runs)}


def page_content(of_records: PageContent, made: Sequence[Made]) -> PageContent:
    """What the page tells in every form, by the names that its templates have for it.

    Args:
        of_records: their `origins`.
    """
    made = list(map(_shortened, made))
    filled = [one for one in made if not one.is_gap or one.tables]
    headlines = [one.section.headline(one.tables) for one in made]
    return of_records | {
        "headlines": [headline for headline in headlines if headline][:HEADLINES],
        "made": filled,
        "gaps": [one for one in made if one.is_gap],
    }


def _lead(runs: Sequence[Run]) -> str:
    """One line: what was measured."""
    if not runs:
        return "No record yet."
    models, sets = {run.model for run in runs}, {run.dataset for run in runs}
    kinds = ", ".join(f"{number:,} {kind}" for kind, number in Counter(run.evaluator for run in runs).items())
    counted = _counted(len(runs), "record"), _counted(len(models), "model"), _counted(len(sets), "data set")
    return "{} of {} on {} ({}).".format(*counted, kinds)


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _tex(table: Table, one: Made) -> Markup:
    # within a script element only its own end tag has a meaning
    text = _latex(table, one) if len(table.lines) <= MOST_TEX else ""
    return Markup(text.replace("</", "<\\/"))


def _latex(table: Table, one: Made) -> str:
    chosen = [value for name, value in table.choices.items() if name != "view"]
    return to_latex(table, " · ".join([one.section.title, *chosen]), "tab:" + slug(" ".join([one.name, *chosen])))


def _read(name: str) -> str:
    return (files("pacl_bench.report") / "templates" / name).read_text(encoding="utf-8")
