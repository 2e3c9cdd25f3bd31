"""Counts by image give the numbers beside which they are kept, and say which image is which."""

import numpy as np
import pytest

from pacl_bench.evaluators import EVALUATORS
from pacl_bench.evaluators.base import Result
from pacl_bench.evaluators.segmentation import SegmentationSettings, evaluate_segmentation
from pacl_bench.image_counts import counts_name
from pacl_bench.metrics.coherence import pairwise_coherence


def measure(name: str, model, images) -> Result:
    evaluator = EVALUATORS[name]
    return evaluator.evaluate(model, images, evaluator.settings())


def by_name(found: Result) -> dict[str, float]:
    return {counts_name(row.metric, row.protocol): row.value for row in found.measurements if not row.class_name}


def value_of(counts: np.ndarray) -> float:
    sums = counts.sum(0, dtype=float)
    there = sums[1] > 0
    return float((sums[0][there] / sums[1][there]).mean())


@pytest.mark.parametrize("name", ["patches", "coherence", "segment"])
@pytest.mark.parametrize("right", ["perfect", "constant"])
def test_the_mean_over_classes_of_their_sums_is_the_number(name: str, right: str, coloured, request) -> None:
    found = measure(name, request.getfixturevalue(right), coloured)
    values = by_name(found)
    kept = {array: value_of(counts) for array, counts in found.counts.items() if array in values}
    assert kept == pytest.approx({array: values[array] for array in kept})
    assert len(kept) == {"patches": 4, "coherence": 3, "segment": 3}[name]


def test_every_protocol_of_a_set_with_background_is_counted(voc, perfect) -> None:
    from pacl_bench.data.segmentation import load_segmentation

    settings = SegmentationSettings(thresholds=(0.2, 0.5), entropies=(1.0,))
    found = evaluate_segmentation(perfect, load_segmentation("voc21"), settings)
    values = by_name(found)
    assert {name for name in values if name.startswith("miou,")} <= found.counts.keys()
    assert {name: value_of(counts) for name, counts in found.counts.items()} == pytest.approx(
        {name: values[name] for name in found.counts}
    )
    assert all(len(counts) == 6 for counts in found.counts.values())


def test_an_image_stands_at_its_place(perfect, coloured) -> None:
    """The union of labels and prediction of a perfect model are the labels, within the rounding of fields."""
    counts = measure("segment", perfect, coloured).counts["miou, dataset-miou, background=none"]
    for index in range(10):
        labelled = np.bincount(coloured.label_map(index).ravel(), minlength=20)[:20]
        assert np.abs(counts[index, 1] - labelled).sum() < 0.02 * labelled.sum()


def test_recall_is_counted_by_class(constant, coloured) -> None:
    found = measure("patches", constant, coloured)
    rows = [row for row in found.measurements if (row.metric, row.protocol) == ("patch_recall", "all-classes")]
    recall = {row.class_name: row.value for row in rows}
    sums = found.counts["patch_recall, all-classes"].sum(0)
    assert (sums[0] / sums[1]).tolist() == pytest.approx([recall[name] for name in coloured.classnames])


def test_groups_of_images_have_the_variance_of_the_jackknife() -> None:
    import torch

    torch.manual_seed(0)
    features, labels = torch.randn(400, 8), torch.randint(0, 3, (400,))
    features[:, :3] += torch.nn.functional.one_hot(labels, 3)
    found = pairwise_coherence(features, labels, "across", torch.arange(400) // 10)
    assert found.auroc.by_group is not None
    assert found.auroc.ci is not None
    assert found.auroc.by_group.mean() == pytest.approx(found.auroc.value)
    error = found.auroc.by_group.std(ddof=1) / np.sqrt(20)
    assert found.auroc.ci[1] - found.auroc.value == pytest.approx(1.96 * error)


def test_images_without_a_patch_do_not_move_the_others_to_another_group() -> None:
    import torch

    torch.manual_seed(0)
    features, labels = torch.randn(300, 8), torch.randint(0, 3, (300,))
    images = torch.arange(300) // 10
    kept = images % 20 != 4
    found = pairwise_coherence(features[kept], labels[kept], "across", images[kept])
    assert found.groups.tolist() == [group for group in range(20) if group != 4]
