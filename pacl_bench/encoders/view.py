"""How an encoder is shown an image: its size, its crop, its windows."""

from dataclasses import asdict, dataclass
from typing import get_args

import torch
from PIL import Image
from torch import Tensor

from pacl_bench.encoders.base import VisionEncoder
from pacl_bench.encoders.resizing import (
    mmseg_scaled,
    mmseg_shape,
    opencv_bilinear,
    pillow_bicubic,
    pillow_shape,
    tiled_side,
)
from pacl_bench.encoders.setup import Remainder, Resize
from pacl_bench.encoders.windows import window_starts
from pacl_bench.errors import UsageError
from pacl_bench.image_sets import ImageSet


@dataclass(frozen=True)
class View:
    """How an encoder is shown an image."""

    whole: bool  # True: the whole image, its aspect ratio kept; False: the centre square
    short_side: int | None = None  # in pixels, for `whole`; None is the encoder's image_size
    stride: int | None = None  # of the patch convolution in pixels; None is the patch size
    window: int | None = None  # side of a sliding window in pixels, for `whole`; None is the image in one piece
    overlap: float = 0.5  # the share of a window that the next one covers too
    resize: Resize = "patch-multiple"  # how `whole` comes to its size
    long_side: int | None = None  # in pixels, which the long side may not exceed, for resize="mmseg"; None: no bound
    remainder: Remainder = "none"  # what becomes of pixels of an image or window that fill no whole patch

    def __post_init__(self) -> None:
        if self.resize != "patch-multiple" and self.remainder == "none":
            raise UsageError(
                f"--resize {self.resize}: its sides are no whole patches; say what becomes of the rest: --remainder "
                f"{', '.join(get_args(Remainder)[1:])}."
            )

    def tensor(self, encoder: VisionEncoder, images: ImageSet, index: int) -> Tensor:
        return self.shown(encoder, images.image(index))

    def shown(self, encoder: VisionEncoder, image: Image.Image) -> Tensor:
        """An image as the encoder sees it, "3 height width_px", before it is cut into windows."""
        if not self.whole:
            return encoder.preprocess(image)
        if self.resize == "patch-multiple":
            return encoder.preprocess.whole(image, self.short_side)
        shape = self.shape(encoder, (image.height, image.width))
        if self.resize == "pillow":
            return encoder.preprocess.normalised(torch.from_numpy(pillow_bicubic(image, shape)))
        pixels = torch.from_numpy(opencv_bilinear(image, shape))
        return mmseg_scaled(pixels, encoder.preprocess.mean, encoder.preprocess.std)

    def shape(self, encoder: VisionEncoder, image_shape: tuple[int, int]) -> tuple[int, int]:
        """(height, width) in pixels of an image of (height, width) when it is shown whole."""
        short_side = self.short_side or encoder.image_size
        if self.resize == "mmseg":
            return mmseg_shape(image_shape, short_side, self.long_side or max(image_shape) * short_side)
        if self.resize == "pillow":
            return pillow_shape(image_shape, short_side)
        return encoder.preprocess.whole_shape(image_shape, short_side)

    def windows(self, image_shape: tuple[int, ...]) -> tuple[int, int]:
        """(rows, cols) of windows over an image of (height, width) pixels."""
        rows, cols = (len(window_starts(side, self.window, self.overlap)) for side in image_shape)
        return rows, cols

    def window_grid(self, encoder: VisionEncoder, image_shape: tuple[int, ...]) -> tuple[int, int]:
        """(rows, cols) of the patches of one window of an image of (height, width) pixels."""
        self._refuse_window(encoder)
        sides = (min(side, self.window or side) for side in image_shape)
        tiled = tuple(tiled_side(side, encoder.patch_size, self.remainder) for side in sides)
        return encoder.grid_of(tiled, self.stride)

    def _refuse_window(self, encoder: VisionEncoder) -> None:
        tiles = self.remainder != "none" or self.window is None or self.window % encoder.patch_size == 0
        if self.window is not None and (self.window < 1 or not tiles):
            raise UsageError(
                f"--window {self.window}: must be a multiple of the patch size of {encoder.name}, {encoder.patch_size}."
            )

    @property
    def identity(self) -> dict[str, object]:
        """All that decides which tokens come out; what was added later stands there where it is used."""
        unused = set() if self.window else {"window", "overlap"}
        later = {"resize": "patch-multiple", "long_side": None, "remainder": "none"}
        unused |= {name for name, default in later.items() if getattr(self, name) == default}
        return {name: value for name, value in asdict(self).items() if name not in unused}
