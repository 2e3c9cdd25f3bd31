"""The steps from what the patches of an image say to its label map. Protocols differ in which of them they take.

Two steps come before: an image is brought to a size and its windows to whole patches (encoders.resizing), and its
patches are compared with every name. What comes in here is "name row col", the patches of all windows side by side.

    axes         where patches lie along each side of the image, by a weight for each pixel and patch
    fusion       what several windows say of a pixel: the mean of their scores, or of their probabilities
    upsampling   bilinear: to the pixels of the resized image and from there to the label map's, or straight to these
    refinement   PAMR: scores follow the edges of the image
    names        several names of one class: the best one counts, at patches or at pixels
    softmax      over names or over classes, of scale x score
    area         classes that too few pixels have are no candidates
    background   a candidate; also where the best probability is too low; or only there, or where the entropy is high

Interpolation is linear, and does to the rows what it does to the columns. So what it does is told by what it does to
unit vectors, once for each axis, and all of upsampling and the mean over windows is one matrix an axis. The matrices
come of torch's own `interpolate`: they have its roundings.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import interpolate, pad

from pacl_bench import cores
from pacl_bench.encoders.resizing import rim_before, tiled_side
from pacl_bench.encoders.view import View
from pacl_bench.encoders.windows import window_starts
from pacl_bench.evaluators.steps import Names
from pacl_bench.evaluators.upsampling import PixelScores

PAMR_STEPS, PAMR_DILATIONS = 10, (8, 16)


class Axis(NamedTuple):
    """One side of a resized image: where its windows begin, and how the patches of one count for its pixels."""

    pixels: int
    starts: list[int]
    window: Float[Tensor, "pixel patch"]

    def fused(self) -> Float[Tensor, "pixel patch"]:
        """How the patches of all windows count for the pixels of the side, windows that overlap at equal parts."""
        size, patches = self.window.shape
        weights, covering = torch.zeros(self.pixels, len(self.starts) * patches), torch.zeros(self.pixels, 1)
        for at, start in enumerate(self.starts):
            weights[start : start + size, at * patches : (at + 1) * patches] = self.window
            covering[start : start + size] += 1
        return weights / covering


def axis_of(pixels: int, view: View, patch_size: int) -> Axis:
    """The side of an image that is `pixels` long when it is shown."""
    size = min(pixels, view.window or pixels)
    tiled = tiled_side(size, patch_size, view.remainder)
    patches = (tiled - patch_size) // (view.stride or patch_size) + 1
    around = view.remainder == "pad-around"
    before = rim_before(size, patch_size, view.remainder)
    weights = stretched(torch.eye(patches), tiled if around else size)[before : before + size]
    return Axis(pixels, window_starts(pixels, view.window, view.overlap), weights)


def stretched(weights: Float[Tensor, "pixel patch"], pixels: int) -> Float[Tensor, "new_pixel patch"]:
    """Weights of pixels as those of another number of pixels, bilinearly; whole pixels are squares, not points."""
    return interpolate(weights.T[None], size=pixels, mode="linear", align_corners=False)[0].T


def mean_probabilities(
    scores: Float[Tensor, "name row col"], down: Axis, across: Axis
) -> Float[Tensor, "height width_px name"]:
    """The mean over windows of the softmax over names, at the pixels of the resized image."""
    fused = torch.zeros(down.pixels, across.pixels, len(scores))
    covering = torch.zeros(down.pixels, across.pixels, 1)
    (height, rows), (width, cols) = down.window.shape, across.window.shape
    windows = scores.unflatten(2, (-1, cols)).unflatten(1, (-1, rows)).permute(1, 3, 0, 2, 4)
    for i, top in enumerate(down.starts):
        for j, left in enumerate(across.starts):
            here = (slice(top, top + height), slice(left, left + width))
            for start, tile in with_starts(PixelScores(windows[i, j], down.window, across.window)):
                fused[here][start : start + len(tile)] += tile.softmax(-1)
            covering[here] += 1
    return fused.div_(covering)


def refined(
    scores: Float[Tensor, "name height width_px"], guide: Float[Tensor, "3 height width_px"]
) -> Float[Tensor, "name height width_px"]:
    """Scores that follow the edges of an image: ten times, each pixel takes the mean of its neighbours that look alike.

    Overwrites the scores.

    A pixel has 16 neighbours, the 8 around it at distances of 8 and of 16 pixels; it is none of them itself. Beyond the
    rim its pixels go on. How alike two pixels look is -|difference| / (1e-8 + 0.1 x the spread around the pixel),
    averaged over colours; a softmax over the neighbours makes weights of it. The spread is the (unbiased) standard
    deviation over the neighbours and, once for each distance, the pixel.

    Source: PAMR, Araslanov and Roth, CVPR 2020 (visinf/1-stage-wseg), as NACLIP runs it (sinahmr/NACLIP, pamr.py).
    """
    weights = _affinity(guide)

    def refine(some: Float[Tensor, "name height width_px"]) -> None:
        for _ in range(PAMR_STEPS):
            mean = torch.zeros_like(some)
            for weight, neighbour in zip(weights, _neighbours(some), strict=True):
                mean.addcmul_(weight, neighbour)
            some.copy_(mean)

    with cores.threads() as by:
        list(by(refine, scores.split(2)))  # few at a time stay in the processor's cache
    return scores


def _affinity(guide: Float[Tensor, "3 height width_px"]) -> Float[Tensor, "neighbour height width_px"]:
    """How much each neighbour of a pixel counts for it."""
    alike = torch.zeros(8 * len(PAMR_DILATIONS), *guide.shape[1:])
    for colour in guide.split(1):
        neighbours = torch.cat(list(_neighbours(colour)))
        spread = torch.cat([neighbours, colour.expand(len(PAMR_DILATIONS), -1, -1)]).std(0)
        alike -= (neighbours - colour).abs() / (1e-8 + 0.1 * spread)
    return (alike / len(guide)).softmax(0)


def _neighbours(maps: Float[Tensor, "map height width_px"]) -> Iterator[Float[Tensor, "map height width_px"]]:
    """The maps moved so that each of a pixel's neighbours in turn comes to lie on it."""
    height, width = maps.shape[1:]
    reach = max(PAMR_DILATIONS)
    padded = pad(maps, [reach] * 4, mode="replicate")
    for distance in PAMR_DILATIONS:
        for down, right in ((i * distance, j * distance) for i in (-1, 0, 1) for j in (-1, 0, 1) if i or j):
            top, left = reach + down, reach + right
            yield padded[:, top : top + height, left : left + width]


