"""Readers of image-caption pairs: csv files, Flickr8k and 30k, COCO captions."""

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from pacl_bench.data.caption_tables import read_caption_table
from pacl_bench.data.images import ABSURD, PhotoFiles, hash_of_contents, open_photo
from pacl_bench.data.shards import Skipped
from pacl_bench.data.text_lines import is_no_text, read_lines
from pacl_bench.errors import UsageError
from pacl_bench.files import read_text
from pacl_bench.image_sets import ImageSet, contents_of
from pacl_bench.registry import text_hash

MIN_PAIRS = 2
TOO_FEW = "a training step sets each pair against the others, so two at least are needed"


@dataclass(frozen=True)
class Pairs:
    """Images with one or more captions each."""

    name: str
    photos: ImageSet
    captions: list[list[str]]  # of each image
    skipped: list[Skipped]
    weight: float | None = None  # share of an epoch; None is the set's own size

    def __len__(self) -> int:
        return len(self.captions)

    @cached_property
    def captions_fingerprint(self) -> str:
        """Over all captions, image by image."""
        return text_hash(["\t".join(captions) for captions in self.captions])

    @property
    def num_pairs(self) -> int:
        """An image with all its captions is one."""
        return len(self)

    @property
    def fingerprint(self) -> str:
        """Over all captions, and the names and sizes of all images."""
        return f"{self.photos.fingerprint} {self.captions_fingerprint}"

    @property
    def contents(self) -> str:
        """A hash over what the files of the images hold; "" where they are no files."""
        return contents_of(self.photos)


class PairPhotos(PhotoFiles):
    """Photo files to train on."""

    def image(self, index: int) -> Image.Image:
        """RGB; BrokenImage where the file does not decode, or has an absurd size."""
        return open_photo(self.files[index], str(self.files[index]))

    @cached_property
    def contents(self) -> str:
        """A hash over what the files hold, or parts of it where that is much."""
        return hash_of_contents(self.files)


def skipped_image(message: str) -> Skipped:
    """What BrokenImage says of an image, as a skipped pair."""
    return Skipped(ABSURD if f": {ABSURD}" in message else "broken image", message)


class Line(NamedTuple):
    """What a list says of a photo, or what is wrong with the line."""

    where: str  # file and line
    photo: Path = Path()
    caption: str = ""
    problem: str = ""


def read_csv(file: Path) -> Pairs:
    """A csv (or .tsv) with the columns filepath and caption; a relative filepath starts at the csv's folder."""
    if not file.is_file():
        raise UsageError(f"{file} not found. --pairs takes a csv file with the columns filepath and caption.")
    rows = read_caption_table(file)
    lines = (Line(f"{file}:{row.line}", file.parent / row.filepath, row.caption, row.problem) for row in rows)
    return _grouped(file.stem, lines)


def read_flickr8k(root: Path) -> Pairs:
    """Flickr8k_text/Flickr8k.token.txt (`photo.jpg#0<tab>caption`) and Flicker8k_Dataset/ (spelt so)."""
    listed = root / "Flickr8k_text" / "Flickr8k.token.txt"
    if not listed.is_file():
        raise UsageError(f"flickr8k: Flickr8k_text/Flickr8k.token.txt not found under {root}.")
    return _grouped("flickr8k", _token_lines(listed, root / "Flicker8k_Dataset"))


TWO_LINES = "a second photo stands in it: an end of line is missing"
BEGINS_WITH_BARS = re.compile(r"\.\w+\s*\|\s*\d+\s*\|")  # ... .jpg| 0|
FLICKR30K_LISTS = ("results_20130124.token", "results.csv", "flickr30k_images/results.csv")
FLICKR30K_PHOTOS = ("flickr30k-images", "flickr30k_images/flickr30k_images", "flickr30k_images")


