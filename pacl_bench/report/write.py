"""Writing a report: which sections, in which forms, into which folder; and whether a written one is still true."""

import re
import shutil
import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Literal, get_args

from pacl_bench import records as store
from pacl_bench.errors import RunError, UsageError
from pacl_bench.files import require_writable, write_bytes, write_text
from pacl_bench.registry import lookup, unknown_name
from pacl_bench.report.beside import beside
from pacl_bench.report.compared import compared
from pacl_bench.report.comparison import Pair
from pacl_bench.report.figures.style import FIGURES, Drawing
from pacl_bench.report.forms import to_csv, to_parquet
from pacl_bench.report.page import Made, PageContent, html_page, latex_page, markdown_page, origins, page_content
from pacl_bench.report.reading import read_runs, without_collector
from pacl_bench.report.runs import Run
from pacl_bench.report.sections import Section, all_sections
from pacl_bench.report.tabular import Table
from pacl_bench.report.tidy import writing_tidy

Form = Literal["html", "md", "latex", "csv", "parquet", "svg", "pdf", "png"]
FORMS: tuple[Form, ...] = get_args(Form)
DEFAULT_FORMS: tuple[Form, ...] = ("html", "md", "csv", "svg")
DATA = {"csv": to_csv, "parquet": to_parquet}
COMPARED: dict[str, Form] = {".html": "html", ".md": "md", ".csv": "csv", ".tex": "latex"}  # the files --check reads
PAGES = {"html": ("report.html", html_page), "md": ("report.md", markdown_page)}
TIDY = "tidy.csv"
# drawings differ between versions of matplotlib, and say no number that stands in no table
DRAWN = re.compile(r"<svg.*?</svg>|data:image/[^\"]*", re.DOTALL)


@without_collector()
def write_report(
    results: Path, forms: Iterable[str] = DEFAULT_FORMS, only: Iterable[str] = (), out: Path | None = None
) -> Path:
    """Writes a report of the records below `results`/records; returns its page, or the folder where none was asked for.

    Args:
        forms: of FORMS. Markdown brings the SVG of its figures along; csv also tidy.csv with every number there is.
        only: names of sections; default all.
        out: the folder that gets the files; default `results`/report, and `results` for tidy.csv.

    Raises:
        UsageError: a form or section that is not known, a file that is no record, or two numbers for one cell of a
            table. Nothing is written then.
    """
    forms, sections = _checked(forms), _chosen(only)
    folder = out or results / "report"
    require_writable(folder, "--results" if out is None else "--out")
    everything = "csv" in forms and not only
    records = results / store.FOLDER
    found = store.files(records)
    with writing_tidy(records, found, (out or results) / TIDY) if everything else nullcontext():
        runs = read_runs(records, found)
        with beside(partial(_without_tables, sections, runs, forms), len(runs)) as without_tables:
            tables = {name: section.tables(runs) for name, section in sections.items()}
            with beside(partial(_data, tables, forms), len(runs)) as data:
                drawings, of_records = without_tables()
                made = _made(sections, tables, drawings, results / "report")
                files = {**_texts(forms, of_records, made), **data()}
    return _write_all(files, made, forms, folder)


@without_collector()
def write_comparison(
    pairs: Sequence[Pair], names: tuple[str, str], folder: Path, forms: Iterable[str] = DEFAULT_FORMS
) -> Path:
    """Writes a report of what two sides differ in, in the same forms; returns its page, or the folder."""
    forms = _checked(forms)
    require_writable(folder, "--out")
    made = compared(pairs, names, forms)
    runs = list({number.run.file: number.run for pair in pairs for number in (*pair.one, *pair.other)}.values())
    files = {**_texts(forms, origins(runs), made), **_data({one.name: one.tables for one in made}, forms)}
    return _write_all(files, made, forms, folder)


def check_report(results: Path) -> None:
    """Compares a report, in the forms it was written in, with what its records give now.

    Raises:
        RunError: a file differs, is missing, or there is no report at all. Figures are not compared, their tables are.
    """
    report = results / "report"
    written = {file.name: COMPARED[file.suffix] for file in report.glob("*") if file.suffix in COMPARED}
    if not written:
        raise RunError(f"{report} holds no report to check. Write one: pacl-bench report --results {results}")
    with tempfile.TemporaryDirectory() as place:
        write_report(results, dict.fromkeys(written.values()), out=Path(place))
        made = {file.name: file for file in sorted(Path(place).iterdir()) if file.suffix in COMPARED}
        for name, file in made.items():
            committed = (results if name == TIDY else report) / name
            if not _same(file, committed):
                raise RunError(
                    f"{committed} differs from what its records give. "
                    f"Write it anew: pacl-bench report --results {results}"
                )
    if stale := set(written) - set(made):
        raise RunError(f"{report / min(stale)} is of no section that its records fill. Remove it.")


