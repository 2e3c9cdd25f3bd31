"""PACL's compatibility of an image with a text, for every pair of a batch."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize
from torch.utils.checkpoint import checkpoint

# Entries of the image x text x patch tensor that are held at once (float32: 256 MB). More texts are done in turns.
HELD_ENTRIES = 64 * 1024 * 1024
TINY = 1e-12  # squared length below which a pooled vector counts as zero; keeps the gradient of the root finite


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

    The products <P_ip, t_j> give both s_ijp and <v_ij, t_j> = sum_p a_ijp <P_ip, t_j>; what is missing is |v_ij|. With
    many texts it is cheapest from the Gram matrix G_i = P_i P_i', as |v_ij|^2 = a_ij' G_i a_ij, without ever forming
    v_ij. Texts are done in chunks that are computed again in the backward pass: memory does not grow with their number.

    Args:
        patch_embeddings: of any norm. text_embeddings: of any norm; only their direction counts.
        patch_scale: sharpness of the softmax over patches; the paper's equations have 1.

    Source: PACL (CVPR 2023), the compatibility function; see DESIGN for what the paper leaves open.
    """
    directions = normalize(text_embeddings, dim=-1)
    # phi does not depend on the scale of an image's patches; at a common one no length is lost to rounding
    longest = patch_embeddings.detach().norm(dim=-1, keepdim=True).amax(dim=1, keepdim=True)
    patch_embeddings = patch_embeddings / torch.where(longest > 0, longest, 1)
    lengths = patch_embeddings.norm(dim=-1)
    images, patches, dim = patch_embeddings.shape
    texts = len(directions)
    # multiplications an image: patches^2 (dim + texts) with the Gram matrix, texts patches dim without
    gram = patch_embeddings @ patch_embeddings.mT if patches * (dim + texts) < texts * dim else None
    chunk = max(1, HELD_ENTRIES // max(1, images * max(patches, dim)))
    if texts <= chunk:
        return _compatibility(patch_embeddings, lengths, gram, directions, patch_scale)
    pieces = [
        checkpoint(_compatibility, patch_embeddings, lengths, gram, piece, patch_scale, use_reentrant=False)
        for piece in directions.split(chunk)
    ]
    return torch.cat(pieces, dim=1)


def _compatibility(
    patch_embeddings: Float[Tensor, "image patch dim"],
    lengths: Float[Tensor, "image patch"],
    gram: Float[Tensor, "image patch patch"] | None,
    directions: Float[Tensor, "text dim"],
    patch_scale: float,
) -> Float[Tensor, "image text"]:
    products = directions @ patch_embeddings.mT  # "image text patch"
    similarity = products / lengths.clamp_min(TINY)[:, None]
    weights = (patch_scale * similarity).softmax(dim=-1)
    if gram is None:
        squared_length = (weights @ patch_embeddings).square().sum(-1)
    else:
        squared_length = ((weights @ gram) * weights).sum(-1)
    return (weights * products).sum(-1) / squared_length.clamp_min(TINY).sqrt()


def patch_similarity(
    patch_embeddings: Float[Tensor, "image patch dim"], text_embeddings: Float[Tensor, "text dim"]
) -> Float[Tensor, "image text patch"]:
    """s_ijp: cosine similarity of every patch with every text; what segmentation and patch classification read."""
    return normalize(text_embeddings, dim=-1) @ normalize(patch_embeddings, dim=-1).mT
