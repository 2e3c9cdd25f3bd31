"""CLIP_benchmark's `wds` folders: class names, templates, and the images and classes of a split in tar shards."""

import io
from collections.abc import Iterator
from functools import cache, cached_property
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from pacl_bench.data.images import lines_fingerprint, open_image, sample_of_contents
from pacl_bench.data.shard_pairs import image_suffixes, split_name
from pacl_bench.data.tar_files import is_compressed, open_tar
from pacl_bench.data.text_lines import lines_of, printable
from pacl_bench.data.vocabulary import read_templates
from pacl_bench.errors import UsageError
from pacl_bench.files import read_text
from pacl_bench.image_sets import BrokenImage

FIRST_CHOICE = ("webp", "png", "jpg", "jpeg")  # what CLIP_benchmark decodes, and in which order it looks for it
MAX_LABEL_BYTES = 100  # of a .cls file
MAX_DIGITS = 9  # of the number of shards


class Sample(NamedTuple):
    """Where an image lies, and its class."""

    shard: Path
    key: str
    start: int  # in bytes, within the shard
    size: int
    label: int


class WdsFolder:
    """The test split of a set as CLIP_benchmark's export writes it. Shards are indexed once and not unpacked."""

    def __init__(self, name: str, root: Path, official_images: int | None = None):
        self.name, self.root = name, root
        kind = _optional(root / "dataset_type.txt").strip() or "classification"
        if kind != "classification":
            raise UsageError(f"{root}/dataset_type.txt says {kind}; a classification set is wanted.")
        self.classnames = [line.strip() for line in lines_of(_required(root, "classnames.txt").rstrip())]
        if "" in self.classnames:
            raise UsageError(f"{root}/classnames.txt: class {self.classnames.index('')} has no name.")
        templates = root / "zeroshot_classification_templates.txt"
        self.templates = read_templates(templates) if templates.is_file() else []
        self.samples = [sample for shard in self._shards() for sample in _samples(shard, len(self.classnames))]
        self.labels = [sample.label for sample in self.samples]
        self.official_images = len(self.samples) if official_images is None else official_images

    def __len__(self) -> int:
        return len(self.samples)

    def image(self, index: int) -> Image.Image:
        """RGB; BrokenImage where it does not decode."""
        sample = self.samples[index]
        with sample.shard.open("rb") as file:
            file.seek(sample.start)
            content = file.read(sample.size)
        try:
            return open_image(io.BytesIO(content))
        except BrokenImage as broken:
            raise BrokenImage(f"{sample.shard}, sample {sample.key}", broken.cause) from None

    @cached_property
    def fingerprint(self) -> str:
        """Over shard, key, size and class of all images."""
        return lines_fingerprint(
            f"{sample.shard.name} {sample.key} {sample.size} {sample.label}" for sample in self.samples
        )

    @cached_property
    def contents_sample(self) -> str:
        """Of the shards."""
        return sample_of_contents(list(dict.fromkeys(sample.shard for sample in self.samples)))

    def _shards(self) -> Iterator[Path]:
        count = _required(self.root, "test/nshards.txt").strip()
        if not count.isdecimal() or len(count) > MAX_DIGITS or int(count) == 0:
            raise UsageError(f"{self.root}/test/nshards.txt: the number of shards is wanted; found {count[:40]!r}.")
        return (self.root / "test" / f"{number}.tar" for number in range(int(count)))


def open_wds_folder(path: Path) -> WdsFolder:
    """A folder by its path: `wds:PATH`."""
    return WdsFolder(path.resolve().name, path)


def _samples(shard: Path, num_classes: int) -> list[Sample]:
    """What a shard holds, in its order; a UsageError names what is damaged or not whole."""
    files_of = _files_by_stem(shard)
    samples = []
    for stem, files in files_of.items():
        image = next((files[suffix] for suffix in _image_suffixes() if suffix in files), None)
        if image is not None and "cls" in files:
            label = _label(files["cls"].content, printable(f"{shard}: {stem}.cls"), num_classes)
            samples.append(Sample(shard, stem, image.start, image.size, label))
        elif (key := split_name(f"{stem}.cls")[0]) == stem or key not in files_of:  # else: 7.mask.png beside 7.jpg
            lacks = "class (.cls)" if image else f"image ({', '.join(FIRST_CHOICE)})"
            raise UsageError(f"{shard}: sample {printable(stem)} has no {lacks}.")
    if not samples:
        raise UsageError(f"{shard} holds no images.")
    return samples


class _File(NamedTuple):
    """An image or a class in a shard."""

    start: int  # in bytes
    size: int
    content: bytes  # of a class; of an image it is read when wanted


def _files_by_stem(shard: Path) -> dict[str, dict[str, _File]]:
    """What belongs to one sample, by suffix: what has one name up to the last dot."""
    files_of: dict[str, dict[str, _File]] = {}
    try:
        if is_compressed(shard):
            raise UsageError(f"{shard} is compressed. Decompress it: images are read from where they lie.")
        with open_tar(shard) as tar:
            for member, _ in tar.walk():
                _, stem, suffix = split_name(member.name)
                if not member.isreg() or member.issparse() or suffix not in ("cls", *_image_suffixes()):
                    continue
                if suffix in files_of.setdefault(stem, {}):
                    raise UsageError(f"{shard}: {printable(member.name)} is there twice.")
                content = tar.read(member) if suffix == "cls" and member.size <= MAX_LABEL_BYTES else None
                files_of[stem][suffix] = _File(member.offset_data, member.size, content or b"")
    except FileNotFoundError:
        raise UsageError(f"{shard} not found, one of those that {shard.parent}/nshards.txt counts.") from None
    if tar.damages:
        raise UsageError(f"{shard} is cut short or no tar ({tar.damages[0]}). Make or fetch it anew.")
    return files_of


@cache
def _image_suffixes() -> tuple[str, ...]:
    return (*FIRST_CHOICE, *(suffix for suffix in image_suffixes() if suffix not in FIRST_CHOICE))


def _label(content: bytes, where: str, num_classes: int) -> int:
    text = content.decode(errors="replace").strip()
    if not text.isdecimal():
        raise UsageError(f"{where}: a class is a whole number from 0; found {text[:40]!r}.")
    if int(text) >= num_classes:
        raise UsageError(f"{where}: class {text} is beyond the {num_classes} of classnames.txt.")
    return int(text)


def _required(root: Path, name: str) -> str:
    content = _optional(root / name)
    if not content.strip():
        raise UsageError(
            f"{root}/{name} not found or empty. A wds folder holds classnames.txt, test/nshards.txt and test/0.tar, "
            "1.tar ..., as clip_benchmark_export_wds writes them."
        )
    return content


def _optional(file: Path) -> str:
    return read_text(file) if file.is_file() else ""
