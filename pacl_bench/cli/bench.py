"""pacl-bench bench: what parts of the program cost on this machine."""

from typing import Annotated

import typer

from pacl_bench.cli.options import AsJson
from pacl_bench.cli.output import print_rows

app = typer.Typer(help="Benchmarks of the program itself, on this machine.", no_args_is_help=True)


@app.callback()
def bench() -> None:
    """Benchmarks of the program itself, on this machine."""


@app.command("segment")
def bench_segment(
    classes: Annotated[int, typer.Option(min=2, max=254)] = 171,
    height: Annotated[int, typer.Option(min=16, help="Of the photo, in pixels.")] = 480,
    width: Annotated[int, typer.Option(min=16)] = 640,
    size: Annotated[int | None, typer.Option(min=16, help="Short side the encoder sees; default its own, 224.")] = None,
    stride: Annotated[int, typer.Option(min=1, max=16, help="Of the patch convolution.")] = 16,
    repeats: Annotated[int, typer.Option(min=1)] = 5,
    as_json: AsJson = False,
) -> None:
    """Segmentation: the encoder (clip-b16, random weights), all after it, and the naive way beside them."""
    from pacl_bench.bench.segmentation import Case, bench_segmentation

    rows = bench_segmentation(Case(classes, height, width, size, stride), repeats)
    print_rows(rows, f"One image of {height} x {width}, {classes} classes, stride {stride}", as_json)
