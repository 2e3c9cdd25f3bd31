"""Segmentation sets: declarations and readers; templates."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pacl_bench.data.segmentation import IGNORE_LABEL, load_segmentation
from pacl_bench.data.vocabulary import TEMPLATES, load_templates
from pacl_bench.errors import UsageError
from pacl_bench.image_sets import BrokenImage, ImageSet


@pytest.mark.parametrize(("name", "number"), list(zip(TEMPLATES, (7, 1, 80, 85, 9), strict=True)))
def test_every_template_takes_one_name(name: str, number: int) -> None:
    templates = load_templates(name)
    assert len(templates) == number
    assert all(template.count("{}") == 1 for template in templates)


def test_templates_of_the_user(tmp_path: Path) -> None:
    file = tmp_path / "mine.txt"
    file.write_text("# mine\na drawing of a {}.\n\n{}\n")
    assert load_templates(str(file)) == ["a drawing of a {}.", "{}"]
    file.write_text("a drawing\n")
    with pytest.raises(UsageError, match=r"must hold exactly one \{\}; found 'a drawing'"):
        load_templates(str(file))
    with pytest.raises(UsageError, match="Did you mean 'paper7'"):
        load_templates("paper77")


def test_voc_labels(voc: Path) -> None:
    without, with_background = load_segmentation("voc20"), load_segmentation("voc21")
    assert isinstance(without, ImageSet)
    assert len(without) == 6
    raw = np.asarray(Image.open(voc / "SegmentationClass" / f"{without.ids[2]}.png"))
    labels = without.label_map(2)
    assert labels.shape == raw.shape == without.image(2).size[::-1]
    assert np.all(labels[(raw == 0) | (raw == 255)] == IGNORE_LABEL)
    assert {without.classnames[label] for label in np.unique(labels) if label != IGNORE_LABEL} == {"cat", "dog"}
    labels = with_background.label_map(2)
    assert np.all(labels[raw == 0] == 0)
    assert {with_background.classnames[label] for label in np.unique(labels) if label != IGNORE_LABEL} == {
        "background",
        "cat",
        "dog",
    }


def test_voc_is_found_without_the_outer_folder(voc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACL_DATA", str(voc.parent))
    assert len(load_segmentation("voc20")) == 6


def test_what_is_wrong_with_a_segmentation_set_is_named(voc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = load_segmentation("voc20")
    mask = voc / "SegmentationClass" / f"{images.ids[0]}.png"
    Image.fromarray(np.full((4, 4), 8, np.uint8)).save(mask)
    with pytest.raises(BrokenImage, match="4 x 4 pixels, its image"):
        images.label_map(0)
    Image.fromarray(np.full(images.image(0).size[::-1], 33, np.uint8)).save(mask)
    with pytest.raises(BrokenImage, match="label 33 is beyond the 20 classes"):
        images.label_map(0)
    Image.new("RGB", images.image(0).size).save(mask)
    with pytest.raises(BrokenImage, match="holds colours"):
        images.label_map(0)
    mask.unlink()
    with pytest.raises(UsageError, match=f"SegmentationClass/{images.ids[0]}.png, listed in"):
        load_segmentation("voc20")
    (voc / "ImageSets/Segmentation/val.txt").unlink()
    with pytest.raises(UsageError, match=r"ImageSets/Segmentation/val\.txt not found under"):
        load_segmentation("voc20")
    monkeypatch.setenv("PACL_DATA", "/nowhere")
    with pytest.raises(UsageError, match="/nowhere/VOCdevkit/VOC2012 or /nowhere/VOC2012 not found"):
        load_segmentation("voc20")
    with pytest.raises(UsageError, match="Did you mean 'voc20'"):
        load_segmentation("vok20")


@pytest.mark.shared
def test_the_real_sets(shared_data: Path) -> None:
    assert len(load_segmentation("voc20")) == 392
    labels = np.unique(load_segmentation("voc20").label_map(0))
    assert set(labels) <= {*range(20), IGNORE_LABEL}
