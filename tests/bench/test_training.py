"""The benchmark runs whole, on a small batch, and its parts make up the step."""

import pytest
import torch

from pacl_bench.bench.training import training_costs
from pacl_bench.training.recipe import Loading


def test_the_parts_of_a_step(small_clip: torch.nn.Module) -> None:
    parts = {part.part: part for part in training_costs(4, 1, "cpu", Loading(workers=0), architecture="small-test-vit")}
    assert list(parts)[:2] == ["reading, in one process", "decoding, in one process"]
    inner = [parts[name].seconds for name in list(parts)[2:-1]]
    assert len(inner) == 4
    assert sum(inner) == pytest.approx(parts["whole step"].seconds)
    assert all(part.seconds > 0 for part in parts.values() if part.part != "waiting for pairs")
