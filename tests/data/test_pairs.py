"""Pairs in the three layouts; what cannot be trained on is skipped, counted and named."""

import json
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

from pacl_bench.data.captions import noun_prompts, nouns
from pacl_bench.data.images import open_image
from pacl_bench.data.pair_names import split_sum
from pacl_bench.data.pair_readers import Pairs, count_skipped, skipped_image
from pacl_bench.data.pairs import load_pairs
from pacl_bench.data.vocabulary import load_templates
from pacl_bench.errors import UsageError
from pacl_bench.image_sets import BrokenImage


def test_csv(pairs_csv: Path) -> None:
    (pairs,) = load_pairs(str(pairs_csv))
    assert len(pairs) == 11
    assert pairs.captions[0] == ["a dog and a cat number 0 on the grass"]
    assert [(skip.cause, Path(skip.where).name) for skip in pairs.skipped] == [
        ("empty caption", "pairs.csv:7"),
        ("missing image", "gone.jpg"),
    ]
    assert count_skipped(pairs.skipped).startswith("1 empty caption, 1 missing image (first: ")


def test_flickr8k(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "flickr8k"
    (root / "Flickr8k_text").mkdir(parents=True)
    (root / "Flicker8k_Dataset").mkdir()
    for name in ("a.jpg", "b.jpg"):
        Image.new("RGB", (8, 8)).save(root / "Flicker8k_Dataset" / name)
    lines = ["a.jpg#0\tA dog runs .", "a.jpg#1\tThe dog is running .", "b.jpg#0\tA cat", "c.jpg#0\tNobody", "b.jpg#1\t"]
    (root / "Flickr8k_text" / "Flickr8k.token.txt").write_text("\n".join(lines))
    monkeypatch.setenv("PACL_DATA", str(tmp_path))
    (pairs,) = load_pairs("flickr8k")
    assert pairs.captions == [["A dog runs .", "The dog is running ."], ["A cat"]]
    assert [skip.cause for skip in pairs.skipped] == ["missing image", "empty caption"]


def photos(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True)
    for name in names:
        Image.new("RGB", (32, 32)).save(folder / name)


@pytest.mark.parametrize("layout", ["official", "results.csv", "within"])
def test_flickr30k(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str) -> None:
    root = tmp_path / "flickr30k"
    if layout == "official":
        photos(root / "flickr30k-images", "1.jpg", "2.jpg")
        lines = ["1.jpg#0\tTwo men .", "1.jpg#1\tA pair | of men .", "2.jpg#0\tA dog ."]
        (root / "results_20130124.token").write_text("\n".join(lines))
    else:
        outer = root / "flickr30k_images" if layout == "within" else root
        photos(root / "flickr30k_images" / ("flickr30k_images" if layout == "within" else ""), "1.jpg", "2.jpg")
        lines = ["1.jpg| 0| Two men .", "1.jpg| 1| A pair | of men .", "2.jpg| 0| A dog .", "2.jpg| 4   A dog runs ."]
        (outer / "results.csv").write_text("\n".join(["image_name| comment_number| comment", *lines]) + "\n")
    monkeypatch.setenv("PACL_DATA", str(tmp_path))
    (pairs,) = load_pairs("flickr30k")
    assert pairs.captions == [["Two men .", "A pair | of men ."], ["A dog ."]]
    assert [skip.cause for skip in pairs.skipped] == ([] if layout == "official" else ["empty caption"])
    shutil.rmtree(root / ("flickr30k-images" if layout == "official" else "flickr30k_images"))
    with pytest.raises(UsageError, match=r"flickr30k: .* not found under"):
        load_pairs("flickr30k")


def test_coco(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "coco"
    (root / "annotations").mkdir(parents=True)
    (root / "val2017").mkdir()
    Image.new("RGB", (8, 8)).save(root / "val2017" / "000000000007.jpg")
    content = {
        "images": [{"id": 7, "file_name": "000000000007.jpg"}],
        "annotations": [{"id": number, "image_id": 7, "caption": f"caption {number}\n"} for number in range(2)],
    }
    (root / "annotations" / "captions_val2017.json").write_text(json.dumps(content))
    monkeypatch.setenv("PACL_DATA", str(tmp_path))
    assert load_pairs("coco-val2017")[0].captions == [["caption 0", "caption 1"]]


@pytest.mark.parametrize(
    "content",
    [
        [],
        {"images": [{"id": 7, "file_name": "7.jpg"}], "annotations": [{"id": 1, "image_id": 7, "caption": None}]},
    ],
)
def test_json_that_is_none_of_cocos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: object) -> None:
    file = tmp_path / "coco" / "annotations" / "captions_val2017.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(content))
    monkeypatch.setenv("PACL_DATA", str(tmp_path))
    with pytest.raises(UsageError, match="coco-val2017 is not readable as pairs"):
        load_pairs("coco-val2017")


def test_captions_whose_image_is_not_listed_are_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "coco"
    (root / "annotations").mkdir(parents=True)
    photos(root / "val2017", "7.jpg")
    content = {
        "images": [{"id": 7, "file_name": "7.jpg"}, {"id": 8, "file_name": "8.jpg"}],
        "annotations": [{"id": n, "image_id": n, "caption": f"of {n}"} for n in (7, 8, 9)],
    }
    listed = root / "annotations" / "captions_val2017.json"
    listed.write_bytes(b"\xef\xbb\xbf" + json.dumps(content, ensure_ascii=False).encode())
    monkeypatch.setenv("PACL_DATA", str(tmp_path))
    (pairs,) = load_pairs("coco-val2017")
    assert pairs.captions == [["of 7"]]
    assert [(skip.cause, skip.where.rpartition("/")[2]) for skip in pairs.skipped] == [
        ("missing image", "8.jpg"), ("broken line", "captions_val2017.json id 9: no image has the id 9"),
    ]  # fmt: skip
    content["images"].append({"id": 7, "file_name": "other.jpg"})
    listed.write_text(json.dumps(content))
    with pytest.raises(UsageError, match="two images have the id 7, so nobody knows whose"):
        load_pairs("coco-val2017")
    listed.write_text("[" * 100_000)
    with pytest.raises(UsageError, match="coco-val2017 is not readable as pairs"):
        load_pairs("coco-val2017")


def test_lines_of_a_flickr_list_that_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos(tmp_path / "flickr30k" / "flickr30k-images", "a#b.jpg", "1.jpg")
    lines = ["a#b.jpg#0\tOne\u2028line", "1.jpg#0 no tab", "", "1.jpg\tNo number\r", "1.jpg#1\tTwo1.jpg#2\tin one"]
    (tmp_path / "flickr30k" / "results_20130124.token").write_text("\n".join(lines) + "\n")
    monkeypatch.setenv("PACL_DATA", str(tmp_path))
    (pairs,) = load_pairs("flickr30k")
    assert pairs.captions == [["One line"], ["No number"]]
    assert [skip.where.partition(".token:")[2] for skip in pairs.skipped] == [
        "2: no tab behind the name of the photo", "5: a second photo stands in it: an end of line is missing",
    ]  # fmt: skip
    (tmp_path / "flickr30k" / "results_20130124.token").unlink()
    listed = "1.jpg| 0| A first line | without names\n1.jpg| 1| Two1.jpg| 2| in one\n"
    (tmp_path / "flickr30k" / "results.csv").write_text(listed)
    (pairs,) = load_pairs("flickr30k")
    assert (pairs.captions, len(pairs.skipped)) == ([["A first line | without names"]], 1)


def test_sets_add_up(pairs_csv: Path) -> None:
    first, second = load_pairs(f"{pairs_csv}+world-1k")
    assert (first.name, second.name) == ("pairs", "world-1k")


def test_a_plus_or_a_colon_in_a_path_stays_there(pairs_csv: Path) -> None:
    odd = pairs_csv.with_name("a+b:2.csv")
    odd.write_text(pairs_csv.read_text())
    numbered = pairs_csv.with_name("c.csv:7")
    numbered.write_text("")
    assert split_sum(f"world-1k+{odd}+{odd}:0.5+flickr8k") == ["world-1k", str(odd), f"{odd}:0.5", "flickr8k"]
    assert [pairs.name for pairs in load_pairs(f"{odd}+{pairs_csv}")] == ["a+b:2", "pairs"]
    assert [(pairs.name, pairs.weight) for pairs in load_pairs(f"{odd}:1+{pairs_csv}:3.0")] == [
        ("a+b:2", 0.25),
        ("pairs", 0.75),
    ]
    assert load_pairs(f"{pairs_csv}:3")[0].weight is None  # alone it is all there is
    for name in (str(numbered), "C:pairs.csv", "coco:train"):
        with pytest.raises(UsageError, match=name):
            load_pairs(name)


def test_absurd_sizes_are_no_photos(tmp_path: Path) -> None:
    for number, size in enumerate([(40, 40), (15, 40), (16, 320), (16, 321), (10_000, 10_000)]):
        Image.new("1", size).save(tmp_path / f"{number}.png")
    (tmp_path / "pairs.csv").write_text("filepath,caption\n" + "".join(f"{n}.png,photo {n}\n" for n in range(5)))
    (pairs,) = load_pairs(str(tmp_path / "pairs.csv"))
    causes = []
    for index in range(5):
        try:
            pairs.photos.image(index)
        except BrokenImage as broken:
            causes.append((index, skipped_image(str(broken)).cause))
    assert causes == [(1, "absurd size"), (3, "absurd size"), (4, "absurd size")]


def test_fingerprints_follow_the_content(pairs_csv: Path) -> None:
    (before,) = load_pairs(str(pairs_csv))
    fingerprint = before.photos.fingerprint
    text = pairs_csv.read_text()
    pairs_csv.write_text(text.replace("number 0", "number nought"))
    (after,) = load_pairs(str(pairs_csv))
    assert fingerprint == after.photos.fingerprint
    assert before.captions_fingerprint != after.captions_fingerprint
    Image.new("RGB", (9, 9)).save(pairs_csv.parent / "0.jpg")
    assert load_pairs(str(pairs_csv))[0].photos.fingerprint != fingerprint


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("flickr8", "Did you mean 'flickr8k'?"),
        ("flickr8k", "flickr8k not found"),
        ("nowhere.csv", "nowhere.csv not found"),
        ("world-1k+", "--pairs world-1k+: a set is wanted on both sides of a +."),
        ("+world-1k", "a set is wanted on both sides of a +."),
        ("world-1k+world-4k+world-1k", "world-1k stands there twice. To show it more often, give it a weight."),
        ("world-1k:0.5+world-1k:0.5", "world-1k stands there twice."),
    ],
)
def test_wrong_names(name: str, line: str) -> None:
    with pytest.raises(UsageError, match=re.escape(line)):
        load_pairs(name)


