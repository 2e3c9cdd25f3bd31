"""Readers of image-caption pairs: csv files, Flickr8k and 30k, COCO captions."""

import csv
import json
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from PIL import Image

from pacl_bench.data.images import ABSURD, PhotoFiles, open_photo
from pacl_bench.data.shards import Skipped
from pacl_bench.errors import UsageError
from pacl_bench.image_sets import ImageSet
from pacl_bench.registry import text_hash


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
        """Over images and captions."""
        return f"{self.photos.fingerprint} {self.captions_fingerprint}"


class PairPhotos(PhotoFiles):
    """Photo files to train on."""

    def image(self, index: int) -> Image.Image:
        """RGB; BrokenImage where the file does not decode, or has an absurd size."""
        return open_photo(self.files[index], str(self.files[index]))


def skipped_image(message: str) -> Skipped:
    """What BrokenImage says of an image, as a skipped pair."""
    return Skipped(ABSURD if f": {ABSURD}" in message else "broken image", message)


def read_csv(file: Path) -> Pairs:
    """A csv (or .tsv) with the columns filepath and caption; a relative filepath starts at the csv's folder."""
    if not file.is_file():
        raise UsageError(f"{file} not found. --pairs takes a csv file with the columns filepath and caption.")
    with file.open(newline="", encoding="utf-8-sig") as handle:
        reader = csv.DictReader(handle, delimiter="\t" if file.suffix == ".tsv" else ",")
        missing = {"filepath", "caption"} - set(reader.fieldnames or ())
        if missing:
            raise UsageError(
                f"{file}: the column {sorted(missing)[0]!r} is missing; columns filepath and caption are wanted."
            )
        rows = [
            (f"{file}:{reader.line_num}", file.parent / (row["filepath"] or ""), row["caption"] or "") for row in reader
        ]
    return _grouped(file.stem, rows)


def read_flickr8k(root: Path) -> Pairs:
    """Flickr8k_text/Flickr8k.token.txt (`photo.jpg#0<tab>caption`) and Flicker8k_Dataset/ (spelt so)."""
    listed = root / "Flickr8k_text" / "Flickr8k.token.txt"
    if not listed.is_file():
        raise UsageError(f"flickr8k: Flickr8k_text/Flickr8k.token.txt not found under {root}.")
    return _grouped("flickr8k", _token_rows(listed, root / "Flicker8k_Dataset"))


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
    return _grouped("flickr30k", (_token_rows if listed.suffix == ".token" else _bar_rows)(listed, photos))


def _token_rows(listed: Path, photos: Path) -> list[tuple[str, Path, str]]:
    rows = []
    for number, line in enumerate(listed.read_text(encoding="utf-8").splitlines(), start=1):
        photo, tab, caption = line.partition("\t")
        if tab:
            rows.append((f"{listed}:{number}", photos / photo.split("#")[0], caption))
    return rows


def _bar_rows(listed: Path, photos: Path) -> list[tuple[str, Path, str]]:
    """Below a line of names; in the file that goes round, one line lacks its second bar: an empty caption."""
    lines = listed.read_text(encoding="utf-8").splitlines()
    parts = [[part.strip() for part in line.split("|", 2)] + [""] * 2 for line in lines]
    return [
        (f"{listed}:{number}", photos / photo, caption)
        for number, (photo, _, caption, *_) in enumerate(parts, start=1)
        if number > 1 and photo
    ]


def read_coco(root: Path, split: str) -> Pairs:
    """COCO captions: annotations/captions_<split>.json and the folder <split>/."""
    listed = root / "annotations" / f"captions_{split}.json"
    if not listed.is_file():
        raise UsageError(f"coco-{split}: annotations/captions_{split}.json not found under {root}.")
    content = json.loads(listed.read_text(encoding="utf-8"))
    files = {image["id"]: root / split / image["file_name"] for image in content["images"]}
    rows = [(f"{listed} id {row['id']}", files[row["image_id"]], row["caption"]) for row in content["annotations"]]
    return _grouped(f"coco-{split}", rows)


def _grouped(name: str, rows: list[tuple[str, Path, str]]) -> Pairs:
    """Rows (where, file, caption) to images with their captions; what is empty or not there is skipped and named."""
    captions: dict[Path, list[str]] = {}
    skipped = []
    there = {file: file.is_file() for file in {file for _, file, _ in rows}}  # asked once, not for every caption
    for where, file, caption in rows:
        caption = " ".join(caption.split())
        if not caption:
            skipped.append(Skipped("empty caption", where))
        elif not there[file]:
            skipped.append(Skipped("missing image", str(file)))
        else:
            captions.setdefault(file, []).append(caption)
    return Pairs(name, PairPhotos(name, list(captions)), list(captions.values()), list(dict.fromkeys(skipped)))


def count_skipped(skipped: list[Skipped]) -> str:
    """ "2 broken image, 1 empty caption (first: photo.jpg)"; "nothing skipped" where that is so."""
    if not skipped:
        return "nothing skipped"
    counts = Counter(skip.cause for skip in skipped)
    return f"{', '.join(f'{count} {cause}' for cause, count in counts.items())} (first: {skipped[0].where})"
