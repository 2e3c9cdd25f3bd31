"""The command line. A command parses and calls one function; torch is imported only where it works."""

import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pacl_bench.errors import RunError, UsageError

app = typer.Typer(
    name="pacl-bench",
    help="Benchmark and analysis of patch-level vision-language alignment, built on PACL (CVPR 2023).",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

INTERRUPTED = 130  # what Typer makes of Ctrl-C
Rerun = Literal["missing", "always", "never"]
Scope = Literal["across", "within", "all"]


def main() -> None:
    """Runs a command. Exit code 0: done, 1: failed, 2: wrong usage; every error is one line on stderr."""
    try:
        code = app(standalone_mode=False)
    except UsageError as error:
        code = _complain(str(error), 2)
    except RunError as error:
        code = _complain(str(error), 1)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:  # `pacl-bench list encoders | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except (OSError, UnicodeDecodeError) as error:  # a file in place of a folder, a full disk, a foreign encoding
        code = _complain(str(error), 1)
    except Exception as error:
        # what Typer's parser raises; newer versions carry their own copy of click, so it is known by what it can do
        if not hasattr(error, "format_message"):
            raise
        code = _complain(error.format_message(), 2)  # type: ignore[attr-defined]
    if code == INTERRUPTED:
        code = _complain("Stopped. What was finished is kept; the same command goes on from there.", 1)
    sys.exit(code if isinstance(code, int) else 0)


def _complain(message: str, code: int) -> int:
    print(f"pacl-bench: {' '.join(message.split())}", file=sys.stderr)
    return code


def _sets(variable: str) -> Callable[[Path | None], Path | None]:
    """An option that stands for a variable of the environment."""

    def keep(value: Path | None) -> Path | None:
        if value is not None:
            os.environ[variable] = str(value)
        return value

    return keep


def _folder_option(name: str, variable: str, what: str) -> Any:
    return typer.Option(
        name, callback=_sets(variable), help=f"{what} [dim](or {variable})[/dim]", rich_help_panel="Folders"
    )


DataRoot = Annotated[Path | None, _folder_option("--data-root", "PACL_DATA", "Data sets, under their official names.")]
WeightsRoot = Annotated[Path | None, _folder_option("--weights-root", "PACL_WEIGHTS", "<encoder name>.safetensors ...")]
ResultsRoot = Annotated[Path | None, _folder_option("--results", "PACL_RESULTS", "Where records and report go.")]
CacheRoot = Annotated[Path | None, _folder_option("--cache-root", "PACL_CACHE", "Patch tokens, encoded once.")]
Encoders = Annotated[
    str, typer.Option(help="Encoders, comma-separated: names or \\[ALIAS=]LIBRARY:MODEL\\[@FILE]\\[?block=..].")
]
Heads = Annotated[str, typer.Option(help="Folders of trained heads, comma-separated.")]
Datasets = Annotated[str, typer.Option(help="Data sets, comma-separated.")]
Templates = Annotated[str, typer.Option(help="Prompt templates: paper7, simple, openai80 or a file.")]
Size = Annotated[int | None, typer.Option(min=1, help="Short side of the images in pixels; default the encoder's own.")]
Purity = Annotated[float, typer.Option(min=0, max=1, help="Share of a patch's pixels that must have its label.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps; auto takes a GPU if there is one.")]
RerunOption = Annotated[Rerun, typer.Option(help="What to measure: what has no record, everything, nothing.")]
StudyName = Annotated[
    str | None, typer.Option("--study", help="Name the records are filed under; default the command's.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@app.command()
def quickstart(
    out: Annotated[Path, typer.Option(help="Folder for heads, records, report and cache.")] = Path("quickstart"),
    seed: Annotated[int, typer.Option(min=0, help="Of the training of the heads.")] = 0,
    smoke: Annotated[bool, typer.Option("--smoke", help="A small part of it, in under a minute.")] = False,
    as_json: AsJson = False,
) -> None:
    """Every study on the built-in world: no network, no data, minutes on a CPU; ends with a report."""
    from pacl_bench.quickstart import quickstart as run

    records, report = run(out, seed, smoke)
    _show_records(records, as_json)
    Console(stderr=True).print(f"Report: {report.with_suffix('.html')}", markup=False)


@app.command()
def train(
    encoder: Annotated[str, typer.Option(help="Frozen vision encoder.")],
    text: Annotated[str, typer.Option(help="Frozen text encoder: a CLIP or transformers:FOLDER.")],
    pairs: Annotated[
        str, typer.Option(help="Training pairs, comma-separated: names or csv files (filepath, caption).")
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
    seed: Annotated[int, typer.Option(min=0)] = 0,
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
    from pacl_bench.model.checkpoint import default_name
    from pacl_bench.train import TrainConfig, make_recipe
    from pacl_bench.train import train as run

    out = out or Path("heads", default_name(encoder))
    config = TrainConfig(encoder, text, "+".join(_listed(pairs)), make_recipe(recipe, changes), seed)
    card = run(config, out, resume, _device(device))
    row = {
        "head": str(out), "steps": card.step, "temperature": round(card.temperature, 4),
        **{key: card.train.get(key) for key in ("pairs", "images", "captions", "skipped")},
        "seconds": card.provenance["seconds"],
    }  # fmt: skip
    print_rows([row], "Trained head", as_json)


@app.command()
def patches(
    encoders: Encoders = "",
    heads: Heads = "",
    datasets: Datasets = "voc20",
    purity: Purity = 0.8,
    templates: Templates = "paper7",
    size: Size = None,
    study: StudyName = None,
    rerun: RerunOption = "missing",
    device: Device = "auto",
    data_root: DataRoot = None,
    weights_root: WeightsRoot = None,
    results: ResultsRoot = None,
    cache_root: CacheRoot = None,
    as_json: AsJson = False,
) -> None:
    """Patch classification before (--encoders) and after (--heads) alignment: Table 1."""
    settings = {"purity": purity, "templates": templates, "size": size}
    _measure("patches", study, encoders, heads, datasets, settings, rerun, device, as_json)


@app.command()
def coherence(
    encoders: Encoders = "",
    heads: Heads = "",
    datasets: Datasets = "voc20",
    scope: Annotated[Scope, typer.Option(help="Pairs of patches of two images, of one, or both.")] = "across",
    purity: Purity = 0.8,
    keep_background: Annotated[bool, typer.Option("--keep-background", help="Count background as a class.")] = False,
    size: Size = None,
    study: StudyName = None,
    rerun: RerunOption = "missing",
    device: Device = "auto",
    data_root: DataRoot = None,
    weights_root: WeightsRoot = None,
    results: ResultsRoot = None,
    cache_root: CacheRoot = None,
    as_json: AsJson = False,
) -> None:
    """Semantic coherence of patch tokens, as a ROC over pairs of patches: Figure 3."""
    settings = {"scope": scope, "purity": purity, "keep_background": keep_background, "size": size}
    _measure("coherence", study, encoders, heads, datasets, settings, rerun, device, as_json)


@app.command()
def segment(
    encoders: Encoders = "",
    heads: Heads = "",
    datasets: Datasets = "voc20",
    templates: Templates = "paper7",
    size: Size = None,
    stride: Annotated[
        int | None, typer.Option(min=1, help="Of the patch convolution: the stride trick. The paper: 4.")
    ] = None,
    study: StudyName = None,
    rerun: RerunOption = "missing",
    device: Device = "auto",
    data_root: DataRoot = None,
    weights_root: WeightsRoot = None,
    results: ResultsRoot = None,
    cache_root: CacheRoot = None,
    as_json: AsJson = False,
) -> None:
    """Zero-shot segmentation before (--encoders) and after (--heads) alignment: Table 2."""
    settings = {"templates": templates, "size": size, "stride": stride}
    _measure("segment", study, encoders, heads, datasets, settings, rerun, device, as_json)


@app.command()
def classify(
    encoders: Encoders = "",
    heads: Heads = "",
    datasets: Datasets = "cifar10,caltech101,dtd",
    templates: Templates = "paper7",
    study: StudyName = None,
    rerun: RerunOption = "missing",
    device: Device = "auto",
    data_root: DataRoot = None,
    weights_root: WeightsRoot = None,
    results: ResultsRoot = None,
    cache_root: CacheRoot = None,
    as_json: AsJson = False,
) -> None:
    """Zero-shot image classification before (--encoders) and after (--heads) alignment: Figure 8."""
    _measure("classify", study, encoders, heads, datasets, {"templates": templates}, rerun, device, as_json)


@app.command()
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
    out: Annotated[Path, typer.Option(help="Folder that holds a folder for each head.")] = Path("heads"),
    seed: Annotated[int, typer.Option(min=0)] = 0,
    rerun: RerunOption = "missing",
    device: Device = "auto",
    data_root: DataRoot = None,
    weights_root: WeightsRoot = None,
    results: ResultsRoot = None,
    cache_root: CacheRoot = None,
    as_json: AsJson = False,
) -> None:
    """Train and measure a grid of encoders x training sets: Table 3. Every cell can be stopped and resumed."""
    from pacl_bench.ablate import Grid, ablate
    from pacl_bench.paths import results_root
    from pacl_bench.train import make_recipe

    grid = Grid(_listed(encoders), _listed(pairs), text, make_recipe(recipe, {"steps": steps}), dataset, seed)
    _show_records(ablate(grid, out, results_root(), rerun, _device(device)), as_json)


@app.command()
def run(
    study: Annotated[Path, typer.Argument(help="A study file (TOML), or the name of a shipped one.")],
    rerun: RerunOption = "missing",
    device: Device = "auto",
    data_root: DataRoot = None,
    weights_root: WeightsRoot = None,
    results: ResultsRoot = None,
    cache_root: CacheRoot = None,
    as_json: AsJson = False,
) -> None:
    """Run a study from its file."""
    from pacl_bench.paths import results_root
    from pacl_bench.runner import run_study
    from pacl_bench.study import load_study

    _show_records(run_study(load_study(study), results_root(), rerun, _device(device)), as_json)


@app.command()
def report(results: ResultsRoot = None) -> None:
    """Write the paper's tables and figures from the records there are, measured beside published."""
    from pacl_bench.paths import results_root
    from pacl_bench.report import write_report

    print(write_report(results_root()).with_suffix(".html"))


@app.command("list")
def list_(
    what: Annotated[Literal["encoders", "datasets", "pairs", "studies"], typer.Argument()],
    data_root: DataRoot = None,
    weights_root: WeightsRoot = None,
    as_json: AsJson = False,
) -> None:
    """List what has a name: encoders, datasets, pairs, studies."""
    from pacl_bench import listing

    print_rows(getattr(listing, what)(), f"pacl-bench {what}", as_json)


show_app = typer.Typer(help="Pictures for your own image: Figures 2, 4 and 6.", no_args_is_help=True)
app.add_typer(show_app, name="show")

world_app = typer.Typer(help="The built-in world and the encoders that come from it.", no_args_is_help=True)
app.add_typer(world_app, name="world")


@world_app.command("pretrain")
def world_pretrain(
    encoder: Annotated[Literal["tiny-clip", "tiny-dino"], typer.Argument(help="What to train from scratch.")],
    out: Annotated[Path, typer.Option(help="Folder for the weights, the log and the checkpoint.")] = Path("pretrain"),
    seed: Annotated[int, typer.Option(min=0)] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in --out.")] = False,
) -> None:
    """Make a built-in encoder again, as the shipped one was made: half an hour to an hour of CPU."""
    from pacl_bench import pretrain

    weights = out / encoder / f"{encoder}.safetensors"
    make = pretrain.pretrain_tiny_clip if encoder == "tiny-clip" else pretrain.pretrain_tiny_dino
    figures = make(out, weights, seed=seed, resume=resume)
    print_rows([{"measured": name, "value": round(value, 4)} for name, value in figures.items()], encoder, False)
    print(f"Use it as {encoder}@{weights}")


Photos = Annotated[list[Path], typer.Argument(help="Image files.")]
PictureOut = Annotated[Path, typer.Option(help="Where the picture goes, without ending: PNG and PDF are written.")]


@show_app.command("alignment")
def show_alignment(
    images: Photos,
    word: Annotated[str, typer.Option(help="What to look for: cat.")],
    encoders: Encoders = "",
    heads: Heads = "",
    out: PictureOut = Path("alignment"),
    device: Device = "auto",
    weights_root: WeightsRoot = None,
) -> None:
    """Where is the word? Similarity of each patch with it, before and after alignment: Figure 2."""
    from pacl_bench.show import alignment_rows, read_photos

    models = _models(encoders, heads, _device(device))
    _save_picture(alignment_rows(models, read_photos(images), word), out)


@show_app.command("similarity")
def show_similarity(
    images: Photos,
    point: Annotated[str, typer.Option(help="The marked patch in the first image: x,y as fractions.")] = "0.5,0.5",
    encoders: Encoders = "",
    out: PictureOut = Path("similarity"),
    device: Device = "auto",
    weights_root: WeightsRoot = None,
) -> None:
    """Which patches of this and other images resemble a marked one? Figure 4."""
    from pacl_bench.encoders import load_encoder
    from pacl_bench.show import read_photos, similarity_rows

    if not _listed(encoders):
        raise UsageError("Nothing to show: give --encoders.")
    at = _point(point)
    loaded = [load_encoder(name).to(_device(device)) for name in _listed(encoders)]
    _save_picture(similarity_rows(loaded, read_photos(images), at), out)


@show_app.command("segmentation")
def show_segmentation(
    images: Photos,
    classes: Annotated[str, typer.Option(help="Class names, comma-separated: cat, sofa, lamp.")],
    encoders: Encoders = "",
    heads: Heads = "",
    templates: Templates = "paper7",
    stride: Annotated[int | None, typer.Option(min=1, help="Of the patch convolution: the stride trick.")] = None,
    out: PictureOut = Path("segmentation"),
    device: Device = "auto",
    weights_root: WeightsRoot = None,
) -> None:
    """Which of your classes is where? Figure 6."""
    from pacl_bench.data.vocabulary import load_templates
    from pacl_bench.show import read_photos, segmentation_rows

    names = _listed(classes)
    if len(names) < 2 or len(set(names)) < len(names):
        raise UsageError(f"--classes {classes!r}: two or more different names are wanted, separated by commas.")
    models = _models(encoders, heads, _device(device))
    _save_picture(
        segmentation_rows(models, read_photos(images), names, load_templates(templates), stride=stride), out, names
    )


def _models(encoders: str, heads: str, device: str) -> list[Any]:
    from pacl_bench.encoders import load_encoder
    from pacl_bench.model.aligned import load_aligned, load_before

    if not _listed(encoders) and not _listed(heads):
        raise UsageError("Nothing to show: give --encoders or --heads.")
    models = [load_before(load_encoder(name)) for name in _listed(encoders)]
    models += [load_aligned(Path(folder)) for folder in _listed(heads)]
    return [model.to(device) for model in models]


def _point(text: str) -> tuple[float, float]:
    try:
        x, y = (float(part) for part in text.split(","))
    except ValueError:
        x = y = -1.0
    if not (0 <= x <= 1 and 0 <= y <= 1):
        raise UsageError(f"--point {text}: two fractions of width and height are wanted, like 0.5,0.4.")
    return x, y


def _save_picture(rows: list[Any], out: Path, classnames: list[str] | None = None) -> None:
    from pacl_bench.report.pictures import save_picture

    for file in save_picture(rows, out, classnames):
        print(file)


def print_rows(rows: Sequence[dict[str, Any]], title: str, as_json: bool) -> None:
    """Rows as a table, or as JSON for other programs."""
    if as_json:
        print(json.dumps(list(rows), indent=1, allow_nan=False))
        return
    console = Console()
    if not console.is_terminal:  # in a pipe, lines are as long as they are
        console = Console(width=10_000)
    table = Table(title=title, title_justify="left", box=None, header_style="bold")
    for column, value in (rows[0] if rows else {}).items():
        table.add_column(column, justify="right" if isinstance(value, int | float) else "left", overflow="fold")
    for row in rows:
        table.add_row(
            *(
                "" if value is None else f"{value:,}" if isinstance(value, int) else escape(str(value))
                for value in row.values()
            )
        )
    console.print(table)


def _measure(
    evaluator: str,
    study: str | None,
    encoders: str,
    heads: str,
    datasets: str,
    settings: dict[str, Any],
    rerun: Rerun,
    device: str,
    as_json: bool,
) -> None:
    from pacl_bench.paths import results_root
    from pacl_bench.runner import run_study
    from pacl_bench.study import Study

    made = Study(study or evaluator, evaluator, _listed(encoders), _listed(heads), _listed(datasets), settings)
    _show_records(run_study(made, results_root(), rerun, _device(device)), as_json)


def _show_records(found: Sequence[Any], as_json: bool) -> None:
    """The headline numbers of records, or all of them as JSON."""
    from pacl_bench.records import tidy_rows

    rows = [row for record in found for row in tidy_rows(record)]
    if as_json:
        print_rows(rows, "", as_json)
        return
    shown = [
        {
            "model": row["model"],
            "dataset": row["dataset"],
            "variant": row["variant"],
            "protocol": row["protocol"],
            "metric": row["metric"],
            "value": f"{row['value']:.4f}",
            "95 % interval": "" if row["ci_low"] is None else f"{row['ci_low']:.4f} to {row['ci_high']:.4f}",
            "chance": "" if row["chance"] is None else f"{row['chance']:.4f}",
            "n": row["n"],
        }
        for row in rows
        if not row["class_name"]
    ]
    print_rows(shown, "Records", as_json)


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _device(name: str) -> str:
    """The torch device a name stands for; a UsageError where this machine has none such."""
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError):
        raise UsageError(f"--device {name}: not on this machine. Use cpu or auto.") from None
    return name


if __name__ == "__main__":
    main()
