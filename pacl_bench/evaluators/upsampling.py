"""From scores of patches to scores of pixels: where patches lie, and pixels a tile at a time."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from pacl_bench.encoders.base import VisionEncoder
from pacl_bench.features import View
from pacl_bench.windows import window_starts

Upsampling = Literal["bilinear", "nearest"]
TILE_ENTRIES = 1 << 20  # scores of pixels held at once, pixels x classes (4 MB): bounds memory, and suits the cache


@dataclass(frozen=True)
class Placing:
    """Where the patches of an image lie in what the encoder saw of it. All in pixels of that."""

    patch_size: int
    stride: int
    image_shape: tuple[int, int]  # height, width
    window: int | None = None
    overlap: float = 0.5

    def weights(self, axis: int, pixels: int, upsampling: Upsampling = "bilinear") -> Float[Tensor, "pixel patch"]:
        """How much each patch counts for each pixel along one side of a label map; every row sums to 1.

        Within a window the patches' true centres are used, so that overlapping patches (a stride below the patch size)
        fall where they were seen; beyond the outermost centres the nearest patch decides. For one window and a stride
        of the patch size this is torch's `interpolate(mode="bilinear", align_corners=False)`, or "nearest-exact".
        A pixel that several windows cover gets the mean of what they say, as in mmsegmentation's sliding inference.

        Args:
            axis: 0 for the rows of the image, 1 for its columns.
            pixels: of the label map along that side, whatever size the encoder saw.
        """
        side = self.image_shape[axis]
        size = side if self.window is None else min(self.window, side)
        positions = (torch.arange(pixels) + 0.5) / pixels
        between = _bilinear if upsampling == "bilinear" else _nearest
        parts = []
        for start in window_starts(side, self.window, self.overlap):
            covered = (positions >= start / side) & (positions < (start + size) / side)
            parts.append(between(positions, self._centres(start, size) / side) * covered[:, None])
        weights = torch.cat(parts, dim=1)
        covering = torch.stack([part.any(1) for part in parts]).sum(0)
        return weights / covering[:, None]

    def _centres(self, start: int, size: int) -> Float[Tensor, " patch"]:
        """Of the patches of one window."""
        number = (size - self.patch_size) // self.stride + 1
        return start + torch.arange(number) * self.stride + self.patch_size / 2


def placing(encoder: VisionEncoder, view: View, photo_shape: tuple[int, int]) -> Placing:
    """Where the patches of a photo of (height, width) lie, shown whole to an encoder."""
    seen = encoder.preprocess.whole_shape(photo_shape, view.short_side)
    return Placing(encoder.patch_size, view.stride or encoder.patch_size, seen, view.window, view.overlap)


def pixel_scores(
    scores: Float[Tensor, "label row col"], down: Float[Tensor, "height row"], across: Float[Tensor, "width_px col"]
) -> Iterator[Float[Tensor, "tile_height width_px label"]]:
    """The scores of all pixels, some whole rows of pixels at a time, from the top: the full array is never held.

    Interpolation is separable: across once for all rows of patches, then down for each tile, from those rows of
    patches alone that its pixels lie between. Classes come last, where finding the best one is quick.
    """
    widened = across @ scores.permute(1, 2, 0)  # "row width_px label"
    height = max(1, TILE_ENTRIES // widened[0].numel())
    for rows in down.split(height):
        used = rows.any(0).nonzero()
        first, last = int(used[0]), int(used[-1]) + 1
        yield (rows[:, first:last] @ widened[first:last].flatten(1)).unflatten(1, widened.shape[1:])


def _bilinear(positions: Float[Tensor, " pixel"], centres: Float[Tensor, " patch"]) -> Float[Tensor, "pixel patch"]:
    """Two neighbours share by distance."""
    if len(centres) == 1:
        return torch.ones(len(positions), 1)
    upper = torch.searchsorted(centres, positions).clamp(1, len(centres) - 1)
    lower = upper - 1
    share = ((positions - centres[lower]) / (centres[upper] - centres[lower])).clamp(0, 1)
    weights = torch.zeros(len(positions), len(centres))
    weights.scatter_(1, lower[:, None], (1 - share)[:, None])
    return weights.scatter_(1, upper[:, None], share[:, None])


def _nearest(positions: Float[Tensor, " pixel"], centres: Float[Tensor, " patch"]) -> Float[Tensor, "pixel patch"]:
    """The nearest centre; half-way between two, the later one."""
    nearest = torch.bucketize(positions, (centres[1:] + centres[:-1]) / 2, right=True)
    return torch.nn.functional.one_hot(nearest, len(centres)).float()
