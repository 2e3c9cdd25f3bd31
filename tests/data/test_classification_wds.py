"""CLIP_benchmark's wds folders, written by webdataset as its export does."""

import gzip
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from shard_samples import tar_of

from pacl_bench.data.classification import load_classification
from pacl_bench.errors import UsageError
from pacl_bench.image_sets import BrokenImage, LabelledImages

webdataset = pytest.importorskip("webdataset")

COLOURS = ((250, 0, 0), (0, 250, 0), (0, 0, 250))
LABELS = [2, 0, 1, 1, 0]


def encoded(label: int, suffix: str) -> bytes:
    image = Image.fromarray(np.full((9, 12, 3), COLOURS[label], np.uint8))
    stream = io.BytesIO()
    image.save(stream, **{"webp": {"format": "webp", "lossless": True}, "png": {"format": "png"}}[suffix])
    return stream.getvalue()


def write_shard(file: Path, samples: list[dict]) -> None:
    with webdataset.TarWriter(str(file)) as shard:
        for sample in samples:
            shard.write(sample)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """wds_vtab-cifar10 with two shards: three images and two."""
    root = tmp_path / "data" / "wds_vtab-cifar10"
    (root / "test").mkdir(parents=True)
    (root / "classnames.txt").write_text("red thing\ngreen thing\nblue thing\n")
    (root / "zeroshot_classification_templates.txt").write_text("a photo of a {c}.\nart of {c}\n")
    (root / "test" / "nshards.txt").write_text("2\n")
    samples = [
        {"__key__": f"s{number:07}", "webp" if number % 2 else "png": encoded(label, "webp" if number % 2 else "png"),
         "cls": label}
        for number, label in enumerate(LABELS)
    ]  # fmt: skip
    write_shard(root / "test" / "0.tar", samples[:3])
    write_shard(root / "test" / "1.tar", samples[3:])
    return root


def test_it_is_read_by_its_path(folder: Path) -> None:
    images = load_classification(f"wds:{folder}")
    assert isinstance(images, LabelledImages)
    assert (images.name, len(images), images.official_images) == ("wds_vtab-cifar10", 5, 5)
    assert images.labels == LABELS
    assert images.classnames == ["red thing", "green thing", "blue thing"]
    assert images.templates == ["a photo of a {}.", "art of {}"]
    for index in (4, 0, 3, 1, 2):  # in any order
        assert images.image(index).size == (12, 9)
        assert images.image(index).getpixel((3, 3)) == COLOURS[LABELS[index]]


def test_it_is_found_for_a_declared_set(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACL_DATA", str(folder.parent))
    images = load_classification("cifar10")
    assert (images.name, len(images), images.official_images) == ("cifar10", 5, 10_000)
    assert images.classnames == ["red thing", "green thing", "blue thing"]  # the folder's own
    (folder.parent / "wds_vtab-cifar10").rename(folder.parent / "wds_cifar10")
    assert len(load_classification("cifar10")) == 5


def test_its_fingerprint_follows_images_and_classes(folder: Path) -> None:
    before = load_classification(f"wds:{folder}").fingerprint
    moved = folder.rename(folder.parent / "elsewhere")
    assert load_classification(f"wds:{moved}").fingerprint == before
    write_shard(moved / "test" / "1.tar", [{"__key__": "s3", "png": encoded(1, "png"), "cls": 1}])
    fewer = load_classification(f"wds:{moved}").fingerprint
    write_shard(moved / "test" / "1.tar", [{"__key__": "s3", "png": encoded(1, "png"), "cls": 2}])
    assert len({before, fewer, load_classification(f"wds:{moved}").fingerprint}) == 3


@pytest.mark.parametrize(
    ("sample", "line"),
    [
        ({"png": b"x"}, r"1\.tar: sample s9 has no class \(\.cls\)"),
        ({"cls": 1}, r"1\.tar: sample s9 has no image \(webp, png, jpg, jpeg\)"),
        ({"png": b"x", "cls": 3}, r"1\.tar: s9\.cls: class 3 is beyond the 3 of classnames\.txt"),
        ({"png": b"x", "cls": -1}, r"1\.tar: s9\.cls: a class is a whole number from 0; found '-1'"),
        ({"png": b"x", "cls": b"dog"}, r"1\.tar: s9\.cls: a class is a whole number from 0; found 'dog'"),
    ],
)
def test_a_sample_that_is_wrong_is_named(folder: Path, sample: dict, line: str) -> None:
    write_shard(folder / "test" / "1.tar", [{"__key__": "s9", **sample}])
    with pytest.raises(UsageError, match=line):
        load_classification(f"wds:{folder}")


def test_a_shard_that_is_cut_short_is_named(folder: Path) -> None:
    shard = folder / "test" / "0.tar"
    whole = shard.read_bytes()
    with tarfile.open(shard) as tar:
        ends = [member.offset for member in tar][1:]
    # within a member, between two samples' members, between two members of one sample, before the end mark
    for size in (700, ends[1], ends[0], whole.rindex(b"\1") // 512 * 512 + 512, 0):
        shard.write_bytes(whole[:size])
        with pytest.raises(UsageError, match=r"0\.tar is cut short or no tar"):
            load_classification(f"wds:{folder}")
    shard.unlink()
    with pytest.raises(UsageError, match=r"0\.tar not found, one of those that .*nshards\.txt counts"):
        load_classification(f"wds:{folder}")


def test_an_image_that_is_broken_is_named(folder: Path) -> None:
    half = encoded(1, "png")[:40]
    write_shard(folder / "test" / "1.tar", [{"__key__": "s9", "png": half, "cls": 1}])
    with pytest.raises(BrokenImage, match=r"1\.tar, sample s9: "):
        load_classification(f"wds:{folder}").image(3)


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("test/nshards.txt", "two", r"nshards\.txt: the number of shards is wanted; found 'two'"),
        ("test/nshards.txt", "9" * 5000, r"nshards\.txt: the number of shards is wanted"),
        ("test/nshards.txt", "999999999", r"test/2\.tar not found"),
        ("test/nshards.txt", "", r"nshards\.txt not found or empty\. A wds folder holds"),
        ("classnames.txt", "", r"classnames\.txt not found or empty"),
        ("dataset_type.txt", "retrieval", r"dataset_type\.txt says retrieval; a classification set is wanted"),
        (
            "zeroshot_classification_templates.txt",
            "a photo\n",
            r"templates\.txt: every line must hold exactly one \{\}",
        ),
    ],
)
def test_a_folder_that_is_wrong_is_one_line(folder: Path, name: str, content: str, line: str) -> None:
    (folder / name).write_text(content)
    with pytest.raises(UsageError, match=line):
        load_classification(f"wds:{folder}")


