"""Studies of classification sets: groups, the sets' own templates, and sets named by their path."""

import json
from pathlib import Path

import pytest
from PIL import Image

from pacl_bench.data.classification import CLASSIFICATION_SETS, TWELVE
from pacl_bench.data.vocabulary import load_templates, text_hash
from pacl_bench.errors import UsageError
from pacl_bench.studies.runner import run_study
from pacl_bench.studies.study import Study


def folders(root: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        (root / name).mkdir(parents=True)
        Image.new("RGB", (32, 32), (100 * number, 50, 50)).save(root / name / "a.png")
    return root


def study(clip: str, *datasets: str, **settings: str) -> Study:
    return Study("classify", "classify", [clip], datasets=list(datasets), settings=dict(settings))


def test_own_templates_are_recorded(tmp_path: Path, clip_spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACL_DATA", str(tmp_path))
    folders(tmp_path / "eurosat" / "2750", "River", "Forest")
    (own,) = run_study(study(clip_spec, "eurosat", templates="own"), tmp_path)
    (paper,) = run_study(study(clip_spec, "eurosat"), tmp_path)
    assert own.key.variant == "templates=own"
    assert own.config["settings"]["templates_hash"] == text_hash(CLASSIFICATION_SETS["eurosat"].templates)
    assert paper.config["settings"]["templates_hash"] == text_hash(load_templates("paper7"))


def test_a_set_without_templates_of_its_own(tmp_path: Path, clip_spec: str) -> None:
    mine = f"folder:{folders(tmp_path / 'mine', 'a', 'b')}"
    with pytest.raises(UsageError, match="mine has no templates of its own"):
        run_study(study(clip_spec, mine, templates="own"), tmp_path)
    assert not (tmp_path / "records").exists()
    (found,) = run_study(study(clip_spec, mine), tmp_path)
    assert found.config["dataset"]["classnames"] == ["a", "b"]
    assert json.loads((tmp_path / "records/classify/small-clip/mine.default.json").read_text())


def test_segmentation_sets_have_none(voc: Path, clip_spec: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="voc20 has no templates of its own"):
        run_study(Study("p", "patches", [clip_spec], datasets=["voc20"], settings={"templates": "own"}), tmp_path)


def test_two_sets_of_one_name_stand_side_by_side(tmp_path: Path, clip_spec: str) -> None:
    """Known by their files: a copy is the same set, wherever it lies; two of equal files and other names are not."""
    named = [f"folder:{folders(tmp_path / parent / 'test', 'a', 'b')}" for parent in ("one", "two")]
    assert [record.key.dataset for record in run_study(study(clip_spec, *named), tmp_path)] == ["test"]
    named += [f"folder:{folders(tmp_path / 'three' / 'test', 'a', 'b', 'c')}"]
    first, second = run_study(study(clip_spec, *named), tmp_path)
    assert first.key.dataset == "test"
    assert second.key.dataset.startswith("test-")
    assert second.config["dataset"]["classnames"] == ["a", "b", "c"]


def test_all_missing_sets_of_the_twelve_are_named_at_once(tmp_path: Path, clip_spec: str) -> None:
    with pytest.raises(UsageError, match="twelve: 12 of its 12 sets are not under") as raised:
        run_study(study(clip_spec, "twelve"), tmp_path)
    assert all(name in str(raised.value) for name in TWELVE)
