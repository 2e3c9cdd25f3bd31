"""Kinds of heads: the paper's, a linear one, and those of installed packages."""

from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch

from pacl_bench import VisionEmbedder
from pacl_bench.errors import UsageError
from pacl_bench.model import embedder as module
from pacl_bench.model.embedder import HEADS, make_head


def test_parameter_count_is_the_papers() -> None:
    assert sum(weight.numel() for weight in VisionEmbedder(768, 512).parameters()) == 1_050_112


def test_it_is_two_layers_beside_a_skip() -> None:
    embedder = VisionEmbedder(6, 4)
    tokens = torch.randn(2, 5, 6)
    hidden = torch.relu(tokens @ embedder.hidden.weight.T + embedder.hidden.bias)
    expected = hidden @ embedder.out.weight.T + embedder.out.bias + tokens @ embedder.skip.weight.T + embedder.skip.bias
    torch.testing.assert_close(embedder(tokens), expected)


def test_a_linear_head_is_one_layer() -> None:
    head, tokens = make_head("linear", 6, 4), torch.randn(2, 5, 6)
    weight, bias = head.parameters()
    torch.testing.assert_close(head(tokens), tokens @ weight.T + bias)
    assert sum(parameter.numel() for parameter in make_head("linear", 768, 512).parameters()) == 768 * 512 + 512


@pytest.mark.parametrize("kind", HEADS)
def test_every_kind_takes_tokens_of_any_batch(kind: str) -> None:
    head = make_head(kind, 6, 4)
    for shape in ((6,), (5, 6), (2, 5, 6), (0, 6)):
        assert head(torch.zeros(shape)).shape == (*shape[:-1], 4)


PACKAGE = """
import torch
class Scaled(torch.nn.Linear):
    def forward(self, patch_tokens):
        return 2 * super().forward(patch_tokens)
class Pooled(torch.nn.Linear):
    def forward(self, patch_tokens):
        return super().forward(patch_tokens).mean(1)
class Narrow(torch.nn.Linear):
    def __init__(self, width, dim):
        super().__init__(width // 2, dim)
def function(width, dim):
    return lambda patch_tokens: patch_tokens
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, declares: Callable[..., None]) -> None:
    """A package that adds heads by entry points; one of them cannot be imported."""
    (tmp_path / "package_of_heads.py").write_text(PACKAGE)
    monkeypatch.syspath_prepend(tmp_path)
    names = ("Scaled", "Pooled", "Narrow", "function", "gone")
    points = [EntryPoint(name.lower(), f"package_of_heads:{name}", module.ENTRY_POINTS) for name in names]
    declares(module.ENTRY_POINTS, points)


def test_a_package_adds_a_head(package: None) -> None:
    head = make_head("scaled", 6, 4)
    tokens = torch.randn(2, 5, 6)
    weight, bias = head.parameters()
    torch.testing.assert_close(head(tokens), 2 * (tokens @ weight.T + bias))


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("scale", r"Unknown head 'scale'. Did you mean 'scaled'\?"),
        ("pooled", r"makes \(1, 4\) of two tokens in one image; \(1, 2, 4\) is wanted"),
        ("narrow", "does not take tokens of width 6"),
        ("function", "function is no torch.nn.Module"),
        ("gone", "package_of_heads:gone does not import"),
    ],
)
def test_what_is_no_head_is_told_in_one_line(package: None, kind: str, line: str) -> None:
    with pytest.raises(UsageError, match=line) as told:
        make_head(kind, 6, 4)
    assert "\n" not in str(told.value)
