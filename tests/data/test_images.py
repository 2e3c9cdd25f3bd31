"""Image files of every format and depth: decoded to what a viewer shows, or refused in one line."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, features

from pacl_bench.data import images as module
from pacl_bench.data.images import (
    SAMPLED_BYTES,
    SAMPLED_FILES,
    hash_of_contents,
    image_files,
    open_image,
    other_files,
    photo_formats,
    photo_suffixes,
    sample_of_contents,
)
from pacl_bench.image_sets import BrokenImage

RAMP = np.arange(256, dtype=np.uint8)[None].repeat(16, 0)  # every grey, from left to right


def shown(file: Path) -> np.ndarray:
    """The greys of the first row."""
    return np.asarray(open_image(file))[0, :, 0].astype(int)


@pytest.mark.parametrize("at", [0, SAMPLED_BYTES - 1, -SAMPLED_BYTES, -1])
def test_a_sample_sees_both_ends_of_a_file(at: int, tmp_path: Path) -> None:
    content = bytearray(5 * SAMPLED_BYTES)
    files = [tmp_path / "a.jpg", tmp_path / "elsewhere.jpg", tmp_path / "changed.jpg"]
    for file in files[:2]:
        file.write_bytes(content)
    content[at] = 1
    files[2].write_bytes(content)
    same, elsewhere, changed = (sample_of_contents([file]) for file in files)
    assert same == elsewhere != changed


def test_a_short_file_is_seen_as_a_whole(tmp_path: Path) -> None:
    (tmp_path / "1").write_bytes(b"abc")
    (tmp_path / "2").write_bytes(b"abd")
    assert sample_of_contents([tmp_path / "1"]) != sample_of_contents([tmp_path / "2"])
    assert (
        sample_of_contents([tmp_path / "is not there"])
        == sample_of_contents([])
        != sample_of_contents([tmp_path / "1"])
    )


@pytest.mark.parametrize("number", [1, 63, 64, 65, 127, 128, 50_000])
def test_a_sample_is_spread_over_all_files_and_opens_few(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    monkeypatch.setattr(module, "_ends", lambda file: opened.append(int(file.name)) or b"")
    sample_of_contents([Path(str(index)) for index in range(number)])
    assert min(number, SAMPLED_FILES) / 2 <= len(opened) <= SAMPLED_FILES
    assert opened[0] == 0
    assert number - opened[-1] <= max(1, 2 * number / SAMPLED_FILES)


@pytest.mark.parametrize("at", [0, 5, 11, 19, 27])
def test_of_few_bytes_all_are_seen(at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK_BYTES", 7)
    content = bytes(range(28))
    hashes = []
    for folder, whole in (("a", content), ("b", content), ("c", content[:at] + b"x" + content[at + 1 :])):
        (tmp_path / folder).mkdir()
        files = [tmp_path / folder / name for name in ("1", "2", "empty", "3")]
        for file, part in zip(files, (whole[:3], whole[3:20], b"", whole[20:]), strict=True):
            file.write_bytes(part)
        hashes.append(hash_of_contents(files))
    assert hashes[0] == hashes[1] != hashes[2]


def test_of_many_bytes_blocks_are_seen_that_are_spread_over_all(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[tuple[int, int, int]] = []
    monkeypatch.setattr(module, "BLOCKS", 10)
    monkeypatch.setattr(module, "BLOCK_BYTES", 2)
    monkeypatch.setattr(module, "_size_on_disk", lambda file: 1 if file.name == "small" else 50)
    monkeypatch.setattr(module, "_part", lambda file, *part: read.append((int(file.parent.name), *part)) or b"")
    hash_of_contents([Path("0/large"), *(Path(f"{number}/small") for number in range(1, 51))])
    assert read[:6] == [(0, 0, 2), (0, 10, 2), (0, 20, 2), (0, 30, 2), (0, 40, 2), (1, 0, 1)]
    assert [file for file, _, _ in read[5:]] == [1, 2, 11, 12, 21, 22, 31, 32, 41, 42]


def test_suffixes_are_those_of_pillows_formats_that_hold_photos() -> None:
    assert {
        ".jpg",
        ".jpeg",
        ".jfif",
        ".png",
        ".webp",
        ".tif",
        ".tiff",
        ".bmp",
        ".gif",
        ".ppm",
        ".jp2",
    } <= photo_suffixes()
    assert (".avif" in photo_suffixes()) == features.check("avif")
    assert not {".pdf", ".ps", ".eps", ".mpg", ".h5", ".txt", ".npy", ".json"} & photo_suffixes()


def test_only_the_start_of_a_postscript_file_is_looked_at(tmp_path: Path) -> None:
    """Pillow would hand it to Ghostscript, a program that runs what the file says."""
    assert "EPS" not in photo_formats()
    (tmp_path / "photo.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n")
    with pytest.raises(BrokenImage, match="cannot identify"):
        open_image(tmp_path / "photo.jpg")


def test_images_in_a_folder(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.jfif", "c.avif", "._b.JPG", ".DS_Store", "notes.txt", "noending"):
        (tmp_path / name).touch()
    assert [file.name for file in image_files(tmp_path)] == ["a.jfif", "b.JPG", "c.avif"]
    assert [file.name for file in other_files(tmp_path)] == ["noending", "notes.txt"]
    assert image_files(tmp_path / "gone") == other_files(tmp_path / "gone") == []


@pytest.mark.parametrize("ending", ["png", "tif", "pgm"])
def test_16_bit_grey_is_not_clipped(tmp_path: Path, ending: str) -> None:
    Image.fromarray(RAMP.astype(np.uint16) * 257).save(tmp_path / f"ramp.{ending}")
    assert np.array_equal(shown(tmp_path / f"ramp.{ending}"), RAMP[0])


def twelve_bit_tiff(values: np.ndarray) -> bytes:
    """Grey of 12 bits: two pixels in three bytes."""
    first, second = values[:, ::2].astype(int), values[:, 1::2].astype(int)
    strip = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], -1).astype(np.uint8).tobytes()
    tags = [(256, values.shape[1]), (257, values.shape[0]), (258, 12), (259, 1), (262, 1), (273, 8), (277, 1),
            (278, values.shape[0]), (279, len(strip))]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<I", 8 + len(strip)) + strip + struct.pack("<H", len(tags)) + entries + bytes(4)


def test_12_bit_grey_is_not_black(tmp_path: Path) -> None:
    (tmp_path / "ramp.tif").write_bytes(twelve_bit_tiff(RAMP.astype(np.uint16) * 16 + 15))
    assert np.abs(shown(tmp_path / "ramp.tif") - RAMP[0]).max() <= 1


@pytest.mark.parametrize(
    ("pixels", "said"),
    [
        ((RAMP / 255).astype(np.float32), "grey of 32 bits, of which no one knows what number is white"),
        (RAMP.astype(np.float32), "grey of 32 bits"),
        (RAMP.astype(np.int32), "grey of 32 bits"),
        (RAMP.astype(np.int32) * 257, "grey of 32 bits"),
        (RAMP.astype(np.uint16), "grey of 16 bits that is black"),
        (RAMP.astype(np.uint16) * 16, "grey of 16 bits that is black"),
    ],
)
def test_grey_of_an_unknown_range_is_refused(tmp_path: Path, pixels: np.ndarray, said: str) -> None:
    Image.fromarray(pixels).save(tmp_path / "grey.tif")
    with pytest.raises(BrokenImage, match=said) as raised:
        open_image(tmp_path / "grey.tif")
    assert "\n" not in str(raised.value)


def test_a_black_image_of_16_bits_is_black(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((16, 16), np.uint16)).save(tmp_path / "black.png")
    assert set(shown(tmp_path / "black.png")) == {0}


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr"])
def test_every_mode_becomes_the_colours_it_shows(tmp_path: Path, mode: str) -> None:
    orange = Image.new("RGB", (20, 16), (255, 128, 0)).convert(mode)
    orange.save(tmp_path / "orange.tif")
    expected = {"1": (255, 255, 255), "L": (151, 151, 151), "LA": (151, 151, 151)}.get(mode, (255, 128, 0))
    found = open_image(tmp_path / "orange.tif").getpixel((9, 9))
    assert mode == "1" or np.abs(np.subtract(found, expected)).max() <= 26, found  # P has few colours


def test_lab_is_converted(tmp_path: Path) -> None:
    red = Image.new("RGB", (16, 16), (250, 10, 10))
    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    lab = ImageCms.applyTransform(red, to_lab)
    assert lab is not None
    lab.save(tmp_path / "lab.tif")
    assert np.abs(np.subtract(open_image(tmp_path / "lab.tif").getpixel((3, 3)), (250, 10, 10))).max() < 60


def test_transparency_in_a_palette_is_no_warning(tmp_path: Path) -> None:
    """Warnings are errors here; what is transparent has the colour that is stored for it."""
    image = Image.new("P", (16, 16), 1)
    image.putpalette([0, 0, 0, 200, 100, 50])
    image.save(tmp_path / "clear.png", transparency=bytes([255, 0]))
    assert open_image(tmp_path / "clear.png").getpixel((0, 0)) == (200, 100, 50)


def test_of_an_animation_the_first_picture_is_taken(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "film.gif", save_all=True, append_images=frames[1:])
    assert open_image(tmp_path / "film.gif").getpixel((0, 0)) == (255, 0, 0)


def test_a_turned_photo_of_16_bits_is_turned(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.fromarray(RAMP.astype(np.uint16) * 257).save(buffer, "PNG", exif=exif)
    assert open_image(buffer).size == (16, 256)
