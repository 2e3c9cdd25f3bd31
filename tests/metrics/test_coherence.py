"""Against scikit-learn over all pairs, formed one by one."""

import itertools

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from pacl_bench.metrics import coherence
from pacl_bench.metrics.coherence import pairwise_roc


def patches(num: int, images: int = 7, classes: int = 4) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(num)
    labels = torch.randint(classes, (num,), generator=generator)
    centres = torch.randn(classes, 6, generator=generator)
    features = centres[labels] + 1.5 * torch.randn(num, 6, generator=generator)
    return features, labels, torch.randint(images, (num,), generator=generator)


def all_pairs(features: torch.Tensor, labels: torch.Tensor, scope: str, image_ids: torch.Tensor) -> tuple[list, list]:
    same, scores = [], []
    for i, j in itertools.combinations(range(len(labels)), 2):
        one_image = bool(image_ids[i] == image_ids[j])
        if scope == "all" or one_image == (scope == "within"):
            same.append(bool(labels[i] == labels[j]))
            scores.append(float(torch.cosine_similarity(features[i].double(), features[j].double(), dim=0)))
    return same, scores


@pytest.mark.parametrize("scope", ["across", "within", "all"])
@pytest.mark.parametrize("streamed", [False, True])
def test_against_scikit_learn(scope, streamed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels, image_ids = patches(120)
    same, scores = all_pairs(features, labels, scope, image_ids)
    if streamed:
        monkeypatch.setattr(coherence, "EXACT_PAIRS", 0)
        monkeypatch.setattr(coherence, "TILE", 32)
    roc = pairwise_roc(features, labels, scope, image_ids)
    assert roc.num_pairs == len(same)
    assert roc.auroc == pytest.approx(roc_auc_score(same, scores), abs=1e-4 if streamed else 1e-6)
    assert (roc.fpr[0], roc.tpr[0], roc.fpr[-1], roc.tpr[-1]) == (0, 0, 1, 1)
    assert np.all(np.diff(roc.fpr) >= 0)
    assert np.all(np.diff(roc.tpr) >= 0)
    assert np.trapezoid(roc.tpr, roc.fpr) == pytest.approx(roc.auroc, abs=2e-3)


def test_perfect_and_useless_features() -> None:
    labels = torch.arange(4).repeat(30)
    image_ids = torch.arange(120) // 10
    assert pairwise_roc(torch.eye(4)[labels], labels, "across", image_ids).auroc == 1.0
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(600, 16, generator=generator)
    roc = pairwise_roc(noise, torch.arange(600) % 4, "across", torch.arange(600) // 10, interval=True)
    assert roc.auroc == pytest.approx(0.5, abs=0.02)
    assert roc.ci is not None
    assert roc.ci[0] < 0.5 < roc.ci[1]


def test_the_interval_is_that_of_leaving_groups_out() -> None:
    features, labels, image_ids = patches(200, images=5)
    roc = pairwise_roc(features, labels, "across", image_ids, interval=True)
    left_out = []
    for image in range(5):
        kept = image_ids != image
        left_out.append(pairwise_roc(features[kept], labels[kept], "across", image_ids[kept]).auroc)
    error = np.sqrt(4 / 5 * np.square(np.array(left_out) - np.mean(left_out)).sum())
    assert roc.ci == pytest.approx((roc.auroc - 1.96 * error, roc.auroc + 1.96 * error), abs=1e-4)


def test_one_sided_pairs_are_an_error() -> None:
    with pytest.raises(ValueError, match="needs both"):
        pairwise_roc(torch.randn(5, 3), torch.zeros(5).long(), "all")
    with pytest.raises(ValueError, match="needs image_ids"):
        pairwise_roc(torch.randn(5, 3), torch.zeros(5).long(), "across")
