"""The commands that measure: patches, coherence, segment, classify, run."""

from pathlib import Path
from typing import Annotated, Any, Literal

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
    numbers,
    torch_device,
)
from pacl_bench.cli.output import print_records
from pacl_bench.errors import UsageError

Names = Literal["best", "mean"]
Upsampling = Literal["bilinear", "nearest"]


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
    templates: Annotated[
        str, typer.Option(help="Prompt templates: paper7, simple, openai80 or files; several.")
    ] = "paper7",
    vocabulary: Annotated[
        str, typer.Option(help="Names of the classes: plain, synonyms or files (a line a class); several.")
    ] = "plain",
    names: Annotated[
        Names, typer.Option(help="Of several names of a class a patch takes the best, or the mean.")
    ] = "best",
    thresholds: Annotated[
        str, typer.Option(help="Background where the best class's probability is below: 0.1,0.2,0.3.")
    ] = "",
    entropies: Annotated[
        str, typer.Option(help="Background where the entropy over classes is above, in nats: 1.5.")
    ] = "",
    scale: Annotated[float, typer.Option(help="Of the cosines in the softmax these two are of.")] = 40.0,
    boundary: Annotated[int, typer.Option(help="Pixels this near to another label: the boundary-blind numbers.")] = 5,
    size: Size = None,
    stride: Annotated[
        int | None, typer.Option(min=1, help="Of the patch convolution: the stride trick. The paper: 4.")
    ] = None,
    window: Annotated[
        int | None, typer.Option(min=1, help="Side of a sliding window in pixels of the resized image.")
    ] = None,
    overlap: Annotated[float, typer.Option(help="Share of a window that the next one covers too.")] = 0.5,
    upsampling: Annotated[Upsampling, typer.Option(help="From patches to pixels.")] = "bilinear",
    predictions: Annotated[
        Path | None, typer.Option(help="Score label PNGs made elsewhere, <image id>.png (dataset-miou alone).")
    ] = None,
    name: Annotated[str, typer.Option(help="Of the method that made --predictions: LSeg.")] = "",
    allow_partial: Annotated[
        bool, typer.Option("--allow-partial", help="Score the --predictions there are, where some are missing.")
    ] = False,
    save_predictions: Annotated[
        Path | None, typer.Option(help="Write label PNGs below <model>/<data set>/; measures again.")
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
    """Zero-shot segmentation before (--encoders) and after (--heads) alignment, or of --predictions: Table 2."""
    if predictions is not None:
        if encoders or heads or not name:
            raise UsageError("--predictions wants --name METHOD, and neither --encoders nor --heads.")
        of_models = {
            "--thresholds": thresholds, "--entropies": entropies, "--size": size, "--stride": stride,
            "--window": window, "--save-predictions": save_predictions,
        }  # fmt: skip
        needless = [option for option, value in of_models.items() if value]
        if needless:
            raise UsageError(f"--predictions are scored as they are: leave out {', '.join(needless)}.")
        _score_predictions(predictions, name, datasets, study, boundary, allow_partial, as_json)
        return
    if name or allow_partial:
        raise UsageError("--name and --allow-partial go with --predictions DIR.")
    settings = {
        "templates": templates, "vocabulary": vocabulary, "names": names, "scale": scale, "boundary": boundary,
        "thresholds": numbers("--thresholds", thresholds), "entropies": numbers("--entropies", entropies),
        "size": size, "stride": stride, "window": window, "overlap": overlap, "upsampling": upsampling,
    }  # fmt: skip
    _measure("segment", study, encoders, heads, datasets, settings, rerun, device, as_json, save_predictions)


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
    from pacl_bench.studies.runner import run_study
    from pacl_bench.studies.study import load_study

    print_records(run_study(load_study(study), results_root(), rerun, torch_device(device)), as_json)


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
    save_predictions: Path | None = None,
) -> None:
    from pacl_bench.paths import results_root
    from pacl_bench.studies.runner import run_study
    from pacl_bench.studies.study import Study

    keep = None
    if save_predictions is not None:
        from pacl_bench.studies.predictions import label_writer

        keep = lambda model, images: label_writer(save_predictions / model, images)  # noqa: E731
    made = Study(study or evaluator, evaluator, listed(encoders), listed(heads), listed(datasets), settings)
    print_records(run_study(made, results_root(), rerun, torch_device(device), keep), as_json)


def _score_predictions(
    folder: Path, name: str, datasets: str, study: str | None, boundary: int, allow_partial: bool, as_json: bool
) -> None:
    from pacl_bench.data.segmentation import load_segmentation
    from pacl_bench.paths import results_root
    from pacl_bench.studies.predictions import score_predictions

    sets = [load_segmentation(one) for one in listed(datasets)]
    made = [
        score_predictions(folder, name, one, results_root(), study or "segment", boundary, allow_partial)
        for one in sets
    ]
    print_records(made, as_json)
