"""Image-caption pairs to train on: csv files, Flickr8k and 30k, COCO captions, webdataset shards."""

import csv
import json
import re
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

from PIL import Image

from pacl_bench.data.built_in import WorldPhotos
from pacl_bench.data.declaration import Declaration
from pacl_bench.data.images import MAX_ASPECT, BrokenImage, ImageSet, PhotoFiles, open_image
from pacl_bench.data.shards import (
    ShardSet,
    Skipped,
    names_shards,
    read_shard_folder,
    read_shard_pattern,
    shard_files,
)
from pacl_bench.data.vocabulary import text_hash
from pacl_bench.data.world import WORLD_PAIRS
from pacl_bench.errors import UsageError
from pacl_bench.registry import unknown_name

# An image that is no photo: it would cost much memory, or show nothing but its own enlargement.
MAX_PIXELS = 89_000_000  # where Pillow begins to warn of a decompression bomb
MIN_SIDE = 16  # pixels
ABSURD = "absurd size"


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

    @property
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


def skipped_image(message: str) -> Skipped:
    """What BrokenImage says of an image, as a skipped pair."""
    return Skipped(ABSURD if f": {ABSURD}" in message else "broken image", message)


@dataclass(frozen=True, kw_only=True)
class PairSource(Declaration):
    """A training set with a name."""

    read: Callable[[Path], Pairs | ShardSet]

    def load(self) -> Pairs | ShardSet:
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
    content = json.loads(listed.read_text())
    files = {image["id"]: root / split / image["file_name"] for image in content["images"]}
    rows = [(f"{listed} id {row['id']}", files[row["image_id"]], row["caption"]) for row in content["annotations"]]
    return _grouped(f"coco-{split}", rows)


def _shards(name: str, title: str, num_images: int, space: str, source: str, licence: str) -> "PairSource":
    steps = (
        f"img2dataset --url_list LIST --output_format webdataset --output_folder {name} --image_size 256 "
        "--resize_mode keep_ratio writes 00000.tar, 00000_stats.json ..."
    )
    return PairSource(
        name=name, title=title, read=lambda root: read_shard_folder(name, root), folders=(name,),
        num_images=num_images, space=space, source=source, licence=licence, steps=steps,
    )  # fmt: skip


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
            name="flickr8k", title="Flickr8k, 8,091 photos, 5 captions each", read=read_flickr8k, folders=("flickr8k",),
            num_images=8_091, space="1.1 GB", source="its authors' request form or a mirror of Flickr8k_Dataset.zip",
            licence="Flickr terms, research", read_here=True,
        ),
        PairSource(
            name="flickr30k", title="Flickr30k, 31,783 photos, 5 captions each", read=read_flickr30k,
            folders=("flickr30k",), num_images=31_783, space="4.4 GB",
            source="its authors' request form (shannon.cs.illinois.edu/DenotationGraph)",
            licence="Flickr terms, research",
        ),
        PairSource(
            name="coco-train2017", title="COCO captions, 118,287 photos",
            read=lambda root: read_coco(root, "train2017"), num_images=118_287, space="19 GB", **COCO,
        ),
        PairSource(
            name="coco-val2017", title="COCO captions, 5,000 photos", read=lambda root: read_coco(root, "val2017"),
            num_images=5_000, space="1 GB", **COCO,
        ),
        _shards(
            "cc3m", "Conceptual Captions (GCC3M), shards of img2dataset", 3_318_333, "150 GB at 256 px",
            "the urls of ai.google.com/research/ConceptualCaptions, fetched with img2dataset",
            "free use; images their owners'",
        ),
        _shards(
            "cc12m", "Conceptual 12M (GCC12M), shards of img2dataset", 12_423_374, "550 GB at 256 px",
            "the urls of github.com/google-research-datasets/conceptual-12m, fetched with img2dataset",
            "free use; images their owners'",
        ),
        _shards(
            "yfcc15m", "YFCC100M's 15M with English captions (CLIP's subset), shards of img2dataset", 14_829_396,
            "700 GB at 256 px",
            "the list of github.com/openai/CLIP/blob/main/data/yfcc100m.md, fetched with img2dataset",
            "Creative Commons, photo by photo",
        ),
    )
}  # fmt: skip


