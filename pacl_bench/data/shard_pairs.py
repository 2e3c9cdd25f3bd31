"""The image-caption pairs in a shard: a tar of samples (jpg, txt, json), as img2dataset writes them."""

import json
from collections.abc import Iterable, Iterator
from functools import cache
from io import BytesIO
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from pacl_bench.data.images import open_photo, photo_suffixes
from pacl_bench.data.shards import Skipped, count_of, stats_of
from pacl_bench.data.tar_files import TarReader, open_tar
from pacl_bench.data.text_lines import is_no_text, printable

FIRST_CHOICE = ("jpg", "jpeg", "png", "webp")  # of several images of one name, the photo is likely to be the JPEG
CAPTIONS = ("txt", "json")
MAX_BYTES = 1 << 28  # of a member that is read to memory: a quarter of a gigabyte


class RawPair(NamedTuple):
    """A sample of a shard, its image not decoded yet."""

    where: str
    content: bytes  # of the image file
    captions: list[str]

    def image(self) -> Image.Image:
        """RGB; BrokenImage where it does not decode, or has an absurd size."""
        return open_photo(BytesIO(self.content), self.where)


def read_pairs(file: Path) -> Iterator[RawPair | Skipped]:
    """The pairs of a tar in order, images not decoded; in place of what cannot be used, why.

    Last come the places where the tar is damaged, and one more where its `00000_stats.json` counts another number of
    pairs than were found: what is lost is told.
    """
    pairs = 0
    damages: list[str] = []
    try:
        with open_tar(file) as tar:
            damages = tar.damages
            for pair in _pairs(_members(tar), str(file)):
                pairs += 1
                yield pair
    except OSError as error:
        damages.append(error.strerror or str(error))
    yield from (Skipped("damaged tar", f"{file}: {damage}") for damage in damages)
    yield from _miscounted(file, pairs)


def _miscounted(file: Path, pairs: int) -> list[Skipped]:
    counted = count_of(file)
    if counted is None or counted == pairs:
        return []
    return [Skipped("wrong count", f"{file}: {pairs:,} pairs found, {counted:,} counted in {stats_of(file).name}")]


@cache
def image_suffixes() -> tuple[str, ...]:
    """Endings of images in shards, without a dot, the first choice first."""
    others = sorted(suffix.removeprefix(".") for suffix in photo_suffixes())
    return (*FIRST_CHOICE, *(suffix for suffix in others if suffix not in FIRST_CHOICE))


class Member(NamedTuple):
    """A file in a shard.

    Its name is split as webdataset does it: what belongs together has one name up to the first dot (folders aside).
    But a web address has dots too (`www.site.com_0.jpg`), so the name up to the last dot is kept as well.
    """

    part: int  # damages of the tar before it: what lies on two sides of one is never put together
    key: str  # "data/www" of data/www.site.com_0.jpg
    stem: str  # "data/www.site.com_0"
    suffix: str  # "jpg", in lower case
    content: bytes | None  # None where it is a link, or so large that it is neither photo nor caption


def _members(tar: TarReader) -> Iterator[Member]:
    for member, part in tar.walk():
        key, stem, suffix = split_name(member.name)
        if not suffix or member.isdir():
            continue
        wanted = (suffix in CAPTIONS or suffix in image_suffixes()) and member.size <= MAX_BYTES
        content = tar.read(member) if wanted else None
        if len(tar.damages) == part:  # else the end of this one is missing
            yield Member(part, key, stem, suffix, content)


def split_name(name: str) -> tuple[str, str, str]:
    """A member's name up to the first dot of its base name, up to the last, and what follows the last.

    Without a suffix, which means that it is of no sample, where there is no dot or the base name begins with one, as
    the `._0.jpg` do that a Mac adds.
    """
    folder, slash, base = name.rpartition("/")
    stem, _, suffix = base.rpartition(".")
    if not stem or base.startswith("."):
        return name, name, ""
    return folder + slash + stem.partition(".")[0], folder + slash + stem, suffix.lower()


def _pairs(members: Iterable[Member], file: str) -> Iterator[RawPair | Skipped]:
    """Members that follow each other and belong together become a pair each, or what is wrong with them.

    An image is only ever paired with a caption of the same name up to the last dot. What has a longer name is a pair
    of its own if it is a whole one (`www.site.com_0.jpg` and `.txt`); else it is left out beside `0.jpg`, as is the
    mask `0.mask.jpg`, and counted where there is no such.
    """
    for (_, key), sample in groupby(members, lambda member: (member.part, member.key)):
        plain: list[Member] = []
        unpaired: list[Skipped] = []
        for stem, named in groupby(sample, lambda member: member.stem):
            if stem == key:
                plain += named
                continue
            pair = _pair(list(named), file)
            if isinstance(pair, RawPair):
                yield pair
            else:
                unpaired.append(pair)
        yield from [_pair(plain, file)] if plain else unpaired


def _pair(members: list[Member], file: str) -> RawPair | Skipped:
    """Of members whose names differ in the suffix alone."""
    where = printable(f"{file}/{members[0].stem}")
    content = {member.suffix: member.content for member in members}
    if len(content) < len(members):  # which caption is whose, nobody knows
        return Skipped("name used twice", where)
    image = next((content[suffix] for suffix in image_suffixes() if suffix in content), None)
    if image is None:
        return Skipped("missing image", where)
    try:
        caption = _caption(content)
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON
        return Skipped("broken caption", f"{where}: {error}")
    if caption is None:
        return Skipped("missing caption", where)
    caption = " ".join(caption.split())
    return Skipped("empty caption", where) if is_no_text(caption) else RawPair(where, image, [caption])


def _caption(content: dict[str, bytes | None]) -> str | None:
    written = next((content[suffix] for suffix in CAPTIONS if suffix in content), None)
    if written is None:
        return None
    fields = {"caption": written.decode("utf-8-sig")} if "txt" in content else json.loads(written)
    caption = fields.get("caption") if isinstance(fields, dict) else None
    if isinstance(caption, str) and "\0" in caption:  # of UTF-16, read as UTF-8
        raise ValueError("it holds a zero byte")
    return caption if isinstance(caption, str) else None
