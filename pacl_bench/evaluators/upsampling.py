"""From scores of patches to scores of pixels: where patches lie, and pixels a tile at a time."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pacl_bench.encoders.base import VisionEncoder
from pacl_bench.encoders.resizing import rim_before, tiled_side
from pacl_bench.encoders.setup import Remainder
from pacl_bench.encoders.view import View
from pacl_bench.encoders.windows import window_starts
from pacl_bench.evaluators.steps import Upsampling

TILE_ENTRIES = 1 << 20  # scores of pixels held at once, pixels x classes (4 MB): bounds memory, and suits the cache

ROUNDING = 1e-6  # a score this little below another may come out above it after interpolation


class Side(NamedTuple):
    """How the patches along one side of an image count for the pixels of its label map along that side.

    A cell is a run of pixels that the same patches count for. Where a cell has fewer pixels than the largest, its last
    stands there again; where it has fewer patches, its first does, with a share of 0.
    """

    weights: Float[Tensor, "pixel patch"]  # every row sums to 1, none is negative
    pixels: Int[Tensor, "cell pixel_of_cell"]
    patches: Int[Tensor, "cell corner"]
    shares: Float[Tensor, "cell pixel_of_cell corner"]  # the patches' weights


@dataclass(frozen=True)
class Placing:
    """Where the patches of an image lie in what the encoder saw of it. All in pixels of that."""

    patch_size: int
    stride: int
    image_shape: tuple[int, int]  # height, width
    window: int | None = None
    overlap: float = 0.5
    remainder: Remainder = "none"

    @lru_cache(maxsize=64)  # noqa: B019, images of a set have few sizes
    def side(self, axis: int, pixels: int, upsampling: Upsampling = "bilinear") -> Side:
        """The weights along one side, taken apart into cells; arguments as for `weights`."""
        return side_of(self.weights(axis, pixels, upsampling))

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
        """Of the patches of one window: where they lie, or spread over what they are said to cover."""
        tiled = tiled_side(size, self.patch_size, self.remainder)
        number = (tiled - self.patch_size) // self.stride + 1
        if self.remainder == "none":
            return start + torch.arange(number) * self.stride + self.patch_size / 2
        covered = tiled if self.remainder == "pad-around" else size
        before = rim_before(size, self.patch_size, self.remainder)
        return start - before + (torch.arange(number) + 0.5) * (covered / number)


def side_of(weights: Float[Tensor, "pixel patch"]) -> Side:
    """How patches count for pixels, taken apart into cells."""
    counting, pixels = weights > 0, len(weights)
    starts = [0, *((counting[1:] != counting[:-1]).any(1).nonzero()[:, 0] + 1).tolist()]
    cells = torch.tensor_split(torch.arange(pixels), starts[1:])
    longest = max(map(len, cells))
    patches = [counting[start].nonzero()[:, 0] for start in starts]
    corners = max(map(len, patches))
    real = torch.stack([torch.arange(corners) < len(own) for own in patches])
    of_cell = torch.stack([torch.cat([cell, cell[-1:].expand(longest - len(cell))]) for cell in cells])
    of_patches = torch.stack([torch.cat([own, own[:1].expand(corners - len(own))]) for own in patches])
    shares = weights[of_cell[:, :, None], of_patches[:, None]] * real[:, None]
    return Side(weights, of_cell, of_patches, shares)


def placing(encoder: VisionEncoder, view: View, photo_shape: tuple[int, int]) -> Placing:
    """Where the patches of a photo of (height, width) lie, shown whole to an encoder."""
    seen, stride = view.shape(encoder, photo_shape), view.stride or encoder.patch_size
    return Placing(encoder.patch_size, stride, seen, view.window, view.overlap, view.remainder)


class PixelScores:
    """The scores of all pixels, some whole rows of pixels at a time, from the top: the full array is never held.

    Interpolation is separable: across once for all rows of patches, then down for each tile, from those rows of
    patches alone that its pixels lie between. Classes come last, where finding the best one is quick.
    """

    def __init__(
        self,
        scores: Float[Tensor, "label row col"],
        down: Float[Tensor, "height row"],
        across: Float[Tensor, "width_px col"],
    ):
        self._widened, self._down = across @ scores.permute(1, 2, 0), down  # "row width_px label"

    def __iter__(self) -> Iterator[Float[Tensor, "tile_height width_px label"]]:
        return self.tiles()

    def tiles(
        self, band: slice = slice(None), in_place: bool = False
    ) -> Iterator[Float[Tensor, "tile_height width_px label"]]:
        """Those of a band of rows.

        Args:
            in_place: whether each tile overwrites the one before. The system takes as long to hand out new memory as
                it takes to fill it.
        """
        widened, down = self._widened, self._down[band]
        height = min(len(down), max(1, TILE_ENTRIES // widened[0].numel()))
        room = widened.new_empty(height, widened[0].numel()) if in_place else None
        for rows in down.split(height):
            used = rows.any(0).nonzero()
            first, last = int(used[0]), int(used[-1]) + 1
            out = None if room is None else room[: len(rows)]
            yield torch.mm(rows[:, first:last], widened[first:last].flatten(1), out=out).unflatten(1, widened.shape[1:])


def best_class(
    scores: Float[Tensor, "label row col"],
    down: Side,
    across: Side,
    where: Bool[Tensor, "height width_px"] | None = None,
) -> Int[Tensor, "height width_px"]:
    """The class of the highest score at each pixel: the argmax of PixelScores, without most of its work.

    Pixels between the same patches form a cell, and their scores are means of those patches' scores with weights that
    are the same for all classes. So a class that another one beats at every patch of a cell is beaten at each of its
    pixels, and is left out there. On real photos 5 of 171 classes are left in a cell. Of equal scores the first wins.

    Args:
        where: the pixels that are asked for, where these are not all; cells without one are left out, and get 0.
    """
    best = torch.zeros(len(down.weights), len(across.weights), dtype=torch.long)
    per_cell = down.patches.shape[1] * across.patches.shape[1] * len(scores)
    for at in _cells(down, across, where).split(max(1, TILE_ENTRIES // per_cell)):
        of_down, of_across = down.patches[at[:, 0]], across.patches[at[:, 1]]
        corners = scores[:, of_down[:, :, None], of_across[:, None]].movedim(0, -1).contiguous()
        left = _unbeaten(corners)
        number = left.sum(1)
        for most in (1 << power for power in range(len(scores).bit_length() + 1)):  # 1, 2, 4 ... candidates
            cells = ((number <= most) & (2 * number > most)).nonzero()[:, 0]
            most = min(most, len(scores))
            pixels = down.pixels.shape[1] * across.pixels.shape[1]
            for some in cells.split(max(1, TILE_ENTRIES // (pixels * most))):
                _fill(best, corners[some], left[some], most, down, across, at[some])
    return best


def _cells(down: Side, across: Side, where: Bool[Tensor, "height width_px"] | None) -> Int[Tensor, "cell 2"]:
    """The places, down and across, of the cells that hold a pixel that is asked for."""
    shape = len(down.pixels), len(across.pixels)
    if where is None:
        return torch.ones(shape).nonzero()
    of_cells = where[down.pixels.flatten()][:, across.pixels.flatten()]
    return of_cells.view(shape[0], -1, shape[1], across.pixels.shape[1]).any(3).any(1).nonzero()


def _unbeaten(corners: Float[Tensor, "cell down_patch across_patch label"]) -> Bool[Tensor, "cell label"]:
    """Which classes some pixel of a cell may have; few others are among them.

    Each is compared with the best class of every outer patch, and with the one whose worst patch is best.
    """
    down, across = corners.shape[1:3]
    of_outer = corners[:, :: max(1, down - 1), :: max(1, across - 1)].flatten(1, 2).argmax(2)
    corners = corners.flatten(1, 2)
    left = torch.ones(corners.shape[0], corners.shape[2], dtype=torch.bool)
    for leader in (corners.amin(1).argmax(1), *of_outer.T):
        of_leader = corners.gather(2, leader[:, None, None].expand(-1, corners.shape[1], 1))
        left &= (corners >= of_leader - ROUNDING).any(1)
    return left


def _fill(
    best: Int[Tensor, "height width_px"],
    corners: Float[Tensor, "cell down_patch across_patch label"],
    left: Bool[Tensor, "cell label"],
    most: int,
    down: Side,
    across: Side,
    at: Int[Tensor, "cell 2"],
) -> None:
    """Writes the best classes of the pixels of some cells, each with no more than `most` candidates."""
    # where a cell has fewer, classes that are beaten fill up; they cannot win
    candidates = left.byte().argsort(dim=1, descending=True, stable=True)[:, :most]
    if most > 1:
        among = corners.gather(3, candidates[:, None, None].expand(-1, *corners.shape[1:3], -1))
        widened = across.shares[at[:, 1], None] @ among  # "cell down_patch width_px candidate"
        of_pixels = (down.shares[at[:, 0]] @ widened.flatten(2)).unflatten(2, widened.shape[2:])
        chosen = candidates.gather(1, of_pixels.max(-1).indices.flatten(1)).view(of_pixels.shape[:3])
    else:
        chosen = candidates[:, :, None]
    best[down.pixels[at[:, 0]][:, :, None], across.pixels[at[:, 1]][:, None]] = chosen


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
