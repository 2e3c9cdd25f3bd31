"""What candidates score at the pixels of a label map, by whatever steps a protocol takes from patches to pixels.

A candidate is a class, or one of its names where names become classes at pixels. Where every step is linear, the scores
of all pixels are never held, and a pixel's best candidate is found without most of the work (see `upsampling`). Where
one is not, probabilities that are averaged or a refinement, they are.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import chain, pairwise
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import interpolate

from pacl_bench import cores
from pacl_bench.encoders.view import View
from pacl_bench.evaluators.protocol_steps import (
    axis_of,
    best_of_names,
    mean_probabilities,
    refined,
    stretched,
    with_starts,
)
from pacl_bench.evaluators.steps import Steps
from pacl_bench.evaluators.upsampling import TILE_ENTRIES, PixelScores, Placing, Side, best_class, side_of

LN_2 = math.log(2)
VANISHING = 1e-30  # a sum of odds this small has lost what its parts were


Tiles = Iterator[Float[Tensor, "tile width_px chosen"]]


class Certainty(NamedTuple):
    """How sure each pixel's best candidate is, under the softmax over candidates of scale x score."""

    probability: Float[Tensor, "height width_px"]  # of the best candidate
    entropy: Float[Tensor, "height width_px"] | None  # over the candidates, in nats; None where it is not asked for


class ScoreField(ABC):
    """The scores of candidates at all pixels.

    Candidates come in the order of their classes, since of equal scores the first wins.
    """

    class_of: Int[Tensor, " candidate"]

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """Of the label map: height, width in pixels."""

    @abstractmethod
    def best(
        self, among: Int[Tensor, " chosen"], where: Bool[Tensor, "height width_px"] | None = None
    ) -> Int[Tensor, "height width_px"]:
        """The candidate that is best at each pixel among some of them; `class_of` says its class.

        Args:
            where: the pixels that are asked for, where these are not all. What is said of the others means nothing.
        """

    @abstractmethod
    def logits(self, among: Int[Tensor, " chosen"], scale: float) -> Callable[[slice], Tiles]:
        """Scale x score, less something that all candidates of a pixel share, so that none is far above 0.

        What comes back takes a band of rows, and gives some whole rows of it at a time, which are overwritten when the
        next are asked for, and by the caller too.
        """

    def certainty(
        self,
        among: Int[Tensor, " chosen"],
        best: Int[Tensor, "height width_px"],
        scale: float,
        over_names: bool,
        entropy: bool = False,
    ) -> Certainty:
        """How sure the best candidate is at each pixel, among the chosen ones.

        Args:
            best: one of those chosen for each pixel, as `best` gives it.
            over_names: whether the softmax runs over all of them; else over classes, each with its best name's score.
        """
        classes, place = self.class_of[among], torch.empty_like(self.class_of)
        merges = not over_names and len(classes.unique()) < len(classes)
        place[among] = classes.unique(return_inverse=True)[1] if merges else torch.arange(len(among))
        tiles = self.logits(among, scale / LN_2)

        def of_band(band: slice) -> list[tuple[Tensor, Tensor | None]]:
            found, room = [], None
            for start, tile in with_starts(tiles(band), band.start):
                if merges:
                    tile = best_of_names(tile.movedim(-1, 0), classes)[0].movedim(0, -1)
                room = torch.empty_like(tile) if room is None else room[: len(tile)]
                found.append(_certainty(tile, place[best[start : start + len(tile)]], entropy, room))
            return found

        bands = _bands(self.shape[0], torch.get_num_threads())
        with cores.threads() as by:
            parts = list(chain.from_iterable(by(of_band, bands)))
        probability, entropies = zip(*parts, strict=True)
        return Certainty(torch.cat(probability), torch.cat(entropies) if entropy else None)


def _bands(rows: int, number: int) -> list[slice]:
    """Rows in bands, one for each thread: what a thread makes of its own stays in its processor's cache."""
    bounds = [rows * band // number for band in range(number + 1)]
    return [slice(start, end) for start, end in pairwise(bounds) if start < end]


@dataclass(frozen=True)
class LinearField(ScoreField):
    """The scores of pixels are means of those of patches, with weights that are the same for all candidates."""

    scores: Float[Tensor, "candidate row col"]
    class_of: Int[Tensor, " candidate"]
    down: Side
    across: Side

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.down.weights), len(self.across.weights)

    def best(
        self, among: Int[Tensor, " chosen"], where: Bool[Tensor, "height width_px"] | None = None
    ) -> Int[Tensor, "height width_px"]:
        return among[best_class(self.scores[among], self.down, self.across, where)]

    def logits(self, among: Int[Tensor, " chosen"], scale: float) -> Callable[[slice], Tiles]:
        chosen = self.scores[among]
        # the best score of each patch is taken away: its mean over patches is the same for all candidates of a pixel
        every = PixelScores((chosen - chosen.amax(0)) * scale, self.down.weights, self.across.weights)
        return partial(every.tiles, in_place=True)


