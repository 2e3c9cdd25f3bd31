"""What stands beside the numbers: what guessing would score, how much was counted, and what the pass cost."""

import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pacl_bench.caching import disk
from pacl_bench.data.segmentation import load_segmentation
from pacl_bench.data.segmentation_folders import SegmentationFolder
from pacl_bench.encoders import load_encoder
from pacl_bench.encoders.base import PatchFeatures
from pacl_bench.evaluators.classification import _summaries
from pacl_bench.evaluators.coherence import on_grid
from pacl_bench.evaluators.patches import COUNTS, count_correct, patch_labels
from pacl_bench.image_sets import IGNORE_LABEL
from pacl_bench.records import Measurement, Record
from pacl_bench.studies.runner import run_study
from pacl_bench.studies.study import Study


@pytest.fixture
def uneven(voc: Path) -> SegmentationFolder:
    """VOC's images with background below, and in the first of them a fourth class."""
    images = load_segmentation("voc21")
    for index, file in enumerate(images.label_files):
        labels = np.array(Image.open(file))
        labels[len(labels) // 2 :] = 0
        labels[10:30, :20] = 3 if index == 0 else labels[10:30, :20]
        Image.fromarray(labels).save(file)
    return load_segmentation("voc21")


def labels_of(images: SegmentationFolder) -> list[np.ndarray]:
    """The label of each pixel that counts, image by image."""
    maps = (images.label_map(index) for index in range(len(images)))
    return [label_map[label_map != IGNORE_LABEL].astype(int) for label_map in maps]


def whole(record: Record, metric: str, protocol: str) -> Measurement:
    return next(
        row for row in record.measurements if (row.metric, row.protocol, row.class_name) == (metric, protocol, "")
    )


def measured(record: Record, metric: str) -> dict[str, Measurement]:
    """The rows of a metric by class, under the first protocol that has it."""
    rows = [row for row in record.measurements if row.metric == metric]
    return {row.class_name: row for row in rows if row.protocol == rows[0].protocol}


def test_chance_of_segmentation(uneven: SegmentationFolder, clip_spec: str, tmp_path: Path) -> None:
    """Of 21 classes one in 21 guesses is right, of 20 one in 20; among an image's classes one in as many."""
    (record,) = run_study(Study("s", "segment", [clip_spec], datasets=["voc21"]), tmp_path)
    present = [len(np.unique(labels)) for labels in labels_of(uneven)]
    assert present == [4, 3, 3, 3, 3, 3]
    for metric in ("pixel_accuracy", "mean_accuracy"):
        assert whole(record, metric, "dataset-miou, background=class").chance == pytest.approx(1 / 21)
        assert whole(record, metric, "dataset-miou, background=none").chance == pytest.approx(1 / 20)
        assert whole(record, f"boundary_blind_{metric}", "dataset-miou, background=none").chance == pytest.approx(
            1 / 20
        )
        found = whole(record, metric, "present-miou, background=class")
        assert found.chance == pytest.approx(np.mean([1 / number for number in present]))
    assert {row.n for row in record.measurements} == {6}
    measured = [row for row in record.measurements if row.ci_low is not None and row.ci_high is not None]
    assert all(row.ci_low <= row.value <= row.ci_high for row in measured)  # type: ignore[operator]
    assert all(row.class_name for row in record.measurements if row.ci_low is None)  # a class of a single image


@pytest.mark.parametrize(("background", "classes"), [("none", range(1, 21)), ("class", range(21))])
def test_chance_of_miou(
    uneven: SegmentationFolder, clip_spec: str, tmp_path: Path, background: str, classes: range
) -> None:
    """Pixel by pixel: of each class as many are hit as guesses fall on it, and each class is guessed as often."""
    (record,) = run_study(Study("s", "segment", [clip_spec], datasets=["voc21"]), tmp_path)
    labels = np.concatenate(labels_of(uneven))
    counted = labels[np.isin(labels, classes)]
    ious = []
    for label in classes:
        pixels, guesses = (counted == label).sum(), len(counted) / len(classes)
        hits = pixels / len(classes)
        ious.append(hits / (pixels + guesses - hits))
    found = whole(record, "miou", f"dataset-miou, background={background}")
    assert found.chance == pytest.approx(np.mean(ious))


def test_background_counts_where_it_is_wanted(uneven: SegmentationFolder, clip_spec: str, tmp_path: Path) -> None:
    """Patches of background are none of the patches that are classified, and pairs of them only if asked for."""
    encoder = load_encoder(clip_spec)
    per_image = []
    for index in range(len(uneven)):
        size = encoder.preprocess.whole(uneven.image(index)).shape[1:]
        labels, shares = patch_labels(uneven.label_map(index), encoder.grid_of(tuple(size)), 21)
        per_image.append(labels[(shares >= 0.8) & (labels != IGNORE_LABEL)])
    every = torch.cat(per_image)
    patches = every[every != 0]
    assert 20 < len(patches) < len(every) - 20
    (record,) = run_study(Study("p", "patches", [clip_spec], datasets=["voc21"]), tmp_path)
    assert measured(record, "patch_accuracy")[""].n == len(patches)
    counts = {name: row.n for name, row in measured(record, "patch_recall").items()}
    assert counts == {uneven.classnames[label]: int((patches == label).sum()) for label in patches.unique()}
    for keep, labels in ((False, patches), (True, every)):
        settings = {"keep_background": keep, "scope": "all"}
        (record,) = run_study(Study("c", "coherence", [clip_spec], datasets=["voc21"], settings=settings), tmp_path)
        assert measured(record, "auroc")[""].n == len(labels) * (len(labels) - 1) // 2


def test_classes_of_images_have_as_many_as_there_are(clip_spec: str, tmp_path: Path) -> None:
    """A random model on 3 + 5 images: what is counted of each class, and intervals around the value."""
    random = np.random.default_rng(0)
    for name, number in (("cat", 3), ("dog", 5)):
        (tmp_path / "set" / name).mkdir(parents=True)
        for index in range(number):
            photo = random.integers(0, 256, (64, 64, 3), dtype=np.uint8)
            Image.fromarray(photo).save(tmp_path / "set" / name / f"{index}.png")
    study = Study("c", "classify", [clip_spec], datasets=[f"folder:{tmp_path / 'set'}"])
    (record,) = run_study(study, tmp_path)
    assert {name: row.n for name, row in measured(record, "recall").items()} == {"cat": 3, "dog": 5}
    for metric in ("top1", "mean_per_class_recall"):
        row = measured(record, metric)[""]
        assert row.ci_low is not None
        assert row.ci_high is not None
        assert row.ci_low <= row.value <= row.ci_high
        assert (row.n, row.chance) == (8, 0.5)
    recall = {name: row.value for name, row in measured(record, "recall").items()}
    assert measured(record, "top1")[""].value == pytest.approx((3 * recall["cat"] + 5 * recall["dog"]) / 8)
    assert measured(record, "mean_per_class_recall")[""].value == pytest.approx((recall["cat"] + recall["dog"]) / 2)


def test_a_class_without_items_in_a_resample_is_no_miss() -> None:
    """Two images of the first class, both right, none of the second, and the same with one wrong."""
    with np.errstate(invalid="ignore"):
        found = _summaries(np.array([[2.0, 0, 2, 0], [1, 0, 2, 0]]))
    np.testing.assert_allclose(found, [[1, 1], [0.5, 0.5]])


def test_classification_shows_the_centre_square(clip_spec: str, tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "set" / name).mkdir(parents=True)
        Image.new("RGB", (64, 200)).save(tmp_path / "set" / name / "1.png")
    run_study(Study("c", "classify", [clip_spec], datasets=[f"folder:{tmp_path / 'set'}"]), tmp_path)
    assert [entry.about["view"]["whole"] for entry in disk.entries() if entry.kind == "tokens"] == [False]


def test_equal_scores_count_half_between_two_classes() -> None:
    """Of the three others one fits less well, one as well, one better."""
    counts = count_correct(torch.tensor([[0.5, 0.1, 0.5, 0.9]]), torch.tensor([0]), 4)
    assert dict(zip(COUNTS, counts[0].tolist(), strict=True)) == {
        "patches": 1, "all-classes": 0, "present-classes": 1, "binary": 0.5, "present-chance": 1,
    }  # fmt: skip


@pytest.mark.parametrize("evaluator", ["patches", "coherence"])
def test_larger_images_have_more_patches(voc: Path, clip_spec: str, tmp_path: Path, evaluator: str) -> None:
    counted = []
    for size in (64, 128):
        study = Study("s", evaluator, [clip_spec], datasets=["voc20"], settings={"size": size, "purity": 0.6})
        (record,) = run_study(study, tmp_path)
        rows = measured(record, "patch_accuracy" if evaluator == "patches" else "auroc")
        assert {row.chance for row in rows.values()} <= {0.5, 1 / 20, None}
        counted.append(rows[""].n)
    assert counted[1] > 3 * counted[0]


def test_a_coarser_grid_averages_all_that_lies_in_a_cell() -> None:
    """The token in the corner is far from the centre of its cell, and counts."""
    tokens = torch.zeros(1, 64, 1)
    tokens[0, 0] = 1
    cells = on_grid(PatchFeatures(None, tokens, (8, 8)), (2, 2)).patch_tokens[0, :, 0]
    assert cells[0] > 0.01
    assert cells[3] == 0


@pytest.mark.parametrize(("overlap", "windows"), [(0.0, 2), (0.75, 5)])
def test_windows_overlap_as_they_are_told_to(
    voc: Path, clip_spec: str, tmp_path: Path, overlap: float, windows: int
) -> None:
    """A square of 64 pixels is two windows of 32 on each side, or five that begin every 8 pixels."""
    ids = (voc / "ImageSets/Segmentation/val.txt").read_text().split()[:1]
    (voc / "ImageSets/Segmentation/val.txt").write_text(ids[0])
    for folder, suffix in (("JPEGImages", "jpg"), ("SegmentationClass", "png")):
        Image.open(file := voc / folder / f"{ids[0]}.{suffix}").crop((0, 0, 60, 60)).save(file)
    settings = {"window": 32, "overlap": overlap}
    (record,) = run_study(Study("s", "segment", [clip_spec], datasets=["voc20"], settings=settings), tmp_path)
    assert record.provenance["tokens_per_image"] == (2 * windows) ** 2


def test_milliseconds_an_image(voc: Path, clip_spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads read label maps, each of which takes 200 ms: an image takes at least half of that."""
    original = SegmentationFolder.label_map

    def slow(self: SegmentationFolder, index: int) -> np.ndarray:
        time.sleep(0.2)
        return original(self, index)

    monkeypatch.setattr(SegmentationFolder, "label_map", slow)
    started = time.monotonic()
    (record,) = run_study(Study("s", "segment", [clip_spec], datasets=["voc20"]), tmp_path)
    elapsed = 1000 * (time.monotonic() - started) / 6
    assert 100 <= record.provenance["ms_per_image"] <= elapsed
