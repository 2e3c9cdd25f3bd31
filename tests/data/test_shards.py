"""Webdataset shards: every pair once an epoch, whatever the workers; what cannot be used is named by cause."""

import bz2
import gzip
import io
import json
import lzma
import tarfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from shard_samples import jpeg, tar_of, write_shards, write_tar

from pacl_bench.data.pairs import load_pairs, name_of, short_name
from pacl_bench.data.shard_pairs import RawPair, read_pairs
from pacl_bench.data.shards import ShardSet, Skipped
from pacl_bench.encoders.base import Preprocess
from pacl_bench.errors import UsageError
from pacl_bench.training.stream import LANES, Chunk, Stream, repeats, usable_workers

PREPROCESS = Preprocess(16, 8, (0.0,) * 3, (1.0,) * 3)


def stream(names: str) -> Stream:
    return Stream(load_pairs(names), PREPROCESS, noun_share=0.0, seed=3)


def epoch(stream: Stream, workers: int, turn: int = 0, number: int = 0) -> list[Chunk]:
    """The chunks of an epoch, those of lanes that have ended among them."""
    chunks: list[Chunk] = []
    for chunk in stream.chunks(number, turn, workers):
        chunks.append(chunk)
        if not any(chunk.seen for chunk in chunks[-LANES:]) and len(chunks) >= LANES:
            return chunks
    raise AssertionError("chunks have no end")


def texts(chunks: list[Chunk]) -> list[str]:
    return [text for chunk in chunks for text in chunk.texts]


@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")  # more workers than this machine's cores
def test_every_pair_once_over_workers_and_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_shards(tmp_path / "mine", [40, 3, 70, 1, 33, 12, 5])
    everything = sorted(
        f"mine {shard} {n}" for shard, size in enumerate([40, 3, 70, 1, 33, 12, 5]) for n in range(size)
    )
    alone = texts(epoch(stream(str(folder)), workers=0))
    assert sorted(alone) == everything
    assert alone != everything
    monkeypatch.setattr("pacl_bench.processes.world_size", lambda: 2)
    of_rank = []
    for rank in (0, 1):
        monkeypatch.setattr("pacl_bench.processes.rank", lambda rank=rank: rank)
        of_rank.append(texts(epoch(stream(str(folder)), workers=3)))
    assert sorted(of_rank[0] + of_rank[1]) == everything
    assert {text.split()[1] for text in of_rank[0]} & {text.split()[1] for text in of_rank[1]} == set()


@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")
def test_the_order_does_not_depend_on_the_workers(tmp_path: Path) -> None:
    shards = stream(str(write_shards(tmp_path / "mine", [40, 3, 70, 1, 33, 12, 5])))
    alone, three, second = epoch(shards, 0), epoch(shards, 3), epoch(shards, 0, number=1)
    assert [chunk.texts for chunk in alone] == [chunk.texts for chunk in three]
    assert all(np.array_equal(one.pixels, other.pixels) for one, other in zip(alone, three, strict=True))
    assert sorted(texts(alone)) == sorted(texts(second))
    assert texts(alone) != texts(second)
    assert [usable_workers(wanted) for wanted in (0, 1, 3, 5, 7, 100)] == [0, 1, 3, 4, 6, 24]


@pytest.mark.parametrize("turn", [1, 7, LANES + 2])
def test_an_epoch_from_a_turn_on(tmp_path: Path, turn: int) -> None:
    shards = stream(str(write_shards(tmp_path / "mine", [70, 40, 90])))
    whole, rest = epoch(shards, 0), epoch(shards, 2, turn)
    assert [chunk.texts for chunk in whole[turn:]] == [chunk.texts for chunk in rest][: len(whole) - turn]


