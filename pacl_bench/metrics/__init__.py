"""Metrics: pure functions of tensors and arrays. They know no other room; each module is imported when first used."""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pacl_bench.metrics import classification, coherence, segmentation

Scope = Literal["across", "within", "all"]  # which pairs of patches are compared: of two images, of one, or both

__all__ = ["classification", "coherence", "segmentation"]


def __getattr__(name: str) -> ModuleType:
    if name not in __all__:
        raise AttributeError(f"module 'pacl_bench.metrics' has no attribute {name!r}")
    return import_module(f"pacl_bench.metrics.{name}")


def __dir__() -> list[str]:
    return __all__
