"""Is a data set whole? Every image and label map is opened; all that is wrong is collected, not only the first."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from pacl_bench.data.catalog import BUILT_IN, declarations, kind_of, load
from pacl_bench.data.pair_readers import MIN_PAIRS, TOO_FEW, skipped_image
from pacl_bench.data.segmentation import SEGMENTATION_SETS, SegmentationSet
from pacl_bench.data.segmentation_folders import SegmentationFolder
from pacl_bench.data.shard_pairs import RawPair, read_pairs
from pacl_bench.data.shards import ShardSet, Skipped
from pacl_bench.data.text_lines import printable
from pacl_bench.data.tools.where import told
from pacl_bench.errors import RunError, UsageError
from pacl_bench.image_sets import IGNORE_LABEL, BrokenImage, ImageSet, LabelledImages, SegmentationImages
from pacl_bench.progress import track

Seen = TypeVar("Seen")
SAMPLE = 100  # images that --fast looks at
EXAMPLES = 5  # of the things wrong that are named
NAMED = 10  # classes that a line names
# why training skips a pair, where the files are broken and should be had anew
BROKEN = ("broken image", "absurd size", "damaged tar", "damaged count")


@dataclass(frozen=True)
class Finding:
    """What one check has found."""

    check: str
    result: Literal["ok", "warning", "FAILED"]
    detail: str
    examples: tuple[str, ...] = ()  # the first things wrong
    way_out: str = ""


def check(name: str, fast: bool = False) -> list[Finding]:
    """Looks at every image of a set of any kind (`fast`: at 100, evenly spread).

    Raises:
        UsageError: nobody knows the name, or the set is not on this machine.
    """
    kind = kind_of(name)
    where = _where(name)
    try:
        loaded = load(name)
    except (UsageError, RunError) as error:
        failed = Finding("layout", "FAILED", str(error), way_out=_again(name))
        return [failed, *_what_is_there(SEGMENTATION_SETS[name], fast)] if name in SEGMENTATION_SETS else [failed]
    layout = Finding("layout", "ok", f"{kind}, {where}")
    if kind == "segmentation":
        return [layout, *check_segmentation(loaded, fast)]
    if kind == "classification":
        return [layout, *check_classification(loaded, fast)]
    return [layout, *(finding for pairs in loaded for finding in check_pairs(pairs, name, fast))]


def _what_is_there(entry: SegmentationSet, fast: bool) -> list[Finding]:
    """A reader stops at the first file that is missing. Here: all that are, and what the others are like."""
    root = entry.root()
    layout = entry.layout(root)
    paths = [(root / layout.image.format(key), root / layout.label_map.format(key)) for key in layout.ids(root)]
    missing = [str(file) for pair in paths for file in pair if not file.is_file()]
    whole = [pair for pair in paths if all(file.is_file() for file in pair)]
    if not missing or not whole:
        return []
    found = Finding("files", "FAILED", f"{len(missing):,} are missing", tuple(missing[:EXAMPLES]))
    table = layout.class_table(len(entry.classnames))
    files, label_files = [image for image, _ in whole], [label_map for _, label_map in whole]
    ids = [file.stem for file in files]
    images = SegmentationFolder(entry.name, root, ids, files, label_files, entry.classnames, table, entry.num_images)
    return [found, *check_segmentation(images, fast)]


def _where(name: str) -> str:
    """Where a set lies; a UsageError where it does not."""
    if name in declarations():
        return str(declarations()[name].root())
    if any(name in names for names in BUILT_IN.values()):
        return "drawn by the built-in world"
    path = name.removeprefix("folder:").removeprefix("wds:")
    if path != name and not Path(path).is_dir():
        raise UsageError(f"{name}: {path} is {'a file' if Path(path).exists() else 'not found'}; a folder is wanted.")
    if not name.endswith(".tar") and not Path(path).exists():
        raise UsageError(f"{name} not found.")
    return path


def _again(name: str) -> str:
    return f"What belongs where, and how to get it: pacl-bench data where {name}" if name in declarations() else ""


def check_segmentation(images: SegmentationImages, fast: bool) -> list[Finding]:
    """Counts, images, label maps and which classes occur."""
    num_classes = len(images.classnames)

    def look(index: int) -> tuple[list[str], list[str], np.ndarray]:
        size, broken = _size_of(images, index)
        counts = np.zeros(num_classes + 1, np.int64)  # pixels of each class, last those that are ignored
        try:
            labels = images.label_map(index)
        except Exception as error:  # a damaged file can make a decoder raise anything
            return broken, [_told(error)], counts
        problem = _label_problem(labels, size, num_classes)
        if problem:
            return broken, [f"image {index + 1}: {problem}"], counts
        labels = np.where(labels == IGNORE_LABEL, num_classes, labels)
        return broken, [], np.bincount(labels.ravel(), minlength=num_classes + 1)

    looked = _sample(len(images), fast)
    seen = list(_each(look, looked, f"looking at {images.name}"))
    counts = np.array([pixels for *_, pixels in seen], np.int64).reshape(len(seen), num_classes + 1)
    return [
        _count(images.name, len(images), images.official_images),
        _opened("images", [line for broken, _, _ in seen for line in broken], looked, len(images)),
        _opened("label maps", [line for _, broken, _ in seen for line in broken], looked, len(images)),
        *_other_files(images),
        _labelled(counts),
        _occurring("pixel", images.classnames, counts[:, :-1].sum(axis=0)),
        _names(images.classnames),
    ]


def check_classification(images: LabelledImages, fast: bool) -> list[Finding]:
    """Counts, images and which classes have any."""
    looked = _sample(len(images), fast)
    broken = _broken_images(images, looked, images.name)
    per_class = np.bincount(np.asarray(images.labels, np.int64), minlength=len(images.classnames))
    return [
        _count(images.name, len(images), images.official_images),
        _opened("images", broken, looked, len(images)),
        *_other_files(images),
        _with_images(images, per_class),
        _names(images.classnames),
    ]


def check_pairs(pairs: Any, name: str, fast: bool) -> list[Finding]:
    """Counts, images and captions, read as training reads them."""
    if isinstance(pairs, ShardSet):
        return check_shards(pairs, name, fast)
    photos: ImageSet = pairs.photos
    looked = _sample(len(photos), fast)
    broken = _broken_images(photos, looked, name)
    entry = declarations().get(name)
    return [
        _count(name, len(photos), entry.num_images if entry else len(photos)),
        _opened("images", broken, looked, len(photos)),
        _captions(pairs.captions),
        *_too_few(len(photos) - len(broken)),
        *_left_out(pairs.skipped),
    ]


def _sample(number: int, fast: bool) -> list[int]:
    """Which images are looked at: all, or SAMPLE from the first to the last in even steps."""
    if not fast or number <= SAMPLE:
        return list(range(number))
    return [int(index) for index in np.linspace(0, number - 1, SAMPLE)]


def _each(look: Callable[[int], Seen], indices: Sequence[int], description: str) -> Iterator[Seen]:
    """`look` at each index in threads (decoding leaves Python's lock alone), in order; Ctrl-C does not wait."""
    pool = ThreadPoolExecutor(min(16, (os.cpu_count() or 1) + 4))
    try:
        yield from track(pool.map(look, indices), description, total=len(indices))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _broken_images(images: ImageSet, looked: Sequence[int], name: str) -> list[str]:
    """What is wrong with each image that does not decode."""
    found = _each(lambda index: _size_of(images, index)[1], looked, f"looking at {name}")
    return [line for lines in found for line in lines]


def _size_of(images: ImageSet, index: int) -> tuple[tuple[int, int] | None, list[str]]:
    """The size (width, height) of an image and nothing, or None and what is wrong with it."""
    try:
        return images.image(index).size, []
    except Exception as error:  # a damaged file can make a decoder raise anything
        return None, [_told(error)]


def _told(error: Exception) -> str:
    return str(error) if isinstance(error, BrokenImage | OSError) else f"{type(error).__name__}: {error}"


def _label_problem(labels: np.ndarray, size: tuple[int, int] | None, num_classes: int) -> str:
    """What no reader should let through; empty where all is well."""
    if size is not None and labels.shape != size[::-1]:
        return f"label map {labels.shape[1]} x {labels.shape[0]} pixels, the image {size[0]} x {size[1]}"
    beyond = (labels >= num_classes) & (labels != IGNORE_LABEL)
    if beyond.any():
        return f"label {int(labels[beyond][0])} is beyond the {num_classes} classes"
    return ""


def _count(name: str, number: int, official: int) -> Finding:
    if number == official:
        return Finding("count", "ok", f"{number:,} images")
    way_out = "Records and reports say so." if number < official else ""
    detail = f"{number:,} images, officially {official:,}: numbers compare with nobody's"
    return Finding("count", "warning", detail, way_out=way_out)


def _opened(what: str, broken: list[str], looked: Sequence[int], number: int) -> Finding:
    extent = f"all {number:,}" if len(looked) == number else f"{len(looked):,} of {number:,}, evenly spread,"
    checked = {
        "images": "decode",
        "label maps": "decode, have their image's size, labels in range",
    }[what]
    if not broken:
        return Finding(what, "ok", f"{extent} {checked}")
    way_out = "Fetch or unpack these files again."
    examples = tuple(printable(line) for line in broken[:EXAMPLES])
    return Finding(what, "FAILED", f"{len(broken):,} of {len(looked):,} are broken", examples, way_out)


def _other_files(images: Any) -> list[Finding]:
    """Files beside the images of a set that its reader takes for none, by their names."""
    others: list[Path] = getattr(images, "left_out", [])
    if not others:
        return []
    counts = Counter(file.suffix or "without an ending" for file in others).most_common(NAMED)
    detail = f"{len(others):,} are left out: {', '.join(f'{number:,} {ending}' for ending, number in counts)}"
    examples = tuple(printable(str(file)) for file in others[:EXAMPLES])
    return [
        Finding("other files", "warning", detail, examples, "By their names or places they are no images of the set.")
    ]


def _labelled(counts: np.ndarray) -> Finding:
    """Label maps without a single counted pixel tell of a wrong conversion."""
    labelled, ignored = int(counts[:, :-1].sum()), int(counts[:, -1].sum())
    empty = int(((counts[:, :-1].sum(axis=1) == 0) & (counts[:, -1] > 0)).sum())
    if not labelled:
        way_out = "Label maps hold class indices, one a pixel; these may be of another set or not converted yet."
        return Finding("labels", "FAILED", "no pixel of any class", way_out=way_out)
    detail = f"{labelled / (labelled + ignored):.1%} of pixels have a class; {empty:,} images have no such pixel"
    if ignored and counts[:, 0].sum() == labelled and counts.shape[1] > 2:
        way_out = "Masks of 0 and 255? 255 is ignored: save them with 0 and 1, the numbers of the first two classes."
        return Finding("labels", "warning", f"{detail}; all others are of the first class", way_out=way_out)
    return Finding("labels", "ok", detail)


def _occurring(what: str, classnames: list[str], counts: np.ndarray) -> Finding:
    absent = [name for name, count in zip(classnames, counts, strict=True) if not count]
    if not absent:
        return Finding("classes", "ok", f"each of {len(classnames)} has at least one {what}")
    more = f" and {len(absent) - NAMED} more" if len(absent) > NAMED else ""
    detail = (
        f"{len(classnames) - len(absent)} of {len(classnames)} occur; no {what} of: {', '.join(absent[:NAMED])}{more}"
    )
    return Finding("classes", "ok", detail)


def _with_images(images: LabelledImages, per_class: np.ndarray) -> Finding:
    """A class without an image is a warning where no image is known to be missing."""
    found = _occurring("image", images.classnames, per_class)
    if per_class.all() or len(images) != images.official_images:
        return found
    return replace(found, result="warning", way_out="What has no image is a candidate all the same.")


def _names(classnames: list[str]) -> Finding:
    """A name that stands for two classes is a warning: the field's list of ImageNet has two such."""
    twice = [name for name, times in Counter(classnames).items() if times > 1]
    empty = sum(not name.strip() for name in classnames)
    if empty or not classnames:
        detail = f"{empty} of {len(classnames)} are empty"
        return Finding("names", "FAILED", detail, way_out="The names file has one name a class, in class order.")
    if twice:
        detail = f"{len(classnames)}, of which {len(twice)} stand for two classes: nothing can tell these apart"
        return Finding("names", "warning", detail, tuple(twice[:EXAMPLES]))
    by_letters = Counter(map(str.casefold, classnames))
    alike = [name for name in classnames if by_letters[name.casefold()] > 1]
    if alike:
        detail = f"{len(classnames)}, of which {len(alike)} differ by capitals alone: CLIP reads all letters as small"
        return Finding("names", "warning", detail, tuple(alike[:EXAMPLES]))
    return Finding("names", "ok", f"{len(classnames)}, each once")


def _captions(captions: list[list[str]]) -> Finding:
    number = sum(map(len, captions))
    return Finding("captions", "ok", f"{number:,}, {number / max(len(captions), 1):.2f} an image")


def _too_few(usable: int) -> list[Finding]:
    return [] if usable >= MIN_PAIRS else [Finding("pairs", "FAILED", f"{usable} that training could use; {TOO_FEW}")]


def _left_out(skipped: Sequence[Any]) -> Iterator[Finding]:
    """What the reader has left out, by cause: training goes on without it."""
    for cause, number in Counter(skip.cause for skip in skipped).items():
        examples = tuple(printable(skip.where) for skip in skipped if skip.cause == cause)[:EXAMPLES]
        result = "FAILED" if cause in BROKEN else "warning"
        yield Finding(cause, result, f"{number:,}", examples, "Training leaves these out.")


def check_shards(shards: ShardSet, name: str, fast: bool) -> list[Finding]:
    """Every pair of a streamed set is read as in training, and its image decoded (`fast`: of 100 tars, the first)."""
    looked = _sample(len(shards.files), fast)
    seen = list(_each(lambda index: _read_shard(shards.files[index], fast), looked, f"looking at {name}"))
    pairs, skipped = sum(number for number, _ in seen), [skip for _, skips in seen for skip in skips]
    space = sum(file.stat().st_size for file in shards.files)
    entry = declarations().get(name)
    count = f"{pairs:,} pairs in {len(looked):,} of {len(shards.files):,} tars, {told(space)}"
    official = f"; officially {entry.num_images:,}, of which some have gone from the web" if entry else ""
    return [Finding("count", "ok", count + official), *_too_few(pairs), *_left_out(skipped)]


def _read_shard(file: Path, fast: bool) -> tuple[int, list[Skipped]]:
    """How many pairs of a tar training can use, and what it would skip."""
    pairs, skipped = 0, []
    try:
        for pair in read_pairs(file):
            problem = pair if isinstance(pair, Skipped) else _image_problem(pair, look=not (fast and pairs))
            pairs += problem is None
            skipped += [problem] if problem else []
    except UsageError as error:  # its _stats.json
        skipped.append(Skipped("damaged count", str(error)))
    return pairs, skipped


def _image_problem(pair: RawPair, look: bool) -> Skipped | None:
    try:
        if look:
            pair.image()
    except BrokenImage as broken:
        return skipped_image(str(broken))
    return None
