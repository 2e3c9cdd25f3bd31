"""One reader for images with label maps, whatever layout they lie in, and a user's own folder of them."""

from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Int16, UInt8
from PIL import ExifTags, Image, ImageOps

from pacl_bench.data.images import (
    PhotoFiles,
    files_fingerprint,
    image_files,
    other_files,
    photo_formats,
    sample_of_contents,
)
from pacl_bench.data.text_lines import is_comment, read_lines
from pacl_bench.errors import UsageError
from pacl_bench.image_sets import IGNORE_LABEL, BrokenImage

NO_CLASS = -1  # in a class table: a raw label that must not occur
MAX_CLASSES = IGNORE_LABEL  # classes are 0 to 254 in a label map of 8 bits
NAMES_FILE = "names.txt"


class SegmentationFolder(PhotoFiles):
    """The images of a set with their label maps.

    Args:
        files, label_files: of each image, in the same order; all below `root`.
        ids: what each is called in its set: "2007_000033", "frankfurt/frankfurt_000000_000294".
        class_table: what each raw label of a label map stands for.
    """

    def __init__(
        self,
        name: str,
        root: Path,
        ids: list[str],
        files: list[Path],
        label_files: list[Path],
        classnames: list[str],
        class_table: Int16[np.ndarray, "256"],
        official_images: int,
    ):
        super().__init__(name, files)
        self.root, self.ids, self.label_files = root, ids, label_files
        self.classnames, self.class_table, self.official_images = classnames, class_table, official_images

    @property
    def left_out(self) -> list[Path]:
        """What lies beside the images and is none by its name."""
        return [file for folder in dict.fromkeys(file.parent for file in self.files) for file in other_files(folder)]

    def label_map(self, index: int) -> UInt8[np.ndarray, "height width_px"]:
        """Class indices from 0 in the order of `classnames`; IGNORE_LABEL where nothing counts.

        Raises:
            BrokenImage: not an 8-bit image of single numbers, of another size than its image, or a raw label that
                stands for no class.
        """
        file = self.label_files[index]
        raw = read_raw_labels(file)
        height, width = upright_size(self.files[index])
        if raw.shape != (height, width):
            sizes = f"{raw.shape[1]} x {raw.shape[0]} pixels, its image {width} x {height}"
            raise BrokenImage(file, f"{sizes}; a label map is wanted in the size of its image")
        indices = self.class_table[raw]
        if (indices == NO_CLASS).any():
            label = int(raw[indices == NO_CLASS][0])
            raise BrokenImage(file, f"label {label} is beyond the {len(self.classnames)} classes of {self.name}")
        return indices.astype(np.uint8)

    @cached_property
    def fingerprint(self) -> str:
        """Over names and sizes of all images and label maps."""
        return files_fingerprint(self.root, [*self.files, *self.label_files])

    @cached_property
    def contents_sample(self) -> str:
        """Of all images and label maps."""
        return sample_of_contents([*self.files, *self.label_files])


def counted_classes(first_label: int, num_classes: int) -> Int16[np.ndarray, "256"]:
    """Raw labels `first_label`, +1, ... are classes 0, 1, ...; lower ones and IGNORE_LABEL are ignored."""
    table = np.full(256, NO_CLASS, np.int16)
    table[:first_label] = table[IGNORE_LABEL] = IGNORE_LABEL
    table[first_label : first_label + num_classes] = np.arange(num_classes)
    return table


def listed_classes(classes: dict[int, int]) -> Int16[np.ndarray, "256"]:
    """Raw label -> class; IGNORE_LABEL is ignored unless listed."""
    table = np.full(256, NO_CLASS, np.int16)
    table[IGNORE_LABEL] = IGNORE_LABEL
    table[list(classes)] = list(classes.values())
    return table


def read_raw_labels(file: Path) -> UInt8[np.ndarray, "height width_px"]:
    """The numbers in a label map, palette or grey; BrokenImage where it has colours, or more than 8 bits."""
    mode, raw = read_png(file)
    if raw.ndim != 2:
        raise BrokenImage(file, "a label map must hold one number a pixel, this holds colours")
    if mode not in ("L", "P", "1"):
        raise BrokenImage(file, f"a label map must hold 8 bits a pixel, 0 to 255; this is of Pillow's mode {mode!r}")
    return raw.astype(np.uint8)


def read_png(file: Path) -> tuple[str, np.ndarray]:
    """Pillow's mode of a PNG, and the numbers in it as they are stored: one a pixel, or as many as it has channels.

    Raises:
        BrokenImage: it is not there, does not decode, or is no PNG: a JPEG has other numbers than those it was made of.
    """
    try:
        with Image.open(file, formats=photo_formats()) as image:
            # as a photo is: what turns the one in a viewer turns the other
            kind, mode, numbers = image.format, image.mode, np.asarray(ImageOps.exif_transpose(image))
    except FileNotFoundError:
        raise BrokenImage(file, "no such file") from None
    except Exception as error:  # a damaged file can make Pillow raise anything
        raise BrokenImage(file, str(error).partition("\n")[0] or type(error).__name__) from None
    if kind != "PNG":
        raise BrokenImage(file, f"a PNG is wanted, this is a {kind}")
    if mode == "1":
        return mode, numbers.astype(np.uint8)
    return mode, numbers // _spread(file) if mode == "L" else numbers


