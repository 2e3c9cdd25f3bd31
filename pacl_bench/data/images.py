"""Opening image files, and what every set of images offers."""

import hashlib
import os
import warnings
from collections.abc import Iterable
from functools import cached_property
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile, ImageOps

from pacl_bench.image_sets import BrokenImage

MAX_ASPECT = 20  # long side to short side; beyond it, resizing by the short side asks for gigabytes
IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".gif"}


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

    @cached_property
    def fingerprint(self) -> str:
        """Over each file's name, folder and size; where the folders lie does not matter."""
        return lines_fingerprint(f"{file.parent.name}/{file.name} {file.stat().st_size}" for file in self.files)


def image_files(folder: Path) -> list[Path]:
    """The images in a folder, by name. What is called ._1.jpg, of a Mac, is no image."""
    files = sorted(folder.iterdir(), key=lambda file: file.name) if folder.is_dir() else []
    return [file for file in files if file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith(".")]


def files_fingerprint(root: Path, files: Iterable[Path]) -> str:
    """sha256 over the names and sizes of files below a folder, independent of where the folder lies.

    It looks at every file once, and at nothing else. Paths are cut as text, `relative_to` would cost more than that.
    """
    before = f"{root}{os.sep}"
    names = ((file, str(file).removeprefix(before).replace(os.sep, "/")) for file in files)
    return lines_fingerprint(f"{name} {file.stat().st_size}" for file, name in names)


def lines_fingerprint(lines: Iterable[str]) -> str:
    """sha256 over lines, each of which says one image."""
    digest = hashlib.sha256()
    for line in lines:
        digest.update(f"{line}\n".encode("utf-8", "surrogateescape"))  # a file's name need not be UTF-8
    return digest.hexdigest()


# An image that is no photo: it would cost much memory, or show nothing but its own enlargement.
MAX_PIXELS = 89_000_000  # where Pillow begins to warn of a decompression bomb
MIN_SIDE = 16  # pixels
ABSURD = "absurd size"


def open_photo(file: Path | BytesIO, name: str) -> Image.Image:
    """An RGB image to train on; BrokenImage, before its pixels are decoded, where its size is absurd."""
    try:
        size = _size(file)
        if min(size) < MIN_SIDE or max(size) > MAX_ASPECT * min(size) or size[0] * size[1] > MAX_PIXELS:
            raise BrokenImage(name, f"{ABSURD}, {size[0]} x {size[1]} pixels")
        return open_image(file)
    except BrokenImage as broken:
        # Pillow calls bytes in memory by their address
        raise BrokenImage(name, broken.cause.partition(" <_io.")[0]) from None


def _size(file: Path | BytesIO) -> tuple[int, int]:
    """(width, height), from the header alone; a plausible one where the header is broken: decoding says how."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # answered by MAX_PIXELS
            with Image.open(file) as image:
                return image.size
    except Image.DecompressionBombError:
        return MAX_PIXELS, MAX_PIXELS
    except Exception:
        return MIN_SIDE, MIN_SIDE