def test_a_csv_without_captions(tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text("filepath,text\na.jpg,a dog\n")
    with pytest.raises(UsageError, match="column 'caption' is missing"):
        load_pairs(str(tmp_path / "pairs.csv"))
    (tmp_path / "pairs.csv").write_text("filepath,caption\na.jpg,a dog\n")
    with pytest.raises(UsageError, match="no usable pair"):
        load_pairs(str(tmp_path / "pairs.csv"))


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("Two dogs are running on a grassy field .", ["dog", "field"]),
        ("A child in a pink dress climbs the stairs", ["child", "dress", "stairs"]),
        ("two women and three men with buses", ["woman", "man", "bus"]),
        ("a photo of a sheep", ["sheep"]),
        ("running quickly", []),
        ("!!!", []),
    ],
)
def test_nouns(caption: str, expected: list[str]) -> None:
    assert nouns(caption) == expected


def test_noun_prompts_are_the_papers_seven() -> None:
    prompts = noun_prompts("a photo of a cow")
    assert prompts == [template.format("cow") for template in load_templates("paper7")]
    assert "itap of a cow." in prompts
    assert len(prompts) == 7


def test_broken_images_say_why(tmp_path: Path) -> None:
    whole = tmp_path / "whole.jpg"
    Image.effect_noise((64, 64), 50).save(whole)
    (tmp_path / "half.jpg").write_bytes(whole.read_bytes()[:600])
    (tmp_path / "text.jpg").write_text("not a photo")
    Image.new("RGB", (10_000, 1)).save(tmp_path / "strip.png")  # 1.5 GB once its short side is 224 pixels
    Image.new("RGB", (20, 400)).save(tmp_path / "long.png")
    assert open_image(whole).mode == open_image(tmp_path / "long.png").mode == "RGB"
    causes = {
        "half.jpg": "truncated",
        "text.jpg": "cannot identify",
        "none.jpg": "no such file",
        "strip.png": "10000 x 1 pixels, a strip",
    }
    for name, cause in causes.items():
        with pytest.raises(BrokenImage, match=cause) as error:
            open_image(tmp_path / name)
        assert name in str(error.value)


