"""Every declared segmentation set in small trees of its official layout, and a user's own folder."""

import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pacl_bench.data.segmentation import IGNORE_LABEL, SEGMENTATION_SETS, load_segmentation
from pacl_bench.data.segmentation_folders import counted_classes, listed_classes, read_raw_labels
from pacl_bench.data.vocabulary import load_vocabulary
from pacl_bench.errors import UsageError
from pacl_bench.evaluators.patches import background_class
from pacl_bench.image_sets import BrokenImage, SegmentationImages

OFFICIAL = {  # classes, images
    "voc20": (20, 1449),
    "voc21": (21, 1449),
    "context59": (59, 5104),
    "context60": (60, 5104),
    "coco_stuff171": (171, 5000),
    "coco_object": (81, 5000),
    "ade150": (150, 2000),
    "cityscapes19": (19, 500),
}
READ_HERE = {"voc20", "voc21", "ade150"}
HEIGHT, WIDTH = 12, 10


def put(root: Path, image: str, label_map: str, raw: list[int], mode: str = "L") -> None:
    """A photo, and a label map with one raw label a row."""
    for file in (root / image, root / label_map):
        file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (WIDTH, HEIGHT), (90, 120, 30)).save(root / image)
    labels = np.resize(np.array(raw, np.uint8), HEIGHT)[:, None].repeat(WIDTH, axis=1)
    picture = Image.fromarray(labels)
    if mode == "P":
        picture.putpalette([value for number in range(256) for value in (number, 0, 255 - number)])
    picture.save(root / label_map)


def put_list(file: Path, names: list[str]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(names) + "\n")


def seen(images: SegmentationImages, index: int, number: int) -> list[str]:
    """The class names in the first rows; "" where the label is ignored."""
    column = images.label_map(index)[:number, 0]
    return ["" if label == IGNORE_LABEL else images.classnames[label] for label in column]


@pytest.mark.parametrize("entry", SEGMENTATION_SETS.values(), ids=lambda entry: entry.name)
def test_every_declaration_is_complete(entry) -> None:
    names = entry.classnames
    assert (len(names), entry.num_images) == OFFICIAL[entry.name]
    assert len(set(names)) == len(names)
    assert all(name and name == name.strip() == name.lower() and "," not in name and ";" not in name for name in names)
    assert entry.title
    assert entry.source
    assert entry.licence
    assert entry.space
    assert entry.folders
    assert entry.read_here == (entry.name in READ_HERE)
    assert (names[0] == "background") == (entry.name in ("voc21", "context60", "coco_object"))
    for layout in entry.layouts:
        assert layout.image.count("{}") == layout.label_map.count("{}") == 1
        table = layout.class_table(len(names))
        assert set(table) - {IGNORE_LABEL, -1} == set(range(len(names)))


@pytest.mark.parametrize("entry", SEGMENTATION_SETS.values(), ids=lambda entry: entry.name)
def test_every_declaration_has_synonyms(entry) -> None:
    vocabulary = load_vocabulary("synonyms", entry.name, entry.classnames)
    assert [names[0] for names in vocabulary] == entry.classnames
    assert any(len(names) > 1 for names in vocabulary)
    assert len({name for names in vocabulary for name in names}) == sum(map(len, vocabulary))


def test_names_stand_where_the_field_has_them() -> None:
    """Single places that shift if a name is lost, doubled or sorted otherwise."""
    places = {
        "voc20": {0: "aeroplane", 19: "tv monitor"},
        "context59": {0: "aeroplane", 1: "bag", 36: "person", 58: "wood"},
        "context60": {0: "background", 37: "person", 59: "wood"},
        "coco_stuff171": {0: "person", 11: "stop sign", 79: "toothbrush", 80: "banner", 170: "wood"},
        "coco_object": {0: "background", 1: "person", 80: "toothbrush"},
        "ade150": {0: "wall", 12: "person", 89: "television receiver", 149: "flag"},
        "cityscapes19": {0: "road", 11: "person", 18: "bicycle"},
    }
    for name, at in places.items():
        assert {index: SEGMENTATION_SETS[name].classnames[index] for index in at} == at


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PACL_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def test_context(data: Path) -> None:
    """As `data prepare` and mmsegmentation write it; the list says which images are val."""
    root = data / "VOCdevkit" / "VOC2010"
    for name in ("2008_000002", "2008_000003", "2008_000004"):
        put(root, f"JPEGImages/{name}.jpg", f"SegmentationClassContext/{name}.png", [0, 1, 2, 37, 59], "P")
    put_list(root / "ImageSets/SegmentationContext/val.txt", ["2008_000002", "2008_000004"])
    without, with_background = load_segmentation("context59"), load_segmentation("context60")
    assert len(without) == 2
    assert without.official_images == 5104
    assert seen(without, 1, 5) == ["", "aeroplane", "bag", "person", "wood"]
    assert seen(with_background, 1, 5) == ["background", "aeroplane", "bag", "person", "wood"]
    assert (background_class(without), background_class(with_background)) == (None, 0)


