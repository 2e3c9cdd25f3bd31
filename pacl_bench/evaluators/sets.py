"""The data sets of a study, from their names. No torch here."""

from collections.abc import Callable, Collection, Sequence
from typing import Any

from pacl_bench.data.classification import CLASSIFICATION_SETS, expand, load_classification
from pacl_bench.data.noise import drowned, noise_of
from pacl_bench.data.segmentation import SEGMENTATION_SETS, load_segmentation
from pacl_bench.image_sets import LabelledImages, SegmentationImages
from pacl_bench.world import WORLD_CLASSIFICATION, WORLD_SEGMENTATION


def segmentation_sets(names: Sequence[str]) -> list[SegmentationImages]:
    """The segmentation sets of these names, in order; a UsageError where one is not known or not there."""
    return _loaded(names, load_segmentation, {*SEGMENTATION_SETS, *WORLD_SEGMENTATION})


def classification_sets(names: Sequence[str]) -> list[LabelledImages]:
    """The classification sets of these names, a group's members in its place; a UsageError as above."""
    return _loaded(expand(names), load_classification, {*CLASSIFICATION_SETS, *WORLD_CLASSIFICATION})


def _loaded(names: Sequence[str], load: Callable[[str], Any], declared: Collection[str]) -> list[Any]:
    """Those that are not declared come first: a misspelt name is told before the files of other sets are looked for."""
    shares = {name: noise_of(name) for name in names}
    plain = dict.fromkeys(one for one, _ in shares.values())
    loaded = {name: load(name) for name in sorted(plain, key=lambda name: name in declared)}
    return [drowned(loaded[one], share) for one, share in shares.values()]
