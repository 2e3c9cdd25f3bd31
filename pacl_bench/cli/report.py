"""The command that turns records into a report."""

from pathlib import Path
from typing import Annotated

import typer

from pacl_bench.cli.declared import Given
from pacl_bench.cli.options import AsJson, ResultsRoot, listed
from pacl_bench.cli.output import print_rows
from pacl_bench.errors import UsageError

OF_CHECK = ("--check", "--results")
OF_COMPARE = ("--compare", "--format", "--out", "--results", "--json")
OF_WRITING = ("--format", "--only", "--out", "--results")


def report(
    *,
    given: Given,
    forms: Annotated[
        str, typer.Option("--format", help="html, md, latex, csv, parquet, svg, pdf, png; several, comma-separated.")
    ] = "html,md,csv,svg",
    only: Annotated[str, typer.Option(help="Sections, comma-separated: table2,figure3. Default all.")] = "",
    out: Annotated[Path | None, typer.Option(help="Folder for the files; default report/ below --results.")] = None,
    compare: Annotated[
        tuple[str, str] | None,
        typer.Option("--compare", metavar="A B", help="B less A: two folders of records, or two models of --results."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; fail where a report is not its records'.")
    ] = False,
    results: ResultsRoot = None,
    as_json: AsJson = False,
) -> None:
    """Write the paper's tables and figures from the records there are, measured beside published."""
    from pacl_bench.paths import results_root
    from pacl_bench.report import check_report, require_known, write_report

    _refuse_others(given, OF_COMPARE if compare is not None else OF_CHECK if check else OF_WRITING)
    require_known(listed(forms), listed(only))
    if compare is not None:
        _compare(compare, listed(forms), out or results_root() / "comparison", as_json)
        return
    if not (results_root() / "records").is_dir():
        raise UsageError(f"{results_root()} holds no records/. Measure something first, or give another --results.")
    if check:
        check_report(results_root())
        return
    print(write_report(results_root(), listed(forms), listed(only), out))


def explain(
    first: Annotated[str, typer.Argument(metavar="A", help="A record: its file, or MODEL/DATASET below --results.")],
    second: Annotated[
        str, typer.Argument(metavar="B", help="A record, a printed method (SCLIP), or a protocol (sclip).")
    ],
    protocol: Annotated[str, typer.Option(help="Of A's numbers; default the first.")] = "",
    metric: Annotated[str, typer.Option(help="Of A's numbers; default the one that tables show.")] = "",
    results: ResultsRoot = None,
    as_json: AsJson = False,
) -> None:
    """Why do two numbers differ? Every differing choice and, where records can tell, how much it moves A."""
    from pacl_bench.paths import results_root
    from pacl_bench.report.explain import explain
    from pacl_bench.report.terminal import explanation_lines, explanation_rows

    found = explain(first, second, results_root(), protocol, metric)
    if as_json:
        print_rows(explanation_rows(found), "", as_json)
    else:
        print("\n".join(explanation_lines(found)))


def _refuse_others(given: list[str], heeded: tuple[str, ...]) -> None:
    """An option that would be ignored is told."""
    needless = [option for option in given if option not in heeded]
    if needless:
        beside = f" beside {heeded[0]}" if heeded[0] in given else ", or give --compare"
        raise UsageError(f"{', '.join(needless)}: not heeded{beside}. Leave it out.")


def _compare(names: tuple[str, str], forms: list[str], out: Path, as_json: bool) -> None:
    from pacl_bench.paths import results_root
    from pacl_bench.report import write_comparison
    from pacl_bench.report.comparison import find_side, pairs
    from pacl_bench.report.terminal import comparison_lines, comparison_rows

    one, other = (find_side(name, results_root()) for name in names)
    found = pairs(one, other)
    page = write_comparison(found, names, out, forms)
    if as_json:
        print_rows(comparison_rows(found), "", as_json)
    else:
        print("\n".join([*comparison_lines(found, names), "", f"Report: {page}"]))