def test_patterns(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "my:set+more", [1, 2, 3])
    whole = load_pairs(str(folder))[0]
    assert isinstance(whole, ShardSet)
    for pattern in (f"{folder}/{{00000..00002}}.tar", f"{folder}/*.tar", f"{folder}/0000{{0,1,2}}.tar"):
        (found,) = load_pairs(pattern)
        assert (found.name, found.num_pairs, found.fingerprint) == ("my:set+more", 6, whole.fingerprint)
    (one,) = load_pairs(f"{folder}/00001.tar")
    assert (one.name, one.num_pairs) == ("00001", 2)
    assert [pairs.num_pairs for pairs in load_pairs(f"{folder}/00001.tar+{folder}/*.tar")] == [2, 6]
    before = whole.fingerprint
    (folder / "00000.tar").write_bytes(b"")
    assert load_pairs(str(folder))[0].fingerprint != before
    (folder / "00001_stats.json").unlink()
    assert load_pairs(str(folder))[0].num_pairs is None
    (folder / "00002_stats.json").write_text("[]")
    with pytest.raises(UsageError, match=r"00002_stats\.json is not a count of pairs"):
        _ = load_pairs(f"{folder}/00002.tar")[0].num_pairs


@pytest.mark.parametrize(
    ("pattern", "line"),
    [
        ("{00000..00004}.tar", r"00002\.tar not found \(3 of 5\)"),
        ("9*.tar", "no tar matches"),
        ("{0.tar", "{0.tar"),
        ("{0..99999999999}.tar", "more than 1,000,000 tars"),
        ("empty", "no tar matches"),
    ],
)
def test_shards_that_are_not_there(tmp_path: Path, pattern: str, line: str) -> None:
    folder = write_shards(tmp_path / "mine", [1, 1])
    (folder / "empty").mkdir()
    with pytest.raises(UsageError, match=line):
        load_pairs(f"{folder}/{pattern}")


def test_declared_sets_are_looked_for_below_the_data_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACL_DATA", str(tmp_path))
    with pytest.raises(UsageError, match=f"cc12m: {tmp_path}/cc12m not found"):
        load_pairs("cc3m+cc12m" if write_shards(tmp_path / "cc3m", [2, 3]) else "")
    assert load_pairs("cc3m")[0].num_pairs == 5
    (tmp_path / "yfcc15m").mkdir()
    with pytest.raises(UsageError, match=rf"no \*\.tar in {tmp_path}/yfcc15m"):
        load_pairs("yfcc15m")


def test_a_weight_of_a_set_without_a_usable_pair(tmp_path: Path) -> None:
    names = f"{write_shards(tmp_path / 'mine', [4])}:1+{write_shards(tmp_path / 'none', [0])}:1"
    with pytest.raises(UsageError, match="none has a weight and no usable pair"):
        stream(names).parts(0)


def test_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACL_DATA", str(tmp_path))
    write_shards(tmp_path / "cc3m", [50, 50])
    write_shards(tmp_path / "cc12m", [150, 150])
    sets = load_pairs("cc3m:3+cc12m:1")
    assert name_of(sets) == "cc3m:0.75+cc12m:0.25"
    assert repeats(sets, [100, 300]) == [3.0, pytest.approx(1 / 3)]
    shown = Counter(texts(epoch(stream("cc3m:3+cc12m:1"), 0)))
    assert {count for text, count in shown.items() if text.startswith("cc3m")} == {3}
    thinned = [count for text, count in shown.items() if text.startswith("cc12m")]
    assert set(thinned) == {1}
    assert 70 < len(thinned) < 130  # 100 of 300 are expected
    again = Counter(texts(epoch(stream("cc3m:3+cc12m:1"), 0, number=1)))
    assert set(again) != set(shown)
    with pytest.raises(UsageError, match="give every set a weight, or none"):
        load_pairs("cc3m:0.2+cc12m")
    with pytest.raises(UsageError, match="a weight of 0"):
        load_pairs("cc3m:0+cc12m:1")
    assert (short_name("cc3m:0.2"), short_name(f"{tmp_path}/cc3m/*.tar")) == ("cc3m=0.2", "cc3m")


