"""The vision embedder e_v, called the head: the only part of PACL that is trained.

A head is an nn.Module made of (width, dim). It takes patch tokens "*batch width" to patch embeddings "*batch dim",
which are not normalised, as PACL's pooling wants them. A new kind is one line in HEADS; a package adds one by
an entry point of the group `pacl_bench.heads`.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pacl_bench.errors import UsageError
from pacl_bench.model.head_files import RESIDUAL
from pacl_bench.registry import entry_points, loaded, unknown_name

ENTRY_POINTS = "pacl_bench.heads"


class VisionEmbedder(nn.Module):
    """A residual head from patch tokens to the text space: Linear - ReLU - Linear beside a skip Linear.

    Source: the architecture figure of the PACL paper. With width 768 and dim 512 it has 1,050,112 parameters, the
    paper's "about 1.1M".
    """

    def __init__(self, width: int, dim: int):
        super().__init__()
        self.width, self.dim = width, dim
        self.hidden = nn.Linear(width, dim)
        self.out = nn.Linear(dim, dim)
        self.skip = nn.Linear(width, dim)

    def forward(self, patch_tokens: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch dim"]:
        """Patch embeddings; not normalised, as PACL's pooling wants them."""
        return self.out(self.hidden(patch_tokens).relu()) + self.skip(patch_tokens)


HEADS: dict[str, Callable[[int, int], nn.Module]] = {
    RESIDUAL: VisionEmbedder,  # the paper's
    "linear": nn.Linear,  # a single layer: how much of the alignment is a change of basis?
}


def make_head(kind: str, width: int, dim: int) -> nn.Module:
    """A head with random weights; a UsageError for a kind that nobody knows, or whose class makes no head."""
    made = head_class(kind)(width, dim)
    if not isinstance(made, nn.Module):
        raise UsageError(f"head {kind!r}: {type(made).__name__} is no torch.nn.Module.")
    try:
        shape = tuple(made(torch.zeros(1, 2, width)).shape)
    except (RuntimeError, TypeError, AttributeError, NotImplementedError) as error:
        raise UsageError(
            f"head {kind!r} does not take tokens of width {width} ({str(error).splitlines()[0]})."
        ) from None
    if shape != (1, 2, dim):
        raise UsageError(f"head {kind!r} makes {shape} of two tokens in one image; (1, 2, {dim}) is wanted.")
    return made


def head_class(kind: str) -> Callable[[int, int], nn.Module]:
    """What makes a head of a kind: of the table, or of an installed package, which is imported only now."""
    if kind in HEADS:
        return HEADS[kind]
    installed = entry_points(ENTRY_POINTS, HEADS)
    if kind not in installed:
        raise UsageError(unknown_name(kind, [*HEADS, *installed], "head"))
    return loaded(installed[kind])
