"""The commands that train heads: quickstart, train, ablate.

`train` has the options of Recipe and Loading (training/recipe.py).
"""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from pacl_bench.cli.declared import Changes
from pacl_bench.cli.options import (
    AsJson,
    CacheRoot,
    DataRoot,
    Device,
    Devices,
    Encoders,
    Running,
    WeightsRoot,
    in_processes,
    listed,
    listed_pairs,
    torch_device,
)
from pacl_bench.cli.output import print_records, print_rows
from pacl_bench.training.recipe import OFTEN, Loading, Recipe, Seed, Steps, TrainConfig, Watching, make_recipe

PAIRS = (
    "Training pairs, comma-separated: names, csv files (filepath, caption), shards (/data/{00..99}.tar, a folder); "
    "each may have a weight: cc3m:0.2,cc12m:0.8."
)
HeadKind = Annotated[str, typer.Option("--head", help="Kind of head: residual (the paper's) or linear.")]


def quickstart(
    out: Annotated[Path, typer.Option(help="Folder for heads, records, report and cache.")] = Path("quickstart"),
    seed: Seed = 0,
    smoke: Annotated[bool, typer.Option("--smoke", help="A small part of it, in under a minute.")] = False,
    as_json: AsJson = False,
) -> None:
    """Every study on the built-in world: no network, no data, minutes on a CPU; ends with a report."""
    from pacl_bench.studies.quickstart import quickstart as run

    records, report = run(out, seed, smoke)
    print_records(records, as_json)
    Console(stderr=True, emoji=False).print(f"Report: {report.with_suffix('.html')}", markup=False)


def train(
    *,
    encoder: Annotated[str, typer.Option(help="Frozen vision encoder.")],
    text: Annotated[str, typer.Option(help="Frozen text encoder: a CLIP or transformers:FOLDER.")],
    pairs: Annotated[str, typer.Option(help=PAIRS)],
    out: Annotated[Path | None, typer.Option(help="Folder of the head; default heads/pacl-<encoder>.")] = None,
    recipe: Annotated[
        str, typer.Option(help="paper or small; the options below change single values of it.")
    ] = "small",
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in --out.")] = False,
    changes: Annotated[dict[str, Any], Changes(Recipe)],
    head: HeadKind = "residual",
    seed: Seed = 0,
    devices: Devices = None,
    checkpoint_every: Annotated[
        str, typer.Option(help="How often to keep the state to go on from: steps, a time (30s, 10m, 1h), or both.")
    ] = OFTEN,
    loading: Loading,
    watching: Watching,
    device: Device = "auto",
    data_root: DataRoot = None,
    weights_root: WeightsRoot = None,
    cache_root: CacheRoot = None,
    as_json: AsJson = False,
) -> None:
    """Train a PACL head on image-caption pairs; both encoders stay frozen."""
    config = TrainConfig(encoder, text, "+".join(listed_pairs(pairs)), make_recipe(recipe, changes), seed, head)
    in_processes(devices)
    from pacl_bench.model.head_files import default_name
    from pacl_bench.training.loop import train as run

    out = out or Path("heads", default_name(encoder))
    card = run(config, out, resume, torch_device(device), checkpoint_every, loading, watching)
    row = {
        "head": str(out), "steps": card.step, "temperature": round(card.temperature, 4),
        **{key: card.train.get(key) for key in ("pairs", "images", "captions", "skipped")},
        "seconds": card.provenance["seconds"],
    }  # fmt: skip
    print_rows([row], "Trained head", as_json)


def ablate(
    *,
    encoders: Encoders = "clip-b16,clip-l14,dino-b16",
    pairs: Annotated[
        str, typer.Option(help="Training sets, comma-separated; a set may be a sum: cc12m+yfcc15m.")
    ] = "cc12m,cc12m+yfcc15m,cc3m+cc12m+yfcc15m",
    text: Annotated[
        str | None, typer.Option(help="Text encoder; default the encoder's own, clip-b16 for those without.")
    ] = None,
    recipe: Annotated[str, typer.Option(help="paper or small.")] = "paper",
    steps: Steps = None,
    dataset: Annotated[str, typer.Option(help="Segmentation set each head is measured on.")] = "voc20",
    head: HeadKind = "residual",
    out: Annotated[Path, typer.Option(help="Folder that holds a folder for each head.")] = Path("heads"),
    seed: Seed = 0,
    loading: Loading,
    running: Running,
) -> None:
    """Train and measure a grid of encoders x training sets: Table 3. Every cell can be stopped and resumed."""
    made = make_recipe(recipe, {"steps": steps})
    from pacl_bench.paths import results_root
    from pacl_bench.studies.ablate import Grid, ablate

    base = make_recipe(recipe, {})
    grid = Grid(listed(encoders or ""), listed_pairs(pairs), text or "", made, dataset, seed, head, base)
    records = ablate(grid, out, results_root(), running.rerun, torch_device(running.device), loading)
    print_records(records, running.as_json)
