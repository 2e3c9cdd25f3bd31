"""The contrastive loss over compatibilities, in one process or shared out to several."""

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from pacl_bench import processes


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


def shared_info_nce(
    compatibility: Float[Tensor, "own pair"],
    temperature: float | Float[Tensor, ""],
    own: Int[Tensor, " own"],
    same_text: Bool[Tensor, "own pair"] | None = None,
) -> Float[Tensor, ""]:
    """As `info_nce`, of a batch whose images are shared out to several processes; each has the texts of all.

    The value is the whole loss, in every process. Its gradient is that with respect to the process's own images: added
    up over the processes, the gradients of the weights are those of one process that has the whole batch.

    Args:
        compatibility: of the process's own images with all texts.
        own: the number in the batch of each of these images, which is that of its text.
    """
    logits = compatibility / temperature
    true = logits.gather(1, own[:, None])[:, 0]
    if same_text is not None:
        others = same_text.clone()
        others[torch.arange(len(own), device=own.device), own] = False
        logits = logits.masked_fill(others, float("-inf"))
    over_texts = logits.logsumexp(1).sum() - 2 * true.sum()
    over_images = _OverAllImages.apply(logits).sum()
    everyones = over_texts.detach().clone()
    processes.add_up([everyones])
    # the gradient is that of the own images, the value that of all
    return (over_texts + (everyones - over_texts).detach() + over_images) / (2 * logits.shape[1])


class _OverAllImages(torch.autograd.Function):
    """Of each text the logarithm of the sum of exponentials over the images of all processes."""

    @staticmethod
    def forward(ctx: Any, logits: Float[Tensor, "own pair"]) -> Float[Tensor, " pair"]:
        lowest = logits.new_full((1, logits.shape[1]), float("-inf"))  # of a process without images
        highest = torch.cat([lowest, logits]).amax(0)
        processes.take_highest([highest])
        total = (logits - highest).exp().sum(0)
        processes.add_up([total])
        found = highest + total.log()
        ctx.save_for_backward(logits, found)
        return found

    @staticmethod
    def backward(ctx: Any, *slopes: Float[Tensor, " pair"]) -> Float[Tensor, "own pair"]:
        logits, found = ctx.saved_tensors
        return slopes[0] * (logits - found).exp()
