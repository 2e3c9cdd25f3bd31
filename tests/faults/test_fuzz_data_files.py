"""Images, masks, names and archives that nobody would think of: each is read as it is stored, or refused in one line.

The examples are the same in every run: 20 a test here, and as many as one likes by

    PACL_FUZZ_EXAMPLES=1000 nice -n 19 python -m pytest -q -n 0 tests/faults/test_fuzz_data_*.py
"""

import gzip
import io
import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fuzzing import damaged, fuzzed, or_one_line
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from shard_samples import tar_of

from pacl_bench.data.classification import load_classification
from pacl_bench.data.images import open_image, open_photo
from pacl_bench.data.segmentation import load_segmentation
from pacl_bench.data.segmentation_folders import read_raw_labels, upright_size
from pacl_bench.data.tools.archives import unpack
from pacl_bench.data.vocabulary import load_templates, load_vocabulary


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for one example after the other."""
    return tmp_path_factory.mktemp("fuzz")


def pictures() -> Iterator[tuple[str, bytes]]:
    """A small image in each format and mode that Pillow writes."""
    ramp = np.arange(1024, dtype=np.uint16).reshape(32, 32)
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I", "F"):
        image = Image.fromarray(ramp.astype({"I;16": np.uint16, "I": np.int32, "F": np.float32}.get(mode, np.uint8)))
        for kind in ("PNG", "JPEG", "TIFF", "GIF", "BMP", "WEBP", "PPM", "TGA", "JPEG2000", "ICO", "PCX"):
            buffer = io.BytesIO()
            try:
                (image if mode in ("I;16", "I", "F") else image.convert(mode)).save(buffer, kind)
            except (OSError, ValueError, KeyError):  # a mode that the format does not know
                continue
            yield f"{mode} {kind}", buffer.getvalue()


PICTURES = dict(pictures())


@fuzzed
@given(data=st.data(), kind=st.sampled_from(sorted(PICTURES)))
def test_a_damaged_image(place: Path, data: st.DataObject, kind: str) -> None:
    file = place / "photo.jpg"
    file.write_bytes(data.draw(damaged(PICTURES[kind], most=5)))
    for look in (open_image, upright_size, read_raw_labels, lambda file: open_photo(file, "photo")):
        seen = or_one_line(lambda look=look: look(file))
        assert not isinstance(seen, Image.Image) or seen.mode == "RGB"


@st.composite
def label_maps(draw: st.DrawFn) -> np.ndarray:
    """Up to 9 x 9 labels: of two classes, of a few, or any."""
    shape, most = draw(st.tuples(st.integers(1, 9), st.integers(1, 9))), draw(st.sampled_from([1, 9, 255]))
    labels = draw(st.binary(min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]))
    return (np.frombuffer(labels, np.uint8).reshape(shape) % np.uint16(most + 1)).astype(np.uint8)


@fuzzed
@given(labels=label_maps(), classes=st.integers(1, 255), palette=st.booleans(), turned=st.booleans(), data=st.data())
def test_a_mask(
    place: Path, labels: np.ndarray, classes: int, palette: bool, turned: bool, data: st.DataObject
) -> None:
    """It is read as it is stored, unless its labels or its size do not fit, or it is damaged: then it is refused."""
    root = own_folder(place / "own")
    (root / "names.txt").write_text("".join(f"class {number}\n" for number in range(classes)))
    mask, buffer = Image.fromarray(labels), io.BytesIO()
    if palette:
        mask.putpalette(list(range(256)) * 3)
    mask.save(buffer, "PNG")
    content = data.draw(damaged(buffer.getvalue(), most=1))
    (root / "masks" / "a.png").write_bytes(content)
    shape = labels.shape[::-1] if turned else labels.shape
    Image.new("RGB", shape[::-1]).save(root / "images" / "a.png")
    read = or_one_line(lambda: load_segmentation(f"folder:{root}").label_map(0))
    fits = shape == labels.shape and not ((labels >= classes) & (labels != 255)).any()
    if content == buffer.getvalue():
        assert (read is not None) == fits
        assert read is None or np.array_equal(read, labels)


def own_folder(root: Path) -> Path:
    """A segmentation set of one image, without names."""
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4)).save(root / folder / "a.png")
    return root


NAMES = st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n\ufeff"), min_size=1), max_size=9)


@fuzzed
@given(names=NAMES, start=st.sampled_from(["", "\ufeff"]), end=st.sampled_from(["\n", "\r\n"]))
def test_names_are_the_lines_of_their_file(place: Path, names: list[str], start: str, end: str) -> None:
    root = own_folder(place / "named")
    (root / "names.txt").write_bytes((start + "".join(f"{name}{end}" for name in names)).encode())
    expected = [name.strip() for name in names if not (name.startswith("# ") or name.rstrip() == "#")]
    while expected and not expected[-1]:
        expected.pop()
    images = or_one_line(lambda: load_segmentation(f"folder:{root}"))
    right = expected and all(expected) and len({*expected}) == len(expected)
    assert (None if images is None else images.classnames) == (expected if right else None)


@fuzzed
@given(content=st.binary(max_size=200))
def test_any_bytes_as_lists_of_names(place: Path, content: bytes) -> None:
    root = place / "any"
    own_folder(root)
    own_folder(root / "classes")
    for name in ("names.txt", "classes/names.tsv"):
        (root / name).write_bytes(content)
    or_one_line(lambda: load_segmentation(f"folder:{root}"))
    or_one_line(lambda: load_classification(f"folder:{root}/classes"))
    or_one_line(lambda: load_vocabulary(str(root / "names.txt"), "mine", ["a", "b"]))
    or_one_line(lambda: load_templates(str(root / "names.txt")))


def archives() -> Iterator[tuple[str, bytes]]:
    """Small archives, those among them that would write elsewhere."""
    files = [("a/1.jpg", b"1" * 600), ("a/b/2.txt", b"2"), ("../out.txt", b"3"), ("/out.txt", b"4")]
    for count in (2, 3, 4):
        for format in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
            yield ".tar", tar_of(files[:count], format)
        yield ".tar.gz", gzip.compress(tar_of(files[:count]))
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
            for name, content in files[:count]:
                packed.writestr(name, content)
        yield ".zip", buffer.getvalue()
    yield ".gz", gzip.compress(b"5" * 900)


ARCHIVES = list(archives())


@fuzzed
@given(data=st.data(), archive=st.sampled_from(ARCHIVES))
def test_a_damaged_archive(place: Path, data: st.DataObject, archive: tuple[str, bytes]) -> None:
    kind, content = archive
    root = place / "archives"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    (root / f"set{kind}").write_bytes(data.draw(damaged(content)))
    refused = or_one_line(lambda: unpack(root / f"set{kind}", root / "new") or True) is None
    assert {file.name for file in root.iterdir()} <= {f"set{kind}", "new"}
    assert not (refused and (root / "new").exists())
