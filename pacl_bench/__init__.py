"""pacl-bench: benchmark and analysis of patch-level vision-language alignment, built on PACL (CVPR 2023).

The names below are imported when they are first used, so that `import pacl_bench` stays free of torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pacl_bench import metrics, records
    from pacl_bench.encoders import load_encoder, load_text_encoder
    from pacl_bench.encoders.base import PatchFeatures, TextEncoder, VisionEncoder
    from pacl_bench.encoders.open_clip import from_open_clip
    from pacl_bench.evaluators.predict import predict_map
    from pacl_bench.metrics.coherence import Roc, pairwise_roc
    from pacl_bench.metrics.segmentation import confusion_matrix, iou_per_class, miou
    from pacl_bench.model.aligned import AlignedModel, load_aligned
    from pacl_bench.model.compatibility import compatibility, patch_similarity
    from pacl_bench.model.embedder import VisionEmbedder
    from pacl_bench.model.loss import info_nce
    from pacl_bench.paths import folders
    from pacl_bench.training.loop import train
    from pacl_bench.training.recipe import TrainConfig, make_recipe

_ROOMS = ("metrics", "records")  # modules that are attributes: pacl_bench.records.load
_HOMES = {
    "load_encoder": "encoders",
    "load_text_encoder": "encoders",
    "PatchFeatures": "encoders.base",
    "TextEncoder": "encoders.base",
    "VisionEncoder": "encoders.base",
    "from_open_clip": "encoders.open_clip",
    "predict_map": "evaluators.predict",
    "Roc": "metrics.coherence",
    "pairwise_roc": "metrics.coherence",
    "confusion_matrix": "metrics.segmentation",
    "iou_per_class": "metrics.segmentation",
    "miou": "metrics.segmentation",
    "AlignedModel": "model.aligned",
    "load_aligned": "model.aligned",
    "compatibility": "model.compatibility",
    "patch_similarity": "model.compatibility",
    "VisionEmbedder": "model.embedder",
    "info_nce": "model.loss",
    "folders": "paths",
    "train": "training.loop",
    "TrainConfig": "training.recipe",
    "make_recipe": "training.recipe",
}
__all__ = [
    "AlignedModel",
    "PatchFeatures",
    "Roc",
    "TextEncoder",
    "TrainConfig",
    "VisionEmbedder",
    "VisionEncoder",
    "compatibility",
    "confusion_matrix",
    "folders",
    "from_open_clip",
    "info_nce",
    "iou_per_class",
    "load_aligned",
    "load_encoder",
    "load_text_encoder",
    "make_recipe",
    "metrics",
    "miou",
    "pairwise_roc",
    "patch_similarity",
    "predict_map",
    "records",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"pacl_bench.{_HOMES[name]}"), name)
    if name in _ROOMS:
        return import_module(f"pacl_bench.{name}")
    if name == "__version__":
        return _version()
    raise AttributeError(f"module 'pacl_bench' has no attribute {name!r}")


def _version() -> str:
    """Of the installed package; a checkout that is only on the path has none."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("pacl-bench")
    except PackageNotFoundError:
        return "0+not-installed"


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