def test_files_and_shards_in_one_stream(tmp_path: Path, pairs_csv: Path) -> None:
    folder = write_shards(tmp_path / "mine", [40])
    chunks = epoch(stream(f"{folder}+{pairs_csv}"), 2)
    assert len(texts(chunks)) == 50
    assert sum("number" in text for text in texts(chunks)) == 10
    assert [skip.cause for chunk in chunks for skip in chunk.skipped] == ["broken image"]


BAD = [
    ({"jpg": jpeg()[:200], "txt": "cut off"}, "broken image"),
    ({"jpg": b"<html>404</html>", "txt": "a web page"}, "broken image"),
    ({"jpg": jpeg(), "txt": " \n"}, "empty caption"),
    ({"jpg": jpeg(), "txt": b"caf\xe9"}, "broken caption"),
    ({"jpg": jpeg(), "json": b"{"}, "broken caption"),
    ({"jpg": jpeg()}, "missing caption"),
    ({"jpg": jpeg(), "json": b"[]"}, "missing caption"),
    ({"mp4": b"", "txt": "a film"}, "missing image"),
    ({"jpg": jpeg(size=(1, 400)), "txt": "a line"}, "absurd size"),
    ({"png": jpeg(size=(20, 420), kind="PNG"), "txt": "a banner"}, "absurd size"),
    ({"jpg": jpeg(size=(8, 8)), "txt": "a tracking pixel"}, "absurd size"),
]


def test_what_cannot_be_used_is_skipped_by_cause(tmp_path: Path) -> None:
    bomb = io.BytesIO()
    Image.new("1", (16_000, 12_000)).save(bomb, "PNG")
    bad = [*BAD, ({"png": bomb.getvalue(), "txt": "a bomb"}, "absurd size")]
    good = [
        {"jpeg": jpeg(kind="PNG"), "txt": "a png"},
        {"webp": jpeg(), "json": b'{"caption": "from json"}'},
    ]
    file = write_tar(tmp_path / "00000.tar", [sample for sample, _ in bad] + good)
    chunks = epoch(stream(str(file)), 0)
    assert sorted(texts(chunks)) == ["a png", "from json"]
    skipped = sorted((skip for chunk in chunks for skip in chunk.skipped), key=lambda skip: skip.where)
    assert [(skip.cause, f"00000.tar/00000{number:04}" in skip.where) for number, skip in enumerate(skipped)] == [
        (cause, True) for _, cause in bad
    ]
    assert [skip.where for skip in skipped if "_io" in skip.where] == []
    assert sum(chunk.seen for chunk in chunks) == len(bad) + 2


@pytest.mark.parametrize("damage", ["cut in an image", "cut in a header", "cut between two", "not a tar", "gone"])
def test_a_damaged_tar_gives_what_it_has(tmp_path: Path, damage: str) -> None:
    files = [write_tar(tmp_path / f"{n:05}.tar", [{"jpg": jpeg(n), "txt": f"{n}"}] * 3) for n in range(3)]
    whole = files[1].read_bytes()
    with tarfile.open(files[1]) as tar:
        second_image = tar.getmembers()[2]
    end = {
        "cut in an image": second_image.offset_data + 300,
        "cut in a header": second_image.offset + 200,
        "cut between two": second_image.offset,
    }
    cut = damage in end
    files[1].write_bytes(whole[: end[damage]] if cut else b"no tar at all" * 100)
    sets = load_pairs(str(tmp_path))
    if damage == "gone":
        files[1].unlink()
    found = list(read_pairs(files[1]))
    assert [pair.captions for pair in found if isinstance(pair, RawPair)] == ([["1"]] if cut else [])
    assert [skip.cause for skip in found if isinstance(skip, Skipped)] == ["damaged tar"]
    chunks = epoch(Stream(sets, PREPROCESS, 0.0, 0), 0)
    assert sorted(texts(chunks)) == ["0"] * 3 + ["1"] * cut + ["2"] * 3


