"""Against scikit-learn over all pairs, formed one by one."""

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

from pacl_bench.metrics import coherence, pair_counts
from pacl_bench.metrics.coherence import pairwise_coherence, pairwise_roc

Patches = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def patches(num: int, images: int = 7, classes: int = 4, narrow: float = 0.0) -> Patches:
    """Features, labels (of which some numbers are left out), image ids; `narrow` draws the features together."""
    generator = torch.Generator().manual_seed(num)
    labels = torch.randint(classes, (num,), generator=generator)
    centres = torch.randn(classes, 6, generator=generator)
    features = centres[labels] + 1.5 * torch.randn(num, 6, generator=generator) + narrow
    return features, 3 * labels, torch.randint(images, (num,), generator=generator)


def all_pairs(features: torch.Tensor, labels: torch.Tensor, scope: str, image_ids: torch.Tensor) -> tuple:
    """(same class, cosine, the labels of both) of each pair in scope."""
    first, second = torch.triu_indices(len(labels), len(labels), 1)
    if scope != "all":
        kept = (image_ids[first] == image_ids[second]) == (scope == "within")
        first, second = first[kept], second[kept]
    unit = torch.nn.functional.normalize(features.double(), dim=1)
    scores = (unit @ unit.T)[first, second]
    return (labels[first] == labels[second]).numpy(), scores.numpy(), torch.stack([labels[first], labels[second]])


