"""PACL's compatibility of an image with a text, for every pair of a batch."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from pacl_bench.model.compatibility_blocks import blockwise_compatibility


def compatibility(
    patch_embeddings: Float[Tensor, "image patch dim"],
    text_embeddings: Float[Tensor, "text dim"],
    patch_scale: float = 1.0,
) -> Float[Tensor, "image text"]:
    """phi(image, text) in [-1, 1] for all pairs, each pair with its own weights over the patches.

        s_ijp  = cos(P_ip, t_j)                     patch similarity
        a_ijp  = softmax_p(patch_scale * s_ijp)     patch weights
        v_ij   = sum_p a_ijp P_ip                   patches are pooled as they are, not normalised
        phi_ij = cos(v_ij, t_j)

    The pairs are worked through in blocks, forward and backward: besides phi and the gradient, memory does not grow
    with the batch (compatibility_blocks.py, which has the equations). docs/performance.md says why it is no kernel of
    Triton's.

    Args:
        patch_embeddings: of any norm. text_embeddings: of any norm; only their direction counts.
        patch_scale: sharpness of the softmax over patches; the paper's equations have 1.

    Returns:
        phi in single precision, also of embeddings in half precision and under autocast; in double of double. It can
        be differentiated once, with respect to both embeddings.

    Source: PACL (CVPR 2023), the compatibility function; see DESIGN for what the paper leaves open.
    """
    dtype = torch.promote_types(torch.promote_types(patch_embeddings.dtype, text_embeddings.dtype), torch.float32)
    with torch.autocast(patch_embeddings.device.type, enabled=False):
        directions = normalize(text_embeddings.to(dtype), dim=-1)
        return blockwise_compatibility(patch_embeddings, directions, patch_scale)


def patch_similarity(
    patch_embeddings: Float[Tensor, "image patch dim"], text_embeddings: Float[Tensor, "text dim"]
) -> Float[Tensor, "image text patch"]:
    """s_ijp: cosine similarity of every patch with every text; what segmentation and patch classification read."""
    return normalize(text_embeddings, dim=-1) @ normalize(patch_embeddings, dim=-1).mT
