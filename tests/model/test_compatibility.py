"""PACL's equations against a loop over pairs, written straight from them."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from pacl_bench.model import compatibility as module
from pacl_bench.model.compatibility import compatibility, patch_similarity


def brute_force(patch_embeddings: Tensor, text_embeddings: Tensor, patch_scale: float) -> Tensor:
    """phi for one pair at a time."""
    rows = []
    for patches in patch_embeddings:
        row = []
        for text in text_embeddings:
            similarity = torch.stack([cosine_similarity(patch, text, dim=0) for patch in patches])
            weights = torch.softmax(patch_scale * similarity, dim=0)
            pooled = sum(weight * patch for weight, patch in zip(weights, patches, strict=True))
            row.append(cosine_similarity(pooled, text, dim=0))
        rows.append(torch.stack(row))
    return torch.stack(rows)


def random_batch(images: int, patches: int, texts: int, dim: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(images + 10 * patches + 100 * texts)
    shape = (images, patches, dim)
    patch_embeddings = 3 * torch.randn(shape, generator=generator, dtype=torch.float64)
    text_embeddings = torch.randn((texts, dim), generator=generator, dtype=torch.float64)
    return patch_embeddings.requires_grad_(), text_embeddings.requires_grad_()


# many texts for few patches take the Gram matrix, few texts for many patches do not
SIZES = [(4, 9, 4), (1, 9, 1), (3, 1, 3), (2, 2, 40), (5, 35, 3)]


@pytest.mark.parametrize(("images", "patches", "texts"), SIZES)
@pytest.mark.parametrize("patch_scale", [1.0, 10.0])
def test_values_and_gradients_are_those_of_the_loop(images: int, patches: int, texts: int, patch_scale: float) -> None:
    mine, theirs = random_batch(images, patches, texts), random_batch(images, patches, texts)
    ours = compatibility(*mine, patch_scale)
    reference = brute_force(*theirs, patch_scale)
    torch.testing.assert_close(ours, reference, rtol=1e-12, atol=1e-12)

    weighting = torch.arange(reference.numel(), dtype=torch.float64).reshape(reference.shape)
    (ours * weighting).sum().backward()
    (reference * weighting).sum().backward()
    for own, expected in zip(mine, theirs, strict=True):
        torch.testing.assert_close(own.grad, expected.grad, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("images", "patches", "texts"), SIZES)
def test_chunks_change_nothing(images: int, patches: int, texts: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, chunked = random_batch(images, patches, texts), random_batch(images, patches, texts)
    expected = compatibility(*whole)
    monkeypatch.setattr(module, "HELD_ENTRIES", 2 * images * max(patches, 5))  # two texts at a time
    found = compatibility(*chunked)
    torch.testing.assert_close(found, expected)
    expected.square().sum().backward()
    found.square().sum().backward()
    torch.testing.assert_close(chunked[0].grad, whole[0].grad)


def test_float32_is_close_to_float64() -> None:
    patch_embeddings, text_embeddings = random_batch(4, 49, 60)
    exact = compatibility(patch_embeddings, text_embeddings, 10.0)
    single = compatibility(patch_embeddings.float(), text_embeddings.float(), 10.0)
    torch.testing.assert_close(single.double(), exact, rtol=0, atol=2e-6)


def test_each_pair_has_its_own_weights() -> None:
    """Pooling an image once, with its own caption's weights, is another objective (a published mistake)."""
    patch_embeddings, text_embeddings = random_batch(4, 9, 4)
    similarity = patch_similarity(patch_embeddings, text_embeddings)
    own_weights = torch.stack([similarity[i, i] for i in range(4)]).softmax(-1)
    pooled_once = torch.einsum("ip,ipd->id", own_weights, patch_embeddings)
    mistaken = cosine_similarity(pooled_once[:, None], text_embeddings[None], dim=-1)
    right = compatibility(patch_embeddings, text_embeddings)
    torch.testing.assert_close(mistaken.diagonal(), right.diagonal())
    assert (mistaken - right).abs().max() > 1e-3


def test_patches_are_pooled_unnormalised() -> None:
    """A long patch counts for more than a short one of the same direction."""
    patch_embeddings = torch.tensor([[[10.0, 0.0], [0.0, 1.0]]])
    text = torch.tensor([[1.0, 1.0]])
    # both patches have cosine 1/sqrt 2, so weights are 1/2 and the pooled vector is (5, 1/2)
    expected = 5.5 / math.sqrt(2) / math.hypot(5, 0.5)
    assert compatibility(patch_embeddings, text).item() == pytest.approx(expected)


def test_a_zero_patch_gives_finite_gradients() -> None:
    patch_embeddings = torch.zeros(1, 3, 4, requires_grad=True)
    phi = compatibility(patch_embeddings, torch.randn(2, 4))
    phi.sum().backward()
    assert phi.tolist() == [[0.0, 0.0]]
    assert patch_embeddings.grad is not None
    assert bool(patch_embeddings.grad.isfinite().all())


@pytest.mark.parametrize("scale", [1e-8, 1e8])
def test_the_scale_of_the_patches_does_not_matter(scale: float) -> None:
    patch_embeddings, text_embeddings = random_batch(3, 9, 4)
    expected = compatibility(patch_embeddings, text_embeddings)
    torch.testing.assert_close(compatibility(scale * patch_embeddings, text_embeddings), expected)
