"""Against scikit-learn, on random label maps with ignored pixels and absent classes."""

import numpy as np
import pytest
import sklearn.metrics
import torch

from pacl_bench.metrics import segmentation
from pacl_bench.metrics.segmentation import (
    ClassCounts,
    Pixels,
    class_counts,
    confusion_matrix,
    iou_per_class,
    mean_accuracy,
    miou,
    near_boundary,
    pixel_accuracy,
    tally,
)

IGNORED = 255


def random_maps(seed: int, num_classes: int, absent: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    random = np.random.default_rng(seed)
    present = np.array([label for label in range(num_classes) if label not in absent])
    labels = random.choice(np.append(present, IGNORED), size=(37, 53))
    predictions = np.where(random.random((37, 53)) < 0.6, labels, random.choice(present, size=(37, 53)))
    predictions[labels == IGNORED] = random.choice(present, size=int((labels == IGNORED).sum()))
    return torch.from_numpy(predictions), torch.from_numpy(labels)


@pytest.mark.parametrize(("num_classes", "absent"), [(2, ()), (5, (3,)), (21, (0, 7, 20))])
def test_against_scikit_learn(num_classes: int, absent: tuple[int, ...]) -> None:
    predictions, labels = random_maps(num_classes, num_classes, absent)
    confusion = confusion_matrix(predictions, labels, num_classes, IGNORED)
    kept = labels != IGNORED
    theirs = (labels[kept].numpy(), predictions[kept].numpy())
    every = list(range(num_classes))
    assert confusion.tolist() == sklearn.metrics.confusion_matrix(*theirs, labels=every).tolist()

    present = [label for label in every if label not in absent]
    jaccard = sklearn.metrics.jaccard_score(*theirs, labels=present, average=None)
    ious = iou_per_class(confusion)
    np.testing.assert_allclose(ious[present], jaccard)
    assert ious[list(absent)].isnan().all()
    assert miou(confusion) == pytest.approx(np.mean(jaccard))
    assert pixel_accuracy(confusion) == pytest.approx(sklearn.metrics.accuracy_score(*theirs))
    assert mean_accuracy(confusion) == pytest.approx(sklearn.metrics.balanced_accuracy_score(*theirs))


def test_a_class_only_predicted_counts_as_wrong() -> None:
    confusion = confusion_matrix(torch.tensor([0, 1]), torch.tensor([0, 0]), 3, IGNORED)
    assert iou_per_class(confusion).tolist()[:2] == [0.5, 0.0]
    assert miou(confusion) == 0.25


def test_one_matrix_over_the_set_is_not_the_mean_over_images() -> None:
    """The mistake PAPER.md names: a mean over images and classes is another number."""
    first = confusion_matrix(torch.zeros(100).long(), torch.zeros(100).long(), 2)
    second = confusion_matrix(torch.tensor([0, 0]), torch.tensor([0, 1]), 2)
    assert miou(first + second) == pytest.approx((101 / 102 + 0) / 2)
    assert np.mean([miou(first), miou(second)]) == pytest.approx((1 + 0.25) / 2)


def test_nothing_predicted_is_wrong_for_its_class() -> None:
    confusion = confusion_matrix(torch.tensor([0, 255, 1]), torch.tensor([0, 0, 1]), 2, IGNORED)
    assert confusion.tolist() == [[1, 0, 1], [0, 1, 0]]
    assert iou_per_class(confusion).tolist() == [0.5, 1.0]


def test_a_label_beyond_the_classes_is_an_error() -> None:
    with pytest.raises(ValueError, match="found 7"):
        confusion_matrix(torch.tensor([0]), torch.tensor([7]), 2)
    with pytest.raises(ValueError, match="differ in shape"):
        confusion_matrix(torch.zeros(2, 3).long(), torch.zeros(3, 2).long(), 2)


def test_near_boundary_pixel_by_pixel() -> None:
    label_map = np.repeat(np.repeat(np.random.default_rng(0).integers(0, 3, (5, 4)), 6, 0), 9, 1).astype(np.uint8)
    for distance in (0, 1, 4):
        found = near_boundary(label_map, distance)
        for row, col in np.ndindex(label_map.shape):
            around = label_map[max(0, row - distance) : row + distance + 1, max(0, col - distance) : col + distance + 1]
            assert found[row, col] == (around != label_map[row, col]).any()


def test_a_sweep_equals_one_threshold_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    labels, predicted = random.integers(0, 5, 4000), random.integers(1, 5, 4000)
    predicted[:50] = -1  # nothing
    certainty, thresholds = random.random(4000).round(2), [0.0, 0.3, 0.31, 0.9, 1.1]
    inner = random.random(4000) < 0.7
    monkeypatch.setattr(segmentation, "BLOCK", 1000)
    found = tally(Pixels(labels, predicted, certainty, inner), 5, thresholds, background=0)
    for part, of_part in zip((~inner, inner), found, strict=True):
        for at, counts in zip(thresholds, of_part, strict=True):
            ruled = np.where(certainty < at, 0, predicted)[part]
            confusion = confusion_matrix(torch.from_numpy(ruled), torch.from_numpy(labels[part]), 5)
            expected = [confusion.diagonal(), confusion.sum(1), confusion[:, :5].sum(0)]
            np.testing.assert_array_equal(counts, torch.stack(expected).numpy())
    together = tally(Pixels(labels, predicted, certainty), 5, thresholds, background=0)
    np.testing.assert_array_equal(together, found.sum(0, keepdims=True))
    certain = tally(Pixels(labels, predicted), 5, thresholds, background=0)  # nothing falls to the background
    np.testing.assert_array_equal(certain, np.repeat(tally(Pixels(labels, predicted), 5), 5, axis=1))


def test_counts_of_several_sets_are_summarised_as_each_by_itself() -> None:
    """What the evaluators and their intervals use is what the public functions give."""
    confusions = [confusion_matrix(*random_maps(seed, 7, (3,)), 7, IGNORED) for seed in range(3)]
    together = ClassCounts(*map(torch.stack, zip(*map(class_counts, confusions), strict=True)))
    for metric in (miou, pixel_accuracy, mean_accuracy):
        assert getattr(together, metric.__name__)().tolist() == [metric(confusion) for confusion in confusions]
    assert torch.equal(together.iou().nan_to_num(-1), torch.stack([*map(iou_per_class, confusions)]).nan_to_num(-1))