def read(file: Path, content: bytes | None = None) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Image -> caption of the pairs in a tar, the images being words here; and what was skipped: cause, where."""
    if content is not None:
        file.write_bytes(content)
    found = list(read_pairs(file))
    pairs = [pair for pair in found if isinstance(pair, RawPair)]
    skipped = [(skip.cause, skip.where.removeprefix(f"{file}")) for skip in found if isinstance(skip, Skipped)]
    assert len({pair.content for pair in pairs}) == len(pairs)
    return {pair.content.decode(): pair.captions[0] for pair in pairs}, skipped


NAMES = {  # names of the files of samples -> the pairs that they are (image: caption), and what is skipped
    "web addresses": (["www.site.com_0.jpg", "www.site.com_0.txt", "www.site.com_1.jpg", "www.site.com_1.txt"],
                      {"www.site.com_0.jpg": "www.site.com_0.txt", "www.site.com_1.jpg": "www.site.com_1.txt"}, []),
    "a mask beside": (["0.jpg", "0.mask.jpg", "0.txt", "1.depth.png", "1.jpg", "1.txt"],
                      {"0.jpg": "0.txt", "1.jpg": "1.txt"}, []),
    "a mask alone": (["0.mask.jpg", "0.txt", "1.mask.jpg"], {},
                     [("missing image", "/0"), ("missing caption", "/1.mask")]),
    "a png too": (["0.png", "0.jpg", "0.txt"], {"0.jpg": "0.txt"}, []),
    "dots on one side": (["a.v1.jpg", "a.v2.txt"], {}, [("missing caption", "/a.v1"), ("missing image", "/a.v2")]),
    "dots in folders": (["./x.y/0.jpg", "./x.y/0.txt", "x.z/0.jpg", "x.z/0.txt"],
                        {"./x.y/0.jpg": "./x.y/0.txt", "x.z/0.jpg": "x.z/0.txt"}, []),
    "the caption first": (["0.txt", "0.json", "0.JPEG"], {"0.JPEG": "0.txt"}, []),
    "two of a name": (["0.jpg", "0.txt", "0.txt", "1.jpg", "1.txt"], {"1.jpg": "1.txt"}, [("name used twice", "/0")]),
    "sorted by kind": (["0.jpg", "1.jpg", "0.txt", "1.txt"], {},
                       [("missing caption", "/0"), ("missing caption", "/1"), ("missing image", "/0"),
                        ("missing image", "/1")]),
    "left by a Mac": (["._0.jpg", "0.jpg", "._0.txt", "0.txt", ".DS_Store", "README"], {"0.jpg": "0.txt"}, []),
    "climbing": (["../0.jpg", "../0.txt", "/1.jpg", "/1.txt"], {"../0.jpg": "../0.txt", "/1.jpg": "/1.txt"}, []),
    "of all tongues": (["猫.jpg", "猫.txt", "caf\udce9.jpg", "caf\udce8.txt"], {"猫.jpg": "猫.txt"},
                       [("missing caption", "/caf\\udce9"), ("missing image", "/caf\\udce8")]),
    "a class is no caption": (["0.jpg", "0.cls"], {}, [("missing caption", "/0")]),
    "two lines": (["a\nb.jpg"], {}, [("missing caption", "/a\\nb")]),
}  # fmt: skip


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("case", NAMES)
def test_a_caption_goes_with_the_image_of_its_name(tmp_path: Path, case: str, format: int) -> None:
    names, pairs, skipped = NAMES[case]
    members = [(name, name.encode("utf-8", "replace")) for name in names]
    assert read(tmp_path / "a.tar", tar_of(members, format)) == (pairs, skipped)


PAIRS = [(f"{n:03}.{suffix}", f"{n:03}.{suffix}".encode()) for n in range(6) for suffix in ("jpg", "txt")]
WHOLE = {f"{n:03}.jpg": f"{n:03}.txt" for n in range(6)}


def without(*numbers: int) -> dict[str, str]:
    return {f"{n:03}.jpg": f"{n:03}.txt" for n in range(6) if n not in numbers}


@pytest.mark.parametrize("member", range(12))
def test_a_damaged_header_loses_its_own_pair_and_is_counted(tmp_path: Path, member: int) -> None:
    """One bit of the checksum in it is wrong. Of the pair behind a caption's, the image is left out too."""
    content = bytearray(tar_of(PAIRS))
    content[1024 * member + 150] ^= 1
    pairs, skipped = read(tmp_path / "a.tar", bytes(content))
    lost = (member // 2, member // 2 + member % 2)
    assert pairs == without(*lost)
    assert ("damaged tar", f": bad checksum at byte {1024 * member:,}") in skipped


@pytest.mark.parametrize("member", range(12))
def test_a_header_of_zeros_is_no_end(tmp_path: Path, member: int) -> None:
    """As a disk leaves it that has lost a block. A single block of zeros ends no tar, and two do not hide a third."""
    content = bytearray(tar_of([(name, b"" if name.endswith("txt") else data) for name, data in PAIRS]))
    headers = [at for at in range(0, len(content), 512) if content[at + 257 : at + 262] == b"ustar"]
    content[headers[member] : headers[member] + 512] = bytes(512)
    causes = [skip.cause for skip in read_pairs_of(tmp_path / "a.tar", bytes(content)) if isinstance(skip, Skipped)]
    assert causes.count("damaged tar") == (1 if member < 11 else 0)  # the last is no other than the end mark behind it
    assert causes.count("empty caption") + causes.count("missing caption") >= 4


def read_pairs_of(file: Path, content: bytes) -> list[RawPair | Skipped]:
    file.write_bytes(content)
    return list(read_pairs(file))


@pytest.mark.parametrize("field", ["size", "GNU.sparse.size", "GNU.sparse.realsize"])
def test_a_size_below_zero_sends_nobody_back(tmp_path: Path, field: str) -> None:
    """A header of its own may state a member's size: below zero, the next member would lie before this one."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in PAIRS:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            if name == "002.jpg":
                sparse = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"} if "real" in field else {}
                member.pax_headers = {field: "-2048", **sparse}
            tar.addfile(member, io.BytesIO(content))
    pairs, skipped = read(tmp_path / "a.tar", buffer.getvalue())
    assert pairs in (without(2), without(2) | {"": "002.txt"})  # what is empty is no image
    assert "damaged tar" in [cause for cause, _ in skipped] or "" in pairs


def test_a_long_name_that_is_damaged_pairs_nothing_wrongly(tmp_path: Path) -> None:
    """Without its long name a member has the first 100 letters of it, here the name of another one's photo."""
    stem = "x" * 96
    names = [f"{stem}.jpg.{n}.jpg" for n in range(3)] + [f"{stem}.txt"]
    content = bytearray(tar_of([(name, name.encode()) for name in names], tarfile.GNU_FORMAT))
    last = max(at for at in range(0, len(content), 512) if content[at : at + 13] == b"././@LongLink")
    content[last + 150] ^= 1
    pairs, skipped = read(tmp_path / "a.tar", bytes(content))
    assert pairs == {}
    assert [cause for cause, _ in skipped] == [*["missing caption"] * 2, "missing image", "damaged tar"]


def test_nothing_is_put_together_across_a_damage(tmp_path: Path) -> None:
    """Two samples of one name: what is damaged is the caption of the first and the image of the second."""
    members = [("0.jpg", b"first"), ("0.txt", b"one"), ("0.jpg", b"second"), ("0.txt", b"two")]
    content = bytearray(tar_of(members))
    content[1024 + 150] ^= 1
    pairs, skipped = read(tmp_path / "a.tar", bytes(content))
    assert pairs == {}
    assert [cause for cause, _ in skipped] == ["missing caption", "missing image", "damaged tar"]


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes, "gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress,
}  # fmt: skip


