"""Two sides compared, where what they differ in is known."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from report_samples import head, segment
from scipy.stats import binomtest

from pacl_bench import records
from pacl_bench.errors import UsageError
from pacl_bench.image_counts import counts_name
from pacl_bench.partial_files import PARTIAL
from pacl_bench.records import Measurement, Record
from pacl_bench.report import write_comparison
from pacl_bench.report.comparison import find_side, pairs, sign_test
from pacl_bench.report.terminal import WIDTH, comparison_lines

PROTOCOL = "dataset-miou, background=none"
CLASSES = ["cat", "dog", "sofa"]
IMAGES = 40


def counts(seed: int, shares: list[float]) -> np.ndarray:
    """Found and union of three classes in each image; the same unions for all seeds."""
    union = np.random.default_rng(0).integers(50, 100, (IMAGES, 3))
    return np.stack([np.random.default_rng(seed).binomial(union, shares), union], axis=1)


def written(folder: Path, model: str, by_image: np.ndarray, dataset: str = "photos", **given) -> Record:
    """A record of mIoU and the IoU of each class, with its counts."""
    iou = by_image[:, 0].sum(0) / by_image[:, 1].sum(0)
    made = segment(model, 0.5, **{"dataset": dataset, "head": head()} | given)
    rows = [Measurement("miou", float(iou.mean()), PROTOCOL, IMAGES, "", 0.1, 0.9, 0.02)]
    rows += [Measurement("iou", float(value), PROTOCOL, IMAGES, name) for value, name in zip(iou, CLASSES, strict=True)]
    made.config["dataset"] |= {"images": IMAGES, "classnames": CLASSES}
    made = replace(made, measurements=rows)
    records.write(folder / "records", made, {counts_name("miou", PROTOCOL): by_image})
    return made


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """The second model is better at cats, worse at sofas, and sees nothing in the last image."""
    one, other = counts(1, [0.3, 0.5, 0.9]), counts(2, [0.6, 0.5, 0.8])
    other[-1, 0] = 0
    written(tmp_path, "one", one)
    written(tmp_path, "other", other, head=head(patch_scale=1))
    return tmp_path


def test_the_difference_its_error_and_its_classes_are_those_of_the_counts(results: Path):
    [pair] = pairs(find_side("one", results), find_side("other", results))
    assert pair.difference is not None
    assert pair.difference.value == pytest.approx(pair.second.value - pair.first.value)
    assert pair.verdict == "higher"
    assert [one.name for one in pair.classes] == ["cat", "dog", "sofa"]
    cat = pair.classes[0]
    drawn = np.random.default_rng(3).multinomial(IMAGES, np.full(IMAGES, 1 / IMAGES), size=4000)
    by_draws = []
    for model in ("one", "other"):
        file = results / f"records/segment/{model}/photos.default.json"
        [array] = records.counts_of(records.read(file), file).values()
        by_draws.append((drawn @ array[:, 0, 0]) / (drawn @ array[:, 1, 0].astype(int)))
    assert cat.error == pytest.approx((by_draws[1] - by_draws[0]).std(), rel=0.06)
    assert cat.difference.low < cat.value < cat.difference.high


def test_the_image_that_changed_most_comes_first(results: Path):
    [pair] = pairs(find_side("one", results), find_side("other", results))
    assert pair.images[0].place == IMAGES - 1
    assert pair.images[0].second == 0
    assert len(pair.images) == IMAGES


def test_seeds_are_one_side(results: Path):
    written(results, "other.seed1", counts(3, [0.6, 0.5, 0.8]), head=head(seed=1, patch_scale=1))
    [pair] = pairs(find_side("one", results), find_side("other,other.seed1", results))
    assert len(pair.second.numbers) == 2
    assert pair.verdict == "higher"


def test_half_of_a_record_is_not_read(results: Path):
    """Another process writes it, or was killed when it did."""
    (next(results.glob("records/*/one")) / f"{PARTIAL}0123456789ab.json").touch()
    assert len(find_side("one", results).runs) == 1


def test_records_of_two_folders_belong_together_by_name(results: Path, tmp_path: Path):
    again = tmp_path / "again"
    written(again, "one", counts(1, [0.3, 0.5, 0.9]))
    written(again, "third", counts(4, [0.3, 0.5, 0.9]))
    [pair] = pairs(find_side(str(results), results), find_side(str(again), results))
    assert (pair.run.model, pair.verdict) == ("one", "not told apart")
    assert pair.difference is not None
    assert pair.difference.value == 0


def test_what_keeps_them_from_being_compared_is_named(results: Path):
    made = written(results, "large", counts(5, [0.5, 0.5, 0.5]))
    made.config["settings"]["size"] = 448
    records.write(results / "records", made)
    [pair] = pairs(find_side("one", results), find_side("large", results))
    assert (pair.verdict, pair.differs, pair.classes, pair.images) == ("not comparable", ["size"], [], [])
    assert any("not comparable: another size" in line for line in comparison_lines([pair], ("one", "large")))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("othr", "Unknown model or folder 'othr'. Did you mean 'other'?"),
        ("far", "one and far have no number in common: one has segment on photos; far has segment on elsewhere."),
    ],
)
def test_what_cannot_be_compared_is_said_in_a_line(results: Path, name: str, said: str):
    written(results, "far", counts(1, [0.5] * 3), dataset="elsewhere")
    with pytest.raises(UsageError) as error:
        pairs(find_side("one", results), find_side(name, results))
    assert str(error.value).startswith(said)


@pytest.mark.parametrize(("up", "down"), [(5, 5), (9, 1), (20, 0), (0, 3), (0, 0)])
def test_the_sign_test_is_scipys(up: int, down: int):
    expected = binomtest(up, up + down).pvalue if up + down else 1.0
    assert sign_test([1.0] * up + [-0.5] * down + [0.0]) == pytest.approx(expected)


def test_lines_fit_the_terminal_and_say_all(results: Path):
    names = ("one", "other")
    told = "\n".join(comparison_lines(pairs(find_side("one", results), find_side("other", results)), names))
    assert max(map(len, told.split("\n"))) <= WIDTH
    assert told.startswith("other less one, 1 number: 1 higher.")
    assert "images that changed most: " in told
    assert "39 5" in told  # the last image, by its place: photos are not there


def test_the_command_prints_and_writes_a_page(results: Path):
    command = [sys.executable, "-m", "pacl_bench.cli", "report", "--results", str(results), "--compare", "one", "other"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    page = results / "comparison" / "report.html"
    assert done.stdout.endswith(f"\nReport: {page}\n")
    assert "other less one" in page.read_text()
    [row] = json.loads(subprocess.run([*command, "--json"], capture_output=True, text=True, check=True).stdout)
    assert row["verdict"] == "higher"
    assert row["low"] < row["difference"] < row["high"]


def test_images_are_shown_where_the_data_is_there(tmp_path: Path):
    from pacl_bench.evaluators.sets import segmentation_sets

    [scenes] = segmentation_sets(["world-things"])
    for at, model in enumerate(["one", "other"]):
        made = written(tmp_path, model, counts(at, [0.5, 0.5, 0.5]), dataset="world-things", head=head(seed=at))
        made.config["dataset"]["fingerprint"] = scenes.fingerprint
        [array] = [counts(at, [0.5, 0.5, 0.5])]
        records.write(tmp_path / "records", made, {counts_name("miou", PROTOCOL): array})
    found = pairs(find_side("one", tmp_path), find_side("other", tmp_path))
    page = write_comparison(found, ("one", "other"), tmp_path / "out", ["html"])
    assert 'id="images-segment-world-things-one"' in page.read_text()
    assert "<image " in page.read_text()