def require_known(forms: Iterable[str], only: Iterable[str] = ()) -> None:
    """A UsageError for the first form or section that a report does not know."""
    _checked(forms)
    _chosen(only)


def _checked(forms: Iterable[str]) -> list[str]:
    forms = list(forms)
    for form in forms:
        if form not in FORMS:
            raise UsageError(f"--format: {unknown_name(form, FORMS, 'form')}")
    return [*forms, *(["svg"] if "md" in forms and "svg" not in forms else [])]


def _chosen(only: Iterable[str]) -> dict[str, Section]:
    names = list(only) or list(all_sections())
    return {name: lookup(all_sections(), name, "section") for name in names}


def _without_tables(
    sections: Mapping[str, Section], runs: Sequence[Run], forms: Collection[str]
) -> tuple[dict[str, Drawing], PageContent]:
    """What is made of the runs themselves: figures, and what the page tells of all records."""
    return _drawings(sections, runs, forms), origins(runs)


def _drawings(sections: Mapping[str, Section], runs: Sequence[Run], forms: Collection[str]) -> dict[str, Drawing]:
    """The figures of sections, by name, of which there are panels."""
    plots = {name: section.plot for name, section in sections.items() if section.plot}
    panels = {name: plot.panels(runs) for name, plot in plots.items()}
    return {name: Drawing.of(plot.draw(panels[name]), forms) for name, plot in plots.items() if panels[name]}


def _data(tables: Mapping[str, Sequence[Table]], forms: Collection[str]) -> dict[str, bytes]:
    """The files of sections that other programs read, by name."""
    return {
        f"{name}.{form}": content(of_section)
        for form, content in DATA.items()
        for name, of_section in tables.items()
        if form in forms and of_section
    }


def _made(
    sections: Mapping[str, Section],
    tables: Mapping[str, list[Table]],
    drawings: Mapping[str, Drawing],
    report: Path,
) -> list[Made]:
    pictures = {name: report / f"{name}.png" for name, section in sections.items() if section.picture}
    there = {name: picture for name, picture in pictures.items() if picture.is_file()}
    return [
        Made(name, section, tables[name], drawings.get(name), there.get(name)) for name, section in sections.items()
    ]


def _texts(forms: Sequence[str], of_records: PageContent, made: Sequence[Made]) -> dict[str, str]:
    """The text files of all forms, by name."""
    pages = [PAGES[form] for form in forms if form in PAGES]
    content = page_content(of_records, [one for one in made if one.section.of_paper or not one.is_gap]) if pages else {}
    files = {file: page(content) for file, page in pages}
    if "latex" in forms:
        files |= {f"{one.name}.tex": latex_page(one) for one in made if one.tables}
    return files


def _write_all(files: Mapping[str, str | bytes], made: Sequence[Made], forms: Sequence[str], folder: Path) -> Path:
    """Returns the page, or the folder where none is among the files."""
    for file, content in files.items():
        if isinstance(content, str):
            write_text(folder / file, content)
        else:
            write_bytes(folder / file, content)
    for one in made:
        _write_figure(one, forms, folder)
    return folder / next((file for file in ("report.html", "report.md") if file in files), "")


def _write_figure(one: Made, forms: Sequence[str], folder: Path) -> None:
    """The files of a section's figure and picture; a figure of an earlier report does not outlive its records."""
    for form, content in one.drawing.files.items() if one.drawing else ():
        write_bytes(folder / f"{one.name}.{form}", content)
    for form in FIGURES if one.section.plot and one.drawing is None else ():
        (folder / f"{one.name}.{form}").unlink(missing_ok=True)
    if one.picture is not None and one.picture.parent != folder and "md" in forms:
        shutil.copy(one.picture, folder)


def _same(file: Path, other: Path) -> bool:
    def told(one: Path) -> str:
        return DRAWN.sub("", one.read_text(encoding="utf-8"))

    return other.is_file() and told(file) == told(other)
