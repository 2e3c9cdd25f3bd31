"""SECTIONS is open: a section of one's own in a few lines, by hand or by an entry point."""

import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from report_samples import head, segment, typical

from pacl_bench import records
from pacl_bench.errors import UsageError
from pacl_bench.report import SECTIONS, Section, figure, table, write_report
from pacl_bench.report import sections as module
from pacl_bench.report.lines import models_by_dataset
from pacl_bench.report.reading import runs_of
from pacl_bench.report.runs import numbers

MINE = Section(
    "Pixel accuracy",
    "Share of pixels, %.",
    "pacl-bench segment --encoders clip-b16",
    tables=lambda runs: models_by_dataset(numbers(runs, "segment", "pixel_accuracy")),
    of_paper=False,
)


@pytest.fixture
def outside(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, declares: Callable[..., None]
) -> Iterator[None]:
    """Another package has declared MINE."""
    monkeypatch.setitem(sys.modules, "another_package", request.module)
    found = [EntryPoint("mine", "another_package:MINE", module.OUTSIDE)]
    declares(module.OUTSIDE, found)
    module.all_sections.cache_clear()
    yield
    module.all_sections.cache_clear()


@pytest.mark.usefixtures("outside")
def test_a_section_of_another_package_is_written_like_the_others(tmp_path: Path):
    records.write(tmp_path / "records", segment("m", 0.25, head=head()))
    assert table("mine", tmp_path / "records").frame()["voc20", "value"].iloc[0] == pytest.approx(100 * 0.25**0.7)
    page = write_report(tmp_path).read_text()
    assert '<section id="mine"' in page
    assert (tmp_path / "report" / "mine.csv").is_file()


@pytest.mark.parametrize("name", SECTIONS)
def test_every_section_holds_without_records(name: str):
    section = SECTIONS[name]
    tables = section.tables(runs_of([]))
    assert not any(one.is_measured for one in tables)
    assert section.headline(tables) == ""
    assert section.plot is None or section.plot.panels(runs_of([])) == []


@pytest.mark.parametrize("name", [name for name, section in SECTIONS.items() if section.plot])
def test_every_figure_draws_into_axes_that_are_given(name: str):
    section = SECTIONS[name]
    assert section.plot is not None
    if not section.plot.panels(runs_of(typical())):
        with pytest.raises(UsageError, match=f"No record fills {name}"):
            figure(name, typical())
        return
    ax = Figure().add_subplot()
    assert figure(name, typical(), ax=ax) is ax
    assert isinstance(figure(name, typical()), Figure)


def test_a_section_without_a_figure_says_which_have_one():
    with pytest.raises(UsageError, match="table1 has no figure"):
        figure("table1", typical())
