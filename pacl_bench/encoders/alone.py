"""The values of a transformer block: what it makes of each token alone.

Attention over a single token weighs it by 1, whatever its query and key: the token's own value comes out. TIPSv2's
dense alignment lies there (google-deepmind/tips, pytorch/TIPS_zeroshot_segmentation.ipynb: the last block's values, its
residual and mlp kept), and MaskCLIP found the same of CLIP (`?attention=maskclip` of open_clip's models).
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pacl_bench.errors import UsageError


def alone(block: Any, tokens: Float[Tensor, "image patch width"]) -> Float[Tensor, "image patch width"]:
    """Each token through a block as if there were no other. Rotated positions turn queries and keys alone."""
    out = block(tokens.reshape(-1, 1, tokens.shape[-1]))
    out = out[0] if isinstance(out, tuple) else out
    return out.reshape(tokens.shape)


@torch.no_grad()
def refuse_unless_alone(name: str, block: Any, width: int) -> None:
    """A UsageError for a block that does not take a token alone: one whose positions are part of its attention."""
    weight = next(block.parameters())
    try:
        alone(block, torch.zeros(1, 2, width, device=weight.device))
    except (RuntimeError, TypeError, ValueError, AssertionError):
        raise UsageError(f"{name}: tap=values is for ViTs whose blocks take a token alone; leave it out.") from None
