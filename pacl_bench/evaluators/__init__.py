"""Evaluators: each measures one model on one data set. They know no paths, no command line, no records on disk.

A new one is a settings class, a function that returns a Result, and an entry in EVALUATORS; or the entry point of
another package, in the group `pacl_bench.evaluators`, that names an Evaluator. No torch is imported here.
"""

from typing import TYPE_CHECKING

from pacl_bench.errors import UsageError
from pacl_bench.evaluators.base import Evaluator, deferred
from pacl_bench.evaluators.settings import (
    ClassificationSettings,
    CoherenceSettings,
    PatchSettings,
    SegmentationSettings,
)
from pacl_bench.registry import entry_points, loaded, lookup

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "pacl_bench.evaluators"
_segmentation = deferred("pacl_bench.evaluators.sets:segmentation_sets")
_classification = deferred("pacl_bench.evaluators.sets:classification_sets")
EVALUATORS: dict[str, Evaluator] = {
    "patches": Evaluator(
        PatchSettings,
        _segmentation,
        deferred("pacl_bench.evaluators.patches:evaluate_patches"),
        headline=("patch_accuracy",),
    ),
    "coherence": Evaluator(
        CoherenceSettings,
        _segmentation,
        deferred("pacl_bench.evaluators.coherence:evaluate_coherence"),
        needs_text=False,
        headline=("auroc",),
    ),
    "segment": Evaluator(
        SegmentationSettings,
        _segmentation,
        deferred("pacl_bench.evaluators.segmentation:evaluate_segmentation"),
        headline=("miou",),
    ),
    "classify": Evaluator(
        ClassificationSettings,
        _classification,
        deferred("pacl_bench.evaluators.classification:evaluate_classification"),
        headline=("top1",),
    ),
}


def find_evaluator(name: str) -> Evaluator:
    """The evaluator called `name`; a UsageError with the nearest known name where there is none.

    Another package is imported only when an evaluator of its is asked for.
    """
    if name in EVALUATORS:
        return EVALUATORS[name]
    others = other_evaluators()
    return _loaded(others[name]) if name in others else lookup(EVALUATORS, name, "evaluator")


def other_evaluators() -> "dict[str, EntryPoint]":
    """The evaluators that other installed packages add, by name; not imported yet."""
    return entry_points(GROUP, EVALUATORS)


def _loaded(entry: "EntryPoint") -> Evaluator:
    evaluator = loaded(entry)
    if not isinstance(evaluator, Evaluator):
        raise UsageError(f"evaluator {entry.name}: {entry.value} is no pacl_bench.evaluators.base.Evaluator.")
    return evaluator