COCO_RAW = [0, 10, 12, 89, 91, 181, 255]


def test_coco_as_its_owners_ship_it(data: Path) -> None:
    """The numbers of stuffthingmaps are read straight: 11 labels of 182 are in no image, 255 is unlabelled."""
    for name in ("000000000139", "000000000285"):
        put(data / "coco", f"val2017/{name}.jpg", f"stuffthingmaps/val2017/{name}.png", COCO_RAW)
    stuff, things = load_segmentation("coco_stuff171"), load_segmentation("coco_object")
    assert isinstance(stuff, SegmentationImages)
    assert seen(stuff, 0, 7) == ["person", "fire hydrant", "stop sign", "toothbrush", "banner", "wood", ""]
    assert seen(things, 1, 7) == ["person", "fire hydrant", "stop sign", "toothbrush", *["background"] * 3]
    assert background_class(things) == 0
    put(data / "coco", "val2017/000000000139.jpg", "stuffthingmaps/val2017/000000000139.png", [0, 11])
    with pytest.raises(BrokenImage, match=r"000000000139\.png: label 11 is beyond the 171 classes of coco_stuff171"):
        stuff.label_map(0)


@pytest.mark.parametrize("converted", [False, True])
def test_coco_as_mmsegmentation_has_it(data: Path, converted: bool) -> None:
    (data / "coco" / "val2017").mkdir(parents=True)  # photos for something else: they are not this set
    root, name = data / "coco_stuff164k", "000000000139"
    if converted:
        put(root, f"images/val2017/{name}.jpg", f"annotations/val2017/{name}_labelTrainIds.png", [0, 80, 170, 255])
        put(root, f"images/val2017/{name}.jpg", f"annotations/val2017/{name}_instanceTrainIds.png", [1, 80, 0])
    else:
        put(root, f"images/val2017/{name}.jpg", f"annotations/val2017/{name}.png", [0, 91, 181, 255])
    assert seen(load_segmentation("coco_stuff171"), 0, 4) == ["person", "banner", "wood", ""]
    expected = ["person", "toothbrush", "background"] if converted else ["person", "background", "background"]
    assert seen(load_segmentation("coco_object"), 0, 3) == expected


def test_coco_without_its_label_maps(data: Path) -> None:
    (data / "coco" / "val2017").mkdir(parents=True)
    assert SEGMENTATION_SETS["coco_object"].found() is None
    with pytest.raises(
        UsageError, match=r"coco_object: stuffthingmaps/val2017 not found under .*/coco\. Unpack val2017"
    ):
        load_segmentation("coco_object")
    (data / "coco" / "stuffthingmaps" / "val2017").mkdir(parents=True)
    with pytest.raises(UsageError, match=r"coco_object: no image val2017/\*\.jpg under"):
        load_segmentation("coco_object")
    Image.new("RGB", (4, 4)).save(data / "coco" / "val2017" / "7.jpg")
    with pytest.raises(UsageError, match=r"stuffthingmaps/val2017/7\.png, the label map of an image, not found"):
        load_segmentation("coco_object")


def test_ade(data: Path) -> None:
    root = data / "ADEChallengeData2016"
    for number in (2, 1):
        name = f"ADE_val_0000000{number}"
        put(root, f"images/validation/{name}.jpg", f"annotations/validation/{name}.png", [0, 1, 13, 90, 150])
    (root / "images" / "validation" / "._ADE_val_00000001.jpg").write_bytes(b"left by an archiver")
    images = load_segmentation("ade150")
    assert len(images) == 2
    assert seen(images, 0, 5) == ["", "wall", "person", "television receiver", "flag"]
    put(root, "images/validation/a.jpg", "annotations/validation/ADE_val_00000001.png", [151])
    with pytest.raises(BrokenImage, match="label 151 is beyond the 150 classes"):
        images.label_map(0)


