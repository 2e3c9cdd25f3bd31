"""The benchmarks of the program itself: bench coherence."""

from dataclasses import asdict
from typing import Annotated

import typer

from pacl_bench.cli.options import AsJson, Device, torch_device
from pacl_bench.cli.output import print_rows

app = typer.Typer(help="How fast the program is, beside another way of doing the same.", no_args_is_help=True)


@app.callback()
def bench() -> None:
    """How fast the program is, beside another way of doing the same."""


@app.command("coherence")
def bench_coherence(
    patches: Annotated[int, typer.Option(min=1000, help="Patches, all pairs of which are counted.")] = 20_000,
    width: Annotated[int, typer.Option(min=1, help="Of a patch token.")] = 768,
    subset: Annotated[int, typer.Option(min=1000, help="Patches whose pairs scikit-learn ranks.")] = 3000,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Pairs of patches a second: counted here, and ranked by scikit-learn."""
    from pacl_bench.bench.coherence import coherence_rates

    counted, ranked, difference = coherence_rates(patches, width, min(subset, patches), torch_device(device))
    ratio = counted.pairs_per_second / ranked.pairs_per_second
    rows = [asdict(counted) | {"times scikit-learn": ratio}, asdict(ranked) | {"times scikit-learn": 1.0}]
    if as_json:
        print_rows(rows, "", as_json)
        return
    shown = [{name: _shown(value) for name, value in row.items()} for row in rows]
    print_rows(shown, f"Coherence, width {width}; AUROC on the subset differs by {difference:.1e}", as_json)


def _shown(value: object) -> object:
    return (
        f"{value:,.4g}"
        if isinstance(value, float) and value < 1000
        else f"{value:,.0f}"
        if isinstance(value, float)
        else value
    )
