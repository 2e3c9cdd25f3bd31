"""pacl-bench bench: what parts of the program cost on this machine, beside another way of doing the same."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from pacl_bench.cli.app import App
from pacl_bench.cli.options import AsJson, DataRoot, Device, torch_device
from pacl_bench.cli.output import print_rows
from pacl_bench.training.recipe import Loading

app = App(help="Benchmarks of the program itself, on this machine.", no_args_is_help=True)
Architecture = Annotated[str, typer.Option(help="Of a CLIP, as open_clip names it.")]


@app.command("coherence")
def bench_coherence(
    patches: Annotated[int, typer.Option(min=1000, help="Patches, all pairs of which are counted.")] = 20_000,
    width: Annotated[int, typer.Option(min=1, help="Of a patch token.")] = 768,
    subset: Annotated[int, typer.Option(min=1000, help="Patches whose pairs scikit-learn ranks.")] = 3000,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Pairs of patches a second: counted here, and ranked by scikit-learn."""
    from pacl_bench.bench.coherence import RANKED, coherence_rates

    rates, difference = coherence_rates(patches, width, min(subset, patches), torch_device(device))
    ranked = next(rate.pairs_per_second for rate in rates if rate.method == RANKED)
    rows = [asdict(rate) | {"times scikit-learn": rate.pairs_per_second / ranked} for rate in rates]
    if as_json:
        print_rows(rows, "", as_json)
        return
    shown = [{name: _shown(value) for name, value in row.items()} for row in rows]
    print_rows(shown, f"Coherence, width {width}; AUROC on the subset differs by {difference:.1e}", as_json)


def _shown(value: object) -> object:
    if not isinstance(value, float):
        return value
    return f"{value:,.4g}" if value < 1000 else f"{value:,.0f}"


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


@app.command("compatibility")
def bench_compatibility(
    batch: Annotated[int, typer.Option(min=2, help="Images, and as many texts.")] = 256,
    patches: Annotated[int, typer.Option(min=1, help="Of an image.")] = 196,
    dim: Annotated[int, typer.Option(min=1, help="Of the text space.")] = 512,
    device: Device = "auto",
    repeats: Annotated[int, typer.Option(min=1)] = 3,
    memory: Annotated[float | None, typer.Option(min=0.1, help="GB that may be taken; default what is free.")] = None,
    compile_: Annotated[bool, typer.Option("--compile/--no-compile", help="Whether torch.compile is a rival.")] = True,
    as_json: AsJson = False,
) -> None:
    """The compatibility of all pairs, value and gradient: time, memory, largest batch, beside other forms of it."""
    from pacl_bench.bench.compatibility import EINSUM, Size, compatibility_costs

    gigabytes = None if memory is None else int(memory * 10**9)
    costs = compatibility_costs(Size(batch, patches, dim), torch_device(device), repeats, gigabytes, compile_)
    einsum = next(cost for cost in costs if cost.form == EINSUM)
    rows = [
        {
            "form": cost.form,
            "seconds": _rounded(cost.seconds),
            "of the einsum's": _ratio(cost.seconds, einsum.seconds),
            "value alone, seconds": _rounded(cost.value_seconds),
            "of the einsum's value": _ratio(cost.value_seconds, einsum.value_seconds),
            "MB beyond inputs and gradient": None if cost.extra_bytes is None else round(cost.extra_bytes / 10**6),
            "largest batch": cost.largest_batch,
        }
        for cost in costs
    ]
    print_rows(rows, f"Compatibility of {batch} images and texts, {patches} patches, {dim} dimensions", as_json)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else float(f"{seconds:.4g}")


def _ratio(seconds: float | None, whole: float | None) -> float | None:
    return None if seconds is None or whole is None else round(seconds / whole, 3)