@pytest.mark.parametrize(
    ("kind", "raw"), [("labelIds", [0, 7, 9, 24, 33, 29]), ("labelTrainIds", [255, 0, 255, 11, 18])]
)
def test_cityscapes(data: Path, kind: str, raw: list[int]) -> None:
    """Labels of the ids as shipped, or of the converted trainIds; images lie in one folder a city."""
    for city in ("munster", "frankfurt"):
        name = f"val/{city}/{city}_000000_000294"
        put(data / "cityscapes", f"leftImg8bit/{name}_leftImg8bit.png", f"gtFine/{name}_gtFine_{kind}.png", raw)
    images = load_segmentation("cityscapes19")
    assert len(images) == 2
    assert seen(images, 0, 5) == ["", "road", "", "person", "bicycle"]
    assert images.ids[0] == "frankfurt/frankfurt_000000_000294"  # type: ignore[attr-defined]


def test_cityscapes_says_how_it_is_had(data: Path) -> None:
    (data / "cityscapes").mkdir(parents=True)
    with pytest.raises(UsageError, match=r"gtFine/val not found under .* Register at cityscapes-dataset\.com"):
        load_segmentation("cityscapes19")


def test_a_set_is_known_again_by_its_files(data: Path) -> None:
    root = data / "ADEChallengeData2016"
    put(root, "images/validation/a.jpg", "annotations/validation/a.png", [0, 1])
    before = load_segmentation("ade150").fingerprint
    assert load_segmentation("ade150").fingerprint == before
    put(root, "images/validation/b.jpg", "annotations/validation/b.png", [0, 1])
    assert load_segmentation("ade150").fingerprint != before


def test_class_tables() -> None:
    table = counted_classes(1, 150)
    assert (table[0], table[1], table[150], table[151], table[255]) == (255, 0, 149, -1, 255)
    table = listed_classes({4: 0, 9: 1, 255: 1})
    assert (table[0], table[4], table[9], table[255]) == (-1, 0, 1, 1)


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A user's own set: three photos of two classes and background."""
    root = tmp_path / "mine"
    for name, ending in (("b", "jpg"), ("a", "png"), ("c", "JPEG")):
        put(root, f"images/{name}.{ending}", f"masks/{name}.png", [0, 1, 2, 255], "P")
    (root / "names.txt").write_text("# of my garden\nbackground\ncat\nfish pond\n")
    (root / "images" / ".DS_Store").write_bytes(b"")
    (root / "images" / "notes.txt").write_text("no image")
    return root


@pytest.mark.parametrize("prefix", ["folder:", ""])
def test_a_folder_of_ones_own(mine: Path, prefix: str) -> None:
    images = load_segmentation(f"{prefix}{mine}")
    assert isinstance(images, SegmentationImages)
    assert (images.name, len(images), images.official_images) == ("mine", 3, 3)
    assert images.ids == ["a", "b", "c"]  # type: ignore[attr-defined]
    assert seen(images, 2, 4) == ["background", "cat", "fish pond", ""]
    assert background_class(images) == 0
    assert images.image(0).size == (WIDTH, HEIGHT)


