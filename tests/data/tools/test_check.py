"""Is a set whole? Sets are damaged in every way that is told of."""

import gzip
import io
import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from shard_samples import jpeg, write_shards, write_tar

from pacl_bench.data.catalog import kind_of
from pacl_bench.data.segmentation import load_segmentation
from pacl_bench.data.shards import ShardSet
from pacl_bench.data.tools.check import Finding, check, check_segmentation, check_shards
from pacl_bench.errors import UsageError


@pytest.fixture
def small_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pacl_bench.data.tools.check.SAMPLE", 10)


def size_of(file: Path) -> tuple[int, int]:
    """(height, width)"""
    with Image.open(file) as image:
        return image.height, image.width


def by_check(findings: list[Finding]) -> dict[str, Finding]:
    assert len({finding.check for finding in findings}) == len(findings)
    return {finding.check: finding for finding in findings}


def test_a_whole_subset_of_voc(voc: Path) -> None:
    found = by_check(check("voc21"))
    assert {name: finding.result for name, finding in found.items()} == {
        "layout": "ok", "count": "warning", "images": "ok", "label maps": "ok", "labels": "ok", "classes": "ok",
        "names": "ok",
    }  # fmt: skip
    assert str(voc) in found["layout"].detail
    assert "6 images, officially 1,449" in found["count"].detail
    assert "3 of 21 occur; no pixel of: aeroplane, bicycle" in found["classes"].detail


def test_all_that_is_wrong_is_collected(voc: Path) -> None:
    names = load_segmentation("voc20").ids  # type: ignore[attr-defined]
    photo, mask = (lambda index, kind: voc / kind / names[index]), "SegmentationClass"
    whole = photo(0, "JPEGImages").with_suffix(".jpg")
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])  # truncated
    photo(1, "JPEGImages").with_suffix(".jpg").write_text("no image")
    Image.fromarray(np.full((4, 4), 8, np.uint8)).save(photo(2, mask).with_suffix(".png"))  # another size
    size = size_of(photo(3, mask).with_suffix(".png"))
    Image.fromarray(np.full(size, 33, np.uint8)).save(photo(3, mask).with_suffix(".png"))  # beyond the classes
    photo(4, mask).with_suffix(".png").write_bytes(b"")
    found = by_check(check("voc20"))
    assert found["images"].result == found["label maps"].result == "FAILED"
    assert found["images"].detail == "2 of 6 are broken"
    assert [names[0] in found["images"].examples[0], names[1] in found["images"].examples[1]] == [True, True]
    told = "\n".join(found["label maps"].examples)
    for said in ("4 x 4 pixels, its image", "label 33 is beyond the 20 classes", f"{names[4]}.png"):
        assert said in told
    assert found["labels"].result == "ok"  # of those that are left
    assert "no pixel of: aeroplane" in found["classes"].detail


def test_nothing_but_ignored_pixels(voc: Path) -> None:
    for file in (voc / "SegmentationClass").iterdir():
        Image.fromarray(np.zeros(size_of(file), np.uint8)).save(file)
    found = by_check(check("voc20"))
    assert (found["labels"].result, found["labels"].detail) == ("FAILED", "no pixel of any class")


def test_what_is_missing_does_not_stop_the_rest(voc: Path) -> None:
    names = (voc / "ImageSets/Segmentation/val.txt").read_text().split()
    for name in names[1:3]:
        (voc / "SegmentationClass" / f"{name}.png").unlink()
    (voc / "JPEGImages" / f"{names[3]}.jpg").write_bytes(b"")
    found = by_check(check("voc20"))
    assert found["layout"].result == found["files"].result == "FAILED"
    assert "pacl-bench data where voc20" in found["layout"].way_out
    assert found["files"].detail == "2 are missing"
    assert [f"{name}.png" in told for name, told in zip(names[1:3], found["files"].examples, strict=True)] == [True] * 2
    assert found["images"].detail == "1 of 4 are broken"
    (voc / "ImageSets/Segmentation/val.txt").write_text("")
    assert [finding.result for finding in check("voc20")] == ["FAILED"]


