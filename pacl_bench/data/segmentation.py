"""Segmentation sets: a table of declarations and one reader."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from pacl_bench.data.built_in import WorldLabelMaps
from pacl_bench.data.declaration import Declaration
from pacl_bench.data.images import IGNORE_LABEL, BrokenImage, SegmentationImages, files_fingerprint, open_image
from pacl_bench.data.vocabulary import shipped_names
from pacl_bench.data.world import WORLD_SEGMENTATION
from pacl_bench.errors import UsageError
from pacl_bench.registry import unknown_name


@dataclass(frozen=True, kw_only=True)
class SegmentationSet(Declaration):
    """A set with the class of each pixel."""

    split: str  # the list of image ids, one a line
    image: str  # where the image of an id lies
    label_map: str  # where its label map lies: a PNG of raw labels
    first_label: int  # the raw label of class 0; lower ones (0: background, other) and 255 are ignored

    @property
    def classnames(self) -> list[str]:
        """In the order of the label maps that the reader gives."""
        return shipped_names(self.name)

    def read(self) -> "SegmentationFolder":
        """The set as it lies under the data root."""
        return SegmentationFolder(self, self.root())


VOC = {
    "folders": ("VOCdevkit/VOC2012", "VOC2012"),
    "split": "ImageSets/Segmentation/val.txt",
    "image": "JPEGImages/{}.jpg",
    "label_map": "SegmentationClass/{}.png",
    "num_images": 1449,
    "space": "2 GB",
    "source": "host.robots.ox.ac.uk/pascal/VOC/voc2012",
    "licence": "Flickr terms, research",
    "read_here": True,
}

SEGMENTATION_SETS: dict[str, SegmentationSet] = {
    entry.name: entry
    for entry in (
        SegmentationSet(name="voc20", title="PASCAL VOC 2012, 20 classes, background ignored", first_label=1, **VOC),
        SegmentationSet(name="voc21", title="PASCAL VOC 2012, 20 classes and background", first_label=0, **VOC),
    )
}


class SegmentationFolder:
    """The images of a set with their label maps, in its official layout."""

    def __init__(self, declaration: SegmentationSet, root: Path):
        self.declaration, self.root = declaration, root
        self.name = declaration.name
        self.classnames = declaration.classnames
        self.official_images = declaration.num_images
        listed = root / declaration.split
        if not listed.is_file():
            raise UsageError(f"{self.name}: {declaration.split} not found under {root}.")
        self.ids = listed.read_text().split()
        if not self.ids:
            raise UsageError(f"{self.name}: {listed} lists no images.")
        missing = next((file for file in self._files() if not file.is_file()), None)
        if missing is not None:
            raise UsageError(
                f"{self.name}: {missing.relative_to(root)}, listed in {declaration.split}, not found under {root}."
            )

    def __len__(self) -> int:
        return len(self.ids)

    def image(self, index: int) -> Image.Image:
        """RGB."""
        return open_image(self.root / self.declaration.image.format(self.ids[index]))

    def label_map(self, index: int) -> UInt8[np.ndarray, "height width_px"]:
        """Class indices from 0 in the order of `classnames`; IGNORE_LABEL where nothing counts.

        Raises:
            BrokenImage: not an image of single numbers, or a label beyond the last class.
        """
        file = self.root / self.declaration.label_map.format(self.ids[index])
        photo = self.root / self.declaration.image.format(self.ids[index])
        try:
            with Image.open(file) as image:
                raw = np.asarray(image)
        except (OSError, SyntaxError, ValueError) as error:
            raise BrokenImage(file, str(error).splitlines()[0]) from None
        with Image.open(photo) as image:
            if image.size[::-1] != raw.shape[:2]:
                sizes = f"{raw.shape[1]} x {raw.shape[0]} pixels, its image {image.width} x {image.height}"
                raise BrokenImage(file, f"{sizes}; a label map is wanted in the size of its image")
        if raw.ndim != 2:
            raise BrokenImage(file, "a label map must hold one number a pixel, this holds colours")
        return self._class_indices(raw, file)

    def _class_indices(self, raw: np.ndarray, file: Path) -> UInt8[np.ndarray, "height width_px"]:
        indices = raw.astype(np.int64) - self.declaration.first_label
        ignored = (indices < 0) | (raw == IGNORE_LABEL)
        indices[ignored] = IGNORE_LABEL
        beyond = (indices >= len(self.classnames)) & ~ignored
        if beyond.any():
            raise BrokenImage(
                file, f"label {int(raw[beyond][0])} is beyond the {len(self.classnames)} classes of {self.name}"
            )
        return indices.astype(np.uint8)

    @property
    def fingerprint(self) -> str:
        """Over names and sizes of all images and label maps."""
        return files_fingerprint(self.root, self._files())

    def _files(self) -> Iterator[Path]:
        for pattern in (self.declaration.image, self.declaration.label_map):
            yield from (self.root / pattern.format(name) for name in self.ids)


def load_segmentation(name: str) -> SegmentationImages:
    """A segmentation set by name: of the built-in world, or from the data root."""
    if name in WORLD_SEGMENTATION:
        return WorldLabelMaps(name)
    if name in SEGMENTATION_SETS:
        return SEGMENTATION_SETS[name].read()
    raise UsageError(unknown_name(name, [*SEGMENTATION_SETS, *WORLD_SEGMENTATION], "segmentation set"))
