"""The report: the paper's tables and figures from the records there are, measured beside published. No torch here."""

from collections.abc import Iterable
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pacl_bench.errors import UsageError
from pacl_bench.records import Record
from pacl_bench.registry import lookup
from pacl_bench.report.headlines import default_table
from pacl_bench.report.reading import runs_of
from pacl_bench.report.sections import SECTIONS, Plot, Section, all_sections
from pacl_bench.report.tabular import Table
from pacl_bench.report.write import check_report, require_known, write_comparison, write_report

__all__ = [
    "SECTIONS",
    "Plot",
    "Section",
    "Table",
    "all_tables",
    "check_report",
    "figure",
    "require_known",
    "table",
    "write_comparison",
    "write_report",
]


def table(name: str, records: Iterable[Record] | Path | str, **choices: str) -> Table:
    """A table of the report: the one that a report shows first, or the one chosen.

    Args:
        name: of a section, as in SECTIONS: "table2".
        records: those of `records.read_all`, or the folder they are in.
        choices: what the table's `choices` must be: view="all models", data="benchmarks", protocol="present-miou, ...".

    Raises:
        UsageError: no such section, or no table of it with these choices.
    """
    found = all_tables(name, records)
    fitting = [one for one in found if choices.items() <= one.choices.items()]
    first = default_table(fitting)
    if first is None:
        known = "; ".join(one.name for one in found) or "none: nothing was measured for it"
        raise UsageError(f"{name} has no table with {choices or 'any numbers'}. It has {known}.")
    return first


def all_tables(name: str, records: Iterable[Record] | Path | str) -> list[Table]:
    """All tables of a section: of each view, family of data sets, and protocol."""
    return lookup(all_sections(), name, "section").tables(runs_of(records))


def figure(name: str, records: Iterable[Record] | Path | str, ax: Axes | None = None) -> Figure | Axes:
    """A figure of the report with all its panels; or, into the axes given, its first panel alone.

    Raises:
        UsageError: no such section, it has no figure, or no record fills it.
    """
    section = lookup(all_sections(), name, "section")
    if section.plot is None:
        drawn = ", ".join(known for known, one in all_sections().items() if one.plot)
        raise UsageError(f"{name} has no figure that is made from records. These have: {drawn}.")
    panels = section.plot.panels(runs_of(records))
    if not panels:
        raise UsageError(f"No record fills {name}. Run: {section.command}")
    return section.plot.draw(panels) if ax is None else panels[0].draw(ax)
