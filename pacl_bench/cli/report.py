"""The command that turns records into a report."""

from pathlib import Path
from typing import Annotated

import typer

from pacl_bench.cli.options import ResultsRoot, listed
from pacl_bench.errors import UsageError


def report(
    forms: Annotated[
        str, typer.Option("--format", help="html, md, latex, csv, parquet, svg, pdf, png; several, comma-separated.")
    ] = "html,md,csv,svg",
    only: Annotated[str, typer.Option(help="Sections, comma-separated: table2,figure3. Default all.")] = "",
    out: Annotated[Path | None, typer.Option(help="Folder for the files; default report/ below --results.")] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; fail where a report is not its records'.")
    ] = False,
    results: ResultsRoot = None,
) -> None:
    """Write the paper's tables and figures from the records there are, measured beside published."""
    from pacl_bench.paths import results_root
    from pacl_bench.report import check_report, write_report

    if not (results_root() / "records").is_dir():
        raise UsageError(f"{results_root()} holds no records/. Measure something first, or give another --results.")
    if check:
        check_report(results_root())
        return
    print(write_report(results_root(), listed(forms), listed(only), out))