@pytest.mark.parametrize("content", ["filepath,caption\na.jpg,é".encode("latin-1"), b"filepath,caption\n\xff\xfe"])
def test_a_csv_of_another_encoding_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "pairs.csv").write_bytes(content)
    with pytest.raises(UsageError, match=r"pairs\.csv is no text in UTF-8"):
        load_pairs(str(tmp_path / "pairs.csv"))


@pytest.mark.shared
def test_the_real_sets(shared_data: Path) -> None:
    sets = load_pairs(f"flickr8k+coco-train2017+coco-val2017+{shared_data / 'voc_tags' / 'captions.csv'}")
    assert [len(pairs) for pairs in sets] == [1000, 80, 159, 638]
    assert sum(len(captions) for pairs in sets for captions in pairs.captions) == 5000 + 1195 + 638
    assert [pairs.skipped for pairs in sets] == [[]] * 4


@pytest.mark.parametrize("missing", ["nan", "NaN", "None", "<NA>", "null"])
def test_a_word_for_no_value_is_no_caption(missing: str, tmp_path: Path) -> None:
    """As pandas writes a value that is missing, where the column was made text before."""
    for name in ("0.jpg", "1.jpg"):
        (tmp_path / name).write_bytes(b"photo")
    (tmp_path / "p.csv").write_text(f"filepath,caption\n0.jpg,{missing}\n0.jpg,a {missing}\n1.jpg,naan bread\n")
    (pairs,) = load_pairs(str(tmp_path / "p.csv"))
    assert isinstance(pairs, Pairs)
    assert pairs.captions == [[f"a {missing}"], ["naan bread"]]
    assert [(skip.cause, skip.where) for skip in pairs.skipped] == [("empty caption", f"{tmp_path}/p.csv:2")]