class Readerless:
    """A reader that lets everything through."""

    name, classnames, official_images, fingerprint = "loose", ["a", "a", " "], 2, ""

    def __len__(self) -> int:
        return 2

    def image(self, index: int) -> Image.Image:
        return Image.new("RGB", (6, 4))

    def label_map(self, index: int) -> np.ndarray:
        return np.full((4, 6), 3, np.uint8) if index else np.zeros((6, 4), np.uint8)


def test_what_a_reader_lets_through_is_still_found() -> None:
    found = by_check(check_segmentation(Readerless(), fast=False))
    assert found["label maps"].examples == (
        "image 1: label map 4 x 6 pixels, the image 6 x 4",
        "image 2: label 3 is beyond the 3 classes",
    )
    assert (found["names"].result, found["names"].detail) == ("FAILED", "1 of 3 are empty")


def test_one_name_for_two_classes_is_a_warning() -> None:
    loose = Readerless()
    loose.classnames = ["crane", "crane", "b", "c"]
    found = by_check(check_segmentation(loose, fast=False))["names"]
    assert (found.result, found.examples) == ("warning", ("crane",))


def test_names_that_differ_by_capitals_alone_are_a_warning() -> None:
    loose = Readerless()
    loose.classnames = ["Turkey", "b", "turkey", "c"]
    found = by_check(check_segmentation(loose, fast=False))["names"]
    assert (found.result, found.examples) == ("warning", ("Turkey", "turkey"))
    assert "2 differ by capitals alone" in found.detail


def class_folders(root: Path, number: int) -> Path:
    for folder in ("cat", "dog"):
        (root / "cifar10" / "test" / folder).mkdir(parents=True)
        for index in range(number):
            Image.new("RGB", (8, 8)).save(root / "cifar10" / "test" / folder / f"{index:04}.png")
    return root / "cifar10" / "test"


def test_class_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACL_DATA", str(tmp_path))
    folder = class_folders(tmp_path, 2)
    (folder / "cat" / "0001.png").write_bytes(b"\x89PNG")
    found = by_check(check("cifar10"))
    assert (found["images"].result, len(found["images"].examples)) == ("FAILED", 1)
    assert "cat/0001.png" in found["images"].examples[0]
    assert found["classes"].detail.startswith("2 of 10 occur; no image of: airplane")
    assert found["count"].result == "warning"


def test_fast_looks_at_a_sample_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_sample: None
) -> None:
    monkeypatch.setenv("PACL_DATA", str(tmp_path))
    folder = class_folders(tmp_path, 10)
    (folder / "cat" / "0001.png").write_bytes(b"")  # the second of 20, which --fast leaves out
    assert by_check(check("cifar10", fast=True))["images"].detail == "10 of 20, evenly spread, decode"
    assert by_check(check("cifar10"))["images"].result == "FAILED"
    (folder / "dog" / "0009.png").write_bytes(b"")  # the last
    assert by_check(check("cifar10", fast=True))["images"].detail == "1 of 10 are broken"


def test_pairs(pairs_csv: Path) -> None:
    found = by_check(check(str(pairs_csv)))
    assert {name: finding.result for name, finding in found.items()} == {
        "layout": "ok", "count": "ok", "images": "FAILED", "captions": "ok", "empty caption": "warning",
        "missing image": "warning",
    }  # fmt: skip
    assert "3.jpg" in found["images"].examples[0]
    assert "gone.jpg" in found["missing image"].examples[0]
    assert "pairs.csv:7" in found["empty caption"].examples[0]


def test_pairs_without_a_usable_one(tmp_path: Path) -> None:
    (tmp_path / "none.csv").write_text("filepath,caption\ngone.jpg,a photo\n")
    (layout,) = check(str(tmp_path / "none.csv"))
    assert (layout.result, "no usable pair" in layout.detail) == ("FAILED", True)


