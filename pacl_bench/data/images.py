"""Opening image files, and what every set of images offers."""

import hashlib
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageFile, ImageOps

from pacl_bench.errors import RunError

IGNORE_LABEL = 255
MAX_ASPECT = 20  # long side to short side; beyond it, resizing by the short side asks for gigabytes
SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".gif"}


class BrokenImage(RunError):
    """A file that does not decode to an image. `file` names it, the message says why."""

    def __init__(self, file: Path | BytesIO | str, cause: str):
        super().__init__(f"{file}: {cause}")
        self.file, self.cause = str(file), cause


@runtime_checkable
class ImageSet(Protocol):
    """Images in a fixed order, each decoded when asked for."""

    @property
    def name(self) -> str: ...

    def __len__(self) -> int: ...

    def image(self, index: int) -> Image.Image:
        """An RGB image; BrokenImage where the file does not decode."""
        ...

    @property
    def fingerprint(self) -> str:
        """Changes when an image is added, removed, moved in order, or replaced by one of another size in bytes."""
        ...


@runtime_checkable
class SegmentationImages(ImageSet, Protocol):
    """Images with the class of each pixel."""

    classnames: list[str]
    official_images: int  # how many the complete set has

    def label_map(self, index: int) -> UInt8[np.ndarray, "height width_px"]:
        """Class indices from 0 in the order of `classnames`; IGNORE_LABEL where nothing counts."""
        ...


@runtime_checkable
class LabelledImages(ImageSet, Protocol):
    """Images with one class each."""

    classnames: list[str]
    labels: list[int]  # indices into `classnames`
    official_images: int  # how many the complete set has
    templates: list[str]  # its own prompt templates; empty where it has none


def open_image(file: Path | BytesIO) -> Image.Image:
    """Decodes a file to RGB, turned upright as its EXIF orientation says.

    Raises:
        BrokenImage: not an image, truncated, missing, so large that it must be a trap (over 178 million pixels), or a
            strip more than MAX_ASPECT times as long as wide.
    """
    try:
        with Image.open(file) as image:
            if max(image.size) > MAX_ASPECT * min(image.size):
                raise ValueError(f"{image.width} x {image.height} pixels, a strip")
            upright = ImageOps.exif_transpose(image)
            return _eight_bit(upright).convert("RGB")
    except FileNotFoundError:
        raise BrokenImage(file, "no such file") from None
    except Exception as error:  # a damaged file can make Pillow raise anything
        cause = str(error).partition("\n")[0].split(": '")[0] or type(error).__name__
        raise BrokenImage(file, cause) from None


def _eight_bit(image: Image.Image) -> Image.Image:
    """16-bit grey as 8-bit: Pillow's own conversion would clip it to white."""
    if not image.mode.startswith("I"):
        return image
    return Image.fromarray((np.asarray(image).clip(0, 65535) / 257).astype(np.uint8))


# A truncated photo would otherwise be filled up with grey without a word, if another library switched this on.
ImageFile.LOAD_TRUNCATED_IMAGES = False


class PhotoFiles:
    """An image set of files."""

    def __init__(self, name: str, files: list[Path]):
        self.name, self.files = name, files

    def __len__(self) -> int:
        return len(self.files)

    def image(self, index: int) -> Image.Image:
        """RGB; BrokenImage where the file does not decode."""
        return open_image(self.files[index])

    @property
    def fingerprint(self) -> str:
        """Over each file's name, folder and size; where the folders lie does not matter."""
        return lines_fingerprint(f"{file.parent.name}/{file.name} {file.stat().st_size}" for file in self.files)


def files_fingerprint(root: Path, files: Iterable[Path]) -> str:
    """sha256 over the names and sizes of files, independent of where the root lies."""
    return lines_fingerprint(f"{file.relative_to(root).as_posix()} {file.stat().st_size}" for file in files)


def lines_fingerprint(lines: Iterable[str]) -> str:
    """sha256 over lines, each of which says one image."""
    digest = hashlib.sha256()
    for line in lines:
        digest.update(f"{line}\n".encode())
    return digest.hexdigest()
