"""Sets of webdataset shards: which tar files a name stands for, and how many pairs are said to be in them."""

import glob
import json
import re
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

from braceexpand import braceexpand

from pacl_bench.data.images import PhotoFiles, hash_of_contents
from pacl_bench.errors import UsageError

BRACES = re.compile(r"\{(-?\d+)\.\.(-?\d+)")  # a range: {00000..00099}
MAX_FILES = 1_000_000  # tars of a set; LAION-5B has 231,000
MAKE_STATS = 'img2dataset writes them; by hand: {"successes": 10000} for a tar of 10,000 pairs'


@dataclass(frozen=True)
class Skipped:
    """A pair that cannot be trained on."""

    cause: str  # "empty caption", "missing image", "broken image", "absurd size", "damaged tar" ...
    where: str  # file, and line or sample where there is one


@dataclass(frozen=True)
class ShardSet:
    """Image-caption pairs in tar files, read one after the other; no pair has a number."""

    name: str
    files: list[Path]
    weight: float | None = None  # share of an epoch; None is the set's own size

    @property
    def num_pairs(self) -> int | None:
        """As img2dataset counted them; None where its `00000_stats.json` is missing beside any tar."""
        counts = [count_of(file) for file in self.files]
        return None if None in counts else sum(count for count in counts if count is not None)

    @cached_property
    def fingerprint(self) -> str:
        """Over the names and sizes of the tars."""
        return PhotoFiles(self.name, self.files).fingerprint

    @cached_property
    def contents(self) -> str:
        """A hash over what the tars hold, or parts of it where that is much."""
        return hash_of_contents(self.files)


def stats_of(file: Path) -> Path:
    """Where img2dataset writes down what it has put into a tar."""
    return file.with_name(f"{file.stem}_stats.json")


def count_of(file: Path) -> int | None:
    """How many pairs a tar holds, as its `00000_stats.json` says; None where there is none.

    Raises:
        UsageError: the file is there and does not say.
    """
    stats = stats_of(file)
    if not stats.is_file():
        return None
    try:
        count: Any = json.loads(stats.read_bytes())["successes"]
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise UsageError(f"{stats} is not a count of pairs ({error!r}). {MAKE_STATS}.") from None
    if type(count) is not int or count < 0:  # JSON's true is an int too
        raise UsageError(f"{stats} is not a count of pairs (successes: {count!r}). {MAKE_STATS}.")
    return count


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
        if prod(abs(int(last) - int(first)) + 1 for first, last in BRACES.findall(text)) > MAX_FILES:
            raise ValueError(f"more than {MAX_FILES:,} tars")  # braceexpand would keep all names in memory
        return [file for pattern in braceexpand(text) for file in _expanded(pattern)]
    except ValueError as error:
        raise UsageError(f"--pairs {text}: {error}.") from None


def _expanded(pattern: str) -> list[Path]:
    if Path(pattern).is_dir():
        return sorted(Path(pattern).glob("*.tar"))
    if not glob.has_magic(pattern):
        return [Path(pattern)]
    return sorted(map(Path, glob.glob(pattern)))  # noqa: PTH207  (Path.glob takes no absolute pattern)
