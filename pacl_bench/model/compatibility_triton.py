"""The two steps of the compatibility function as Triton kernels for NVIDIA's data centre GPUs.

A program of a kernel does one image and TEXTS texts. Their products U with all patches of the image are summed over
dim in registers, and so is the softmax; a G follows for COLUMNS patches at a time. Going forward nothing of the size
image x text x patch reaches memory. Going backward, dU, w a and c a do, for the few images of a block: the gradient of
an image, patches x dim, is too large for the registers of a program, so a matrix product of its own sums it over texts.

Equations and names are those of compatibility_blocks.py.
"""

from functools import cache
from typing import Any, no_type_check

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

from pacl_bench.model.compatibility_blocks import TINY, Block, Slopes, Steps
from pacl_bench.progress import note

TEXTS = 64
COLUMNS = 16
DIMS = 32  # of dim that are summed at a time
SHARED_MEMORY = 160 * 1024  # bytes that a program takes: A100, H100 and later have them, consumer cards do not
LAUNCH = {"num_warps": 8, "num_stages": 2}


@cache
def runs_on(device: torch.device) -> bool:
    """Whether the kernels run on a GPU; one line says why not."""
    properties = torch.cuda.get_device_properties(device)
    if torch.version.hip or properties.shared_memory_per_block_optin < SHARED_MEMORY:
        return False
    try:
        one = torch.ones(1, 1, 1, device=device)
        _values(Block(one, one.dtype, 1.0, with_gram=True), one[0])
    except Exception as error:  # Triton compiles with the machine's C compiler and Python's headers, if it has them
        reason = str(error).strip().splitlines()[:1] or [type(error).__name__]
        note(f"Triton does not run here ({reason[0]}) and is left out")
        return False
    return True


def _values(
    block: Block, directions: Float[Tensor, "text dim"]
) -> tuple[Float[Tensor, "image text"], Float[Tensor, "image text"]]:
    phi = directions.new_empty(len(block.patches), len(directions))
    pooled_length = torch.empty_like(phi)
    _run(_values_kernel, block, directions, phi, pooled_length, TINY=TINY)
    return phi, pooled_length


def _slopes(
    block: Block,
    directions: Float[Tensor, "text dim"],
    pulls: Float[Tensor, "image text"],
    projections: Float[Tensor, "image text"],
) -> Slopes:
    images, patches, _ = block.patches.shape
    shape = images, len(directions), patches
    of_products, pulled, projected = (directions.new_empty(shape) for _ in range(3))
    of_lengths = directions.new_empty(images, triton.cdiv(len(directions), TEXTS), patches)  # a row a program
    given = pulls.contiguous(), projections.contiguous()
    _run(_slopes_kernel, block, directions, *given, of_products, pulled, projected, of_lengths)
    return Slopes(of_products, pulled, projected, of_lengths.sum(1))


TRITON = Steps(_values, _slopes, fill_rooms=False)


def _run(kernel: Any, block: Block, directions: Float[Tensor, "text dim"], *tensors: Tensor, **constants: Any) -> None:
    images, patches, dim = block.patches.shape
    exact = torch.get_float32_matmul_precision() == "highest"
    with torch.cuda.device_of(directions):
        kernel[(images * triton.cdiv(len(directions), TEXTS),)](
            block.patches.contiguous(),
            directions.contiguous(),
            block.sharpness,
            block.gram,
            *tensors,
            len(directions),
            patches,
            dim,
            PATCHES=max(16, triton.next_power_of_2(patches)),
            # three products of ten bits each have the digits of float32
            PRECISION="tf32x3" if exact else "tf32",
            TEXTS=TEXTS,
            COLUMNS=COLUMNS,
            DIMS=DIMS,
            **constants,
            **LAUNCH,
        )


@triton.jit(do_not_specialize=["texts"])  # else it would be compiled anew for lists of another length
@no_type_check
def _values_kernel(
    patches,  # "image patch dim"
    directions,  # "text dim"
    sharpness,  # "image patch"
    gram,  # "image patch patch"
    phi,  # "image text", written
    pooled_length,  # "image text", written
    texts,
    num_patches,
    dim,
    TINY: tl.constexpr,
    PATCHES: tl.constexpr,
    PRECISION: tl.constexpr,
    TEXTS: tl.constexpr,
    COLUMNS: tl.constexpr,
    DIMS: tl.constexpr,
):
    image, text = _place(texts, TEXTS)
    patches += image * num_patches * dim
    sharpness += image * num_patches
    gram += image * num_patches * num_patches
    products = _products(patches, directions, text, texts, num_patches, dim, TEXTS, PATCHES, DIMS, PRECISION)
    weights = _weights(products, sharpness, num_patches, PATCHES)
    along_text = tl.sum(weights * products, 1)  # u
    squared_length = tl.zeros((TEXTS,), tl.float32)
    for start in range(0, num_patches, COLUMNS):
        column = start + tl.arange(0, COLUMNS)
        pooled = _times_gram(weights, gram, column, num_patches, TEXTS, PATCHES, COLUMNS, PRECISION)
        squared_length += tl.sum(pooled * _columns(weights, column, TEXTS, COLUMNS), 1)
    length = tl.sqrt(tl.maximum(squared_length, TINY))
    tl.store(phi + image * texts + text, along_text / length, mask=text < texts)
    tl.store(pooled_length + image * texts + text, length, mask=text < texts)


