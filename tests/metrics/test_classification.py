import pytest
import sklearn.metrics
import torch

from pacl_bench.metrics.classification import mean_per_class_recall, recall_per_class, top1


def test_against_scikit_learn() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(5, (300,), generator=generator) % 4  # class 4 has no item
    predicted = torch.where(
        torch.rand(300, generator=generator) < 0.5, labels, torch.randint(5, (300,), generator=generator)
    )
    assert top1(predicted, labels) == pytest.approx(sklearn.metrics.accuracy_score(labels, predicted))
    recall = recall_per_class(predicted, labels, 5)
    expected = sklearn.metrics.recall_score(labels, predicted, labels=range(4), average=None)
    torch.testing.assert_close(recall[:4], torch.from_numpy(expected))
    assert recall[4].isnan()
    assert mean_per_class_recall(predicted, labels, 5) == pytest.approx(expected.mean())
