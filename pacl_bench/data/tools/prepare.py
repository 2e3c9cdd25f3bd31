"""Conversions that a set needs before it can be read: `pacl-bench data prepare NAME`.

Most sets need none: their label maps are read as their owners ship them, through the tables in `segmentation.py`.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from pacl_bench.data.declaration import Declaration
from pacl_bench.data.segmentation import SEGMENTATION_SETS, SegmentationSet
from pacl_bench.errors import RunError, UsageError
from pacl_bench.files import read_text, replacing, write_text, writing
from pacl_bench.progress import track
from pacl_bench.registry import lookup

# The 59 among PASCAL Context's 459 labels (labels.txt, from 1), in the order of names/context59.txt. The same numbers
# are the category ids of trainval_merged.json (eval_orders in the challenge's API, sorted).
CONTEXT_LABELS = (
    2, 9, 18, 19, 22, 23, 25, 31, 33, 34, 44, 45, 46, 59, 65, 68, 72, 80, 85, 98, 104, 105, 113, 115, 144, 158, 159,
    162, 187, 189, 207, 220, 232, 258, 259, 260, 284, 295, 296, 308, 324, 326, 347, 349, 354, 355, 360, 366, 368, 397,
    415, 416, 420, 424, 427, 440, 445, 454, 458,
)  # fmt: skip
CONTEXT_TABLE = np.zeros(460, np.uint8)  # label of the 459 -> 1 to 59; 0 for all others
CONTEXT_TABLE[list(CONTEXT_LABELS)] = np.arange(1, 60)

LabelMap = UInt8[np.ndarray, "height width_px"]


def prepare(name: str) -> str:
    """Converts what a set needs converted, and says what was done.

    It can be stopped at any time and goes on where it was. A set appears whole or not at all.

    Raises:
        UsageError: no set of that name, or what it is to be made of is not there.
        RunError: names a source file that cannot be read.
    """
    entry = lookup(SEGMENTATION_SETS, name, "segmentation set")
    if name not in PREPARATIONS:
        return f"{name}: nothing to prepare, its label maps are read as they come."
    return PREPARATIONS[name](entry)


def prepare_context(entry: SegmentationSet) -> str:
    """PASCAL Context's annotations as PNGs of 0 (background) and 1 to 59, and the list of val images.

    Two sources, which differ in their masks too: trainval_merged.json of the PASCAL in Detail challenge, which the
    field uses (its val split: 5,104 images), or, where that is not there, PASCAL Context's own .mat files (VOC 2010's
    val list: 5,105 images).
    """
    root = Declaration.found(entry) or entry.root()  # the latter says where it was looked for
    layout = entry.layouts[0]
    label_folder, split = root / layout.label_folder, root / layout.split
    if label_folder.is_dir() and split.is_file():
        return f"{entry.name}: nothing to do, {label_folder} is there with {split}."
    if label_folder.is_dir():
        raise UsageError(f"{label_folder} is there but {split} is not. Move the folder away, then it is made again.")
    merged, mat_folder = root / "trainval_merged.json", root / "trainval"
    if merged.is_file():
        source, label_maps = merged.name, detail_label_maps(merged)
    elif mat_folder.is_dir():
        source, label_maps = mat_folder.name, mat_label_maps(mat_folder, root / "ImageSets/Main/val.txt")
    else:
        raise UsageError(f"{entry.name}: neither {merged} nor {mat_folder} is there. {entry.steps}")
    if not label_maps:
        raise RunError(f"{entry.name}: {root / source} has no val image. Get it anew. {entry.steps}")
    # a folder for each source, renamed when it is whole: a half one is never read, and sources never mix
    unfinished = label_folder.with_name(f".{label_folder.name}.{source}.partial")
    _write_all(label_maps, unfinished)
    write_text(split, "\n".join(sorted(label_maps)) + "\n")
    with writing(label_folder):
        unfinished.replace(label_folder)
    return f"{entry.name}: {len(label_maps):,} label maps made of {source} are in {label_folder}, listed in {split}."


PREPARATIONS: dict[str, Callable[[SegmentationSet], str]] = {
    "context59": prepare_context,
    "context60": prepare_context,
}


def mat_label_maps(folder: Path, val_list: Path) -> dict[str, Callable[[], LabelMap]]:
    """Of each val image of VOC 2010, how to make its label map from its .mat file."""
    if not val_list.is_file():
        raise UsageError(f"{val_list} not found: it is part of VOC 2010 and says which images are val.")
    ids = read_text(val_list).split()
    missing = [name for name in ids if not (folder / f"{name}.mat").is_file()]
    if missing:
        raise UsageError(f"{folder / missing[0]}.mat, listed in {val_list}, not found ({len(missing):,} are missing).")
    return {name: lambda file=folder / f"{name}.mat": read_context_mat(file) for name in ids}


def read_context_mat(file: Path) -> LabelMap:
    """The variable LabelMap of a .mat file, its 459 labels as 0 to 59."""
    import scipy.io

    try:
        labels = np.asarray(scipy.io.loadmat(file)["LabelMap"])
    except KeyError:
        raise RunError(f"{file} holds no LabelMap; it is none of PASCAL Context's files.") from None
    except Exception as error:  # a damaged file can make scipy raise anything
        raise RunError(f"{file}: {str(error).partition(chr(10))[0] or type(error).__name__}") from None
    beyond = labels[(labels < 0) | (labels >= len(CONTEXT_TABLE))]
    if labels.ndim != 2 or len(beyond):
        what = f"label {beyond[0]} is beyond PASCAL Context's 459" if len(beyond) else "LabelMap is no map"
        raise RunError(f"{file}: {what}.")
    return CONTEXT_TABLE[labels.astype(np.int64)]


def detail_label_maps(file: Path) -> dict[str, Callable[[], LabelMap]]:
    """Of each val image in trainval_merged.json, how to make its label map from its regions."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        images = {image["image_id"]: image for image in content["images"] if image["phase"] == "val"}
        regions = defaultdict(list)
        for region in content["annos_segmentation"]:
            if region["image_id"] in images:
                regions[region["image_id"]].append(region)
        return {
            Path(image["file_name"]).stem: lambda image=image, found=regions[key]: paint_regions(file, image, found)
            for key, image in images.items()
        }
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{file} is not the file of the PASCAL in Detail challenge ({error!r}).") from None


