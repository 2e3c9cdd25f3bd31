"""Image-caption pairs to train on: csv files, Flickr8k, COCO captions."""

import csv
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pacl_bench.data.built_in import WorldPhotos
from pacl_bench.data.declaration import Declaration
from pacl_bench.data.images import ImageSet, PhotoFiles
from pacl_bench.data.vocabulary import text_hash
from pacl_bench.data.world import WORLD_PAIRS
from pacl_bench.errors import UsageError
from pacl_bench.registry import unknown_name


@dataclass(frozen=True)
class Skipped:
    """A pair that cannot be trained on."""

    cause: str  # "empty caption", "missing image", "broken image"
    where: str  # file, and line where there is one


@dataclass(frozen=True)
class Pairs:
    """Images with one or more captions each."""

    name: str
    photos: ImageSet
    captions: list[list[str]]  # of each image
    skipped: list[Skipped]

    def __len__(self) -> int:
        return len(self.captions)

    @property
    def captions_fingerprint(self) -> str:
        """Over all captions, image by image."""
        return text_hash(["\t".join(captions) for captions in self.captions])


@dataclass(frozen=True, kw_only=True)
class PairSource(Declaration):
    """A training set with a name."""

    read: Callable[[Path], Pairs]

    def load(self) -> Pairs:
        """The set as it lies under the data root."""
        return self.read(self.root())


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


def read_flickr(root: Path) -> Pairs:
    """Flickr8k: Flickr8k_text/Flickr8k.token.txt (`photo.jpg#0<tab>caption`) and Flicker8k_Dataset/ (spelt so)."""
    listed = root / "Flickr8k_text" / "Flickr8k.token.txt"
    if not listed.is_file():
        raise UsageError(f"flickr8k: Flickr8k_text/Flickr8k.token.txt not found under {root}.")
    rows = []
    for number, line in enumerate(listed.read_text(encoding="utf-8").splitlines(), start=1):
        photo, tab, caption = line.partition("\t")
        if tab:
            rows.append((f"{listed}:{number}", root / "Flicker8k_Dataset" / photo.split("#")[0], caption))
    return _grouped("flickr8k", rows)


def read_coco(root: Path, split: str) -> Pairs:
    """COCO captions: annotations/captions_<split>.json and the folder <split>/."""
    listed = root / "annotations" / f"captions_{split}.json"
    if not listed.is_file():
        raise UsageError(f"coco-{split}: annotations/captions_{split}.json not found under {root}.")
    content = json.loads(listed.read_text())
    files = {image["id"]: root / split / image["file_name"] for image in content["images"]}
    rows = [(f"{listed} id {row['id']}", files[row["image_id"]], row["caption"]) for row in content["annotations"]]
    return _grouped(f"coco-{split}", rows)


COCO = {
    "folders": ("coco",),
    "source": "cocodataset.org",
    "licence": "Flickr terms; captions CC BY 4.0",
    "read_here": True,
}

PAIR_SOURCES: dict[str, PairSource] = {
    entry.name: entry
    for entry in (
        PairSource(
            name="flickr8k", title="Flickr8k, 8,091 photos, 5 captions each", read=read_flickr, folders=("flickr8k",),
            num_images=8_091, space="1.1 GB", source="its authors' request form or a mirror of Flickr8k_Dataset.zip",
            licence="Flickr terms, research", read_here=True,
        ),
        PairSource(
            name="coco-train2017", title="COCO captions, 118,287 photos",
            read=lambda root: read_coco(root, "train2017"), num_images=118_287, space="19 GB", **COCO,
        ),
        PairSource(
            name="coco-val2017", title="COCO captions, 5,000 photos", read=lambda root: read_coco(root, "val2017"),
            num_images=5_000, space="1 GB", **COCO,
        ),
    )
}  # fmt: skip


def load_pairs(names: str) -> list[Pairs]:
    """Sets of pairs by name or csv file, several joined by "+"."""
    return [_load_one(name) for name in names.split("+")]


def _load_one(name: str) -> Pairs:
    if name in WORLD_PAIRS:
        photos = WorldPhotos(name)
        return Pairs(name, photos, photos.captions, [])
    try:
        pairs = _read(name)
    except (UnicodeDecodeError, csv.Error, json.JSONDecodeError, KeyError) as error:
        raise UsageError(f"{name} is not readable as pairs, in UTF-8 ({type(error).__name__}: {error}).") from None
    if not len(pairs):
        raise UsageError(f"{name}: no usable pair ({count_skipped(pairs.skipped)}).")
    return pairs


def _read(name: str) -> Pairs:
    if name in PAIR_SOURCES:
        return PAIR_SOURCES[name].load()
    if Path(name).suffix in (".csv", ".tsv"):
        return read_csv(Path(name))
    raise UsageError(f"{unknown_name(name, [*PAIR_SOURCES, *WORLD_PAIRS], 'set of pairs')} Or give a csv file.")


def _grouped(name: str, rows: list[tuple[str, Path, str]]) -> Pairs:
    """Rows (where, file, caption) to images with their captions; what is empty or not there is skipped and named."""
    captions: dict[Path, list[str]] = {}
    skipped = []
    there: dict[Path, bool] = {}
    for where, file, caption in rows:
        caption = " ".join(caption.split())
        if not caption:
            skipped.append(Skipped("empty caption", where))
        elif not there.setdefault(file, file.is_file()):
            skipped.append(Skipped("missing image", str(file)))
        else:
            captions.setdefault(file, []).append(caption)
    return Pairs(name, PhotoFiles(name, list(captions)), list(captions.values()), list(dict.fromkeys(skipped)))


def count_skipped(skipped: list[Skipped]) -> str:
    """ "2 broken image, 1 empty caption (first: photo.jpg)"; "nothing skipped" where that is so."""
    if not skipped:
        return "nothing skipped"
    counts = Counter(skip.cause for skip in skipped)
    return f"{', '.join(f'{count} {cause}' for cause, count in counts.items())} (first: {skipped[0].where})"
