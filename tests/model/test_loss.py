import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from pacl_bench import info_nce


def test_it_is_the_mean_of_both_directions() -> None:
    compatibility = torch.randn(7, 7, dtype=torch.float64)
    target = torch.arange(7)
    expected = (cross_entropy(compatibility / 0.07, target) + cross_entropy(compatibility.T / 0.07, target)) / 2
    assert info_nce(compatibility, 0.07).item() == pytest.approx(expected.item())


def test_a_batch_that_knows_nothing_costs_the_log_of_its_size() -> None:
    assert info_nce(torch.zeros(8, 8), 0.1).item() == pytest.approx(math.log(8))


def test_equal_texts_are_no_negatives() -> None:
    same = torch.tensor([[True, True, False], [True, True, False], [False, False, True]])
    # the first two pairs share a text: each has one negative left, the third has two
    expected = (math.log(2) + math.log(2) + math.log(3)) / 3
    assert info_nce(torch.zeros(3, 3), 1.0, same).item() == pytest.approx(expected)


def test_a_batch_of_one_text_has_a_finite_gradient() -> None:
    compatibility = torch.randn(3, 3, requires_grad=True)
    loss = info_nce(compatibility, 0.07, torch.ones(3, 3, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0
    assert compatibility.grad is not None
    assert bool(compatibility.grad.isfinite().all())