def shard(file: Path, number: int, broken: bool = False) -> Path:
    with tarfile.open(file, "w") as tar:
        for index in range(number):
            buffer = io.BytesIO()
            Image.new("RGB", (32, 32)).save(buffer, "jpeg")
            content = b"no image" if broken else buffer.getvalue()
            for suffix, data in (("jpg", content), ("txt", b"a photo"), ("json", json.dumps({}).encode())):
                member = tarfile.TarInfo(f"{index:05}.{suffix}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    return file


def test_shards(tmp_path: Path) -> None:
    files = [shard(tmp_path / f"{index:05}.tar", 3, broken=index == 1) for index in range(3)]
    shutil.copyfile(files[0], tmp_path / "00003.tar")
    with (tmp_path / "00003.tar").open("r+b") as handle:
        handle.truncate(4500)
    files += [tmp_path / "00003.tar", shard(tmp_path / "00004.tar", 0)]
    found = by_check(check_shards(ShardSet("mine", files), "mine", fast=False))
    assert {name: (finding.result, finding.detail) for name, finding in found.items() if name != "count"} == {
        "broken image": ("FAILED", "3"), "damaged tar": ("FAILED", "1"),
    }  # fmt: skip
    assert "00001.tar/00000" in found["broken image"].examples[0]
    assert found["damaged tar"].examples == (f"{tmp_path}/00003.tar: unexpected end of data",)
    assert found["count"].detail.startswith("7 pairs in 5 of 5 tars")


def test_a_tar_cut_between_two_members_is_not_whole(tmp_path: Path) -> None:
    file = shard(tmp_path / "00000.tar", 3)
    with tarfile.open(file) as tar:
        last = tar.getmembers()[-1].offset
    with file.open("r+b") as handle:
        handle.truncate(last)
    [told] = by_check(check_shards(ShardSet("mine", [file]), "mine", fast=False))["damaged tar"].examples
    assert "its end is missing" in told


def test_check_reads_shards_as_training_does(tmp_path: Path) -> None:
    """What one of them complains of, the other does: both are told by the one reader."""
    write_tar(tmp_path / "null" / "0.tar", [{"jpg": jpeg(), "json": b'{"caption": null}'}] * 2)
    write_tar(tmp_path / "packed" / "0.tar", [{"jpg": jpeg(n), "txt": f"{n}"} for n in range(3)])
    packed = tmp_path / "packed" / "0.tar"
    packed.write_bytes(gzip.compress(packed.read_bytes()))
    write_shards(tmp_path / "counted", [2])
    (tmp_path / "counted" / "00000_stats.json").write_text('{"successes": 5}')
    write_shards(tmp_path / "miscounted", [2])
    (tmp_path / "miscounted" / "00000_stats.json").write_text('{"successes": -5}')
    told = {folder: by_check(check(str(tmp_path / folder))) for folder in ("null", "packed", "counted", "miscounted")}
    assert told["null"]["pairs"].result == "FAILED"
    assert told["null"]["missing caption"].detail == "2"
    assert {finding.result for finding in told["packed"].values()} == {"ok"}
    assert told["counted"]["wrong count"].examples == (
        f"{tmp_path}/counted/00000.tar: 2 pairs found, 5 counted in 00000_stats.json",
    )
    assert "successes: -5" in told["miscounted"]["damaged count"].examples[0]
    assert told["miscounted"]["damaged count"].result == "FAILED"


def test_fast_decodes_the_first_image_of_a_tar(tmp_path: Path) -> None:
    shards = ShardSet(
        "mine", [write_tar(tmp_path / "0.tar", [{"jpg": jpeg(), "txt": "a"}, {"jpg": b"no", "txt": "b"}])]
    )
    assert "broken image" not in by_check(check_shards(shards, "mine", fast=True))
    assert by_check(check_shards(shards, "mine", fast=False))["broken image"].detail == "1"


def test_files_that_are_no_images_are_told(tmp_path: Path) -> None:
    for folder in ("cat", "dog"):
        (tmp_path / "mine" / folder).mkdir(parents=True)
        for name in ("0.jpg", "1.jfif", "2.JPG", "3.avif"):
            Image.new("RGB", (8, 8)).save(tmp_path / "mine" / folder / name, "jpeg")
    assert "8 images" in by_check(check(f"folder:{tmp_path}/mine"))["count"].detail
    (tmp_path / "mine" / "dog" / "4.heic").write_bytes(b"")
    (tmp_path / "mine" / "dog" / "more").mkdir()
    others = by_check(check(f"folder:{tmp_path}/mine"))["other files"]
    assert (others.result, others.detail) == ("warning", "2 are left out: 1 .heic, 1 without an ending")


def test_what_lies_beside_the_classes_is_told(tmp_path: Path) -> None:
    mine = class_folders(tmp_path, 2)
    (mine / "bird").mkdir()
    (mine / "__MACOSX" / "cat").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(mine / "0004.png")
    found = by_check(check(f"folder:{mine}"))
    assert (found["other files"].result, found["other files"].detail) == ("warning", "1 are left out: 1 .png")
    assert (found["classes"].result, found["classes"].detail) == ("warning", "2 of 3 occur; no image of: bird")


def test_masks_of_0_and_255_are_a_warning(tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        (tmp_path / "mine" / folder).mkdir(parents=True)
    (tmp_path / "mine" / "names.txt").write_text("grass\nzebra\n")
    mask = np.zeros((8, 8), np.uint8)
    for name in ("a.png", "b.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / "mine" / "images" / name)
        mask[2:5] = 255
        Image.fromarray(mask).save(tmp_path / "mine" / "masks" / name)
    labels = by_check(check(f"folder:{tmp_path}/mine"))["labels"]
    assert (labels.result, labels.way_out[:21]) == ("warning", "Masks of 0 and 255? 2")
    mask[6] = 1
    Image.fromarray(mask).save(tmp_path / "mine" / "masks" / "a.png")
    assert by_check(check(f"folder:{tmp_path}/mine"))["labels"].result == "ok"


def test_kinds(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    (mine / "masks").mkdir(parents=True)
    (tmp_path / "sorted" / "cat").mkdir(parents=True)
    (tmp_path / "shards").mkdir()
    shard(tmp_path / "shards" / "0.tar", 1)
    assert [kind_of(name) for name in ("voc20", "dtd", "coco-val2017", "world-things", "x.csv", "{0..9}.tar")] == [
        "segmentation", "classification", "pairs", "segmentation", "pairs", "pairs",
    ]  # fmt: skip
    assert kind_of(f"folder:{mine}") == kind_of(str(mine)) == "segmentation"
    (mine / "names.tsv").write_text("masks\tmask\nimages\tphoto\n")
    assert kind_of(f"folder:{mine}") == "classification"
    assert kind_of(f"folder:{tmp_path}/sorted") == kind_of("wds:/x") == "classification"
    assert kind_of(str(tmp_path / "shards")) == "pairs"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vok20", "Unknown data set 'vok20'. Did you mean 'voc20'"),
        ("cifar", "Did you mean 'cifar10'"),
        ("coco-val", "Did you mean 'coco-val2017'"),
        ("voc20", "not found. Get it with `pacl-bench data fetch voc20`"),
        ("gone.csv", "gone.csv not found"),
        ("folder:/gone", "/gone is not found; a folder is wanted"),
        (f"wds:{__file__}", "is a file; a folder is wanted"),
    ],
)
def test_what_is_not_there(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check(name)


def test_the_built_in_world_is_whole(small_sample: None) -> None:
    found = by_check(check("world-things", fast=True))
    assert {finding.result for finding in found.values()} == {"ok"}


@pytest.mark.shared
def test_the_real_sets(shared_data: Path, small_sample: None) -> None:
    for name in ("voc20", "caltech101", "dtd", "coco-train2017"):
        found = by_check(check(name, fast=True))
        assert {check: finding.result for check, finding in found.items() if finding.result != "ok"} == {
            "count": "warning"
        }