def files(names: dict[str, int]) -> list[tuple[str, bytes]]:
    """Of names of images, an image of the class; of names with .cls, the class."""
    return [
        (name, str(label).encode() if name.endswith(".cls") else encoded(label, "png")) for name, label in names.items()
    ]


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        ({"a.b.com_0.png": 1, "a.b.com_0.cls": 1, "a.b.com_1.png": 2, "a.b.com_1.cls": 2}, [1, 2]),
        ({"0.cls": 1, "0.mask.png": 0, "0.png": 1, "x.y/1.PNG": 2, "x.y/1.cls": 2}, [1, 2]),
        ({"0.png": 1, "1.png": 2, "0.cls": 1, "1.cls": 2, "._0.png": 0, "0.json": 0}, [1, 2]),
        ({"0.jpg": 1, "0.gif": 0, "0.cls": 1, "1.bmp": 2, "1.cls": 2}, [1, 2]),
    ],
)
def test_an_image_has_the_class_of_its_name(folder: Path, names: dict[str, int], labels: list[int]) -> None:
    (folder / "test" / "1.tar").write_bytes(tar_of(files(names)))
    images = load_classification(f"wds:{folder}")
    assert images.labels[3:] == labels
    assert [images.image(3 + at).getpixel((3, 3)) for at in range(len(labels))] == [COLOURS[label] for label in labels]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ({"a.v1.png": 1, "a.v2.cls": 1}, r"sample a\.v1 has no class"),
        ({"0.mask.png": 1, "0.cls": 1}, r"sample 0 has no image"),
        ({"0.png": 1, "0.cls": 1, "0.PNG": 1}, r"0\.PNG is there twice"),
        ({"0.png": 1, "0.cls": 1, "x\udce9.png": 1}, r"sample x\\udce9 has no class"),
    ],
)
def test_names_that_do_not_belong_together_are_told(folder: Path, names: dict[str, int], said: str) -> None:
    (folder / "test" / "1.tar").write_bytes(tar_of(files(names)))
    with pytest.raises(UsageError, match=rf"1\.tar: {said}"):
        load_classification(f"wds:{folder}")


def test_a_shard_that_is_damaged_in_the_middle_is_named(folder: Path) -> None:
    content = bytearray((folder / "test" / "0.tar").read_bytes())
    headers = [at for at in range(0, len(content), 512) if content[at + 257 : at + 262] == b"ustar"]
    content[headers[2] + 150] ^= 1
    (folder / "test" / "0.tar").write_bytes(content)
    with pytest.raises(UsageError, match=r"0\.tar is cut short or no tar \(bad checksum at byte"):
        load_classification(f"wds:{folder}")


def test_shards_joined_end_to_end_are_one(folder: Path) -> None:
    both = (folder / "test" / "0.tar").read_bytes() + (folder / "test" / "1.tar").read_bytes()
    (folder / "test" / "0.tar").write_bytes(both)
    (folder / "test" / "nshards.txt").write_text("1")
    images = load_classification(f"wds:{folder}")
    assert images.labels == LABELS
    assert images.image(4).getpixel((3, 3)) == COLOURS[LABELS[4]]


def test_a_compressed_shard_is_told(folder: Path) -> None:
    shard = folder / "test" / "0.tar"
    shard.write_bytes(gzip.compress(shard.read_bytes()))
    with pytest.raises(UsageError, match=r"0\.tar is compressed\. Decompress it"):
        load_classification(f"wds:{folder}")


def test_class_names_are_what_stands_in_a_line(folder: Path) -> None:
    (folder / "classnames.txt").write_bytes("#1 red\u2028thing\r\n# green\r\nblue\r\n\r\n".encode())
    assert load_classification(f"wds:{folder}").classnames == ["#1 red\u2028thing", "# green", "blue"]
    (folder / "classnames.txt").write_text("\nred\ngreen\n")
    with pytest.raises(UsageError, match=r"classnames\.txt: class 0 has no name"):
        load_classification(f"wds:{folder}")
