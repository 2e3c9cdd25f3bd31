"""pacl-bench world: how the built-in encoders are made again."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from pacl_bench.cli.app import App
from pacl_bench.cli.output import print_rows
from pacl_bench.files import require_writable
from pacl_bench.training.recipe import Seed

app = App(help="The built-in world and the encoders that come from it.", no_args_is_help=True)


@app.command("pretrain")
def world_pretrain(
    encoder: Annotated[Literal["tiny-clip", "tiny-dino"], typer.Argument(help="What to train from scratch.")],
    out: Annotated[Path, typer.Option(help="Folder for the weights, the log and the checkpoint.")] = Path("pretrain"),
    seed: Seed = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in --out.")] = False,
) -> None:
    """Make a built-in encoder again, as the shipped one was made: half an hour to an hour of CPU."""
    from pacl_bench.world import pretrain

    require_writable(out, "--out")
    weights = out / encoder / f"{encoder}.safetensors"
    make = pretrain.pretrain_tiny_clip if encoder == "tiny-clip" else pretrain.pretrain_tiny_dino
    figures = make(out, weights, seed=seed, resume=resume)
    print_rows([{"measured": name, "value": round(value, 4)} for name, value in figures.items()], encoder, False)
    print(f"Use it as {encoder}@{weights}")
