"""What stands beside the numbers: what guessing would score, how much was counted, and what the pass cost."""

import time
from pathlib import Path

import numpy as np
import pytest

from pacl_bench.data.segmentation import load_segmentation
from pacl_bench.data.segmentation_folders import SegmentationFolder
from pacl_bench.image_sets import IGNORE_LABEL
from pacl_bench.records import Measurement, Record
from pacl_bench.studies.runner import run_study
from pacl_bench.studies.study import Study


@pytest.fixture
def uneven(voc: Path) -> SegmentationFolder:
    """VOC's images, of which the first shows four classes rather than three."""
    from PIL import Image

    images = load_segmentation("voc21")
    labels = np.array(Image.open(images.label_files[0]))
    labels[10:30, :20] = 3
    Image.fromarray(labels).save(images.label_files[0])
    return load_segmentation("voc21")


def whole(record: Record, metric: str, protocol: str) -> Measurement:
    return next(
        row for row in record.measurements if (row.metric, row.protocol, row.class_name) == (metric, protocol, "")
    )


def test_chance_of_segmentation(uneven: SegmentationFolder, clip_spec: str, tmp_path: Path) -> None:
    """Of 21 classes one in 21 guesses is right, of 20 one in 20; among an image's classes one in as many."""
    (record,) = run_study(Study("s", "segment", [clip_spec], datasets=["voc21"]), tmp_path)
    present = [len(set(np.unique(uneven.label_map(index))) - {IGNORE_LABEL}) for index in range(len(uneven))]
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
