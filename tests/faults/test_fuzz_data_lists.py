"""Lists of captions that nobody would think of: each gives data, counted skips or one line, and never a wrong pair.

A photo and its caption carry the same word, which no damage can turn into another's; so a wrong pair is known at once.

The examples are the same in every run: 20 a test here, and as many as one likes by

    PACL_FUZZ_EXAMPLES=1000 nice -n 19 python -m pytest -q -n 0 tests/faults/test_fuzz_data_*.py
"""

import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from fuzzing import damaged, fuzzed, or_one_line, word
from hypothesis import given
from hypothesis import strategies as st
from shard_samples import jpeg

from pacl_bench.data.pair_readers import Pairs
from pacl_bench.data.pairs import load_pairs

WORDS = [word(number) for number in range(8)]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight photos, each called by its word."""
    folder = tmp_path_factory.mktemp("photos")
    for number in range(8):
        (folder / f"{word(number)}.jpg").write_bytes(jpeg(number))
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for one example after the other."""
    return tmp_path_factory.mktemp("fuzz")


# no "\r": until Python 3.13 its csv writer leaves it without quotes, where it ends the line for every reader
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=30)


@st.composite
def tables(draw: st.DrawFn) -> tuple[str, dict[str, str]]:
    """A table as a program writes it, in any dialect, and image -> caption as they are in it."""
    numbers = draw(st.lists(st.integers(0, 7), max_size=8, unique=True))
    captions = {f"{WORDS[number]}.jpg": f"{WORDS[number]} {draw(TEXT)}" for number in numbers}
    columns = draw(st.permutations(["filepath", "caption"]) | st.permutations(["filepath", "caption", "more"]))
    buffer = io.StringIO(newline="")
    table = csv.DictWriter(
        buffer,
        columns,
        extrasaction="ignore",
        delimiter=draw(st.sampled_from(",\t;|")),
        quoting=draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])),
        lineterminator=draw(st.sampled_from(["\n", "\r\n"])),
    )
    table.writeheader()
    table.writerows({"filepath": file, "caption": caption, "more": "x"} for file, caption in captions.items())
    return draw(st.sampled_from(["", "\ufeff"])) + buffer.getvalue(), captions


def pairs_of(name: str) -> Pairs | None:
    """The set of a name, each caption with its own image; None where it is refused."""
    loaded = or_one_line(lambda: load_pairs(name))
    if not loaded or not isinstance(loaded[0], Pairs):
        return None
    for file, captions in zip(loaded[0].photos.files, loaded[0].captions, strict=True):  # type: ignore[attr-defined]
        held = {other for other in WORDS if any(other in caption for caption in captions)}
        assert held <= {file.stem}
    return loaded[0]


@fuzzed
@given(table=tables())
def test_a_table_that_is_right_is_read_as_it_is(photos: Path, table: tuple[str, dict[str, str]]) -> None:
    content, captions = table
    (photos / "pairs.csv").write_bytes(content.encode())
    pairs = pairs_of(str(photos / "pairs.csv"))
    if not captions:
        assert pairs is None
        return
    assert pairs is not None
    assert not pairs.skipped
    read = {file.name: caption for file, [caption] in zip(pairs.photos.files, pairs.captions, strict=True)}  # type: ignore[attr-defined]
    assert read == {file: " ".join(caption.split()) for file, caption in captions.items()}


@fuzzed
@given(data=st.data())
def test_a_damaged_table(photos: Path, data: st.DataObject) -> None:
    content, _ = data.draw(tables())
    (photos / "pairs.csv").write_bytes(data.draw(damaged(content.encode(), most=2)))
    pairs_of(str(photos / "pairs.csv"))


@fuzzed
@given(content=st.binary(max_size=300), ending=st.sampled_from(["csv", "tsv"]))
def test_any_bytes_as_a_table(photos: Path, content: bytes, ending: str) -> None:
    (photos / f"pairs.{ending}").write_bytes(content)
    pairs_of(str(photos / f"pairs.{ending}"))


LISTS = {"flickr8k": ("Flickr8k_text/Flickr8k.token.txt", "Flicker8k_Dataset", "{}.jpg#{}\t{}"),
         "flickr30k": ("results_20130124.token", "flickr30k-images", "{}.jpg#{}\t{}"),
         "flickr30k csv": ("results.csv", "flickr30k_images", "{}.jpg| {}| {}")}  # fmt: skip


@pytest.mark.parametrize("kind", LISTS)
@fuzzed
@given(data=st.data())
def test_damaged_lists_of_flickr(photos: Path, place: Path, kind: str, data: st.DataObject) -> None:
    listed, folder, line = LISTS[kind]
    name = kind.partition(" ")[0]
    root = place / kind.replace(" ", "-") / name
    if not root.is_dir():
        (root / listed).parent.mkdir(parents=True)
        shutil.copytree(photos, root / folder)
    numbers = data.draw(st.lists(st.integers(0, 7), max_size=8))
    rows = [line.format(WORDS[n], at, f"{WORDS[n]} {data.draw(TEXT)}") for at, n in enumerate(numbers)]
    (root / listed).write_bytes(data.draw(damaged("\n".join(rows).encode(), most=2)))
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PACL_DATA", str(root.parent))
        pairs_of(name)


ID = {number: int(word(number)[:7], 16) for number in range(10)}  # so far apart that no damage makes one another's
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 9) | st.floats() | st.sampled_from(["x", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "image_id", "x"]), inner),
    max_leaves=5,
)


@st.composite
def coco(draw: st.DrawFn) -> dict[str, Any]:
    """Captions as COCO has them: of some there is no image."""
    listed, told = (draw(st.lists(st.integers(0, most), max_size=8)) for most in (7, 9))
    return {
        "images": [{"id": ID[n], "file_name": f"{WORDS[n]}.jpg"} for n in listed],
        "annotations": [{"id": n, "image_id": ID[n], "caption": f"{word(n)} {draw(TEXT)}"} for n in told],
    }


@st.composite
def strange(draw: st.DrawFn, content: Any) -> Any:
    """The same, with anything in the place of one part of it, or with that left out."""
    if not isinstance(content, dict | list) or not content or draw(st.integers(0, 3)) == 0:
        return draw(JSON)
    content = content.copy()
    at = draw(st.sampled_from(sorted(content) if isinstance(content, dict) else range(len(content))))
    if draw(st.integers(0, 3)) == 0:
        del content[at]
    else:
        content[at] = draw(strange(content[at]))
    return content


@pytest.mark.parametrize("how", ["in the text", "in the structure"])
@fuzzed
@given(data=st.data())
def test_damaged_captions_of_coco(photos: Path, place: Path, how: str, data: st.DataObject) -> None:
    root = place / "coco-data" / "coco"
    if not root.is_dir():
        (root / "annotations").mkdir(parents=True)
        shutil.copytree(photos, root / "val2017")
    content = data.draw(coco())
    if how == "in the text":
        listed = data.draw(damaged(json.dumps(content, ensure_ascii=data.draw(st.booleans())).encode(), most=2))
    else:
        listed = json.dumps(data.draw(strange(content))).encode()
    (root / "annotations" / "captions_val2017.json").write_bytes(listed)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PACL_DATA", str(root.parent))
        pairs_of("coco-val2017")
