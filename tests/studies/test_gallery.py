"""The gallery shows the images that the counts say."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pacl_bench import records
from pacl_bench.data.segmentation import load_segmentation
from pacl_bench.encoders import load_encoder
from pacl_bench.errors import UsageError
from pacl_bench.image_counts import counts_name
from pacl_bench.model.aligned import load_before
from pacl_bench.studies.experiment import Picture
from pacl_bench.studies.figures import draw_picture
from pacl_bench.studies.gallery import CANDIDATE, gallery_rows
from pacl_bench.studies.runner import run_study
from pacl_bench.studies.study import Study


def test_best_median_and_worst_of_a_real_record(voc: Path, clip_spec: str, tmp_path: Path):
    [made] = run_study(Study("segment", "segment", [clip_spec], datasets=["voc21"]), tmp_path)
    file = tmp_path / "records" / made.key.path
    counts = records.counts_of(made, file)
    found, union = counts[counts_name("miou", CANDIDATE)].astype(float).swapaxes(0, 1)
    own = [float(np.mean(f[u > 0] / u[u > 0])) for f, u in zip(found, union, strict=True)]
    images, model = load_segmentation("voc21"), load_before(load_encoder(clip_spec))
    model = replace(model, name=made.key.model)
    rows = gallery_rows([model], images, tmp_path)
    assert [len(row) for row in rows] == [3, 3, 3]
    told = [row[0].title.split("\n")[0] for row in rows]
    assert told[0] == f"best: {100 * max(own):.1f} %"
    assert told[2] == f"worst: {100 * min(own):.1f} %"
    best = int(np.argmax(own))
    assert rows[0][0].title.split("\n")[1] == images.ids[best]
    assert (rows[0][1].predicted_map == images.label_map(best)).all()


def test_a_model_that_was_not_measured_is_named(voc: Path, clip_spec: str, tmp_path: Path):
    [made] = run_study(Study("patches", "patches", [clip_spec], datasets=["voc20"]), tmp_path)
    model = replace(load_before(load_encoder(clip_spec)), name=made.key.model)
    with pytest.raises(UsageError, match="has no record of segment on voc20"):
        gallery_rows([model], load_segmentation("voc20"), tmp_path)


def test_a_record_of_an_earlier_version_has_no_gallery_and_is_no_failure(
    voc: Path, clip_spec: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    [made] = run_study(Study("segment", "segment", [clip_spec], datasets=["voc20"]), tmp_path)
    records.write(tmp_path / "records", replace(made, provenance={}))
    stem = tmp_path / "report" / "gallery"
    draw_picture(Picture("gallery", ["voc20"], encoders=[clip_spec]), [], stem)
    assert "gallery is not drawn: segment/" in capsys.readouterr().err
    assert not stem.parent.exists()
