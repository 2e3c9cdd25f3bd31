"""PACL's equations against a loop over pairs, written straight from them."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from pacl_bench.bench.memory import peak_mb
from pacl_bench.model import compatibility_blocks as module
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
def test_blocks_change_nothing(images: int, patches: int, texts: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, in_blocks = random_batch(images, patches, texts), random_batch(images, patches, texts)
    expected = compatibility(*whole)
    monkeypatch.setattr(module, "CORE_ENTRIES", 2 * patches)  # an image and two texts at a time
    found = compatibility(*in_blocks)
    torch.testing.assert_close(found, expected)
    expected.square().sum().backward()
    found.square().sum().backward()
    torch.testing.assert_close(in_blocks[0].grad, whole[0].grad)
    torch.testing.assert_close(in_blocks[1].grad, whole[1].grad)


def value_and_gradients(patches: Tensor, texts: Tensor, patch_scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """phi, and the gradients of a sum of phi in which each pair counts differently."""
    patches, texts = patches.clone().requires_grad_(), texts.clone().requires_grad_()
    phi = compatibility(patches, texts, patch_scale)
    weighting = torch.linspace(-1, 1, phi.numel(), dtype=phi.dtype).reshape(phi.shape)
    return phi.detach(), *torch.autograd.grad((phi * weighting).sum(), [patches, texts])


def relative_error(found: Tensor, exact: Tensor) -> float:
    return float((found.double() - exact).norm() / exact.norm())


# kept for the backward pass with the Gram matrix and without; computed anew with it and without; one of everything
@pytest.mark.parametrize(
    ("images", "patches", "texts", "dim", "kept", "with_gram"),
    [(5, 7, 30, 48, True, True), (3, 41, 6, 64, True, False), (4, 20, 61, 33, False, True), (3, 50, 9, 8, False, False)]
    + [(1, 1, 1, 3, True, True)],
)
@pytest.mark.parametrize("patch_scale", [1.0, 10.0])
def test_float32_is_close_to_float64(
    images: int, patches: int, texts: int, dim: int, kept: bool, with_gram: bool, patch_scale: float
) -> None:
    batch = [tensor.detach() for tensor in random_batch(images, patches, texts, dim)]
    cut = module.Cut.of(batch[0], texts)
    assert (cut.fits_rooms, cut.with_gram) == (kept, with_gram)
    exact = value_and_gradients(*batch, patch_scale)
    single = value_and_gradients(*(tensor.float() for tensor in batch), patch_scale)
    assert [found.dtype for found in single] == [torch.float32] * 3
    assert max(map(relative_error, single, exact)) < 1e-5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_single(dtype: torch.dtype) -> None:
    batch = [tensor.detach().to(dtype) for tensor in random_batch(3, 9, 4, 16)]
    exact = value_and_gradients(*(tensor.double() for tensor in batch), 10.0)
    found = value_and_gradients(*batch, 10.0)
    assert [one.dtype for one in found] == [torch.float32, dtype, dtype]
    assert relative_error(found[0], exact[0]) < 1e-5
    for gradient, expected in zip(found[1:], exact[1:], strict=True):
        torch.testing.assert_close(
            gradient.double(), expected.to(dtype).double(), rtol=torch.finfo(dtype).eps, atol=1e-7
        )
    mixed = compatibility(batch[0], batch[1].float(), 10.0)
    torch.testing.assert_close(mixed, found[0])


def test_autocast_takes_no_digits() -> None:
    batch = [tensor.detach().float() for tensor in random_batch(3, 9, 4, 16)]
    expected = value_and_gradients(*batch, 10.0)
    with torch.autocast("cpu", torch.bfloat16):
        found = value_and_gradients(*batch, 10.0)
    assert all(torch.equal(*both) for both in zip(found, expected, strict=True))


def test_tensors_may_lie_in_memory_in_any_order() -> None:
    patches, texts = (tensor.detach() for tensor in random_batch(4, 6, 5))
    expected = value_and_gradients(patches, texts, 10.0)
    turned = patches.permute(2, 1, 0).contiguous().permute(2, 1, 0), texts.T.contiguous().T
    assert not any(tensor.is_contiguous() for tensor in turned)
    for found, one in zip(value_and_gradients(*turned, 10.0), expected, strict=True):
        torch.testing.assert_close(found, one)
    same = patches[:1].expand(4, -1, -1)
    torch.testing.assert_close(compatibility(same, texts), compatibility(same.contiguous(), texts))


def test_a_graph_can_be_gone_through_again() -> None:
    """The second time without what the forward pass had kept, which lay where the first gradient is now."""
    patches, texts = random_batch(3, 4, 5, 16)
    assert module.Cut.of(patches, 5).fits_rooms
    loss = compatibility(patches, texts).square().sum()
    first = torch.autograd.grad(loss, [patches, texts], retain_graph=True)
    again = torch.autograd.grad(loss, [patches, texts])
    for one, other in zip(first, again, strict=True):
        torch.testing.assert_close(one, other)


def test_a_gradient_of_the_gradient_is_refused() -> None:
    patches, texts = random_batch(2, 3, 4)
    with pytest.raises(NotImplementedError, match="differentiated again"):
        torch.autograd.grad(compatibility(patches, texts).sum(), patches, create_graph=True)


def test_no_images_and_no_texts() -> None:
    patches, texts = random_batch(3, 4, 5)
    assert compatibility(patches[:0], texts).shape == (0, 5)
    none = compatibility(patches, texts[:0])
    assert none.shape == (3, 0)
    none.sum().backward()
    assert patches.grad is not None
    assert not patches.grad.any()


def test_memory_is_that_of_the_gradient() -> None:
    """Arrays of all pairs would take 38 MB each (text patch) and 98 MB (text dim)."""
    patches, texts = torch.randn(50, 196, 512, requires_grad=True), torch.randn(1000, 512)
    gradient_mb = patches.numel() * 4 / 2**20
    held = peak_mb(lambda: torch.autograd.grad(compatibility(patches, texts).sum(), patches))
    assert held is None or held < gradient_mb + 25
    with torch.no_grad():
        held = peak_mb(lambda: compatibility(patches, texts))
    assert held is None or held < 25


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


def test_zero_patches_and_a_zero_text_give_finite_gradients() -> None:
    patch_embeddings = torch.randn(3, 3, 4)
    patch_embeddings[0] = 0
    patch_embeddings[1, 1] = 0
    patch_embeddings[2, 1:] = torch.stack([-patch_embeddings[2, 0], torch.zeros(4)])  # and which cancel out
    text_embeddings = torch.randn(3, 4)
    text_embeddings[2] = 0
    phi, *gradients = value_and_gradients(patch_embeddings, text_embeddings, 1.0)
    assert phi[0].tolist() == [0.0, 0.0, 0.0]
    assert phi[:, 2].tolist() == [0.0, 0.0, 0.0]
    assert all(bool(gradient.isfinite().all()) for gradient in gradients)


@pytest.mark.parametrize("scale", [1e-8, 1e8])
def test_the_scale_of_the_patches_does_not_matter(scale: float) -> None:
    patch_embeddings, text_embeddings = random_batch(3, 9, 4)
    expected = compatibility(patch_embeddings, text_embeddings)
    torch.testing.assert_close(compatibility(scale * patch_embeddings, text_embeddings), expected)
