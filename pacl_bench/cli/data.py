"""pacl-bench data: is a set whole, where does it lie, how does one get it, what is to be converted."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from pacl_bench.cli.app import App
from pacl_bench.cli.options import AsJson, CacheRoot, DataRoot, ResultsRoot, WeightsRoot, listed, listed_pairs
from pacl_bench.cli.output import print_rows
from pacl_bench.errors import RunError, UsageError

if TYPE_CHECKING:
    from pacl_bench.data.tools.check import Finding

app = App(help="Data sets: check, fetch, find and prepare them.", no_args_is_help=True)


@app.command("check")
def data_check(
    names: Annotated[
        str, typer.Argument(metavar="NAME[,NAME]", help="Declared sets, folder:PATH, wds:PATH, csv files.")
    ],
    fast: Annotated[bool, typer.Option("--fast", help="Look at 100 images, evenly spread, instead of all.")] = False,
    data_root: DataRoot = None,
    as_json: AsJson = False,
) -> None:
    """Look whether a set is whole: layout, counts, every image, label maps, names, captions.

    Exit code 0: all well or only warnings, 1: something is broken, 2: not found.
    """
    from pacl_bench.data.catalog import kind_of
    from pacl_bench.data.tools.check import check

    found: dict[str, list[Finding]] = {}
    absent = []
    wanted = listed_pairs(names)
    if not wanted:
        raise UsageError("data check: name a data set; pacl-bench data where lists them.")
    for name in wanted:
        kind_of(name)  # a name nobody knows is told before the first set is looked at
    for name in wanted:
        try:
            found[name] = check(name, fast)
        except UsageError as error:
            absent.append(str(error))
    if as_json:
        print_rows([{"name": name, **vars(finding)} for name, all_ in found.items() for finding in all_], "", as_json)
    else:
        for name, findings in found.items():
            _print_findings(name, findings)
    broken = [name for name, findings in found.items() if any(finding.result == "FAILED" for finding in findings)]
    if absent:
        raise UsageError(" ".join(absent))
    if broken:
        raise RunError(f"Not whole: {', '.join(broken)}.")


@app.command("fetch")
def data_fetch(
    name: Annotated[str, typer.Argument(help="A declared set: pacl-bench data where lists them.")],
    data_root: DataRoot = None,
) -> None:
    """Download and unpack a set that its owners offer to everybody; else say what is to be done by hand.

    It can be stopped with Ctrl-C: the same command goes on from there.
    """
    from pacl_bench.data.catalog import declaration
    from pacl_bench.data.tools.fetch import fetch, missing, steps

    entry = declaration(name)
    _print_steps(name, steps(entry))
    wanted = missing(entry)
    folder = fetch(name)
    print(f"{name}: {folder} {'fetched' if wanted else 'was there already; move it away to have it fetched anew'}.")
    print(f"Look whether it is whole: pacl-bench data check {name}")


@app.command("where")
def data_where(
    names: Annotated[str, typer.Argument(metavar="[NAME]", help="Declared sets, comma-separated; all of them.")] = "",
    data_root: DataRoot = None,
    weights_root: WeightsRoot = None,
    results: ResultsRoot = None,
    cache_root: CacheRoot = None,
    as_json: AsJson = False,
) -> None:
    """Say what is found where and how much space it takes, and how to get what is missing."""
    from pacl_bench.data.catalog import declaration
    from pacl_bench.data.tools import where
    from pacl_bench.data.tools.fetch import steps

    rows = where.sets(listed(names))
    told = {name: steps(declaration(name)) for name in listed(names)}
    if as_json:
        print_rows([row | ({"steps": told[row["name"]]} if told else {}) for row in rows], "", as_json)
        return
    if not names:
        print_rows(where.roots(), "Folders", as_json)
    print_rows(rows, "Data sets", as_json)
    for name, lines in told.items():
        _print_steps(name, lines)


@app.command("prepare")
def data_prepare(
    name: Annotated[str, typer.Argument(help="A segmentation set: context59, context60; the others need nothing.")],
    data_root: DataRoot = None,
) -> None:
    """Convert what a data set needs converted: PASCAL Context's annotations to PNGs of its 59 classes."""
    from pacl_bench.data.tools.prepare import prepare

    print(prepare(name))


def _print_steps(name: str, lines: list[str]) -> None:
    if lines:
        print(f"{name}, by hand:")
    for number, line in enumerate(lines, start=1):
        print(f"  {number}. {line}")


def _print_findings(name: str, findings: "list[Finding]") -> None:
    rows: list[dict[str, Any]] = [
        {"check": finding.check, "result": finding.result, "detail": finding.detail} for finding in findings
    ]
    print_rows(rows, name, False)
    for finding in findings:
        for example in finding.examples:
            print(f"  {finding.check}: {example}")
        if finding.way_out:
            print(f"  {finding.check}: {finding.way_out}")
