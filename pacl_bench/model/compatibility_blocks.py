"""The compatibility function a few images at a time, on any device, with its gradient written out.

For one image, with P its patches "patch dim", t the directions of all texts "text dim", n = 1 / |P_p| "patch" and k the
patch scale:

    U   = t P'                 products of texts and patches, "text patch"
    a   = softmax_p(k n U)     patch weights, "text patch"
    u   = rowsum(a * U)        <v, t> for the pooled vector v = a P, "text"
    q   = rowsum(a G * a)      |v|^2, from the image's Gram matrix G = P P'; v itself is not formed
    phi = u / sqrt(q)

and, given g = dL/dphi "text", with w = g / sqrt(q) and c = u / q, so that c v is the projection of t on v:

    H   = U - c a G            <t - c v, P_p>: what of U the pooled vector does not explain; dL/da = w H
    dU  = w a * (1 + k n H)    what softmax takes off is rowsum(a * H) = 0, since phi does not change with v's length
    dP  = dU' t - (w a)' (c a) P - k n^3 colsum(w a * H * U) P
    dt  = dU P

Where texts are few, G costs more than it saves: a G is then computed as (a P) P', and (w a)' (c a) P from the right.

With all texts of an image at a time, arrays of "text patch" stay in a core's cache, and nothing of the size image x
text x patch is ever held. Autograd would keep several such arrays and read them from memory again.
"""

from functools import cached_property
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

CORE_ENTRIES = 2**18  # of an array that one core works on: 1 MB in float32, as large as the cache of a core
DEVICE_ENTRIES = 2**24  # of such an array on another device than the CPU: 64 MB
TINY = 1e-12  # a patch's length and |v|^2 count as zero below it, where the longest patch of the image has 1 to 2


class Block:
    """Some images: their patches at a common scale, and what all texts need of them.

    Args:
        with_gram: whether |v|^2 comes from the Gram matrix.
        room: a row an image, kept from the forward to the backward pass; products and Gram matrix are put there. None
            where both passes compute them.
        filled: whether the room holds them already.
    """

    def __init__(
        self,
        patch_embeddings: Float[Tensor, "image patch dim"],
        dtype: torch.dtype,
        patch_scale: float,
        with_gram: bool,
        room: Float[Tensor, "image entry"] | None = None,
        filled: bool = False,
    ):
        lengths = torch.linalg.vector_norm(patch_embeddings, dim=-1, dtype=dtype)
        # phi does not depend on the scale of an image's patches. At a common one no length is lost to rounding, and as
        # it is a power of two, no digit is either
        longest = lengths.amax(dim=1, keepdim=True)
        self.scale = torch.where(longest > 0, longest.log2().floor().neg().exp2(), 1)
        self.patches = patch_embeddings * self.scale[..., None]
        lengths = lengths * self.scale
        self.inverse_lengths = torch.where(lengths > TINY, 1 / lengths, 0)
        self.sharpness = patch_scale * self.inverse_lengths  # k n
        self.with_gram, self.room, self.filled = with_gram, room, filled

    def products(self, directions: Float[Tensor, "text dim"]) -> Float[Tensor, "image text patch"]:
        """U, of all texts where there is a room."""
        return self._with_patches(directions.expand(len(self.patches), -1, -1), start=0)

    @cached_property
    def gram(self) -> Float[Tensor, "image patch patch"]:
        """G; the end of the room is its place."""
        return self._with_patches(self.patches, start=-(self.patches.shape[1] ** 2))

    def _with_patches(self, left: Float[Tensor, "image row dim"], start: int) -> Float[Tensor, "image row patch"]:
        if self.room is None:
            return torch.bmm(left, self.patches.mT)
        rows, patches = left.shape[1], self.patches.shape[1]
        place = self.room[:, start:][:, : rows * patches].unflatten(1, (rows, patches))
        return place if self.filled else torch.bmm(left, self.patches.mT, out=place)

    def weights(self, products: Float[Tensor, "image text patch"]) -> Float[Tensor, "image text patch"]:
        """a."""
        return (products * self.sharpness[:, None]).softmax(dim=-1)


class Slopes(NamedTuple):
    """What the gradient is made of, for some images and texts; the equations are the module's."""

    of_products: Float[Tensor, "image text patch"]  # dU
    pulled: Float[Tensor, "image text patch"]  # w a
    projected: Float[Tensor, "image text patch"]  # c a
    of_lengths: Float[Tensor, "image patch"]  # colsum(w a * H * U)


def _values(
    block: Block, directions: Float[Tensor, "text dim"]
) -> tuple[Float[Tensor, "image text"], Float[Tensor, "image text"]]:
    products = block.products(directions)
    weights = block.weights(products)
    if block.with_gram:
        squared_length = torch.bmm(weights, block.gram).mul_(weights).sum(-1)
    else:
        squared_length = torch.bmm(weights, block.patches).square_().sum(-1)
    pooled_length = squared_length.clamp_min(TINY).sqrt()
    return weights.mul_(products).sum(-1) / pooled_length, pooled_length


def _slopes(
    block: Block,
    directions: Float[Tensor, "text dim"],
    pulls: Float[Tensor, "image text"],
    projections: Float[Tensor, "image text"],
) -> Slopes:
    products = block.products(directions)
    weights = block.weights(products)
    projected = weights * projections[..., None]
    pulled = weights.mul_(pulls[..., None])
    if block.with_gram:
        unexplained = torch.baddbmm(products, projected, block.gram, alpha=-1)
    else:
        unexplained = torch.baddbmm(products, torch.bmm(projected, block.patches), block.patches.mT, alpha=-1)
    of_weights = unexplained.mul_(pulled)
    of_lengths = products.mul_(of_weights).sum(1)  # the products are not needed again
    of_products = torch.addcmul(pulled, of_weights, block.sharpness[:, None])
    return Slopes(of_products, pulled, projected, of_lengths)


