"""What a set of images is to everything else: three protocols. No torch here."""

from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from pacl_bench.errors import RunError

IGNORE_LABEL = 255


class BrokenImage(RunError):
    """A file that does not decode to an image. `file` names it, the message says why."""

    def __init__(self, file: Path | BytesIO | str, cause: str):
        super().__init__(f"{file}: {cause}")
        self.file, self.cause = str(file), cause

    def __reduce__(self) -> tuple[type["BrokenImage"], tuple[str, str]]:
        """A worker process hands it on; exceptions are otherwise made again from their message alone."""
        return type(self), (self.file, self.cause)


@runtime_checkable
class ImageSet(Protocol):
    """Images in a fixed order, each decoded when asked for."""

    @property
    def name(self) -> str: ...

    def __len__(self) -> int: ...

    def image(self, index: int) -> Image.Image:
        """An RGB image; BrokenImage where the file does not decode."""
        ...

    @cached_property
    def fingerprint(self) -> str:
        """Changes when an image is added, removed, moved in order, or replaced by one of another size in bytes.

        It costs a look at every file, and is computed once: who changes files loads the set anew. What is replaced by
        one of equal size is left to `contents_sample`.
        """
        ...


@runtime_checkable
class SegmentationImages(ImageSet, Protocol):
    """Images with the class of each pixel."""

    classnames: list[str]
    official_images: int  # how many the complete set has

    def label_map(self, index: int) -> UInt8[np.ndarray, "height width_px"]:
        """Class indices from 0 in the order of `classnames`; IGNORE_LABEL where nothing counts.

        In the size of its image, from which is computed where the patches lie.
        """
        ...


@runtime_checkable
class LabelledImages(ImageSet, Protocol):
    """Images with one class each."""

    classnames: list[str]
    labels: list[int]  # indices into `classnames`
    official_images: int  # how many the complete set has
    templates: list[str]  # its own prompt templates; empty where it has none


def contents_sample(images: ImageSet) -> str:
    """A hash over some of the contents of a set's files, beside its fingerprint; "" where the set has none.

    Two sets of equal fingerprints and other samples are two sets. What an earlier version kept has no sample, and is
    taken to be of any set with its fingerprint.
    """
    return getattr(images, "contents_sample", "")


def contents_of(images: ImageSet) -> str:
    """A hash over what a set's files hold, or over much of it; "" where the set has none."""
    return getattr(images, "contents", "")


def image_id(images: ImageSet, index: int) -> str:
    """What an image is called: the set's own id, or its number where images have none."""
    ids = getattr(images, "ids", None)
    return str(index) if ids is None else str(ids[index])
