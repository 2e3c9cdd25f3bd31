"""CLIP's last block with another attention: the training-free ways to patch tokens that fit the text space.

With x the tokens before the last block, u = ln_1(x), and q, k, v the three linear maps of u cut into heads of d
numbers, CLIP's own block gives, `out` joining the heads again and the softmax running over the keys,

    y = x + out(softmax(q k' / sqrt(d)) v),    y + mlp(ln_2(y)).

Each variant puts something else in the place of softmax(q k' / sqrt(d)); some leave out the residual and the mlp:

    maskclip   1 (each token attends to itself alone), residual and mlp kept. Zhou et al., Extract Free Dense Labels
               from CLIP, ECCV 2022, section 3.2; for a ViT as in their code (mmseg/models/backbones/vit.py). Later
               papers' MaskCLIP rows differ among themselves; ClearCLIP's leaves out the residual and the mlp as well.
    sclip      softmax(q q' / sqrt(d)) + softmax(k k' / sqrt(d)), residual and mlp kept. Wang et al., SCLIP, ECCV 2024,
               equation 3 (wangf3014/SCLIP, clip/model.py).
    clearclip  softmax(q q' / sqrt(d)), no residual, no mlp. Lan et al., ClearCLIP, ECCV 2024 (mc-lan/ClearCLIP,
               open_clip/transformer.py).
    naclip     softmax(k k' / sqrt(d) + w), no residual, no mlp; w(i, j) = exp(-|i - j|^2 / (2 * 5^2)) with i, j the
               places of two patches in the grid (counted in tokens, whatever the stride), 0 where one of them is CLS.
               Hajimiri et al., Pay Attention to Your Neighbours, WACV 2025 (sinahmr/NACLIP, clip/model.py).

    naclip-kk  softmax(k k' / sqrt(d)), no residual, no mlp. NACLIP's code has it for comparison.

Each of these and CLIP's own can also be had the other way, `maskclip-noresidual`, `clearclip-residual`: peers' code
and the rows of their tables differ in that. All then go through CLIP's final norm and projection, as its own tokens do.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import linear, pad
from torch.nn.functional import scaled_dot_product_attention as attend

NEIGHBOURHOOD = 5.0  # NACLIP's standard deviation, in patches

HeadTensors = Float[Tensor, "image head token dim"]


class Variant(NamedTuple):
    """What stands in the place of a block's attention."""

    attend: Callable[[HeadTensors, HeadTensors, HeadTensors, tuple[int, int]], HeadTensors]  # of q, k, v and the grid
    residual: bool  # whether the rest of the block, its residual and mlp, is kept


def neighbourhood(grid: tuple[int, int]) -> Float[Tensor, "token token"]:
    """NACLIP's w for CLS and the patches of a grid."""
    rows, cols = (_gaussian(side) for side in grid)
    return pad(torch.kron(rows, cols), (1, 0, 1, 0))  # a Gaussian of two axes is a product of two


def _gaussian(side: int) -> Float[Tensor, "side side"]:
    place = torch.arange(side, dtype=torch.float32)
    return torch.exp(-((place[:, None] - place) ** 2) / (2 * NEIGHBOURHOOD**2))


FORMULAS: dict[str, Variant] = {
    "clip": Variant(lambda q, k, v, grid: attend(q, k, v), residual=True),
    "maskclip": Variant(lambda q, k, v, grid: v, residual=True),
    "sclip": Variant(lambda q, k, v, grid: attend(q, q, v) + attend(k, k, v), residual=True),
    "clearclip": Variant(lambda q, k, v, grid: attend(q, q, v), residual=False),
    "naclip": Variant(lambda q, k, v, grid: attend(k, k, v, neighbourhood(grid).to(k)), residual=False),
    "naclip-kk": Variant(lambda q, k, v, grid: attend(k, k, v), residual=False),
}
OTHER_WAY: dict[str, Variant] = {
    f"{name}-{'noresidual' if formula.residual else 'residual'}": formula._replace(residual=not formula.residual)
    for name, formula in FORMULAS.items()
}
VARIANTS = {name: formula for name, formula in (FORMULAS | OTHER_WAY).items() if name != "clip"}  # the model's own


def changed_block(
    block: Any,  # a ResidualAttentionBlock of open_clip; pyright cannot know its attributes
    tokens: Float[Tensor, "image token width"],
    grid: tuple[int, int],
    attention: str,
) -> Float[Tensor, "image token width"]:
    """What a block makes of CLS and patch tokens with the attention of a variant."""
    variant = VARIANTS[attention]
    projected = linear(block.ln_1(tokens), block.attn.in_proj_weight, block.attn.in_proj_bias)
    q, k, v = projected.unflatten(-1, (3, block.attn.num_heads, -1)).permute(2, 0, 3, 1, 4)
    attended = block.ls_1(block.attn.out_proj(variant.attend(q, k, v, grid).transpose(1, 2).flatten(2)))
    if not variant.residual:
        return attended
    tokens = tokens + attended
    return tokens + block.ls_2(block.mlp(block.ln_2(tokens)))
