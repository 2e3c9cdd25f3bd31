"""pacl-bench data prepare: conversions."""

from typing import Annotated

import typer

from pacl_bench.cli.options import DataRoot


def prepare(
    name: Annotated[str, typer.Argument(help="A segmentation set: context59, context60; the others need nothing.")],
    data_root: DataRoot = None,
) -> None:
    """Convert what a data set needs converted: PASCAL Context's annotations to PNGs of its 59 classes."""
    from pacl_bench.data.prepare import prepare as prepare_set

    print(prepare_set(name))