def best_of_names(
    scores: Float[Tensor, "name *place"], class_of_name: Int[Tensor, " name"], how: Names = "best"
) -> tuple[Float[Tensor, "label *place"], Int[Tensor, " label"]]:
    """The score of the best name of each class that has one (or their mean), and these classes.

    Names come in the order of classes.
    """
    classes, names = class_of_name.unique_consecutive(return_counts=True)
    if len(classes) == len(class_of_name):
        return scores, classes
    parts = scores.split(names.tolist())
    return torch.stack([part.amax(0) if how == "best" else part.mean(0) for part in parts]), classes


def large_classes(
    label_map: Int[Tensor, "height width_px"], num_classes: int, area: float, background: int = 0
) -> Bool[Tensor, " label"]:
    """Classes that stay candidates: background, and those with more than a share of the other classes' pixels.

    Source: wangf3014/SCLIP, clip_segmentor.py, area_thd.
    """
    pixels = label_map.flatten().bincount(minlength=num_classes)
    large = pixels > area * (pixels.sum() - pixels[background])
    large[background] = True
    return large


def with_starts(tiles: Iterable[Tensor], start: int = 0) -> Iterator[tuple[int, Tensor]]:
    """Each tile with the number of its first row."""
    for tile in tiles:
        yield start, tile
        start += len(tile)
