"""Evaluators: each measures one model on one data set. They know no paths, no command line, no records on disk."""

from typing import Any

from pacl_bench.data.classification import CLASSIFICATION_SETS, GROUPS, expand, load_classification
from pacl_bench.data.segmentation import SEGMENTATION_SETS, load_segmentation
from pacl_bench.encoders.base import VisionEncoder
from pacl_bench.evaluators.base import Evaluator, Result
from pacl_bench.evaluators.classification import ClassificationSettings, evaluate_classification
from pacl_bench.evaluators.coherence import CoherenceSettings, evaluate_coherence
from pacl_bench.evaluators.patches import PatchSettings, evaluate_patches
from pacl_bench.evaluators.segmentation import Keep, SegmentationSettings, evaluate_segmentation
from pacl_bench.metrics.coherence import Curve
from pacl_bench.model.aligned import AlignedModel
from pacl_bench.world import WORLD_CLASSIFICATION, WORLD_SEGMENTATION


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
