"""The commands that measure: patches, coherence, segment, classify.

A command that measures has the options of the settings class of its evaluator (evaluators/settings.py).
"""

import inspect
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pacl_bench.cli.declared import Given
from pacl_bench.cli.options import Cells, Running, in_processes, torch_device
from pacl_bench.cli.output import print_records
from pacl_bench.errors import UsageError
from pacl_bench.evaluators import find_evaluator
from pacl_bench.evaluators.settings import (
    ClassificationSettings,
    CoherenceSettings,
    PatchSettings,
    SegmentationSettings,
    Settings,
)
from pacl_bench.studies.study import Study
from pacl_bench.validation.values import as_option, made

if TYPE_CHECKING:
    from pacl_bench.evaluators.base import Evaluator

CLASSIFIED = Cells(datasets="cifar10,caltech101,dtd")
NO_SETS = Cells(datasets=None)
# what the scores of --predictions depend on; the folders and --json may stand beside them too
OF_PREDICTIONS = ("--predictions", "--name", "--allow-partial", "--datasets", "--boundary", "--study")
BESIDE_ALL = ("--data-root", "--weights-root", "--results", "--cache-root", "--all", "--json")


@dataclass(frozen=True)
class Predictions:
    """Label PNGs that are scored in place of a model."""

    predictions: Annotated[
        Path | None, typer.Option(help="Score label PNGs made elsewhere, <image id>.png (dataset-miou alone).")
    ] = None
    name: Annotated[str | None, typer.Option(help="Of the method that made --predictions: LSeg.")] = None
    allow_partial: Annotated[
        bool, typer.Option("--allow-partial", help="Score the --predictions there are, where some are missing.")
    ] = False


SavePredictions = Annotated[
    Path | None, typer.Option(help="Write label PNGs below <model>/<data set>/; measures again.")
]


def patches(cells: Cells, settings: PatchSettings, running: Running) -> None:
    """Patch classification before (--encoders) and after (--heads) alignment: Table 1."""
    _measure("patches", cells, settings, running)


def coherence(cells: Cells, settings: CoherenceSettings, running: Running) -> None:
    """Semantic coherence of patch tokens, as a ROC over pairs of patches: Figure 3. --block all: layer by layer."""
    _measure("coherence", cells, settings, running)


def segment(
    *,
    given: Given,
    cells: Cells,
    settings: SegmentationSettings,
    theirs: Predictions,
    save_predictions: SavePredictions = None,
    running: Running,
) -> None:
    """Zero-shot segmentation before (--encoders) and after (--heads) alignment, or of --predictions: Table 2."""
    if theirs.predictions is not None:
        _refuse_beside_predictions(given)
        _score(theirs.predictions, theirs, cells, settings.boundary, running)
        return
    if theirs.name or theirs.allow_partial:
        raise UsageError("--name and --allow-partial go with --predictions DIR.")
    if save_predictions is None:
        _measure("segment", cells, settings, running)
        return
    if running.rerun == "never":
        raise UsageError("--save-predictions measures again: leave out --rerun never.")
    from pacl_bench.studies.predictions import saving_predictions

    _measure("segment", cells, settings, replace(running, rerun="always"), saving_predictions(save_predictions))


def classify(*, cells: Cells = CLASSIFIED, settings: ClassificationSettings, running: Running) -> None:
    """Zero-shot image classification before (--encoders) and after (--heads) alignment: Figure 8."""
    _measure("classify", cells, settings, running)


def command_of(name: str) -> Callable[..., None]:
    """The command of an evaluator that another package adds: its options are the fields of its settings."""
    evaluator = find_evaluator(name)

    def command(*, cells: Cells = NO_SETS, settings: Settings, running: Running) -> None:
        _measure(name, cells, settings, running)

    command.__annotations__["settings"] = evaluator.settings
    command.__doc__ = inspect.getdoc(evaluator.evaluate)
    return command


def _measure(
    name: str, cells: Cells, settings: Settings, running: Running, evaluator: "Evaluator | None" = None
) -> None:
    content = {"name": cells.study or name, "evaluator": name, **cells.content(), "settings": asdict(settings)}
    study = made(Study, content, lambda key, value: as_option("study" if key == "name" else key, value))
    _run(study, running, evaluator)


def _run(study: Study, running: Running, evaluator: "Evaluator | None" = None) -> None:
    in_processes(running.devices)
    from pacl_bench.paths import results_root
    from pacl_bench.studies.runner import run_study

    found = run_study(study, results_root(), running.rerun, torch_device(running.device), evaluator)
    print_records(found, results_root(), running.everything, running.as_json)


def _refuse_beside_predictions(given: list[str]) -> None:
    needless = [option for option in given if option not in (*OF_PREDICTIONS, *BESIDE_ALL)]
    if needless:
        raise UsageError(f"--predictions are scored as they are: leave out {', '.join(needless)}.")


def _score(folder: Path, theirs: Predictions, cells: Cells, boundary: int, running: Running) -> None:
    from pacl_bench.evaluators.sets import segmentation_sets
    from pacl_bench.paths import results_root
    from pacl_bench.studies.predictions import score_predictions

    if not theirs.name:
        raise UsageError("--predictions wants --name METHOD, as tables show it.")
    found = [
        score_predictions(
            folder, theirs.name, images, results_root(), cells.study or "segment", boundary, theirs.allow_partial
        )
        for images in segmentation_sets(cells.listed()["datasets"])
    ]
    print_records(found, results_root(), running.everything, running.as_json)
