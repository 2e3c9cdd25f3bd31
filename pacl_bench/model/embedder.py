"""The vision embedder e_v: the only part of PACL that is trained."""

from jaxtyping import Float
from torch import Tensor, nn


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
