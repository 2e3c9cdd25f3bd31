"""Positional embeddings, learned for one grid of patches, brought to another grid: every library has a way of its own.

    bicubic          with antialias, sampling as the two sizes say: timm's way, and the default here.
    bilinear         the same with two neighbours for four (TIPS: google-deepmind/tips, pytorch/image_encoder.py).
    bicubic-noalias  without antialias (MaskCLIP: chongzhou96/MaskCLIP, mmseg/models/backbones/vit.py).
    bicubic+0.1      without antialias, and sampling as if the new grid had a tenth of a row and of a column more, so
                     that a rounding error cannot take one away. DINO's way (facebookresearch/dino,
                     vision_transformer.py), which SCLIP, NACLIP and ClearCLIP have taken over. Row i of the new grid is
                     read at (i + 0.5) * rows_before / (rows + 0.1) - 0.5.

The last two leave a table as it is wherever the new grid has as many patches as it, whatever the shape: 7 x 28 patches
get a table of 14 x 14 row by row. That is a slip of the code they come from; their numbers are made with it.
"""

from jaxtyping import Float
from timm.layers.pos_embed import resample_abs_pos_embed
from torch import Tensor, cat
from torch.nn.functional import interpolate

TENTH = 0.1  # of a patch, see bicubic+0.1


def at_grid(
    embedding: Float[Tensor, "1 token width"],
    grid: tuple[int, int],
    own_grid: tuple[int, int],
    num_prefix_tokens: int,
    pos: str,
) -> Float[Tensor, "1 new_token width"]:
    """An embedding of `own_grid` patches behind its prefix tokens, as `pos` brings it to another grid."""
    if pos in ("bicubic", "bilinear"):
        return resample_abs_pos_embed(embedding, list(grid), list(own_grid), num_prefix_tokens, interpolation=pos)
    prefix, patches = embedding[:, :num_prefix_tokens], embedding[:, num_prefix_tokens:]
    if grid[0] * grid[1] == patches.shape[1]:
        return embedding
    table = patches.mT.unflatten(2, own_grid)
    if pos == "bicubic-noalias":
        table = interpolate(table, size=grid, mode="bicubic", align_corners=False)
    else:
        scale = tuple((new + TENTH) / own for new, own in zip(grid, own_grid, strict=True))
        table = interpolate(table, scale_factor=scale, mode="bicubic", align_corners=False)
    return cat([prefix, table.flatten(2).mT], dim=1)
