"""PASCAL Context's annotations, in both forms that its owners offer, become label maps."""

import json
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

from pacl_bench.cli import app
from pacl_bench.data.segmentation import IGNORE_LABEL, SEGMENTATION_SETS, load_segmentation
from pacl_bench.data.tools.prepare import CONTEXT_LABELS, decode_rle, prepare
from pacl_bench.errors import RunError, UsageError

# what pycocotools' own mask.encode gives for these masks
CORNERS = {"size": [6, 9], "counts": "01<2G000f0N"}
DISC = {
    "size": [100, 90],
    "counts": "gS1?b26J6L2M4M2M4M2N2N2N2O0O2N2O0O2N2O000O2O000O2O0000000000000000000000000001N10001N10001N2N101N2N101N2"
    "N2N2N3L3N3L3N4J6JXm1",
}
SKY, PERSON, WOOD = 360, 284, 458


def corners() -> np.ndarray:
    mask = np.zeros((6, 9), bool)
    mask[1:4, 2:5] = mask[5, 8] = mask[0, 0] = True
    return mask


@pytest.fixture
def voc2010(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The photos and val list of VOC 2010: three images of 9 x 6 pixels, two of them val."""
    root = tmp_path / "VOCdevkit" / "VOC2010"
    for folder in ("JPEGImages", "ImageSets/Main", "trainval"):
        (root / folder).mkdir(parents=True)
    for name in ("2008_000001", "2008_000002", "2008_000003"):
        Image.new("RGB", (9, 6)).save(root / "JPEGImages" / f"{name}.jpg")
    (root / "ImageSets" / "Main" / "val.txt").write_text("2008_000003\n2008_000002\n")
    monkeypatch.setenv("PACL_DATA", str(tmp_path))
    return root


def put_mats(root: Path) -> None:
    """Sky above, a person and label 1 (accordion, none of the 59) below."""
    labels = np.full((6, 9), SKY, np.uint16)
    labels[3:, :4], labels[3:, 4:] = PERSON, 1
    for name in ("2008_000001", "2008_000002", "2008_000003"):
        scipy.io.savemat(root / "trainval" / f"{name}.mat", {"LabelMap": labels})


def put_json(root: Path) -> None:
    """Sky everywhere, then wood in the corners: later regions are painted over earlier ones."""
    images = [
        {
            "file_name": f"2008_00000{number}.jpg",
            "image_id": 2008000000 + number,
            "height": 6,
            "width": 9,
            "phase": phase,
        }
        for number, phase in ((1, "train"), (3, "val"), (2, "val"))
    ]
    everywhere = {"size": [6, 9], "counts": "0f1"}  # none outside, then 54 inside
    regions = [
        {"id": number, "image_id": image["image_id"], "category_id": category, "segmentation": segmentation}
        for image in images
        for number, (category, segmentation) in enumerate([(SKY, everywhere), (WOOD, CORNERS)])
    ]
    (root / "trainval_merged.json").write_text(json.dumps({"images": images, "annos_segmentation": regions}))


def test_run_lengths() -> None:
    assert np.array_equal(decode_rle(CORNERS), corners())
    row, column = np.ogrid[:100, :90]
    assert np.array_equal(decode_rle(DISC), (row - 50) ** 2 + (column - 40) ** 2 < 900)
    assert decode_rle({"size": [6, 9], "counts": "0f1"}).all()


def test_the_59_labels_are_in_the_order_of_their_names() -> None:
    """PASCAL Context numbers its 459 labels by the alphabet, and the field orders the 59 so."""
    names = [name.replace(" ", "") for name in SEGMENTATION_SETS["context59"].classnames]
    assert len(CONTEXT_LABELS) == len(names) == 59
    assert list(CONTEXT_LABELS) == sorted(CONTEXT_LABELS)
    assert names == sorted(names)


def test_from_the_matlab_files(voc2010: Path) -> None:
    put_mats(voc2010)
    assert prepare("context59").startswith("context59: 2 label maps made of trainval are in ")
    without, with_background = load_segmentation("context59"), load_segmentation("context60")
    assert [without.classnames[label] for label in np.unique(without.label_map(0)[:, :4])] == ["person", "sky"]
    assert (without.label_map(0)[3:, 4:] == IGNORE_LABEL).all()
    assert (with_background.label_map(1)[3:, 4:] == 0).all()
    assert without.ids == ["2008_000002", "2008_000003"]  # type: ignore[attr-defined]


def test_from_the_challenges_file(voc2010: Path) -> None:
    """It goes before the .mat files, whose masks differ: published numbers stand on it."""
    put_mats(voc2010)
    put_json(voc2010)
    assert "2 label maps made of trainval_merged.json" in prepare("context60")
    images = load_segmentation("context59")
    assert images.ids == ["2008_000002", "2008_000003"]  # type: ignore[attr-defined]
    wood, sky = images.classnames.index("wood"), images.classnames.index("sky")
    assert np.array_equal(images.label_map(0), np.where(corners(), wood, sky))


def test_it_goes_on_where_it_was(voc2010: Path) -> None:
    """A broken file stops it; what was converted stays, and nothing is readable before all of it is."""
    put_mats(voc2010)
    broken = voc2010 / "trainval" / "2008_000002.mat"
    whole = broken.read_bytes()
    broken.write_bytes(whole[:150])
    with pytest.raises(RunError, match=r"trainval/2008_000002\.mat: "):
        prepare("context59")
    with pytest.raises(
        UsageError, match=r"SegmentationClassContext not found under .*`pacl-bench data prepare context59`"
    ):
        load_segmentation("context59")
    unfinished = voc2010 / ".SegmentationClassContext.trainval.partial"
    (done,) = unfinished.iterdir()
    stamp = done.stat().st_mtime_ns
    (unfinished / ".2008_000002.1.partial").write_bytes(b"of a run that was killed")
    broken.write_bytes(whole)
    prepare("context59")
    folder = voc2010 / "SegmentationClassContext"
    assert sorted(file.name for file in folder.iterdir()) == ["2008_000002.png", "2008_000003.png"]
    assert (folder / done.name).stat().st_mtime_ns == stamp
    assert not unfinished.exists()
    assert "nothing to do" in prepare("context60")


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"Other": np.zeros((6, 9))}, "holds no LabelMap"),
        ({"LabelMap": np.full((6, 9), 460)}, "label 460 is beyond PASCAL Context's 459"),
        ({"LabelMap": np.zeros((6, 9, 3))}, "LabelMap is no map"),
    ],
)
def test_a_matlab_file_of_something_else_is_named(voc2010: Path, variables: dict, said: str) -> None:
    put_mats(voc2010)
    scipy.io.savemat(voc2010 / "trainval" / "2008_000003.mat", variables)
    with pytest.raises(RunError, match=rf"2008_000003\.mat.*{said}"):
        prepare("context59")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is not the file of the PASCAL in Detail challenge"),
        ('{"images": []}', "is not the file of the PASCAL in Detail challenge"),
        ('{"images": [], "annos_segmentation": []}', "has no val image"),
    ],
)
def test_another_json_is_named(voc2010: Path, text: str, said: str) -> None:
    (voc2010 / "trainval_merged.json").write_text(text)
    with pytest.raises(RunError, match=rf"trainval_merged\.json {said}"):
        prepare("context59")
    assert not (voc2010 / "SegmentationClassContext").exists()


@pytest.mark.parametrize("counts", ["", "0", "0g1", "0f1n", [3, 4]])
def test_a_broken_region_is_named(voc2010: Path, counts: str | list[int]) -> None:
    put_json(voc2010)
    content = json.loads((voc2010 / "trainval_merged.json").read_text())
    content["annos_segmentation"][-1]["segmentation"]["counts"] = counts
    (voc2010 / "trainval_merged.json").write_text(json.dumps(content))
    with pytest.raises(RunError, match=r"a region of 2008_000002\.jpg cannot be read"):
        prepare("context59")


def test_what_is_missing_is_named(voc2010: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        UsageError, match=r"trainval/2008_000003\.mat, listed in .*val\.txt, not found \(2 are missing\)"
    ):
        prepare("context59")
    (voc2010 / "ImageSets" / "Main" / "val.txt").unlink()
    with pytest.raises(UsageError, match=r"Main/val\.txt not found"):
        prepare("context59")
    (voc2010 / "trainval").rmdir()
    with pytest.raises(UsageError, match=r"neither .*trainval_merged\.json nor .*trainval is there\. Unpack"):
        prepare("context59")
    (voc2010 / "SegmentationClassContext").mkdir()
    with pytest.raises(UsageError, match="Move the folder away"):
        prepare("context59")
    monkeypatch.setenv("PACL_DATA", "/nowhere")
    with pytest.raises(UsageError, match="/nowhere/VOCdevkit/VOC2010 or /nowhere/VOC2010 not found"):
        prepare("context59")


@pytest.mark.parametrize("name", sorted(SEGMENTATION_SETS.keys() - {"context59", "context60"}))
def test_the_others_are_read_as_they_come(name: str) -> None:
    assert prepare(name) == f"{name}: nothing to prepare, its label maps are read as they come."


def test_an_unknown_set() -> None:
    with pytest.raises(UsageError, match=r"Unknown segmentation set 'context95'\. Did you mean 'context59'"):
        prepare("context95")


def test_the_command(voc2010: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put_mats(voc2010)
    app(["data", "prepare", "context59", "--data-root", str(voc2010.parents[1])], standalone_mode=False)
    assert "2 label maps made of trainval" in capsys.readouterr().out
    assert len(load_segmentation("context59")) == 2