def test_photos_are_turned_as_their_masks(mine: Path) -> None:
    """A phone stores a portrait lying down, with a note to turn it; its mask was drawn on what one sees."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (HEIGHT, WIDTH)).save(mine / "images" / "b.jpg", exif=exif)
    images = load_segmentation(str(mine))
    assert images.label_map(1).shape == images.image(1).size[::-1] == (HEIGHT, WIDTH)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_mask_is_turned_by_its_own_note_as_a_photo_is(mine: Path, orientation: int) -> None:
    """Where the tool that drew a mask has copied the note of its photo."""
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels[0, 0] = 1
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(labels * 255).convert("RGB").save(mine / "images" / "b.jpg", exif=exif, quality=100)
    Image.fromarray(labels).save(mine / "masks" / "b.png", exif=exif)
    images = load_segmentation(str(mine))
    photo, found = np.asarray(images.image(1).convert("L")), images.label_map(1)
    assert found.shape == photo.shape
    assert np.argwhere(found == 1).tolist() == [list(np.unravel_index(photo.argmax(), photo.shape))]


Breaks = Callable[[Path], object]


@pytest.mark.parametrize(
    ("breaks", "said"),
    [
        (lambda root: (root / "names.txt").unlink(), r"mine/names\.txt not found: one class name a line"),
        (lambda root: (root / "names.txt").write_text("\n"), r"mine/names\.txt names no class"),
        (lambda root: (root / "names.txt").write_text("cat\n\ndog\n"), r"names\.txt: class 1 has no name"),
        (lambda root: (root / "names.txt").write_text("cat\ndog\ncat\n"), r"names\.txt names 'cat' twice"),
        (
            lambda root: (root / "names.txt").write_text("".join(f"thing {at}\n" for at in range(256))),
            "names 256 classes; a label map of 8 bits has room for 255",
        ),
        (lambda root: (root / "masks").rename(root / "labels"), r"mine/masks not found: a set of your own is"),
        (
            lambda root: (root / "masks" / "b.png").unlink(),
            r"mine: images/b\.jpg has no mask: .*masks/b\.png not found",
        ),
        (lambda root: (root / "images" / "b.jpg").unlink(), r"mine: masks/b\.png has no image of that name"),
        (
            lambda root: Image.new("RGB", (4, 4)).save(root / "images" / "a.jpg"),
            r"a\.jpg and a\.png have the same name",
        ),
        (
            lambda root: [file.unlink() for folder in ("images", "masks") for file in (root / folder).iterdir()],
            "mine: no image in .*mine/images",
        ),
    ],
)
def test_what_is_wrong_with_a_folder_of_ones_own_is_named(mine: Path, breaks: Breaks, said: str) -> None:
    breaks(mine)
    with pytest.raises(UsageError, match=said):
        load_segmentation(f"folder:{mine}")


@pytest.mark.parametrize(
    ("picture", "said"),
    [
        (Image.new("RGB", (WIDTH, HEIGHT)), "holds colours"),
        (Image.new("LA", (WIDTH, HEIGHT)), "holds colours"),
        (Image.new("I;16", (WIDTH, HEIGHT)), "must hold 8 bits a pixel, 0 to 255; this is of Pillow's mode 'I;16'"),
        (Image.new("L", (HEIGHT, WIDTH)), "12 x 10 pixels, its image 10 x 12"),
        (Image.new("L", (WIDTH, HEIGHT), 3), "label 3 is beyond the 3 classes of mine"),
    ],
)
def test_what_is_wrong_with_a_mask_is_named(mine: Path, picture: Image.Image, said: str) -> None:
    picture.save(mine / "masks" / "a.png")
    with pytest.raises(BrokenImage, match=f"masks/a.png: .*{said}"):
        load_segmentation(f"folder:{mine}").label_map(0)


def test_names_are_what_stands_in_a_line(mine: Path) -> None:
    """Only an end of line ends a name; a comment is a number sign and a space."""
    names = ["zebra\u2028crossing", "#1 car", "$\\frac{$ cost", "a\tb", "d\x85e\x1cf\x0bg", "sofa"]
    text = "\r\n".join(["# mine", *names[:3], "#", *names[3:], "", ""])
    (mine / "names.txt").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert load_segmentation(f"folder:{mine}").classnames == names


def grey_png(labels: np.ndarray, bits: int) -> bytes:
    """A grey PNG of 1, 2 or 4 bits a pixel, which Pillow reads but does not write."""
    per_byte = 8 // bits
    places = [labels[:, at::per_byte].astype(int) << 8 - bits * (at + 1) for at in range(per_byte)]
    rows = b"".join(b"\0" + row.tobytes() for row in np.add.reduce(places).astype(np.uint8))
    header = struct.pack(">IIBBBBB", labels.shape[1], labels.shape[0], bits, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_masks_of_few_bits_hold_the_labels_that_are_stored(tmp_path: Path, bits: int) -> None:
    """Pillow spreads them over 0 to 255: label 3 of 2 bits becomes 255, which is ignored."""
    labels = np.arange(2**bits, dtype=np.uint8).repeat(8)[None].repeat(4, 0)
    (tmp_path / "mask.png").write_bytes(grey_png(labels, bits))
    assert np.array_equal(read_raw_labels(tmp_path / "mask.png"), labels)
    palette = Image.fromarray(labels)
    palette.putpalette(list(range(256)) * 3)
    palette.save(tmp_path / "palette.png", bits=bits)
    assert np.array_equal(read_raw_labels(tmp_path / "palette.png"), labels)


@pytest.mark.parametrize("kind", ["JPEG", "GIF", "TIFF"])
def test_a_mask_that_is_no_png_is_named(mine: Path, kind: str) -> None:
    Image.new("L", (WIDTH, HEIGHT)).save(mine / "masks" / "a.png", kind)
    with pytest.raises(BrokenImage, match=f"masks/a.png: a PNG is wanted, this is a {kind}"):
        load_segmentation(f"folder:{mine}").label_map(0)
    (mine / "masks" / "a.png").rename(mine / "masks" / "a.jpg")
    with pytest.raises(UsageError, match=r"masks/a\.png not found, and a\.jpg is no PNG"):
        load_segmentation(f"folder:{mine}")


def test_masks_and_images_in_capitals(mine: Path) -> None:
    (mine / "masks" / "a.png").rename(mine / "masks" / "a.PNG")
    (mine / "images" / "a.png").rename(mine / "images" / "a.PNG")
    assert len(load_segmentation(f"folder:{mine}")) == 3


def test_an_image_of_a_format_that_nobody_opens_is_named(mine: Path) -> None:
    (mine / "images" / "a.png").rename(mine / "images" / "a.heic")
    with pytest.raises(UsageError, match=r"masks/a\.png has no image of that name: .*images/a\.heic is none by its"):
        load_segmentation(f"folder:{mine}")


def test_a_folder_of_classes_is_no_segmentation_set(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "pets" / name / "0.jpg")
    with pytest.raises(UsageError, match=r"pets holds images in cat/, dog/ \.\.\.: a folder a class, for classify"):
        load_segmentation(f"folder:{tmp_path}/pets")


def test_broken_files_of_a_folder_are_named(mine: Path) -> None:
    images = load_segmentation(str(mine))
    whole = (mine / "masks" / "a.png").read_bytes()
    (mine / "masks" / "a.png").write_bytes(whole[: len(whole) // 2])
    (mine / "images" / "b.jpg").write_bytes(b"no photo")
    (mine / "masks" / "c.png").unlink()
    for index, file in enumerate(("masks/a.png", "images/b.jpg", "masks/c.png")):
        with pytest.raises(BrokenImage, match=file):
            images.label_map(index)


def test_a_folder_must_not_be_called_like_another_set(mine: Path) -> None:
    """Its records would stand where those of the other are."""
    mine.rename(mine.with_name("voc20"))
    with pytest.raises(UsageError, match=r"'voc20' is the name of another data set\. Give the folder another name"):
        load_segmentation(f"folder:{mine.with_name('voc20')}")


def test_an_unknown_set_is_answered_with_the_nearest_and_with_the_way_to_ones_own() -> None:
    with pytest.raises(UsageError, match=r"Did you mean 'context59'\? Or give folder:PATH"):
        load_segmentation("contxt59")


def test_ones_own_folder_gets_a_record(mine: Path, tmp_path: Path) -> None:
    """From a folder of images and masks to a record in one command, of words that the built-in pair knows."""
    from typer.testing import CliRunner

    from pacl_bench.cli import app

    (mine / "names.txt").write_text("sky\nzebra\ngreen snake\n")
    out = tmp_path / "out"
    arguments = ["--encoders", "tiny-clip", "--datasets", f"folder:{mine}", "--results", str(out), "--device", "cpu"]
    assert CliRunner().invoke(app, ["segment", *arguments], catch_exceptions=False).exit_code == 0
    (file,) = (out / "records" / "segment" / "tiny-clip").glob("mine.*.json")
    config = json.loads(file.read_text())["config"]["dataset"]
    assert (config["name"], config["images"], config["classnames"]) == ("mine", 3, ["sky", "zebra", "green snake"])


@pytest.mark.shared
def test_real_label_maps(shared_data: Path) -> None:
    """ADE20K's three validation images and VOC's palette masks, as their owners ship them."""
    ade = load_segmentation("ade150")
    assert len(ade) == 3
    for index in range(3):
        labels = ade.label_map(index)
        raw = np.asarray(Image.open(ade.label_files[index]))  # type: ignore[attr-defined]
        assert labels.shape == ade.image(index).size[::-1]
        assert np.array_equal(labels == IGNORE_LABEL, raw == 0)
        assert np.array_equal(labels[raw > 0], raw[raw > 0] - 1)
    voc = load_segmentation("voc21")
    assert all(set(np.unique(voc.label_map(index))) <= {*range(21), IGNORE_LABEL} for index in range(0, 392, 40))