@triton.jit(do_not_specialize=["texts"])
@no_type_check
def _slopes_kernel(
    patches,  # "image patch dim"
    directions,  # "text dim"
    sharpness,  # "image patch"
    gram,  # "image patch patch"
    pulls,  # "image text"
    projections,  # "image text"
    of_products,  # "image text patch", written like the next two
    pulled,
    projected,
    of_lengths,  # "image program patch", written
    texts,
    num_patches,
    dim,
    PATCHES: tl.constexpr,
    PRECISION: tl.constexpr,
    TEXTS: tl.constexpr,
    COLUMNS: tl.constexpr,
    DIMS: tl.constexpr,
):
    image, text = _place(texts, TEXTS)
    patches += image * num_patches * dim
    sharpness += image * num_patches
    gram += image * num_patches * num_patches
    of_lengths += tl.program_id(0).to(tl.int64) * num_patches
    products = _products(patches, directions, text, texts, num_patches, dim, TEXTS, PATCHES, DIMS, PRECISION)
    weights = _weights(products, sharpness, num_patches, PATCHES)
    pull = tl.load(pulls + image * texts + text, mask=text < texts, other=0.0)[:, None]
    projection = tl.load(projections + image * texts + text, mask=text < texts, other=0.0)[:, None]
    for start in range(0, num_patches, COLUMNS):
        column = start + tl.arange(0, COLUMNS)
        inside = column < num_patches
        pooled = _times_gram(weights, gram, column, num_patches, TEXTS, PATCHES, COLUMNS, PRECISION)
        weight = _columns(weights, column, TEXTS, COLUMNS)
        product = _columns(products, column, TEXTS, COLUMNS)
        of_weight = pull * weight * (product - projection * pooled)
        of_product = pull * weight + tl.load(sharpness + column, mask=inside, other=0.0)[None] * of_weight
        at = (image * texts + text)[:, None] * num_patches + column
        written = (text < texts)[:, None] & inside
        tl.store(of_products + at, of_product, mask=written)
        tl.store(pulled + at, pull * weight, mask=written)
        tl.store(projected + at, projection * weight, mask=written)
        tl.store(of_lengths + column, tl.sum(of_weight * product, 0), mask=inside)


@triton.jit
@no_type_check
def _place(texts, TEXTS: tl.constexpr):
    """The image and the texts of a program; the programs of an image follow one another, to find it in the cache."""
    programs = tl.cdiv(texts, TEXTS)
    image = (tl.program_id(0) // programs).to(tl.int64)
    return image, tl.program_id(0) % programs * TEXTS + tl.arange(0, TEXTS)


@triton.jit
@no_type_check
def _products(
    patches,
    directions,
    text,
    texts,
    num_patches,
    dim,
    TEXTS: tl.constexpr,
    PATCHES: tl.constexpr,
    DIMS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """U "text patch" of a program."""
    patch = tl.arange(0, PATCHES)
    products = tl.zeros((TEXTS, PATCHES), tl.float32)
    for start in range(0, dim, DIMS):
        at = start + tl.arange(0, DIMS)
        left = tl.load(directions + text[:, None] * dim + at, mask=(text < texts)[:, None] & (at < dim), other=0.0)
        right = tl.load(
            patches + patch * dim + at[:, None], mask=(patch < num_patches) & (at < dim)[:, None], other=0.0
        )
        products = tl.dot(left, right, products, input_precision=PRECISION)
    return products


@triton.jit
@no_type_check
def _weights(products, sharpness, num_patches, PATCHES: tl.constexpr):
    """a "text patch"."""
    patch = tl.arange(0, PATCHES)
    logits = products * tl.load(sharpness + patch, mask=patch < num_patches, other=0.0)[None]
    logits = tl.where((patch < num_patches)[None], logits, float("-inf"))
    exponentials = tl.exp(logits - tl.max(logits, 1)[:, None])
    return exponentials / tl.sum(exponentials, 1)[:, None]


@triton.jit
@no_type_check
def _times_gram(
    weights,
    gram,
    column,
    num_patches,
    TEXTS: tl.constexpr,
    PATCHES: tl.constexpr,
    COLUMNS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Some columns of a G "text column". G is read by its rows, which are its columns."""
    patch = tl.arange(0, PATCHES)
    inside = (patch < num_patches)[:, None] & (column < num_patches)
    right = tl.load(gram + column * num_patches + patch[:, None], mask=inside, other=0.0)
    return tl.dot(weights, right, tl.zeros((TEXTS, COLUMNS), tl.float32), input_precision=PRECISION)


@triton.jit
@no_type_check
def _columns(matrix, column, TEXTS: tl.constexpr, COLUMNS: tl.constexpr):
    return tl.gather(matrix, tl.broadcast_to(column[None], (TEXTS, COLUMNS)), 1)
