"""Opening image files, and what every set of images offers."""

import hashlib
import os
import warnings
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import cache, cached_property
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile, ImageOps

from pacl_bench.image_sets import BrokenImage

MAX_ASPECT = 20  # long side to short side; beyond it, resizing by the short side asks for gigabytes
# Formats of Pillow that hold no photo: EPS (it would start Ghostscript), films, documents, and envelopes of what only
# another program or format can decode.
NO_PHOTO_FORMATS = {"EPS", "WMF", "MPEG", "PDF", "BUFR", "GRIB", "HDF5", "IPTC"}
WHITE_16_BIT, WHITE_12_BIT = 65_535, 4_095
BITS_PER_SAMPLE = 258  # a tag of TIFF
# In these formats Pillow gives grey of 16 bits as mode "I" (32 bits); in any other, "I" may hold any range of numbers.
SIXTEEN_BITS_AS_32 = {"PNG", "PPM"}
SAMPLED_FILES, SAMPLED_BYTES = 64, 4096  # at most so many files of a set, and so much of either end of each
BLOCKS, BLOCK_BYTES = 512, 1 << 17  # what is read of pairs before they are trained on: 64 MB at most


@cache
def photo_formats() -> tuple[str, ...]:
    """The names of Pillow's formats that images may have, in the order in which Pillow tries them."""
    Image.init()
    return tuple(name for name in Image.ID if name not in NO_PHOTO_FORMATS)


@cache
def photo_suffixes() -> frozenset[str]:
    """The endings of file names, in lower case with their dot, that stand for an image Pillow can open."""
    openable = {*photo_formats(), "MPO"}  # MPO, a JPEG of several pictures, is opened by the reader of JPEG
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in openable)


def open_image(file: Path | BytesIO) -> Image.Image:
    """Decodes a file to RGB, turned upright as its EXIF orientation says.

    Raises:
        BrokenImage: not an image, truncated, missing, so large that it must be a trap (over 178 million pixels), or a
            strip more than MAX_ASPECT times as long as wide.
    """
    try:
        with Image.open(file, formats=photo_formats()) as image:
            if max(image.size) > MAX_ASPECT * min(image.size):
                raise ValueError(f"{image.width} x {image.height} pixels, a strip")
            return upright_rgb(image)
    except FileNotFoundError:
        raise BrokenImage(file, "no such file") from None
    except Exception as error:  # a damaged file can make Pillow raise anything
        cause = str(error).partition("\n")[0].split(": '")[0] or type(error).__name__
        raise BrokenImage(file, cause) from None


def upright_rgb(image: Image.Image) -> Image.Image:
    """An image as every data set gives it: turned as its EXIF orientation says, 8 bits a channel.

    Raises:
        ValueError: grey of which it is not known what number is white.
    """
    white = _white(image)  # asked before the image is turned, since a copy has no format
    return _rgb(ImageOps.exif_transpose(image), white)


def _white(image: Image.Image) -> int:
    """The number that is white in an image of grey; a ValueError where the file does not say."""
    if image.mode == "F" or (image.mode == "I" and image.format not in SIXTEEN_BITS_AS_32):
        raise ValueError("grey of 32 bits, of which no one knows what number is white: save it with 8 or 16 bits")
    if not image.mode.startswith("I"):
        return 255
    tags = getattr(image, "tag_v2", {})
    return WHITE_12_BIT if tags.get(BITS_PER_SAMPLE) == (12,) else WHITE_16_BIT


def _rgb(image: Image.Image, white: int) -> Image.Image:
    """8 bits a channel. What is transparent gets the colour that the file stores for it, as everywhere in the field."""
    if white == 255:
        # by way of RGBA, because Pillow warns of transparency that is lost straight from a palette
        opaque = image.convert("RGBA") if image.mode == "P" and "transparency" in image.info else image
        return opaque.convert("RGB")
    grey = np.asarray(image)  # Pillow's own conversion would clip it to white
    if white == WHITE_16_BIT and 0 < grey.max() <= WHITE_12_BIT:
        raise ValueError("grey of 16 bits that is black: its numbers seem to be of 8 or 12 bits; save it with 8 bits")
    return Image.fromarray((grey.clip(0, white) / (white / 255)).astype(np.uint8)).convert("RGB")


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

    @cached_property
    def contents_sample(self) -> str:
        """Of all images."""
        return sample_of_contents(self.files)


def image_files(folder: Path) -> list[Path]:
    """The images in a folder, by name. What is called ._1.jpg, of a Mac, is no image."""
    files = sorted(folder.iterdir(), key=lambda file: file.name) if folder.is_dir() else []
    return [file for file in files if file.suffix.lower() in photo_suffixes() and not file.name.startswith(".")]


def other_files(folder: Path) -> list[Path]:
    """What else is in it, by name, without what is hidden."""
    images = set(image_files(folder))
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    return [file for file in found if file not in images and not file.name.startswith(".")]


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


def sample_of_contents(files: Sequence[Path]) -> str:
    """sha256 over both ends of some of the files, which tells sets apart whose files have equal names and sizes.

    Up to 64 files are read, spread evenly over all of them, so that it takes milliseconds for 50,000 files too; a
    change in one of the others is not seen. A file that cannot be read counts as empty: who decodes it says why.
    """
    digest = hashlib.sha256()
    for file in files[:: -(-len(files) // SAMPLED_FILES) or 1]:
        digest.update(_ends(file))
    return digest.hexdigest()


def hash_of_contents(files: Sequence[Path]) -> str:
    """sha256 over what files hold: all of it up to 64 MB, and of more than that 512 blocks spread evenly over them all.

    It asks for the size of every file and reads 64 MB at most, which takes half a second for 50,000 photos. In more
    than 64 MB a change between two of the blocks is not seen. A file that cannot be read counts as empty.
    """
    digest, start = hashlib.sha256(), 0
    sizes = [_size_on_disk(file) for file in files]
    every = max(BLOCK_BYTES, -(-sum(sizes) // BLOCKS))
    for file, size in zip(files, sizes, strict=True):
        for block in range(start // every, -(-(start + size) // every)):
            first, end = max(start, block * every), min(start + size, block * every + BLOCK_BYTES)
            digest.update(_part(file, first - start, end - first) if first < end else b"")
        start += size
    return digest.hexdigest()


def _size_on_disk(file: Path) -> int:
    with suppress(OSError):
        return file.stat().st_size
    return 0


def _part(file: Path, start: int, length: int) -> bytes:
    with suppress(OSError), file.open("rb") as handle:
        handle.seek(start)
        return handle.read(length)
    return b""


def _ends(file: Path) -> bytes:
    with suppress(OSError), file.open("rb") as handle:
        start = handle.read(SAMPLED_BYTES)
        handle.seek(max(len(start), os.fstat(handle.fileno()).st_size - SAMPLED_BYTES))
        return start + handle.read(SAMPLED_BYTES)
    return b""


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
            with Image.open(file, formats=photo_formats()) as image:
                return image.size
    except Image.DecompressionBombError:
        return MAX_PIXELS, MAX_PIXELS
    except Exception:
        return MIN_SIDE, MIN_SIDE
