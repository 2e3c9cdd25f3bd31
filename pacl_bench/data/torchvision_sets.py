"""Classification sets as torchvision's own classes read them. It is imported, and torch with it, when one is read."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pacl_bench.data.images import files_fingerprint
from pacl_bench.errors import UsageError
from pacl_bench.image_sets import BrokenImage


class PackedImages:
    """A set of torchvision that keeps all images in a few files: CIFAR, STL-10, MNIST, SVHN, PCam."""

    def __init__(
        self,
        name: str,
        dataset: Any,
        files: list[Path],
        classnames: list[str],
        labels: Sequence[int],
        official_images: int,
        templates: list[str],
    ):
        self.name, self.dataset, self.files = name, dataset, files
        self.classnames, self.templates, self.official_images = classnames, templates, official_images
        self.labels = [int(label) for label in labels]

    def __len__(self) -> int:
        return len(self.labels)

    def image(self, index: int) -> Image.Image:
        """RGB; BrokenImage where a file that is read image by image (PCam) is damaged."""
        try:
            return self.dataset[index][0].convert("RGB")
        except OSError as error:
            raise BrokenImage(f"{self.files[0]}, image {index}", str(error)) from None

    @cached_property
    def fingerprint(self) -> str:
        """Over names and sizes of the files that hold the split, which torchvision knows by their checksums."""
        return files_fingerprint(self.files[0].parents[1], self.files)


def open_torchvision(name: str, dataset: str, root: Path, options: dict[str, Any], source: str) -> Any:
    """An instance of a class of torchvision.datasets, never downloaded; a UsageError where it cannot read the files."""
    import torchvision.datasets

    try:
        return getattr(torchvision.datasets, dataset)(root, **options)
    except Exception as error:  # a damaged file can make its parsers raise anything
        cause = (str(error).partition("\n")[0] or type(error).__name__).split(" You can use download")[0].rstrip(".")
        raise UsageError(
            f"{name}: torchvision.datasets.{dataset} cannot read it below {root}: {cause}. It comes from {source}."
        ) from None


def pcam_labels(dataset: Any) -> np.ndarray:
    """PCam's own class reads a label with its image only; here they are read at once."""
    file = dataset._base_folder / dataset._FILES["test"]["targets"][0]
    with dataset.h5py.File(file) as opened:
        return opened["y"][:].ravel()
