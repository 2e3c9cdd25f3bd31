"""The contrastive loss over compatibilities."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import cross_entropy


def info_nce(
    compatibility: Float[Tensor, "pair pair"],
    temperature: float | Float[Tensor, ""],
    same_text: Bool[Tensor, "pair pair"] | None = None,
) -> Float[Tensor, ""]:
    """Symmetric InfoNCE: the mean of picking the text for an image and the image for a text, in nats.

    Args:
        compatibility: phi of image i (row) and text j (column); the diagonal holds the true pairs.
        temperature: the compatibilities are divided by it.
        same_text: True where texts i and j are the same. Such a pair is no negative, and is left out of the softmax;
            the diagonal stays. None counts every other text as a negative, as the paper's equation does.
    """
    logits = compatibility / temperature
    if same_text is not None:
        others = same_text & ~torch.eye(len(logits), dtype=torch.bool, device=logits.device)
        logits = logits.masked_fill(others, float("-inf"))
    target = torch.arange(len(logits), device=logits.device)
    return (cross_entropy(logits, target) + cross_entropy(logits.T, target)) / 2
