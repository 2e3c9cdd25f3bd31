"""STEGO's precision-recall: what its own code gives on given features, and answers known by hand."""

import json
from pathlib import Path

import numpy as np
import pytest
import sklearn.metrics
import torch

from pacl_bench.metrics.correspondence import (
    Correspondence,
    correspondence,
    correspondence_average_precision,
    precision_recall,
)

PROBE = Path(__file__).parents[3] / "shared" / "golden_probe"
VOID = 255


@pytest.mark.shared
def test_it_is_what_stegos_code_gives() -> None:
    inputs, theirs = np.load(PROBE / "inputs.npz"), np.load(PROBE / "correspondence_pr.npz")
    parts = [torch.from_numpy(inputs[name]) for name in ("val_features", "val_labels")]
    points = [torch.from_numpy(inputs[name]).flatten(1, 2) for name in ("points1", "points2")]
    found = [correspondence(*image) for image in zip(*parts, *points, strict=True)]
    similarity = np.stack([image.similarity.numpy() for image in found])
    positive = np.stack([image.positive.numpy() for image in found])
    np.testing.assert_allclose(similarity, theirs["similarity"], rtol=0, atol=1e-5)
    assert np.array_equal(positive, theirs["positive_with_tolerance"])
    told = json.loads((PROBE / "correspondence_pr.json").read_text())
    expected = told["variants_computed_from_the_same_similarities"]["agreement_at_least_one_minus_1e_4"]
    value = correspondence_average_precision(similarity.ravel(), positive.ravel())
    assert value == pytest.approx(expected["average_precision"], abs=1e-6)


def test_pairs_of_points_on_a_map_of_three_labels() -> None:
    """Six columns of pixels, two a label: between two labels, a point has neither."""
    label_map = torch.tensor([[0, 0, 1, 1, VOID, VOID]]).expand(4, 6)
    features = torch.tensor([[[2.0, 0.0], [0.0, 3.0]]])  # two cells, whose centres are the ends of the image
    across = torch.tensor([-1.0, -0.8, -0.2, 0.0, 1.0])  # columns 0, 0.5, 2, 2.5, 5
    first = torch.stack([across, torch.zeros(5)], -1)
    second = torch.stack([torch.tensor([-1.0, -0.4, 0.2, 1.0]), torch.ones(4)], -1)  # columns 0, 1.5, 3, 5
    found = correspondence(features, label_map, first, second)
    assert found.positive.int().tolist() == [
        [1, 0, 0, 0],
        [1, 0, 0, 0],
        [0, 0, 1, 0],
        [0, 0, 1, 0],
        [0, 0, 0, 1],  # void with void
    ]
    middle = torch.tensor([2 * 0.5, 3 * 0.5])  # mixed as they are, not by direction
    expected = float(torch.nn.functional.normalize(middle, dim=0) @ torch.tensor([0.0, 1.0]))
    assert float(found.similarity[3, 3]) == pytest.approx(expected)
    assert float(found.similarity[0, 0]) == pytest.approx(1)


def test_rows_are_y_and_a_single_pixel_is_a_map() -> None:
    label_map = torch.tensor([[0], [1]])
    points = torch.tensor([[0.9, -1.0], [-0.3, 1.0]])
    features = torch.eye(2)[:, None]  # "row col width"
    found = correspondence(features, label_map, points, points)
    assert found.positive.tolist() == [[True, False], [False, True]]
    torch.testing.assert_close(found.similarity, torch.eye(2))
    assert correspondence(torch.ones(1, 1, 3), torch.tensor([[7]]), points, points).positive.all()


def test_average_precision_of_few_pairs() -> None:
    similarity, positive = np.array([0.9, 0.8, 0.7, 0.1]), np.array([True, False, True, False])
    assert correspondence_average_precision(similarity, positive) == pytest.approx((1 + 2 / 3) / 2)
    for one_sided in (np.ones(4, bool), np.zeros(4, bool)):
        with pytest.raises(ValueError, match="all of one label or all of different"):
            correspondence_average_precision(similarity, one_sided)


@pytest.mark.shared
def test_all_images_together_are_what_stego_shows() -> None:
    inputs = np.load(PROBE / "inputs.npz")
    parts = [torch.from_numpy(inputs[name]) for name in ("val_features", "val_labels")]
    points = [torch.from_numpy(inputs[name]).flatten(1, 2) for name in ("points1", "points2")]
    found = precision_recall([correspondence(*image) for image in zip(*parts, *points, strict=True)])
    told = json.loads((PROBE / "correspondence_pr.json").read_text())
    expected = told["variants_computed_from_the_same_similarities"]["agreement_at_least_one_minus_1e_4"]
    assert found.value == pytest.approx(expected["average_precision"], abs=1e-6)
    assert found.num_pairs == told["pairs"]
    assert found.positive_share == expected["positive_pairs"] / told["pairs"]
    low, high = found.ci
    assert low is not None
    assert high is not None
    assert low < found.value < high


def test_the_curve_and_interval_of_pairs_in_one_pool() -> None:
    random = torch.Generator().manual_seed(0)
    positive = torch.rand(8, 30, 40, generator=random) < 0.3
    similarity = torch.rand(8, 30, 40, generator=random) + 0.3 * positive.float() - 0.5
    found = precision_recall([Correspondence(*image) for image in zip(similarity, positive, strict=True)])
    pooled = sklearn.metrics.average_precision_score(positive.numpy().ravel(), similarity.numpy().ravel())
    assert found.value == pytest.approx(pooled)
    assert found.recall == sorted(found.recall)
    assert (found.recall[0], found.recall[-1]) == (0.0, 1.0)
    assert found.positive_share - 1e-5 <= found.precision[-1] < found.value < found.precision[20]
    low, high = found.ci
    assert low is not None
    assert high is not None
    assert found.value - 0.03 < low < found.value < high < found.value + 0.03
    assert precision_recall([Correspondence(similarity[0], positive[0])]).ci == (None, None)
