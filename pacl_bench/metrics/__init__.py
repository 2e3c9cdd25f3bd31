"""Metrics: pure functions of tensors and arrays. They know no models, no files and no other room of the package."""

from typing import Literal

Scope = Literal["across", "within", "all"]  # which pairs of patches are compared: of two images, of one, or both
