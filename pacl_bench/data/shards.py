"""Training pairs in webdataset shards: tar files of samples (jpg, txt, json), as img2dataset writes them."""

import glob
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from os import SEEK_END
from pathlib import Path
from typing import NamedTuple

from braceexpand import braceexpand

from pacl_bench.data.images import PhotoFiles
from pacl_bench.errors import UsageError

SHARD_SUFFIXES = ("jpg", "jpeg", "png", "webp")
MAKE_STATS = 'img2dataset writes them; by hand: {"successes": 10000} for a tar of 10,000 pairs'


@dataclass(frozen=True)
class Skipped:
    """A pair that cannot be trained on."""

    cause: str  # "empty caption", "missing image", "broken image", "absurd size", "damaged tar" ...
    where: str  # file, and line or sample where there is one


class RawPair(NamedTuple):
    """A sample of a shard, its image not decoded yet."""

    where: str
    image: bytes
    captions: list[str]


@dataclass(frozen=True)
class ShardSet:
    """Image-caption pairs in tar files, read one after the other; no pair has a number."""

    name: str
    files: list[Path]
    weight: float | None = None  # share of an epoch; None is the set's own size

    @property
    def num_pairs(self) -> int | None:
        """As img2dataset counted them; None where its `00000_stats.json` is missing beside any tar."""
        counts = [_counted(file) for file in self.files]
        return None if None in counts else sum(count for count in counts if count is not None)

    @cached_property
    def fingerprint(self) -> str:
        """Over the names and sizes of the tars."""
        return PhotoFiles(self.name, self.files).fingerprint


def _counted(file: Path) -> int | None:
    stats = file.with_name(f"{file.stem}_stats.json")
    if not stats.is_file():
        return None
    try:
        return int(json.loads(stats.read_text(encoding="utf-8"))["successes"])
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{stats} is not a count of pairs ({error!r}). {MAKE_STATS}.") from None


def read_shard_folder(name: str, root: Path) -> ShardSet:
    """A declared set: all tars of a folder."""
    files = sorted(root.glob("*.tar"))
    if not files:
        raise UsageError(f"{name}: no *.tar in {root}. img2dataset writes them with --output_format webdataset.")
    return ShardSet(name, files)


def names_shards(text: str) -> bool:
    """Whether a text names shards: a tar, a pattern (`{00..99}.tar`, `*.tar`), or a folder."""
    return text.endswith(".tar") or Path(text).is_dir()


def read_shard_pattern(text: str) -> ShardSet:
    """Shards by brace pattern, glob pattern, folder, or a single tar; named after the folder, or the single tar."""
    files = shard_files(text)
    missing = [file for file in files if not file.is_file()]
    if missing or not files:
        first = f"{missing[0]} not found ({len(missing)} of {len(files)})" if missing else f"no tar matches {text}"
        raise UsageError(f"--pairs: {first}. Give tars as /data/my/{{00000..00099}}.tar, /data/my/*.tar or a folder.")
    first = files[0].resolve()
    return ShardSet(first.stem if text.endswith(files[0].name) else first.parent.name, list(dict.fromkeys(files)))


def shard_files(text: str) -> list[Path]:
    """The files a text stands for, whether they are there or not."""
    try:
        return [file for pattern in braceexpand(text) for file in _expanded(pattern)]
    except ValueError as error:
        raise UsageError(f"--pairs {text}: {error}.") from None


def _expanded(pattern: str) -> list[Path]:
    if Path(pattern).is_dir():
        return sorted(Path(pattern).glob("*.tar"))
    if not glob.has_magic(pattern):
        return [Path(pattern)]
    return sorted(map(Path, glob.glob(pattern)))  # noqa: PTH207  (Path.glob takes no absolute pattern)


def read_pairs(file: Path) -> Iterator[RawPair | Skipped]:
    """The samples of a tar in order, images not decoded; in place of what cannot be used, why."""
    from webdataset.tariterators import group_by_keys, tar_file_expander  # brings torch

    damages: list[Skipped] = []

    def note(error: Exception) -> bool:
        damages.append(Skipped("damaged tar", f"{file}: {str(error.args[0]) if error.args else error!r}"))
        return True

    try:
        with file.open("rb") as stream:
            members = tar_file_expander([{"url": str(file), "stream": stream}], handler=note)
            for sample in group_by_keys(members, handler=note):
                yield _raw(sample, f"{file}/{sample['__key__']}")
            if not damages and not ends_as_tar(file):
                note(OSError("cut off"))
    except OSError as error:
        note(error)
    yield from damages[:1]  # reading ends at the first; what else is told is of the same damage


def ends_as_tar(file: Path) -> bool:
    """Whether a tar has its end mark, zeros: cut between two members or within a header, it else reads as whole."""
    with file.open("rb") as stream:
        if stream.read(262)[257:] != b"ustar":  # compressed: the decompressor notices
            return True
        stream.seek(-512, SEEK_END)
        return not any(stream.read())


def _raw(sample: dict, where: str) -> RawPair | Skipped:
    # of "photo.v2.jpg" webdataset takes "v2.jpg" for the extension
    members = {key.rpartition(".")[2]: value for key, value in sample.items() if not key.startswith("__")}
    image = next((members[suffix] for suffix in SHARD_SUFFIXES if suffix in members), None)
    if image is None:
        return Skipped("missing image", where)
    try:
        caption = members["txt"].decode() if "txt" in members else _json_caption(members.get("json"))
    except ValueError as error:  # not UTF-8, not JSON
        return Skipped("broken caption", f"{where}: {error}")
    if caption is None:
        return Skipped("missing caption", where)
    caption = " ".join(caption.split())
    return RawPair(where, image, [caption]) if caption else Skipped("empty caption", where)


def _json_caption(content: bytes | None) -> str | None:
    described = json.loads(content) if content is not None else None
    caption = described.get("caption") if isinstance(described, dict) else None
    return caption if isinstance(caption, str) else None