class Cut(NamedTuple):
    """How a batch is cut into blocks."""

    images: list[slice]
    texts: list[slice]
    with_gram: bool
    fits_rooms: bool  # whether what the forward pass may keep of an image takes no more room than its gradient

    @classmethod
    def of(cls, patch_embeddings: Float[Tensor, "image patch dim"], texts: int) -> "Cut":
        """The cut in which the arrays of a block stay below the entries that suit the device."""
        images, patches, dim = patch_embeddings.shape
        on_cpu = patch_embeddings.device.type == "cpu"
        cores, entries = (torch.get_num_threads(), CORE_ENTRIES) if on_cpu else (1, DEVICE_ENTRIES)
        at_once = max(1, min(texts, entries // patches))
        an_image = patches * max(at_once, patches, dim)
        # multiplications an image, forward and back, as far as the two ways differ
        with_matrix, without = patches**2 * (2 * dim + 3 * texts), 4 * patches * texts * dim
        return cls(
            _slices(images, cores * max(1, entries // an_image)),
            _slices(texts, at_once),
            with_gram=with_matrix < without,
            fits_rooms=texts == at_once and texts + patches * (with_matrix < without) <= dim,
        )


def _slices(length: int, step: int) -> list[slice]:
    return [slice(start, start + step) for start in range(0, length, step)]


def blockwise_compatibility(
    patch_embeddings: Float[Tensor, "image patch dim"],
    directions: Float[Tensor, "text dim"],
    patch_scale: float,
) -> Float[Tensor, "image text"]:
    """phi of all pairs, in the precision of the directions, which have unit norm. It can be differentiated once."""
    keep = torch.is_grad_enabled() and patch_embeddings.requires_grad
    return _Compatibility.apply(patch_embeddings, directions, patch_scale, keep)


class _Compatibility(torch.autograd.Function):
    """Forward and backward pass over the blocks of a batch."""

    @staticmethod
    def forward(
        ctx: Any,
        patch_embeddings: Float[Tensor, "image patch dim"],
        directions: Float[Tensor, "text dim"],
        patch_scale: float,
        keep: bool,
    ) -> Float[Tensor, "image text"]:
        phi = directions.new_empty(len(patch_embeddings), len(directions))
        pooled_length = torch.empty_like(phi)
        cut = Cut.of(patch_embeddings, len(directions))
        # the room that the gradient will take, which until then holds what the backward pass can use
        rooms = directions.new_empty(patch_embeddings.shape).flatten(1) if keep and cut.fits_rooms else None
        for images in cut.images:
            room = None if rooms is None else rooms[images]
            block = Block(patch_embeddings[images], directions.dtype, patch_scale, cut.with_gram, room)
            for texts in cut.texts:
                phi[images, texts], pooled_length[images, texts] = _values(block, directions[texts])
        ctx.save_for_backward(patch_embeddings, directions, phi, pooled_length)
        ctx.patch_scale, ctx.cut, ctx.rooms = patch_scale, cut, rooms
        return phi

    @staticmethod
    def backward(ctx: Any, *slopes: Float[Tensor, "image text"]) -> Any:
        if torch.is_grad_enabled():  # create_graph=True: to go on as if the gradient were a constant would be wrong
            raise NotImplementedError("The gradient of compatibility cannot be differentiated again.")
        with torch.autocast(slopes[0].device.type, enabled=False):
            return *_gradients(ctx, slopes[0]), None, None


def _gradients(ctx: Any, slope: Float[Tensor, "image text"]) -> tuple[Tensor, Tensor | None]:
    patch_embeddings, directions, phi, pooled_length = ctx.saved_tensors
    rooms, ctx.rooms = ctx.rooms, None  # a second backward pass over the same graph computes what was in them
    gradient = (directions.new_zeros(patch_embeddings.shape) if rooms is None else rooms).view(patch_embeddings.shape)
    of_texts = torch.zeros_like(directions) if ctx.needs_input_grad[1] else None
    pulls, projections = slope / pooled_length, phi / pooled_length
    for images in ctx.cut.images:
        room = None if rooms is None else rooms[images]
        block = Block(patch_embeddings[images], directions.dtype, ctx.patch_scale, ctx.cut.with_gram, room, filled=True)
        for texts in ctx.cut.texts:
            slopes = _slopes(block, directions[texts], pulls[images, texts], projections[images, texts])
            _add_gradient(gradient[images], block, directions[texts], slopes, into_room=room is not None)
            if of_texts is not None:
                of_texts[texts] += torch.bmm(slopes.of_products, block.patches).sum(0)
        gradient[images] *= block.scale[..., None]
    return gradient, of_texts


def _add_gradient(
    gradient: Float[Tensor, "image patch dim"],
    block: Block,
    directions: Float[Tensor, "text dim"],
    slopes: Slopes,
    into_room: bool,
) -> None:
    """dP of some texts, added to that of others; in a room it takes the place of what was there."""
    directions = directions.expand(len(gradient), -1, -1)
    gradient.baddbmm_(slopes.of_products.mT, directions, beta=0 if into_room else 1)
    if block.with_gram:
        gradient.baddbmm_(torch.bmm(slopes.pulled.mT, slopes.projected), block.patches, alpha=-1)
    else:
        gradient.baddbmm_(slopes.pulled.mT, torch.bmm(slopes.projected, block.patches), alpha=-1)
    of_lengths = slopes.of_lengths * block.sharpness * block.inverse_lengths**2
    gradient.addcmul_(of_lengths[..., None], block.patches, value=-1)
