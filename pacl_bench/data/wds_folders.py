"""CLIP_benchmark's `wds` folders: class names, templates, and the images and classes of a split in tar shards."""

import io
import tarfile
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from pacl_bench.data.images import lines_fingerprint, open_image
from pacl_bench.data.shards import ends_as_tar
from pacl_bench.data.vocabulary import read_templates
from pacl_bench.errors import UsageError
from pacl_bench.files import read_text
from pacl_bench.image_sets import BrokenImage

WDS_SUFFIXES = ("webp", "png", "jpg", "jpeg")


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
        kind = _optional(root / "dataset_type.txt") or "classification"
        if kind != "classification":
            raise UsageError(f"{root}/dataset_type.txt says {kind}; a classification set is wanted.")
        self.classnames = [line.strip() for line in _required(root, "classnames.txt").splitlines()]
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

    def _shards(self) -> list[Path]:
        count = _required(self.root, "test/nshards.txt")
        if not count.isdecimal() or int(count) == 0:
            raise UsageError(f"{self.root}/test/nshards.txt: the number of shards is wanted; found {count!r}.")
        return [self.root / "test" / f"{number}.tar" for number in range(int(count))]


def open_wds_folder(path: Path) -> WdsFolder:
    """A folder by its path: `wds:PATH`."""
    return WdsFolder(path.resolve().name, path)


def _samples(shard: Path, num_classes: int) -> list[Sample]:
    """What a shard holds, in its order; a UsageError that names the shard where it is damaged."""
    images, labels = {}, {}
    try:
        with tarfile.open(shard, "r:") as tar:
            for member in tar:
                folder, _, file = member.name.rpartition("/")
                key, _, suffix = file.partition(".")
                key = f"{folder}/{key}" if folder else key
                if suffix.lower() in WDS_SUFFIXES:
                    images[key] = (member.offset_data, member.size)
                elif suffix == "cls" and (content := tar.extractfile(member)) is not None:
                    labels[key] = _label(content.read(), f"{shard}: {member.name}", num_classes)
        if not ends_as_tar(shard):
            raise tarfile.ReadError("its end is missing")
    except FileNotFoundError:
        raise UsageError(f"{shard} not found, one of those that {shard.parent}/nshards.txt counts.") from None
    except tarfile.TarError as error:
        raise UsageError(f"{shard} is cut short or no tar ({error}). Make or fetch it anew.") from None
    unpaired = next((key for key in [*images, *labels] if key not in labels or key not in images), None)
    if unpaired is not None:
        what = "class (.cls)" if unpaired in images else f"image ({', '.join(WDS_SUFFIXES)})"
        raise UsageError(f"{shard}: sample {unpaired} has no {what}.")
    if not images:
        raise UsageError(f"{shard} holds no images.")
    return [Sample(shard, key, start, size, labels[key]) for key, (start, size) in images.items()]


def _label(content: bytes, where: str, num_classes: int) -> int:
    text = content.decode(errors="replace").strip()
    if not text.isdecimal():
        raise UsageError(f"{where}: a class is a whole number from 0; found {text[:40]!r}.")
    if int(text) >= num_classes:
        raise UsageError(f"{where}: class {text} is beyond the {num_classes} of classnames.txt.")
    return int(text)


def _required(root: Path, name: str) -> str:
    content = _optional(root / name)
    if not content:
        raise UsageError(
            f"{root}/{name} not found or empty. A wds folder holds classnames.txt, test/nshards.txt and test/0.tar, "
            "1.tar ..., as clip_benchmark_export_wds writes them."
        )
    return content


def _optional(file: Path) -> str:
    return read_text(file).strip() if file.is_file() else ""
