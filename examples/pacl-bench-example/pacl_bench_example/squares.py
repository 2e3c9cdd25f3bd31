"""A segmentation set that is drawn: a red and a blue square on grey. One on disk would open its files instead."""

import numpy as np
from PIL import Image

from pacl_bench.data.outside_sets import OutsideSet
from pacl_bench.image_sets import IGNORE_LABEL

CLASSNAMES = ["red square", "blue square"]
COLOURS = np.array([(220, 30, 40), (30, 60, 220), (128, 128, 128)], np.uint8)


class Squares:
    """What a segmentation set must have (pacl_bench.image_sets says more)."""

    name, classnames, official_images = "squares", CLASSNAMES, 8
    fingerprint = "squares, first edition"  # changes whenever the images do: the cache and the records rely on it

    def __len__(self) -> int:
        return self.official_images

    def image(self, index: int) -> Image.Image:
        labels = self.label_map(index)
        return Image.fromarray(COLOURS[np.where(labels == IGNORE_LABEL, 2, labels)])

    def label_map(self, index: int) -> np.ndarray:
        labels = np.full((224, 224), IGNORE_LABEL, np.uint8)
        for label in range(len(CLASSNAMES)):
            left = 112 * label + 8 * (index % 4)
            labels[16 * index : 16 * index + 80, left : left + 80] = label
        return labels


SQUARES = OutsideSet(
    kind="segmentation",
    title="a red and a blue square on grey",
    num_images=8,
    classnames=tuple(CLASSNAMES),
    read=lambda root: Squares(),
    licence="MIT",
)