@dataclass(frozen=True)
class DenseField(ScoreField):
    """The scores of all pixels, held at once."""

    scores: Float[Tensor, "candidate height width_px"]
    class_of: Int[Tensor, " candidate"]

    @property
    def shape(self) -> tuple[int, int]:
        return self.scores.shape[1], self.scores.shape[2]

    def best(
        self, among: Int[Tensor, " chosen"], where: Bool[Tensor, "height width_px"] | None = None
    ) -> Int[Tensor, "height width_px"]:
        where = torch.ones(self.shape, dtype=torch.bool) if where is None else where
        best = among[0].repeat(self.shape)
        best[where] = among[self.scores[among][:, where].argmax(0)]
        return best

    def logits(self, among: Int[Tensor, " chosen"], scale: float) -> Callable[[slice], Tiles]:
        chosen = self.scores[among].permute(1, 2, 0)

        def tiles(band: slice) -> Tiles:
            for rows in chosen[band].split(max(1, TILE_ENTRIES // chosen[0].numel())):
                yield scale * (rows - rows.amax(-1, keepdim=True))

        return tiles


def score_field(
    scores: Float[Tensor, "name row col"],
    class_of_name: Int[Tensor, " name"],
    steps: Steps,
    view: View,
    shown: Float[Tensor, "3 shown_height shown_width"] | tuple[int, int],
    patch_size: int,
    label_size: tuple[int, int],
) -> ScoreField:
    """From the cosines of the patches of all windows with every name to the scores of candidates at pixels.

    Args:
        shown: the image as the encoder saw it, before it was cut into windows; of steps without refinement its
            (height, width) will do.
    """
    in_order = class_of_name.argsort(stable=True)
    scores, class_of = scores[in_order], class_of_name[in_order]
    if steps.merged == "patches":
        scores, class_of = best_of_names(scores, class_of, steps.names)
    shape = tuple(shown.shape[1:]) if isinstance(shown, Tensor) else shown
    if steps.fusion == "probabilities":
        axes = [axis_of(pixels, view, patch_size) for pixels in shape]
        at_input = mean_probabilities(steps.scale * scores, *axes).permute(2, 0, 1)
        dense = interpolate(at_input[None], size=label_size, mode="bilinear", align_corners=False)[0]
    else:
        down, across = (
            _side(of_shown, of_label, view, patch_size, steps)
            for of_shown, of_label in zip(shape, label_size, strict=True)
        )
        if steps.refinement == "none":
            return LinearField(scores, class_of, down, across)
        dense = torch.cat(list(PixelScores(scores, down.weights, across.weights))).permute(2, 0, 1).contiguous()
    if steps.refinement == "pamr":
        assert isinstance(shown, Tensor)
        guide = interpolate(shown[None], size=label_size, mode="bilinear", align_corners=False)[0]
        dense = refined(dense, guide)
    return DenseField(dense, class_of)


@lru_cache(maxsize=128)  # images of a set have few sizes
def _side(shown: int, label: int, view: View, patch_size: int, steps: Steps) -> Side:
    """How the patches along one side of what was shown count for the pixels of the label map along it."""
    if steps.upsampled == "twice":
        return side_of(stretched(axis_of(shown, view, patch_size).fused(), label))
    placed = Placing(patch_size, view.stride or patch_size, (shown, shown), view.window, view.overlap, view.remainder)
    return placed.side(0, label, steps.upsampling)


def _certainty(
    logits: Float[Tensor, "tile width_px candidate"],
    best: Int[Tensor, "tile width_px"],
    entropy: bool,
    room: Float[Tensor, "tile width_px candidate"],
) -> tuple[Float[Tensor, "tile width_px"], Float[Tensor, "tile width_px"] | None]:
    """Of the pixels of one tile.

    Args:
        logits: to the base 2, since torch's `exp2` takes a third of the time of its `exp`.
        room: for as many numbers.
    """
    odds = torch.exp2(logits, out=room)
    total = odds.sum(-1)
    if total.amin() < VANISHING:  # a large scale, between patches of different classes
        logits = logits - logits.amax(-1, keepdim=True)
        odds = torch.exp2(logits, out=room)
        total = odds.sum(-1)
    probability = odds.gather(-1, best[..., None])[..., 0] / total
    if not entropy:
        return probability, None
    return probability, LN_2 * (total.log2() - odds.mul_(logits).sum(-1) / total)