BIT_DEPTH = 24  # where a PNG says how many bits a pixel has


def _spread(file: Path) -> int:
    """What the numbers of a grey PNG are multiplied by in Pillow, which spreads 2 or 4 bits over 0 to 255."""
    with file.open("rb") as opened:
        bits = opened.read(BIT_DEPTH + 1)[BIT_DEPTH]
    return 255 // (2**bits - 1)


def upright_size(file: Path) -> tuple[int, int]:
    """Height and width of a photo turned as its EXIF orientation says, without decoding it."""
    try:
        with Image.open(file, formats=photo_formats()) as image:
            turned = image.getexif().get(ExifTags.Base.Orientation, 1) >= 5
            return (image.width, image.height) if turned else (image.height, image.width)
    except Exception as error:
        raise BrokenImage(file, str(error).partition("\n")[0].split(": '")[0] or type(error).__name__) from None


def read_user_folder(root: Path, taken: list[str]) -> SegmentationFolder:
    """A user's own set: images/, masks/ (PNG of the same names, class indices from 0, 255 ignored) and names.txt.

    names.txt has one class a line, in the order of the indices. One called `background` is the background, as in
    voc21. The set is called what its folder is.

    Args:
        taken: names of other sets, which this one must not have: their records would be overwritten.

    Raises:
        UsageError: one line that names the folder or file that is missing, has no partner, or says too much.
    """
    root = root.expanduser().resolve()
    name = root.name
    if name in taken:
        raise UsageError(f"{root}: {name!r} is the name of another data set. Give the folder another name.")
    if not (root / NAMES_FILE).is_file() and not (root / "masks").is_dir() and not (root / "images").is_dir():
        _refuse_class_folders(root)
    classnames = _own_names(root / NAMES_FILE)
    images = _by_stem(root / "images", image_files(root / "images"))
    masks = _by_stem(root / "masks", [file for file in image_files(root / "masks") if file.suffix.lower() == ".png"])
    for stem, file in images.items():
        if stem not in masks:
            raise UsageError(f"{name}: images/{file.name} has no mask: {_no_mask(root / 'masks', stem)}.")
    for stem, file in masks.items():
        if stem not in images:
            raise UsageError(
                f"{name}: masks/{file.name} has no image of that name: {_no_image(root / 'images', stem)}."
            )
    if not images:
        raise UsageError(f"{name}: no image in {root / 'images'}.")
    ids = sorted(images)
    return SegmentationFolder(
        name,
        root,
        ids,
        [images[stem] for stem in ids],
        [masks[stem] for stem in ids],
        classnames,
        counted_classes(0, len(classnames)),
        len(ids),
    )


def _refuse_class_folders(root: Path) -> None:
    with_images = [folder.name for folder in sorted(root.glob("*/")) if image_files(folder)]
    if len(with_images) > 1:
        raise UsageError(
            f"{root} holds images in {with_images[0]}/, {with_images[1]}/ ...: a folder a class, for classify. For a "
            f"segmentation set, images/, masks/ and {NAMES_FILE} are wanted."
        )


def _no_mask(folder: Path, stem: str) -> str:
    others = [file.name for file in image_files(folder) if file.stem == stem]
    return f"{folder / stem}.png not found" + (f", and {others[0]} is no PNG" if others else "")


def _no_image(folder: Path, stem: str) -> str:
    others = [file for file in other_files(folder) if file.stem == stem]
    return f"{others[0]} is none by its ending" if others else f"no {stem}.jpg, {stem}.png ... in {folder}"


def _own_names(file: Path) -> list[str]:
    if not file.is_file():
        raise UsageError(f"{file} not found: one class name a line, in the order of the numbers in the masks, from 0.")
    names = [line.strip() for line in read_lines(file) if not is_comment(line)]
    while names and not names[-1]:  # empty lines at the end
        names.pop()
    if not names:
        raise UsageError(f"{file} names no class.")
    if "" in names:
        raise UsageError(f"{file}: class {names.index('')} has no name; an empty line is not allowed between others.")
    double = next((name for at, name in enumerate(names) if name in names[:at]), None)
    if double is not None:
        raise UsageError(f"{file} names {double!r} twice.")
    if len(names) > MAX_CLASSES:
        raise UsageError(f"{file} names {len(names)} classes; a label map of 8 bits has room for {MAX_CLASSES}.")
    return names


def _by_stem(folder: Path, files: list[Path]) -> dict[str, Path]:
    if not folder.is_dir():
        raise UsageError(f"{folder} not found: a set of your own is a folder with images/, masks/ and {NAMES_FILE}.")
    found: dict[str, Path] = {}
    for file in files:
        if file.stem in found:
            raise UsageError(
                f"{folder}: {found[file.stem].name} and {file.name} have the same name but for the ending."
            )
        found[file.stem] = file
    return found
