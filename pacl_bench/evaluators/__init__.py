"""Evaluators: each measures one model on one data set. They know no paths, no command line, no records on disk."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from pacl_bench.data.classification import CLASSIFICATION_SETS, GROUPS, expand, load_classification
from pacl_bench.data.segmentation import SEGMENTATION_SETS, load_segmentation
from pacl_bench.data.world import WORLD_CLASSIFICATION, WORLD_SEGMENTATION
from pacl_bench.encoders.base import VisionEncoder
from pacl_bench.evaluators.classification import ClassificationSettings, evaluate_classification
from pacl_bench.evaluators.coherence import CoherenceSettings, evaluate_coherence
from pacl_bench.evaluators.patches import PatchSettings, evaluate_patches
from pacl_bench.evaluators.segmentation import Keep, SegmentationSettings, evaluate_segmentation
from pacl_bench.metrics.coherence import Curve
from pacl_bench.model.aligned import AlignedModel
from pacl_bench.records import Measurement


@dataclass(frozen=True)
class Result:
    """What an evaluator found: numbers, and curves where there are some (name -> axis -> points)."""

    measurements: list[Measurement]
    curves: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    cost: dict[str, Any] = field(default_factory=dict)  # what the pass took, for the provenance


@dataclass(frozen=True)
class Evaluator:
    """One of the four studies."""

    settings: type  # its dataclass of settings
    datasets: tuple[str, ...]  # the sets it can be run on
    load_dataset: Callable[[str], Any]
    evaluate: Callable[..., Result]  # of model, data set, settings; "segment" takes `keep` too
    needs_text: bool  # measures an aligned model; else a bare vision encoder will do
    expand: Callable[[Iterable[str]], list[str]] = list  # puts the members in place of the name of a group


def _coherence(model: VisionEncoder | AlignedModel, images: Any, settings: CoherenceSettings) -> Result:
    measurements, found = evaluate_coherence(model, images, settings)
    curves = {"roc": _points(found.roc, "fpr", "tpr"), "pr": _points(found.pr, "recall", "precision")}
    return Result(measurements, curves)


def _points(curve: Curve, x: str, y: str) -> dict[str, list[float]]:
    """The points of a curve by axis; its 95 % band as `Y_low` and `Y_high` where there is one."""
    axes = {x: curve.x, y: curve.y}
    if curve.band is not None:
        axes |= {f"{y}_low": curve.band[0], f"{y}_high": curve.band[1]}
    return {axis: [round(float(value), 5) for value in values] for axis, values in axes.items()}


def _patches(model: AlignedModel, images: Any, settings: PatchSettings) -> Result:
    """With the cells of the confusion matrix that are not 0, as a curve of label, predicted class and patches."""
    measurements, confusion = evaluate_patches(model, images, settings)
    labels, predicted = confusion.nonzero()
    cells = {"label": labels, "predicted": predicted, "patches": confusion[labels, predicted]}
    return Result(measurements, {"confusion": {axis: values.astype(float).tolist() for axis, values in cells.items()}})


def _segment(model: AlignedModel, images: Any, settings: SegmentationSettings, keep: Keep | None = None) -> Result:
    measurements, cost = evaluate_segmentation(model, images, settings, keep)
    return Result(measurements, cost=cost)


SEGMENTATION_NAMES = (*SEGMENTATION_SETS, *WORLD_SEGMENTATION)
CLASSIFICATION_NAMES = (*GROUPS, *CLASSIFICATION_SETS, *WORLD_CLASSIFICATION)

EVALUATORS: dict[str, Evaluator] = {
    "patches": Evaluator(
        PatchSettings,
        SEGMENTATION_NAMES,
        load_segmentation,
        _patches,
        needs_text=True,
    ),
    "coherence": Evaluator(CoherenceSettings, SEGMENTATION_NAMES, load_segmentation, _coherence, needs_text=False),
    "segment": Evaluator(
        SegmentationSettings,
        SEGMENTATION_NAMES,
        load_segmentation,
        _segment,
        needs_text=True,
    ),
    "classify": Evaluator(
        ClassificationSettings,
        CLASSIFICATION_NAMES,
        load_classification,
        lambda *given: Result(evaluate_classification(*given)),
        needs_text=True,
        expand=expand,
    ),
}
