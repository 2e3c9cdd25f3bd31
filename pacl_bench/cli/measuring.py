"""The commands that measure and report: patches, coherence, segment, classify, run, report."""

from pathlib import Path
from typing import Annotated, Any

import typer

from pacl_bench.cli.options import (
    AsJson,
    BlockOption,
    CacheRoot,
    DataRoot,
    Datasets,
    Device,
    Encoders,
    Heads,
    Purity,
    Rerun,
    RerunOption,
    ResultsRoot,
    Scope,
    Size,
    StudyName,
    Templates,
    WeightsRoot,
    at_block,
    listed,
    torch_device,
)
from pacl_bench.cli.output import print_records
from pacl_bench.errors import UsageError


def patches(
    encoders: Encoders = "",
    heads: Heads = "",
    datasets: Datasets = "voc20",
    purity: Purity = 0.8,
    templates: Templates = "paper7",
    size: Size = None,
    block: BlockOption = None,
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
    _measure("patches", study, at_block(encoders, block), heads, datasets, settings, rerun, device, as_json)


def coherence(
    encoders: Encoders = "",
    heads: Heads = "",
    datasets: Datasets = "voc20",
    scope: Annotated[Scope, typer.Option(help="Pairs of patches of two images, of one, or both.")] = "across",
    purity: Purity = 0.8,
    keep_background: Annotated[bool, typer.Option("--keep-background", help="Count background as a class.")] = False,
    size: Size = None,
    grid: Annotated[
        int | None,
        typer.Option(
            min=1, help="Cells along the short side, so that encoders of other patch sizes compare; no patches."
        ),
    ] = None,
    block: BlockOption = None,
    study: StudyName = None,
    rerun: RerunOption = "missing",
    device: Device = "auto",
    data_root: DataRoot = None,
    weights_root: WeightsRoot = None,
    results: ResultsRoot = None,
    cache_root: CacheRoot = None,
    as_json: AsJson = False,
) -> None:
    """Semantic coherence of patch tokens, as a ROC over pairs of patches: Figure 3. --block all: layer by layer."""
    settings = {"scope": scope, "purity": purity, "keep_background": keep_background, "size": size, "grid": grid}
    _measure("coherence", study, at_block(encoders, block), heads, datasets, settings, rerun, device, as_json)


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

    print_records(run_study(load_study(study), results_root(), rerun, torch_device(device)), as_json)


def report(results: ResultsRoot = None) -> None:
    """Write the paper's tables and figures from the records there are, measured beside published."""
    from pacl_bench.paths import results_root
    from pacl_bench.report import write_report

    if not (results_root() / "records").is_dir():
        raise UsageError(f"{results_root()} holds no records/. Measure something first, or give another --results.")
    print(write_report(results_root()).with_suffix(".html"))


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

    made = Study(study or evaluator, evaluator, listed(encoders), listed(heads), listed(datasets), settings)
    print_records(run_study(made, results_root(), rerun, torch_device(device)), as_json)