def read_flickr30k(root: Path) -> Pairs:
    """The owners' results_20130124.token and flickr30k-images/, or the widespread results.csv (`photo.jpg| 0| caption`)
    and flickr30k_images/."""
    listed = next((root / name for name in FLICKR30K_LISTS if (root / name).is_file()), None)
    photos = next((root / name for name in FLICKR30K_PHOTOS if (root / name).is_dir()), None)
    if listed is None or photos is None:
        missing = FLICKR30K_LISTS if listed is None else FLICKR30K_PHOTOS
        raise UsageError(f"flickr30k: {' or '.join(missing)} not found under {root}.")
    return _grouped("flickr30k", (_token_lines if listed.suffix == ".token" else _bar_lines)(listed, photos))


def _token_lines(listed: Path, photos: Path) -> Iterator[Line]:
    for number, line in enumerate(read_lines(listed), start=1):
        photo, tab, caption = line.partition("\t")
        name = photo.rpartition("#")[0] or photo
        if "\t" in caption:
            yield Line(f"{listed}:{number}", problem=TWO_LINES)
        elif tab:
            yield Line(f"{listed}:{number}", photos / name, caption)
        elif line.strip():
            yield Line(f"{listed}:{number}", problem="no tab behind the name of the photo")


def _bar_lines(listed: Path, photos: Path) -> Iterator[Line]:
    """Below a line of names; in the file that goes round, one line lacks its second bar: an empty caption."""
    for number, line in enumerate(read_lines(listed), start=1):
        photo, _, caption = (*(part.strip() for part in line.split("|", 2)), "", "")[:3]
        if BEGINS_WITH_BARS.search(caption):
            yield Line(f"{listed}:{number}", problem=TWO_LINES)
        elif photo and (number, photo) != (1, "image_name"):
            yield Line(f"{listed}:{number}", photos / photo, caption)


def read_coco(root: Path, split: str) -> Pairs:
    """COCO captions: annotations/captions_<split>.json and the folder <split>/."""
    listed = root / "annotations" / f"captions_{split}.json"
    if not listed.is_file():
        raise UsageError(f"coco-{split}: annotations/captions_{split}.json not found under {root}.")
    content = json.loads(read_text(listed))
    names: dict[int, str] = {}
    for image in content["images"]:
        if names.setdefault(image["id"], image["file_name"]) != image["file_name"]:
            raise UsageError(
                f"{listed}: two images have the id {image['id']}, so nobody knows whose captions are whose."
            )
    return _grouped(f"coco-{split}", (_coco_line(row, names, listed, root / split) for row in content["annotations"]))


def _coco_line(row: Any, names: dict[int, str], listed: Path, photos: Path) -> Line:
    where = f"{listed} id {row['id']}"
    if row["image_id"] not in names:
        return Line(where, problem=f"no image has the id {row['image_id']}")
    return Line(where, photos / names[row["image_id"]], row["caption"])


def _grouped(name: str, lines: Iterable[Line]) -> Pairs:
    """Lines to images with their captions; what is broken, empty or not there is skipped and named."""
    captions: dict[Path, list[str]] = {}
    skipped = []
    # asked once for a photo, not for every caption; unlike Path.is_file, it knows names that are too long to be one
    is_file = cache(os.path.isfile)
    for where, photo, caption, problem in lines:
        caption = " ".join(caption.split())
        if problem:
            skipped.append(Skipped("broken line", f"{where}: {problem}"))
        elif "\0" in caption:
            skipped.append(Skipped("broken caption", f"{where}: it holds a zero byte"))
        elif is_no_text(caption):
            skipped.append(Skipped("empty caption", where))
        elif not is_file(photo):
            skipped.append(Skipped("missing image", str(photo)))
        else:
            captions.setdefault(photo, []).append(caption)
    return Pairs(name, PairPhotos(name, list(captions)), list(captions.values()), list(dict.fromkeys(skipped)))


def count_skipped(skipped: list[Skipped]) -> str:
    """ "2 broken image, 1 empty caption (first: photo.jpg)"; "nothing skipped" where that is so."""
    if not skipped:
        return "nothing skipped"
    counts = Counter(skip.cause for skip in skipped)
    return f"{', '.join(f'{count} {cause}' for cause, count in counts.items())} (first: {skipped[0].where})"