@pytest.mark.parametrize("scope", ["across", "within", "all"])
@pytest.mark.parametrize("streamed", [False, True])
def test_against_scikit_learn(scope, streamed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    given = patches(120)
    same, scores, _ = all_pairs(given[0], given[1], scope, given[2])
    if streamed:
        monkeypatch.setattr(coherence, "EXACT_PAIRS", 0)
        monkeypatch.setattr(pair_counts, "TILE", 16)
    roc = pairwise_roc(given[0], given[1], scope, given[2])
    assert roc.num_pairs == len(same)
    assert roc.auroc == pytest.approx(roc_auc_score(same, scores), abs=1e-4 if streamed else 1e-6)
    assert (roc.fpr[0], roc.tpr[0], roc.fpr[-1], roc.tpr[-1]) == (0, 0, 1, 1)
    assert np.all(np.diff(roc.fpr) >= 0)
    assert np.all(np.diff(roc.tpr) >= 0)
    assert np.trapezoid(roc.tpr, roc.fpr) == pytest.approx(roc.auroc, abs=2e-3)


@pytest.mark.parametrize(("narrow", "lowest"), [(0.0, -1.0), (60.0, 0.99), (2000.0, 0.99999)])
def test_however_narrow_the_cone_of_the_features(narrow: float, lowest: float) -> None:
    """AUROC and average precision over all pairs, and over those of each class."""
    features, labels, image_ids = patches(900, narrow=narrow)
    found = pairwise_coherence(features, labels, "across", image_ids)
    same, scores, both = all_pairs(features, labels, "across", image_ids)
    assert scores.min() > lowest
    # in the narrowest cone cosines differ in the sixth digit, where single precision ends
    digits = 1e-4 if narrow < 2000 else 0.05
    assert found.auroc.value == pytest.approx(roc_auc_score(same, scores), abs=digits)
    assert found.average_precision.value == pytest.approx(average_precision_score(same, scores), abs=digits)
    assert found.same_class_share == pytest.approx(same.mean())
    assert list(found.auroc_per_class) == [0, 3, 6, 9]
    for label, estimate in found.auroc_per_class.items():
        its = (both == label).any(0).numpy()
        assert estimate.num_pairs == its.sum()
        assert estimate.value == pytest.approx(roc_auc_score(same[its], scores[its]), abs=digits)
    mean = np.mean([estimate.value for estimate in found.auroc_per_class.values()])
    assert found.mean_per_class_auroc.value == pytest.approx(mean)


def test_the_curves_run_through_scikit_learns() -> None:
    features, labels, image_ids = patches(400)
    found = pairwise_coherence(features, labels, "all", image_ids)
    same, scores, _ = all_pairs(features, labels, "all", image_ids)
    order = np.argsort(-scores)
    recall, precision = np.cumsum(same[order]) / same.sum(), np.cumsum(same[order]) / np.arange(1, len(same) + 1)
    later = found.pr.x > 0.02
    np.testing.assert_allclose(found.pr.y[later], np.interp(found.pr.x[later], recall, precision), atol=5e-3)
    for curve in (found.roc, found.pr):
        assert curve.band is not None
        assert np.all((curve.band[0] <= curve.y) & (curve.y <= curve.band[1]))


def test_perfect_and_useless_features() -> None:
    labels = torch.arange(4).repeat(30)
    image_ids = torch.arange(120) // 10
    assert pairwise_roc(torch.eye(4)[labels], labels, "across", image_ids).auroc == 1.0
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(600, 16, generator=generator)
    found = pairwise_coherence(noise, torch.arange(600) % 4, "across", torch.arange(600) // 10)
    assert found.auroc.value == pytest.approx(0.5, abs=0.02)
    assert found.auroc.ci is not None
    assert found.auroc.ci[0] < 0.5 < found.auroc.ci[1]
    assert found.average_precision.value == pytest.approx(found.same_class_share, abs=0.02)


def test_features_that_are_all_alike() -> None:
    found = pairwise_coherence(torch.ones(60, 3), torch.arange(60) % 3, "across", torch.arange(60) // 6)
    assert found.auroc.value == found.mean_per_class_auroc.value == 0.5
    assert found.average_precision.value == pytest.approx(found.same_class_share, abs=1e-3)


def test_the_intervals_are_those_of_leaving_groups_out() -> None:
    features, labels, image_ids = patches(300, images=5)
    whole = pairwise_coherence(features, labels, "across", image_ids)
    parts = []
    for image in range(5):
        kept = image_ids != image
        parts.append(pairwise_coherence(features[kept], labels[kept], "across", image_ids[kept]))

    def spread(values: list[float]) -> float:
        return 1.96 * np.sqrt(4 / 5 * np.square(np.array(values) - np.mean(values)).sum())

    for name in ("auroc", "average_precision", "mean_per_class_auroc"):
        reach, found = spread([getattr(part, name).value for part in parts]), getattr(whole, name)
        assert found.ci == pytest.approx((found.value - reach, found.value + reach), abs=1e-4)
    reach, found = spread([part.auroc_per_class[6].value for part in parts]), whole.auroc_per_class[6]
    assert found.ci == pytest.approx((found.value - reach, found.value + reach), abs=1e-4)


def test_the_band_is_that_of_the_curves_without_each_group() -> None:
    features, labels, image_ids = patches(300, images=5)
    whole = pairwise_coherence(features, labels, "across", image_ids)
    parts = [pairwise_coherence(features[kept], labels[kept], "across", image_ids[kept]) for kept in without(image_ids)]
    for name in ("roc", "pr"):
        curve = getattr(whole, name)
        heights = np.stack([np.interp(curve.x, getattr(part, name).x, getattr(part, name).y) for part in parts])
        reach = 1.96 * np.sqrt(4 / 5 * np.square(heights - heights.mean(0)).sum(0))
        inside = (curve.band[0] > 0.01) & (curve.band[1] < 0.99) & (curve.x > 0.05)  # elsewhere it is cut off
        assert inside.sum() > 50
        for side in (curve.band[1] - curve.y, curve.y - curve.band[0]):
            assert np.mean(side[inside] / reach[inside]) == pytest.approx(1, abs=0.03)


def without(image_ids: torch.Tensor) -> list[torch.Tensor]:
    """The patches of all images but one, for each of five."""
    return [image_ids != image for image in range(5)]


def test_many_images_are_left_out_in_20_groups() -> None:
    """Image k is of group k mod 20: leaving out a group leaves out every twentieth image."""
    features, labels, image_ids = patches(900, images=60)
    whole = pairwise_coherence(features, labels, "across", image_ids)
    values = []
    for group in range(20):
        kept = image_ids % 20 != group
        values.append(pairwise_coherence(features[kept], labels[kept], "across", image_ids[kept]).auroc.value)
    reach = 1.96 * np.sqrt(19 / 20 * np.square(np.array(values) - np.mean(values)).sum())
    assert whole.auroc.ci == pytest.approx((whole.auroc.value - reach, whole.auroc.value + reach), abs=2e-4)


def test_a_class_of_one_image_has_no_pairs_across_images() -> None:
    labels, image_ids = torch.arange(80) % 2, torch.arange(80) // 10
    labels[:3] = 7
    found = pairwise_coherence(torch.randn(80, 4), labels, "across", image_ids)
    assert list(found.auroc_per_class) == [0, 1]
    assert found.mean_per_class_auroc.value == pytest.approx(
        np.mean([estimate.value for estimate in found.auroc_per_class.values()])
    )
    labels[10:13] = 7  # now of two: without either of them there are none
    found = pairwise_coherence(torch.randn(80, 4), labels, "across", image_ids)
    assert found.auroc_per_class[7].ci is None
    assert found.mean_per_class_auroc.ci is not None


def test_one_sided_pairs_are_an_error() -> None:
    with pytest.raises(ValueError, match="needs both"):
        pairwise_roc(torch.randn(5, 3), torch.zeros(5).long(), "all")
    with pytest.raises(ValueError, match="needs both"):
        pairwise_coherence(torch.randn(1, 3), torch.zeros(1).long(), "all", torch.zeros(1).long())
    with pytest.raises(ValueError, match="needs image_ids"):
        pairwise_roc(torch.randn(5, 3), torch.zeros(5).long(), "across")
