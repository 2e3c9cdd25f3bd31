"""The forms agree with one another, and the benchmark says what it should of a case one can reckon."""

import pytest
import torch

from pacl_bench.bench.compatibility import OURS, Size, _largest_batch, chunked, compatibility_costs, einsum
from pacl_bench.bench.memory import peak_memory
from pacl_bench.model.compatibility import compatibility


def test_the_forms_are_the_same_function(monkeypatch: pytest.MonkeyPatch) -> None:
    patches, texts = torch.randn(5, 7, 12, dtype=torch.float64, requires_grad=True), torch.randn(6, 12).double()
    expected = compatibility(patches, texts, 10.0)
    gradient = torch.autograd.grad(expected.square().sum(), patches)
    for entries in (10**6, 5 * 12 * 2):  # all texts at once, and two at a time
        monkeypatch.setattr("pacl_bench.bench.compatibility.CHUNK_ENTRIES", entries)
        for form in (einsum, chunked):
            found = form(patches, texts, 10.0)
            torch.testing.assert_close(found, expected)
            torch.testing.assert_close(torch.autograd.grad(found.square().sum(), patches), gradient)


def test_costs_of_a_small_batch() -> None:
    costs = {cost.form: cost for cost in compatibility_costs(Size(16, 9, 8), "cpu", repeats=1, with_compile=False)}
    assert list(costs) == [OURS, "plain einsum", "chunked, by autograd", "floor"]
    assert all(cost.seconds is not None and cost.seconds > 0 for cost in costs.values())
    assert costs["floor"].value_seconds is None


def test_a_form_that_does_not_fit_is_left_out() -> None:
    """Inputs and gradient take 26 MB; arrays of all pairs, of which the einsum holds several, 13 and 67 MB. What is
    measured is the memory of a whole process, which other things move by some MB: the limit leaves room for them."""
    size = Size(256, 49, 256)
    ours, rival, *_ = compatibility_costs(size, "cpu", repeats=1, memory=120 * 10**6, with_compile=False)
    assert ours.seconds is not None
    assert (rival.seconds, rival.extra_bytes) == (None, None)


def test_the_largest_batch_solves_the_quadratic() -> None:
    """Inputs of 4 B an image, peaks of 6 b + 0.5 b^2: 10 b + 0.5 b^2 = 1000 at b = 35.8."""
    size = Size(batch=20, patches=1, dim=1)
    assert _largest_batch({10: 110, 20: 320}, size, 1000) == 35
    assert _largest_batch({20: 320}, size, 1000) is None
    assert _largest_batch({10: 60, 20: 120}, size, 1000) == 100  # no pairs: 10 b


def test_operations_are_those_of_the_products() -> None:
    """Of one image, text, patch and dim: six products of one number with one, two operations each."""
    assert Size(1, 1, 1).operations == 2 * 6


@pytest.mark.gpu
def test_memory_of_a_gpu_is_that_of_the_call() -> None:
    assert peak_memory(lambda: torch.empty(2**20, device="cuda"), "cuda") == 4 * 2**20
