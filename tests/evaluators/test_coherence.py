import pytest
import torch

from pacl_bench.evaluators.coherence import CoherenceSettings, evaluate_coherence


def test_colours_tell_classes_apart_perfectly(perfect, coloured) -> None:
    (measured,), roc = evaluate_coherence(perfect.vision, coloured, CoherenceSettings())
    assert (measured.value, measured.chance, measured.protocol) == (1.0, 0.5, "pairs-across")
    patches, images = 10 * 64, 10
    assert measured.n == roc.num_pairs == patches * (patches - 1) // 2 - images * 64 * 63 // 2


def test_constant_tokens_tell_nothing(perfect, coloured) -> None:
    perfect.vision.encode = lambda images, stride, grid: (None, torch.ones(len(images), grid[0] * grid[1], 21))
    (measured,), _ = evaluate_coherence(perfect.vision, coloured, CoherenceSettings())
    assert measured.value == 0.5
    assert measured.ci_low == measured.ci_high == 0.5


@pytest.mark.parametrize("scope", ["across", "within", "all"])
def test_scopes(perfect, coloured, scope) -> None:
    (measured,), _ = evaluate_coherence(perfect.vision, coloured, CoherenceSettings(scope=scope))
    pairs = {"within": 10 * 64 * 63 // 2, "all": 640 * 639 // 2}
    pairs["across"] = pairs["all"] - pairs["within"]
    assert measured.n == pairs[scope]
    assert measured.protocol == f"pairs-{scope}"


def test_a_head_is_measured_by_its_embeddings(perfect, coloured) -> None:
    """A head that forgets the colours of half the classes makes them one."""
    forgetful = torch.diag((torch.arange(21) < 10).float())
    forgetful[:, 20] = (torch.arange(21) >= 10).float()
    perfect.vision.project = lambda tokens: tokens @ forgetful
    (measured,), _ = evaluate_coherence(perfect, coloured, CoherenceSettings())
    assert 0.5 < measured.value < 1.0
