"""Image sets that drown in noise: `world-things?noise=0.5` is world-things with every pixel half noise.

A score that falls to chance when what is to be seen is destroyed was a score of what is to be seen.
"""

from typing import Any, TypeVar

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from pacl_bench.errors import UsageError
from pacl_bench.registry import text_hash

MARK = "?noise="
Images = TypeVar("Images")


class DrownedImages:
    """An image set whose images are mixed with noise; everything else is as in the set itself."""

    def __init__(self, images: Any, share: float):
        self.images, self.share = images, share
        self.name = f"{images.name}{MARK}{share:g}"
        self.classnames, self.official_images = images.classnames, images.official_images

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "images":  # which pickle and copy ask for before there are any
            raise AttributeError(name)
        return getattr(self.images, name)

    def __len__(self) -> int:
        return len(self.images)

    def image(self, index: int) -> Image.Image:
        """RGB: of each pixel's value the share is drawn evenly from 0 to 255, always the same for an image."""
        pixels = np.asarray(self.images.image(index), np.float32)
        noise = np.random.default_rng(index).uniform(0, 255, pixels.shape)
        return Image.fromarray(((1 - self.share) * pixels + self.share * noise).round().astype(np.uint8))

    @property
    def fingerprint(self) -> str:
        return text_hash([self.images.fingerprint, f"noise {self.share:g}"])


class DrownedLabelMaps(DrownedImages):
    """Of images with the class of each pixel."""

    def label_map(self, index: int) -> UInt8[np.ndarray, "height width_px"]:
        """As in the set itself."""
        return self.images.label_map(index)


class DrownedLabelled(DrownedImages):
    """Of images with one class each."""

    def __init__(self, images: Any, share: float):
        super().__init__(images, share)
        self.labels, self.templates = images.labels, images.templates


def noise_of(name: str) -> tuple[str, float]:
    """The name of a set apart from its share of noise, which is 0 where none is named.

    Raises:
        UsageError: the share is no number from 0 to 1.
    """
    plain, mark, share = name.partition(MARK)
    if not mark:
        return name, 0.0
    try:
        value = float(share)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise UsageError(f"{name}: noise={share} must be a share from 0 (none) to 1 (nothing else).")
    return plain, value


def drowned(images: Images, share: float) -> Images:
    """The set with a share of noise in its images; with a share of 0 the set itself."""
    if not share:
        return images
    kind = DrownedLabelMaps if hasattr(images, "label_map") else DrownedLabelled
    return kind(images, share)  # type: ignore[return-value]