@pytest.mark.parametrize("packer", PACKERS)
def test_tars_joined_end_to_end_are_all_read(tmp_path: Path, packer: str) -> None:
    parts = [tar_of(PAIRS[:4]), tar_of(PAIRS[4:10]), tar_of(PAIRS[10:])]
    assert read(tmp_path / "a.tar", b"".join(map(PACKERS[packer], parts))) == (WHOLE, [])
    assert read(tmp_path / "a.tar", PACKERS[packer](b"".join(parts))) == (WHOLE, [])


@pytest.mark.parametrize("packer", PACKERS)
def test_a_tar_without_its_end_is_counted(tmp_path: Path, packer: str) -> None:
    whole = PACKERS[packer](tar_of(PAIRS))
    for size in (0, 5, len(whole) // 3, len(whole) // 2, len(whole) - 5 if packer != "plain" else 1024 * 12):
        pairs, skipped = read(tmp_path / "a.tar", whole[:size])
        assert pairs.items() <= WHOLE.items()
        assert [cause for cause, _ in skipped if cause == "damaged tar"] == ["damaged tar"]


def test_what_is_no_file_has_no_content(tmp_path: Path) -> None:
    """Links are not followed: a pair whose image is one is counted as lost."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        folder = tarfile.TarInfo("folder.jpg")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for number, kind in enumerate((tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE)):
            link, caption = tarfile.TarInfo(f"{number}.jpg"), tarfile.TarInfo(f"{number}.txt")
            link.type, link.linkname, caption.size = kind, "/etc/passwd", 1
            tar.addfile(link)
            tar.addfile(caption, io.BytesIO(b"a"))
    pairs, skipped = read(tmp_path / "a.tar", buffer.getvalue())
    assert (pairs, skipped) == ({}, [("missing image", f"/{number}") for number in range(3)])


def test_empty_files_and_captions_of_other_kinds(tmp_path: Path) -> None:
    captions = {
        "json": (b'{"caption": "from json"}', "from json"), "txt": ("\ufeffa\ncat ".encode(), "a cat"),
        "TXT": (b"", "empty caption"), "Txt": (b"nan\n", "empty caption"), "JSON": (b"[" * 100_000, "broken caption"),
    }  # fmt: skip
    for suffix, (content, expected) in captions.items():
        members = [("0.jpg", b"photo"), (f"0.{suffix}", content)]
        pairs, skipped = read(tmp_path / "a.tar", tar_of(members))
        assert [*pairs.values(), *(cause for cause, _ in skipped)] == [expected]
    sixteen = read(tmp_path / "a.tar", tar_of([("0.jpg", b"photo"), ("0.txt", "cat".encode("utf-16-le"))]))
    assert sixteen[1] == [("broken caption", "/0: it holds a zero byte")]
    assert next(read_pairs(tmp_path / "a.tar")).cause == "broken caption"  # type: ignore[union-attr]


def test_the_count_beside_a_tar_is_compared(tmp_path: Path) -> None:
    for count in (6, 7, 5, 10**30):
        (tmp_path / "a_stats.json").write_text(json.dumps({"successes": count}))
        told = [] if count == 6 else [("wrong count", f": 6 pairs found, {count:,} counted in a_stats.json")]
        assert read(tmp_path / "a.tar", tar_of(PAIRS)) == (WHOLE, told)


@pytest.mark.parametrize("count", ["true", "-1", "1.5", '"7"', "1e999", "NaN", "null", "[]", "{", "[" * 100_000])
def test_a_count_that_is_none_is_named(tmp_path: Path, count: str) -> None:
    (tmp_path / "a.tar").write_bytes(tar_of(PAIRS))
    (tmp_path / "a_stats.json").write_text(f'{{"successes": {count}}}')
    with pytest.raises(UsageError, match=r"a_stats\.json is not a count of pairs"):
        _ = load_pairs(str(tmp_path / "a.tar"))[0].num_pairs
