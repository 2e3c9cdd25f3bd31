"""Paired comparison against differences that are known, and what keeps records from being compared."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from report_samples import head, segment

from pacl_bench import records
from pacl_bench.errors import UsageError
from pacl_bench.image_counts import packed
from pacl_bench.records import Record, comparable
from pacl_bench.report import table
from pacl_bench.report.compare import paired_error
from pacl_bench.report.lines import ALL_MODELS
from pacl_bench.report.reading import runs_of
from pacl_bench.report.runs import Number, numbers

PROTOCOL = "present-miou, background=none"
NAME = f"miou, {PROTOCOL}"


def written(folder: Path, model: str, right: np.ndarray, **given) -> Record:
    """A record whose one number is the mean of `right` over images, with its counts by image beside it."""
    made = segment(model, 0.5, **given)
    [miou] = [row for row in made.measurements if row.metric == "miou" and row.protocol == PROTOCOL]
    made = replace(made, measurements=[replace(miou, value=float(right.mean()))])
    records.write(folder, made, {NAME: np.stack([right, np.ones_like(right)], axis=1)[:, :, None]})
    return made


def number_of(folder: Path, model: str) -> Number:
    return next(one for one in numbers(runs_of(folder), "segment") if one.run.model == model)


def test_the_error_of_a_mean_over_images_is_the_textbooks(tmp_path: Path):
    random = np.random.default_rng(0)
    one, other = random.random(300), random.random(300)
    written(tmp_path, "one", one, head=head())
    written(tmp_path, "other", other, head=head(patch_scale=1))
    error = paired_error([number_of(tmp_path, "one")], [number_of(tmp_path, "other")])
    assert error == pytest.approx((one - other).std(ddof=1) / np.sqrt(300))


def test_what_is_hard_for_both_does_not_count(tmp_path: Path):
    hard = np.random.default_rng(0).random(300)
    written(tmp_path, "one", hard, head=head())
    written(tmp_path, "other", hard - 0.1, head=head(patch_scale=1))
    assert paired_error([number_of(tmp_path, "one")], [number_of(tmp_path, "other")]) == pytest.approx(0, abs=1e-6)


def test_the_error_of_a_mean_of_ratios_is_that_of_many_draws(tmp_path: Path):
    random = np.random.default_rng(1)
    there = random.integers(1, 50, (400, 3))
    found = random.binomial(there, [0.2, 0.5, 0.9])
    made = segment("m", 0.5, head=head())
    value = float((found.sum(0) / there.sum(0)).mean())
    [miou] = [row for row in made.measurements if row.metric == "miou" and row.protocol == PROTOCOL]
    records.write(
        tmp_path, replace(made, measurements=[replace(miou, value=value)]), {NAME: np.stack([found, there], 1)}
    )
    written(tmp_path, "zero", np.zeros(400), head=head(patch_scale=1))
    drawn = random.multinomial(400, np.full(400, 1 / 400), size=4000)
    by_draws = ((drawn @ found) / (drawn @ there)).mean(1).std()
    error = paired_error([number_of(tmp_path, "m")], [number_of(tmp_path, "zero")])
    assert error == pytest.approx(by_draws, rel=0.05)


def test_seeds_are_compared_by_their_means(tmp_path: Path):
    random = np.random.default_rng(2)
    values = [random.random(200) for _ in range(4)]
    for at, of_model in enumerate(values):
        written(tmp_path, f"m{at}", of_model, head=head(seed=at % 2, patch_scale=1 + at // 2))
    found = [number_of(tmp_path, f"m{at}") for at in range(4)]
    difference = (values[0] + values[1] - values[2] - values[3]) / 2
    assert paired_error(found[:2], found[2:]) == pytest.approx(difference.std(ddof=1) / np.sqrt(200))


def test_all_that_cannot_be_told_from_the_best_lead(tmp_path: Path):
    random = np.random.default_rng(3)
    best = random.random(300)
    written(tmp_path, "best", best, head=head())
    written(tmp_path, "tied", best + random.normal(-0.001, 0.05, 300), head=head(patch_scale=1))
    written(tmp_path, "behind", best - 0.02, head=head(patch_scale=2))
    found = table("table2", tmp_path, view=ALL_MODELS)
    assert sorted(cell.records[0].split("/")[1] for cell in found.best) == ["best", "tied"]


def test_without_counts_there_is_no_error_and_the_best_leads_alone(tmp_path: Path):
    for at in (1, 2):
        records.write(tmp_path, segment(f"m{at}", 0.2 + at / 1000, head=head(patch_scale=at)))
    one, other = (number_of(tmp_path, f"m{at}") for at in (1, 2))
    assert paired_error([one], [other]) is None
    assert len(table("table2", tmp_path, view=ALL_MODELS).best) == 1


def test_counts_that_are_not_the_records_are_named(tmp_path: Path):
    made = written(tmp_path, "m", np.full(10, 0.3), head=head())
    records.write(tmp_path, made, {NAME: np.ones((10, 2, 1))})
    number = number_of(tmp_path, "m")
    with pytest.raises(UsageError, match=r"voc20\.default\.npz: its counts do not give the miou"):
        paired_error([number], [number])


def test_a_file_of_counts_that_is_not_the_records_is_named(tmp_path: Path):
    written(tmp_path, "m", np.full(10, 0.3), head=head())
    file = next(tmp_path.rglob("*.npz"))
    file.write_bytes(packed({NAME: np.ones((10, 2, 1))}))
    number = number_of(tmp_path, "m")
    with pytest.raises(UsageError, match=r"voc20\.default\.npz holds no counts of the record beside it"):
        paired_error([number], [number])


def changed(part: str, **values) -> Record:
    made = segment("m", 0.2, head=head())
    made.config[part] |= values
    return made


@pytest.mark.parametrize(
    ("other", "fields"),
    [
        (segment("another", 0.4, head=head(patch_scale=1)), []),
        (segment("m", 0.2, dataset="voc21"), ["data set", "images"]),
        (changed("dataset", fingerprint="x"), ["fingerprint"]),
        (changed("dataset", images=10), ["images"]),
        (changed("dataset", classnames_hash="x"), ["class names", "vocabulary"]),
        (changed("settings", templates_hash="x"), ["templates"]),
        (changed("settings", vocabulary_hash="x"), ["vocabulary"]),
        (changed("settings", size=448, stride=4), ["size", "stride"]),
        (changed("settings", window=224, overlap=0.5), ["window", "overlap"]),
        (changed("settings", overlap=0.5, upsampling="bilinear"), []),  # what older records do not say
        (replace(segment("m", 0.2), measurements=[]), ["protocol"]),
    ],
)
def test_what_keeps_two_records_from_being_compared_is_named(other: Record, fields: list[str]):
    assert comparable(segment("m", 0.2, head=head()), other) == fields
