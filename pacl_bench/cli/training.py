"""The commands that train heads: quickstart, train, ablate."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pacl_bench.cli.options import (
    AsJson,
    CacheRoot,
    DataRoot,
    Device,
    Encoders,
    RerunOption,
    ResultsRoot,
    WeightsRoot,
    listed,
    listed_pairs,
    torch_device,
)
from pacl_bench.cli.output import print_records, print_rows

HeadKind = Annotated[str, typer.Option("--head", help="Kind of head: residual (the paper's) or linear.")]
Workers = Annotated[
    int | None, typer.Option(min=0, help="Processes that read shards; default one less than there are cores.")
]
MaxSkipped = Annotated[float, typer.Option(min=0, max=1, help="Share of pairs that may fail before training stops.")]


def quickstart(
    out: Annotated[Path, typer.Option(help="Folder for heads, records, report and cache.")] = Path("quickstart"),
    seed: Annotated[int, typer.Option(min=0, help="Of the training of the heads.")] = 0,
    smoke: Annotated[bool, typer.Option("--smoke", help="A small part of it, in under a minute.")] = False,
    as_json: AsJson = False,
) -> None:
    """Every study on the built-in world: no network, no data, minutes on a CPU; ends with a report."""
    from pacl_bench.studies.quickstart import quickstart as run

    records, report = run(out, seed, smoke)
    print_records(records, as_json)
    Console(stderr=True, emoji=False).print(f"Report: {report.with_suffix('.html')}", markup=False)


def train(
    encoder: Annotated[str, typer.Option(help="Frozen vision encoder.")],
    text: Annotated[str, typer.Option(help="Frozen text encoder: a CLIP or transformers:FOLDER.")],
    pairs: Annotated[
        str,
        typer.Option(
            help="Training pairs, comma-separated: names, csv files (filepath, caption), shards "
            "(/data/{00..99}.tar, a folder); each may have a weight: cc3m:0.2,cc12m:0.8."
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="Folder of the head; default heads/pacl-<encoder>.")] = None,
    recipe: Annotated[
        str, typer.Option(help="paper or small; the options below change single values of it.")
    ] = "small",
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in --out.")] = False,
    steps: Annotated[int | None, typer.Option(min=0, help="Training steps; 0 writes the untrained head.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1)] = None,
    batch_size: Annotated[int | None, typer.Option(min=2)] = None,
    lr: Annotated[float | None, typer.Option(min=0)] = None,
    weight_decay: Annotated[float | None, typer.Option(min=0)] = None,
    warmup_steps: Annotated[int | None, typer.Option(min=0)] = None,
    patch_scale: Annotated[
        float | None, typer.Option(help="Sharpness of the softmax over patches; 1 in the paper.")
    ] = None,
    temperature: Annotated[float | None, typer.Option(min=1e-4, help="Of the contrastive loss.")] = None,
    learn_temperature: Annotated[bool | None, typer.Option(help="Train the temperature too.")] = None,
    noun_share: Annotated[
        float | None, typer.Option(min=0, max=1, help="How often a noun replaces its caption.")
    ] = None,
    same_text_is_negative: Annotated[
        bool | None, typer.Option(help="Count equal texts in a batch as negatives.")
    ] = None,
    head: HeadKind = "residual",
    seed: Annotated[int, typer.Option(min=0)] = 0,
    workers: Workers = None,
    max_skipped: MaxSkipped = 0.1,
    device: Device = "auto",
    data_root: DataRoot = None,
    weights_root: WeightsRoot = None,
    cache_root: CacheRoot = None,
    as_json: AsJson = False,
) -> None:
    """Train a PACL head on image-caption pairs; both encoders stay frozen."""
    changes = {
        "batch_size": batch_size, "lr": lr, "weight_decay": weight_decay, "warmup_steps": warmup_steps,
        "patch_scale": patch_scale, "temperature": temperature, "learn_temperature": learn_temperature,
        "noun_share": noun_share, "same_text_is_negative": same_text_is_negative, "steps": steps, "epochs": epochs,
    }  # fmt: skip
    from pacl_bench.model.head_files import default_name
    from pacl_bench.training.batches import Loading
    from pacl_bench.training.loop import train as run
    from pacl_bench.training.recipe import TrainConfig, make_recipe

    out = out or Path("heads", default_name(encoder))
    config = TrainConfig(encoder, text, "+".join(listed_pairs(pairs)), make_recipe(recipe, changes), seed, head)
    card = run(config, out, resume, torch_device(device), loading=Loading(workers, max_skipped))
    row = {
        "head": str(out), "steps": card.step, "temperature": round(card.temperature, 4),
        **{key: card.train.get(key) for key in ("pairs", "images", "captions", "skipped")},
        "seconds": card.provenance["seconds"],
    }  # fmt: skip
    print_rows([row], "Trained head", as_json)


def ablate(
    encoders: Encoders = "clip-b16,clip-l14,dino-b16",
    pairs: Annotated[
        str, typer.Option(help="Training sets, comma-separated; a set may be a sum: cc12m+yfcc15m.")
    ] = "cc12m,cc12m+yfcc15m,cc3m+cc12m+yfcc15m",
    text: Annotated[
        str, typer.Option(help="Text encoder; default the encoder's own, clip-b16 for those without.")
    ] = "",
    recipe: Annotated[str, typer.Option(help="paper or small.")] = "paper",
    steps: Annotated[int | None, typer.Option(min=0, help="Training steps a cell, instead of the recipe's.")] = None,
    dataset: Annotated[str, typer.Option(help="Segmentation set each head is measured on.")] = "voc20",
    head: HeadKind = "residual",
    out: Annotated[Path, typer.Option(help="Folder that holds a folder for each head.")] = Path("heads"),
    seed: Annotated[int, typer.Option(min=0)] = 0,
    workers: Workers = None,
    max_skipped: MaxSkipped = 0.1,
    rerun: RerunOption = "missing",
    device: Device = "auto",
    data_root: DataRoot = None,
    weights_root: WeightsRoot = None,
    results: ResultsRoot = None,
    cache_root: CacheRoot = None,
    as_json: AsJson = False,
) -> None:
    """Train and measure a grid of encoders x training sets: Table 3. Every cell can be stopped and resumed."""
    from pacl_bench.paths import results_root
    from pacl_bench.studies.ablate import Grid, ablate
    from pacl_bench.training.batches import Loading
    from pacl_bench.training.recipe import make_recipe

    base = make_recipe(recipe, {})
    changed = make_recipe(recipe, {"steps": steps})
    grid = Grid(listed(encoders), listed_pairs(pairs), text, changed, dataset, seed, head, base)
    records = ablate(grid, out, results_root(), rerun, torch_device(device), Loading(workers, max_skipped))
    print_records(records, as_json)
