"""Shards that nobody would think of: each gives pairs, counted skips or one line, and never a wrong pair.

An image and its caption carry a word made of the name they share, which no damage can turn into another's; so a wrong
pair is known at once.

The examples are the same in every run: 20 a test here, and as many as one likes by

    PACL_FUZZ_EXAMPLES=1000 nice -n 19 python -m pytest -q -n 0 tests/faults/test_fuzz_data_*.py
"""

import bz2
import gzip
import json
import lzma
import shutil
import tarfile
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import pytest
from fuzzing import damaged, fuzzed, or_one_line, word
from hypothesis import given
from hypothesis import strategies as st
from shard_samples import jpeg, tar_of

from pacl_bench.data.classification import load_classification
from pacl_bench.data.pairs import load_pairs
from pacl_bench.data.shard_pairs import RawPair, read_pairs
from pacl_bench.data.shards import ShardSet, Skipped
from pacl_bench.data.text_lines import printable
from pacl_bench.data.tools.check import check_shards
from pacl_bench.image_sets import BrokenImage


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for one example after the other."""
    return tmp_path_factory.mktemp("fuzz")


PACKERS: list[Callable[[bytes], bytes]] = [bytes, bytes, bytes, gzip.compress, bz2.compress, lzma.compress]
FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]
LONG = f"{'x' * 80}/{'y' * 60}"
STEMS = ["0", "1", "00/2", "a.b.com_3", "a.b.com_4", "./5", "../6", "猫", LONG, "caf\udce9", "._0", ".hidden", "a\nb"]
SUFFIXES = [".jpg", ".JPG", ".png", ".mask.jpg", ".txt", ".json", ".cls", ".v2.txt", ".v2.jpg", ".mp4", "", ".", "/"]
COUNTS = [b'{"successes": %s}' % count for count in (b"0", b"1", b"2", b"3", b"-1", b"null", b"1e999", b"[]", b"true")]


def stem_of(name: str) -> str:
    return name.rpartition(".")[0]


def content_of(name: str, place: int) -> bytes:
    """What a file of a shard holds: the word of its name without the suffix, and at which place it was written."""
    stem = stem_of(name)
    text = f"{word(stem)} {place}" + " " * (len(stem) % 7)  # of several lengths, so that no two can change places
    return json.dumps({"caption": text}).encode() if name.endswith(".json") else text.encode()


@st.composite
def members(draw: st.DrawFn) -> list[tuple[str, bytes]]:
    """Files of some samples: mostly one behind the other, as they should be, else in any order."""
    names = [
        f"{stem}{suffix}"
        for stem in draw(st.lists(st.sampled_from(STEMS), max_size=6))
        for suffix in draw(st.lists(st.sampled_from(SUFFIXES), max_size=4) | st.just([".jpg", ".txt"]))
    ]
    names = draw(st.permutations(names)) if draw(st.integers(0, 4)) == 0 else names
    return [(name, content_of(name, at)) for at, name in enumerate(names)]


def require_pairs_of_a_name(found: list[RawPair | Skipped], written: list[tuple[str, bytes]]) -> None:
    """The image and the caption of each pair were written under one name but for the suffix."""
    words = {word(stem_of(name)) for name, _ in written}
    for pair in found:
        assert "\n" not in pair.where
        if isinstance(pair, RawPair):
            told = {text.split(" ")[0] for text in (pair.content.decode("utf-8", "replace"), *pair.captions)}
            assert len(told & words) < 2


@fuzzed
@given(written=members(), format=st.sampled_from(FORMATS), packer=st.sampled_from(PACKERS))
def test_a_shard_in_any_order(place: Path, written: list[tuple[str, bytes]], format: int, packer: Callable) -> None:
    """No image is lost without a word, unless it is one beside a photo: `0.mask.jpg` beside `0.jpg`."""
    (place / "a.tar").write_bytes(packer(tar_of(written, format)))
    found = list(read_pairs(place / "a.tar"))
    require_pairs_of_a_name(found, written)
    assert not [skip for skip in found if isinstance(skip, Skipped) and skip.cause == "damaged tar"]
    told = {pair.where.removeprefix(f"{place}/a.tar/") for pair in found}
    for name, _ in written:
        folder, slash, base = name.rpartition("/")
        if base.lower().endswith((".jpg", ".png")) and not base.startswith("."):
            assert told & {printable(stem_of(name)), printable(folder + slash + base.partition(".")[0])}


@fuzzed
@given(data=st.data())
def test_a_damaged_shard(place: Path, data: st.DataObject) -> None:
    parts = [data.draw(members()) for _ in range(data.draw(st.integers(1, 3)))]
    format, packer = data.draw(st.sampled_from(FORMATS)), data.draw(st.sampled_from(PACKERS))
    content = b"".join(packer(tar_of(part, format)) for part in parts)
    (place / "a.tar").write_bytes(data.draw(damaged(content)))
    require_pairs_of_a_name(list(read_pairs(place / "a.tar")), [*chain(*parts)])


@fuzzed
@given(
    content=st.binary(max_size=2000),
    stats=st.none() | st.binary(max_size=9) | st.sampled_from(COUNTS),
)
def test_check_and_training_read_any_shard_alike(place: Path, content: bytes, stats: bytes | None) -> None:
    folder = place / "shards"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    good = tar_of([("0.jpg", jpeg()), ("0.txt", b"a"), ("1.jpg", content), ("1.txt", b"b")])
    (folder / "0.tar").write_bytes(good + content)
    if stats is not None:
        (folder / "0_stats.json").write_bytes(stats)
    (shards,) = load_pairs(str(folder))
    assert isinstance(shards, ShardSet)
    checked = {finding.result for finding in check_shards(shards, "mine", fast=False)}
    trained = or_one_line(lambda: (shards.num_pairs, list(read_pairs(folder / "0.tar"))))
    whole = trained is not None and all(isinstance(pair, RawPair) and _decodes(pair) for pair in trained[1])
    assert (checked == {"ok"}) == whole


def _decodes(pair: RawPair) -> bool:
    try:
        return pair.image().mode == "RGB"
    except BrokenImage:
        return False


@fuzzed
@given(data=st.data())
def test_a_damaged_wds_folder(place: Path, data: st.DataObject) -> None:
    root = place / "wds_mine"
    (root / "test").mkdir(parents=True, exist_ok=True)
    stems = data.draw(st.lists(st.sampled_from(STEMS), max_size=4, unique=True))
    label_of = {word(stem): at for at, stem in enumerate(stems)}
    written = [(f"{stem}.jpg", word(stem).encode()) for stem in stems]
    written += [(f"{stem}.cls", str(at).encode()) for at, stem in enumerate(stems)]
    written += [(f"{stem}.mask.png", b"mask") for stem in stems] if data.draw(st.booleans()) else []
    whole = tar_of(data.draw(st.permutations(written)), data.draw(st.sampled_from(FORMATS)))
    content = data.draw(damaged(whole, most=1))
    (root / "test" / "0.tar").write_bytes(content)
    (root / "test" / "nshards.txt").write_bytes(data.draw(damaged(b"1\n", most=1)))
    (root / "classnames.txt").write_bytes(data.draw(damaged(b"a\nb\nc\nd\ne\n", most=1)))
    images = or_one_line(lambda: load_classification(f"wds:{root}"))
    for sample in images.samples if images else []:  # type: ignore[attr-defined]
        read = content[sample.start : sample.start + sample.size].decode("utf-8", "replace")
        # a digit that is damaged to another digit is a class like any other
        assert content != whole or sample.label == label_of[read]