def paint_regions(file: Path, image: dict[str, Any], regions: Iterable[dict[str, Any]]) -> LabelMap:
    """One image's regions painted in their order, the later over the earlier, as the challenge's API does."""
    try:
        label_map = np.zeros((image["height"], image["width"]), np.uint8)
        for region in regions:
            label_map[decode_rle(region["segmentation"])] = CONTEXT_TABLE[region["category_id"]]
    except (ValueError, IndexError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{file}: a region of {image['file_name']} cannot be read ({error}).") from None
    return label_map


def decode_rle(segmentation: dict[str, Any]) -> Bool[np.ndarray, "height width_px"]:
    """A region in COCO's compressed run-length code: `size` (height, width) and `counts`, a string.

    The runs, of outside and inside in turn, go down the columns. Each is written in digits of 5 bits, the lowest first,
    as characters from "0": bit 6 says that another digit follows, bit 5 of the last one is the sign. From the fourth on
    a run is given as its difference to the one before the last.

    Not with pycocotools (2.0.11): of a code that is cut short it makes a mask of whatever is in memory, without a word.
    """
    characters = np.frombuffer(segmentation["counts"].encode(), np.uint8).astype(np.int64) - 48
    last = characters & 32 == 0
    starts = np.flatnonzero(np.concatenate([[True], last[:-1]]))
    lengths = np.diff(np.append(starts, len(characters)))
    place = 5 * (np.arange(len(characters)) - np.repeat(starts, lengths))
    runs = np.add.reduceat((characters & 31) << place, starts)
    runs -= np.where(characters[last] & 16, 1 << 5 * lengths, 0)
    runs[1::2], runs[2::2] = runs[1::2].cumsum(), runs[2::2].cumsum()
    height, width = segmentation["size"]
    inside = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return inside.reshape(width, height).T


def _write_all(label_maps: dict[str, Callable[[], LabelMap]], folder: Path) -> None:
    """Those that are there from an earlier run are kept."""
    with writing(folder):
        folder.mkdir(exist_ok=True)
    for name, make in track(label_maps.items(), "converting", total=len(label_maps)):
        file = folder / f"{name}.png"
        if not file.is_file():
            label_map = make()
            with replacing(file, durable=False) as temporary:
                Image.fromarray(label_map).save(temporary, "PNG")
    for left in folder.glob(".*partial*"):  # of a run that was killed
        left.unlink()