def load_pairs(names: str) -> list[Pairs | ShardSet]:
    """Sets of pairs by name, csv file or shards, several joined by "+", each with a weight or none.

    `cc3m:0.2+cc12m:0.8`: what follows the last colon is a weight if it is a number. A "+" or a colon that belongs to
    the name of a file there is, stays in it.
    """
    if not names:
        raise UsageError("--pairs names no set.")
    parsed = [_name_and_weight(name) for name in split_sum(names)]
    weights = [weight for _, weight in parsed]
    if None in weights and any(weights):
        raise UsageError(f"--pairs {names}: give every set a weight, or none.")
    total = sum(weight for weight in weights if weight is not None)
    return [
        replace(_load_one(name), weight=None if weight is None or len(parsed) == 1 else weight / total)
        for name, weight in parsed
    ]


def name_of(sets: list[Pairs | ShardSet]) -> str:
    """What several sets are called together, each with its weight where there are weights: "cc3m:0.2+cc12m:0.8"."""
    return "+".join(pairs.name + ("" if pairs.weight is None else f":{pairs.weight:g}") for pairs in sets)


def split_sum(names: str) -> list[str]:
    """The sets of a sum. A "+" within the path of a file or folder does not split."""
    parts = names.split("+")
    found = []
    while parts:
        ends = range(len(parts), 1, -1)
        end = next((end for end in ends if _is_path(_name_and_weight("+".join(parts[:end]))[0])), 1)
        found.append("+".join(parts[:end]))
        parts = parts[end:]
    return found


def short_name(name: str) -> str:
    """What a set is called in names of heads: its name, a csv file's stem, the folder of shards; then =weight."""
    name, weight = _name_and_weight(name)
    if name not in PAIR_SOURCES and names_shards(name):
        name = read_shard_pattern(name).name
    return Path(name).stem + (f"={weight:g}" if weight is not None else "")


def _is_path(name: str) -> bool:
    return Path(name).exists() or (names_shards(name) and any(file.exists() for file in shard_files(name)))


def _name_and_weight(text: str) -> tuple[str, float | None]:
    matched = re.fullmatch(r"(.+):(\d*\.?\d+|\d+\.)", text)
    if matched is None or Path(text).exists():
        return text, None
    if float(matched[2]) == 0:
        raise UsageError(f"--pairs {text}: a weight of 0 leaves the set out. Do not name it.")
    return matched[1], float(matched[2])


def _load_one(name: str) -> Pairs | ShardSet:
    if name in WORLD_PAIRS:
        photos = WorldPhotos(name)
        return Pairs(name, photos, photos.captions, [])
    try:
        pairs = _read(name)
    except (ValueError, csv.Error, KeyError, TypeError, AttributeError) as error:  # not as the format has it
        raise UsageError(f"{name} is not readable as pairs, in UTF-8 ({type(error).__name__}: {error}).") from None
    if isinstance(pairs, Pairs) and not len(pairs):
        raise UsageError(f"{name}: no usable pair ({count_skipped(pairs.skipped)}).")
    return pairs


def _read(name: str) -> Pairs | ShardSet:
    if name in PAIR_SOURCES:
        return PAIR_SOURCES[name].load()
    if Path(name).suffix in (".csv", ".tsv"):
        return read_csv(Path(name))
    if names_shards(name):
        return read_shard_pattern(name)
    known = unknown_name(name, [*PAIR_SOURCES, *WORLD_PAIRS], "set of pairs")
    raise UsageError(f"{known} Or give a csv file, or shards: /data/my/{{00000..00099}}.tar.")


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