@app.command("coverage")
def bench_coverage(
    sets: Annotated[int, typer.Option(min=20, help="Small sets drawn for each row.")] = 300,
    as_json: AsJson = False,
) -> None:
    """Intervals: of many small simulated sets, the share whose 95 % interval holds the large set's value."""
    from pacl_bench.bench.coverage import coverage

    rows = [asdict(row) for row in coverage(sets)]
    if as_json:
        print_rows(rows, "", as_json)
        return
    shown = [
        {name: f"{value:.3g}" if isinstance(value, float) else value for name, value in row.items()} for row in rows
    ]
    print_rows(shown, f"Coverage of 95 % intervals, {sets} sets a row", as_json)


@app.command("report")
def bench_report(
    records: Annotated[int, typer.Option(min=1, help="Made-up records that the report is of.")] = 10_000,
    as_json: AsJson = False,
) -> None:
    """A report of many records: reading them, the tables, and the whole command with its memory."""
    from pacl_bench.bench.report import report_costs

    print_rows([asdict(cost) for cost in report_costs(records)], f"A report of {records:,} records", as_json)


@app.command("texts")
def bench_texts(
    pairs: Annotated[str, typer.Option(help="Training pairs in memory, whose captions are embedded.")] = "world-4k",
    sample: Annotated[int, typer.Option(min=1, help="Texts of each case that are embedded for it.")] = 256,
    architecture: Architecture = "ViT-B-16",
    data_root: DataRoot = None,
    as_json: AsJson = False,
) -> None:
    """Texts, each batch at the length of its longest, beside all 77 tokens; random weights."""
    from pacl_bench.bench.texts import text_costs

    rows = [
        {name: _rounded_any(value) for name, value in asdict(cost).items()}
        for cost in text_costs(pairs, sample, architecture)
    ]
    print_rows(rows, f"Texts, from {sample} of each case", as_json)


def _rounded_any(value: object) -> object:
    return _rounded(value) if isinstance(value, float) else value


@app.command("train")
def bench_train(
    *,
    batch: Annotated[int, typer.Option(min=2, help="Pairs a step.")] = 256,
    steps: Annotated[int, typer.Option(min=1, help="That are measured.")] = 2,
    loading: Loading,
    bfloat16: Annotated[bool, typer.Option("--bfloat16", help="Encode images under autocast to bfloat16.")] = False,
    architecture: Architecture = "ViT-B-16",
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """A training step from JPEG shards: reading, decoding, encoders, head, waiting; random weights."""
    from pacl_bench.bench.training import training_costs

    rows = [
        {"part": part.part, "seconds": _rounded(part.seconds), "of the step": round(part.share, 3)}
        for part in training_costs(batch, steps, torch_device(device), loading, bfloat16, architecture)
    ]
    print_rows(rows, f"A step of {batch} pairs, {batch / (rows[-1]['seconds'] or 1):.4g} pairs a second", as_json)


@app.command("plan")
def bench_plan(
    *,
    pairs: Annotated[str, typer.Option(help="Training pairs in memory.")] = "world-4k",
    steps: Annotated[int, typer.Option(min=1, help="Of each of two heads that are trained on them.")] = 300,
    shown: Annotated[int, typer.Option(min=32, help="Pairs of shards that a third head is shown.")] = 3200,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """What --dry-run says that three small studies will take, beside what they then take: seconds, and the ratio."""
    from pacl_bench.bench.plan import predictions

    found = predictions(torch_device(device), pairs, steps, shown)
    rows = [{name: _rounded_any(value) for name, value in asdict(one).items()} for one in found]
    print_rows(rows, "Studies, predicted and measured", as_json)


@app.command("all")
def bench_all(
    out: Annotated[Path, typer.Option(help="Folder that gets a file of each.")] = Path("results/bench"),
    again: Annotated[bool, typer.Option("--again", help="Make what is there already anew.")] = False,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Every benchmark, one after the other, into files with command, machine and versions."""
    from pacl_bench.bench.everything import measure_all

    rows = [asdict(figure) for figure in measure_all(out, torch_device(device), again)]
    print_rows(rows, "Benchmarks", as_json)
