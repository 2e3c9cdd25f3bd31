"""Counting pairs of patches by their cosine similarity, tile by tile: memory does not grow with the number of pairs.

Patches are sorted by group of images, then by class. A tile of the similarity matrix is then made of blocks that are of
one class or of two as a whole, so no pair is asked for its labels: a tile is turned into codes of 16 bits (the bin of
each pair) and its blocks are counted.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from pacl_bench import cores
from pacl_bench.metrics import Scope

CLASS_BINS = 1984  # for the counts of each class, of which there are many
CLASS_BIN_BITS = 4
BINS = CLASS_BINS << CLASS_BIN_BITS  # 31,744; with one more for pairs out of scope they fit 16 bits
OUT_OF_SCOPE = BINS
TILE = 2048  # patches a side of the similarity tiles: 16 MB of float32
ALIGNED = 16  # floats: a matrix product whose rows begin at odd places of memory takes 1.5 times as long
BAND = 256  # rows of a tile that one thread counts at a time
GROUPS = 20  # of images, for the jackknife
ROUNDING = 1e-5  # room for cosines that rounding leaves beyond their bounds


@dataclass(frozen=True)
class PairCounts:
    """How many pairs have which similarity.

    `same` is 0 for pairs of two classes and 1 for pairs of one; bins go from the least similar pairs to the most. A
    pair of two groups (or classes) is in the counts of both.
    """

    total: Int[np.ndarray, "same bin"]
    by_group: Int[np.ndarray, "group same bin"]  # of images
    by_class: Int[np.ndarray, "label same class_bin"]
    by_class_and_group: Int[np.ndarray, "label group same class_bin"]
    classes: Int[np.ndarray, " label"]  # the labels there are, in order
    groups: Int[np.ndarray, " group"]  # the groups there are, in order


class _Slice(NamedTuple):
    """Consecutive patches of one group, and where each of their classes lies among them."""

    at: slice
    group: int
    classes: dict[int, slice]


class _Accumulators:
    """PairCounts in the making, on the device; pairs of all kinds in the place of those of two classes."""

    def __init__(self, num_groups: int, num_classes: int, device: torch.device, by: cores.Map):
        def zeros(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=torch.int64, device=device)

        self.total = zeros(2, BINS)
        self.by_group = zeros(num_groups, 2, BINS)
        self.by_class = zeros(num_classes, 2, CLASS_BINS)
        self.by_class_and_group = zeros(num_classes, num_groups, 2, CLASS_BINS)

        self._map = by

    def add_tile(self, codes: Tensor, rows: _Slice, cols: _Slice) -> None:
        """Counts a tile by blocks: each of its pairs is of a class of the rows and a class of the columns."""
        groups = sorted({rows.group, cols.group})
        blocks = {label: (at, cols.classes[label]) for label, at in rows.classes.items() if label in cols.classes}
        one_class = [codes[block].reshape(-1) for block in blocks.values()]
        pairs = [self._histograms(codes.split(BAND), BINS).sum(0)]
        pairs += [_histogram(torch.cat(one_class), BINS)] if blocks else []
        for kind, counted in enumerate(pairs):
            self.total[kind] += counted
            for group in groups:
                self.by_group[group, kind] += counted
        self._add_classes(codes >> CLASS_BIN_BITS, rows, cols, blocks, groups)

    def _add_classes(
        self, codes: Tensor, rows: _Slice, cols: _Slice, blocks: dict[int, tuple[slice, slice]], groups: list[int]
    ) -> None:
        labels = sorted(rows.classes | cols.classes)
        place = {label: at for at, label in enumerate(labels)}
        pairs = self.by_class.new_zeros(len(labels), 2, CLASS_BINS)
        kinds = ((0, rows.classes), (0, {label: (slice(None), at) for label, at in cols.classes.items()}), (1, blocks))
        for kind, pieces in kinds:
            if pieces:
                pairs[[place[label] for label in pieces], kind] += self._histograms(
                    [codes[piece] for piece in pieces.values()], CLASS_BINS
                )
        pairs[:, 0] -= pairs[:, 1]  # they were counted with the rows and with the columns
        self.by_class[labels] += pairs
        for group in groups:
            self.by_class_and_group[labels, group] += pairs

    def _histograms(self, pieces: Sequence[Tensor], bins: int) -> Int[Tensor, "piece bin"]:
        return torch.stack(list(self._map(lambda codes: _histogram(codes, bins), pieces)))

    def counted(self) -> dict[str, np.ndarray]:
        """The fields of PairCounts, pairs of two classes in their place."""
        counts = {name: tensor.cpu().numpy() for name, tensor in vars(self).items() if name != "_map"}
        for pairs in counts.values():
            pairs[..., 0, :] -= pairs[..., 1, :]
        return counts


def count_pairs(
    features: Float[Tensor, "patch width"],
    labels: Int[Tensor, " patch"],
    scope: Scope,
    image_ids: Int[Tensor, " patch"],
) -> PairCounts:
    """Counts every unordered pair of patches in scope once, no patch with itself, by its cosine similarity.

    Bins are of equal width, from a bound that no pair lies below (see `lowest_cosine`) to 1. An image is of group
    id mod 20, whichever other images there are: two encoders then have the same groups.
    """
    _, image_index = torch.unique(image_ids, return_inverse=True)
    classes, class_index = torch.unique(labels, return_inverse=True)
    there, groups = torch.unique(image_ids % GROUPS, return_inverse=True)
    order = torch.argsort(groups * len(classes) + class_index, stable=True)
    features_at = _UnitNorm(features, order)
    images = image_index[order].to(features.device)
    low = lowest_cosine(features_at) - ROUNDING
    scale = BINS / (1 + ROUNDING - low)
    slices = list(_slices(groups[order].cpu(), class_index[order].cpu(), _tile_side(features.device)))
    tile = _Tile(max(part.at.stop - part.at.start for part in slices), features.device)
    with cores.threads(features.device) as by:
        found = _Accumulators(len(there), len(classes), features.device, by)
        for number, rows in enumerate(slices):
            of_rows = features_at[rows.at]
            for cols in slices[number:]:
                if scope == "within" and rows.group != cols.group:  # an image lies within one group
                    continue
                codes = tile.codes(of_rows, of_rows if rows is cols else features_at[cols.at], low, scale)
                if rows.group == cols.group and scope != "all":
                    one_image = images[rows.at, None] == images[None, cols.at]
                    codes.masked_fill_(one_image if scope == "across" else ~one_image, OUT_OF_SCOPE)
                if rows is cols:
                    codes.masked_fill_(torch.ones_like(codes, dtype=torch.bool).tril_(), OUT_OF_SCOPE)
                found.add_tile(codes, rows, cols)
    return PairCounts(**found.counted(), classes=classes.cpu().numpy(), groups=there.cpu().numpy())


class _UnitNorm:
    """Features at length 1 in another order. Slices are made when they are asked for: all would take as much memory."""

    def __init__(self, features: Float[Tensor, "patch width"], order: Int[Tensor, " patch"]):
        self._features, self._order = features, order.to(features.device)
        self.width, self.device = features.shape[1], features.device

    def __getitem__(self, at: slice) -> Float[Tensor, "some width"]:
        return normalize(self._features[self._order[at]].float(), dim=-1)

    def slices(self) -> Iterator[Float[Tensor, "some width"]]:
        """All of them, some at a time."""
        return (self[slice(start, start + TILE)] for start in range(0, len(self._order), TILE))


def lowest_cosine(features: _UnitNorm) -> float:
    """A bound that no cosine of two of these unit vectors lies below; -1 where they do not lie in one cone.

    Two vectors at an angle of at most a to their mean are at most 2 a apart. Tokens of many encoders lie in a narrow
    cone, and the bins are then spent on what is in it.
    """
    # nothing that is kept is made between two slices: it would lie behind them, and keep their memory from being freed
    total = torch.zeros(features.width, dtype=torch.float64, device=features.device)
    for some in features.slices():
        total += some.sum(0, dtype=torch.float64)
    centre = normalize(total, dim=0).float()
    lowest = torch.ones((), device=features.device)
    for some in features.slices():
        lowest.clamp_(max=(some @ centre).min())
    angle = torch.arccos(lowest.clamp(-1, 1))
    bound = float(torch.cos(2 * angle)) if float(angle) < torch.pi / 2 else -1.0
    return min(bound, 1 - 1e-3)  # all alike: still a range


class _Tile:
    """Room for one tile, used again and again."""

    def __init__(self, side: int, device: torch.device):
        side = -(-side // ALIGNED) * ALIGNED
        self._products = torch.empty(side, side, device=device)
        self._codes = torch.empty(side * side, dtype=torch.int16, device=device)

    def codes(self, rows: Tensor, cols: Tensor, low: float, scale: float) -> Tensor:
        """The bin of each pair, "row col": how many widths of a bin, 1 / scale, its cosine lies above `low`."""
        shape = len(rows), len(cols)
        products = self._products[: shape[0], : shape[1]]
        offset = torch.full((1, 1), -low * scale, device=rows.device)
        torch.addmm(offset, rows, cols.T, alpha=scale, out=products)
        return self._codes[: shape[0] * shape[1]].view(shape).copy_(products)


def _histogram(codes: Tensor, bins: int) -> Tensor:
    """How many pairs are in each bin; the one behind the last holds what is out of scope."""
    return torch.bincount(codes.reshape(-1), minlength=bins + 1)[:bins]


def _tile_side(device: torch.device) -> int:
    return TILE if device.type == "cpu" else 4 * TILE


def _slices(groups: Tensor, classes: Tensor, side: int) -> Iterator[_Slice]:
    """The sorted patches cut into slices of at most `side`, none of two groups."""
    start = 0
    for group, size in enumerate(torch.bincount(groups).tolist()):
        even = -(-size // -(-size // side))
        for at in range(start, start + size, even):
            part = slice(at, min(at + even, start + size))
            labels, runs = torch.unique_consecutive(classes[part], return_counts=True)
            ends = runs.cumsum(0)
            bounds = zip(labels.tolist(), (ends - runs).tolist(), ends.tolist(), strict=True)
            yield _Slice(part, group, {label: slice(first, last) for label, first, last in bounds})
        start += size
