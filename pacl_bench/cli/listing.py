"""pacl-bench list: what has a name."""

from typing import Annotated, Literal

import typer

from pacl_bench.cli.options import AsJson, DataRoot, WeightsRoot
from pacl_bench.cli.output import print_rows


def list_(
    what: Annotated[Literal["encoders", "datasets", "pairs", "protocols", "studies"], typer.Argument()],
    data_root: DataRoot = None,
    weights_root: WeightsRoot = None,
    as_json: AsJson = False,
) -> None:
    """List what has a name: encoders, datasets, pairs, protocols, studies."""
    from pacl_bench.cli import catalog

    print_rows(getattr(catalog, what)(), f"pacl-bench {what}", as_json)
