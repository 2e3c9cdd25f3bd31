"""What the compatibility function costs for all pairs of a batch, beside other forms of it in the same run."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize
from torch.utils.checkpoint import checkpoint

from pacl_bench.bench.memory import free_memory, peak_memory, wait_for
from pacl_bench.model.compatibility import compatibility
from pacl_bench.progress import note, track

PATCH_SCALE = 10.0
CHUNK_ENTRIES = 2**26  # of "image text patch" that the chunked form holds at once: 256 MB
OURS, EINSUM = "pacl-bench", "plain einsum"

Form = Callable[[Tensor, Tensor, float], Tensor]


@dataclass(frozen=True)
class Size:
    """A batch of as many texts as images."""

    batch: int = 256
    patches: int = 196
    dim: int = 512

    @property
    def operations(self) -> int:
        """Additions and multiplications of value and gradient, by the equations of model/compatibility_blocks.py.

        Each matrix product counts once: t P', a G, dU' t, (w a)' (c a); P P', and the last of them times P.
        """
        pairs = self.batch**2 * self.patches * (2 * self.dim + 2 * self.patches)
        return 2 * (pairs + 2 * self.batch * self.patches**2 * self.dim)


@dataclass(frozen=True)
class Cost:
    """What a form takes. None is what is not known: of a form that does not fit the memory, most of it."""

    form: str
    seconds: float | None  # value and gradient
    value_seconds: float | None  # value alone, without autograd
    extra_bytes: int | None  # held at once beyond inputs and gradient
    largest_batch: int | None  # that fits the memory, from how the peak grows up to this batch


def compatibility_costs(
    size: Size, device: str, repeats: int, memory: int | None = None, with_compile: bool = True
) -> list[Cost]:
    """All forms, run in turn: the least time of `repeats` after a first that does not count.

    Args:
        memory: bytes that a form may take, inputs and gradient included; default what is free. A form that would take
            more is left out.

    Returns:
        Ours, the others, and as the last the floor: `operations` at the rate of one large matrix product.
    """
    memory = free_memory(device) if memory is None else memory
    forms = _forms(device, with_compile)
    peaks = {name: _peaks(form, size, device, memory) for name, form in track(forms.items(), "measuring memory")}
    running = {name: form for name, form in forms.items() if size.batch in peaks[name]}
    times = _times(running, size, device, repeats)
    gradient = _bytes(size)
    costs = [
        Cost(
            name,
            *times.get(name, (None, None)),
            None if (peak := peaks[name].get(size.batch)) is None else max(0, peak - gradient),
            _largest_batch(peaks[name], size, memory),
        )
        for name in forms
    ]
    return [*costs, Cost("floor", size.operations / _matrix_rate(device), None, None, None)]


def _forms(device: str, with_compile: bool) -> dict[str, Form]:
    forms: dict[str, Form] = {OURS: compatibility, EINSUM: einsum, "chunked, by autograd": chunked}
    compiled = _compiled(device) if with_compile else None
    return forms if compiled is None else {**forms, "torch.compile of einsum": compiled}


def _compiled(device: str) -> Form | None:
    """The einsum compiled; None where this machine cannot: it takes a compiler of C++."""
    form = torch.compile(einsum, mode="max-autotune-no-cudagraphs" if device.startswith("cuda") else None)
    try:
        _value_and_gradient(form, *_batch(Size(2, 3, 4), device))
    except Exception as error:  # whatever is missing: a compiler, Python's headers, Triton
        note(f"torch.compile does not run here ({str(error).strip().splitlines()[:1]}) and is left out")
        return None
    return form


def einsum(
    patch_embeddings: Float[Tensor, "image patch dim"], text_embeddings: Float[Tensor, "text dim"], patch_scale: float
) -> Float[Tensor, "image text"]:
    """The equations as they stand: the weights and pooled vectors of all pairs at once."""
    directions = normalize(text_embeddings, dim=-1)
    similarity = torch.einsum("ipd,td->itp", normalize(patch_embeddings, dim=-1), directions)
    pooled = torch.einsum("itp,ipd->itd", (patch_scale * similarity).softmax(dim=-1), patch_embeddings)
    return cosine_similarity(pooled, directions[None], dim=-1)


def chunked(
    patch_embeddings: Float[Tensor, "image patch dim"], text_embeddings: Float[Tensor, "text dim"], patch_scale: float
) -> Float[Tensor, "image text"]:
    """The same by autograd for some texts at a time, which are computed again going backward; |v|^2 from Gram matrices.

    It is how pacl-bench did it up to version 0.1.
    """
    images, patches, dim = patch_embeddings.shape
    directions = normalize(text_embeddings, dim=-1)
    gram = patch_embeddings @ patch_embeddings.mT
    lengths = patch_embeddings.norm(dim=-1)

    def some(directions: Tensor) -> Tensor:
        products = directions @ patch_embeddings.mT
        weights = (patch_scale * products / lengths[:, None]).softmax(dim=-1)
        squared_length = ((weights @ gram) * weights).sum(-1)
        return (weights * products).sum(-1) / squared_length.sqrt()

    pieces = directions.split(max(1, CHUNK_ENTRIES // (images * max(patches, dim))))
    if len(pieces) == 1:
        return some(directions)
    return torch.cat([checkpoint(some, piece, use_reentrant=False) for piece in pieces], dim=1)


def _batch(size: Size, device: str) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    patches = torch.randn(size.batch, size.patches, size.dim, generator=random)
    return patches.to(device).requires_grad_(), torch.randn(size.batch, size.dim, generator=random).to(device)


def _value_and_gradient(form: Form, patches: Tensor, texts: Tensor) -> Tensor:
    return torch.autograd.grad(form(patches, texts, PATCH_SCALE).square().sum(), patches)[0]


def _value(form: Form, patches: Tensor, texts: Tensor) -> Tensor:
    with torch.no_grad():
        return form(patches, texts, PATCH_SCALE)


def _bytes(size: Size) -> int:
    """Of the patches of a batch, and of their gradient."""
    return 4 * size.batch * size.patches * size.dim


def _peaks(form: Form, size: Size, device: str, memory: int) -> dict[int, int]:
    """Bytes beyond the inputs at a quarter, half and all of the batch, as far as they fit."""
    peaks: dict[int, int] = {}
    extra = 0
    for batch in sorted({max(1, size.batch // 4), max(1, size.batch // 2), size.batch}):
        now = replace(size, batch=batch)
        expected = 2 * _bytes(now) + 4 * extra  # what is held of pairs grows at most with their number
        peak = _peak(form, now, device) if expected <= memory else None
        if peak is None:
            break
        peaks[batch], extra = peak, max(0, peak - _bytes(now))
    return peaks


def _peak(form: Form, size: Size, device: str) -> int | None:
    given = _batch(size, device)
    try:
        _value_and_gradient(form, *given)  # compiles what is to be compiled
        return peak_memory(lambda: _value_and_gradient(form, *given), device)
    except torch.OutOfMemoryError:
        return None


def _largest_batch(peaks: dict[int, int], size: Size, memory: int) -> int | None:
    """From the last two peaks, read as linear a + quadratic b: a batch + b batch^2 = memory."""
    points = [(batch, peak + _bytes(replace(size, batch=batch))) for batch, peak in peaks.items()]
    if len(points) < 2 or not all(peaks.values()):
        return None
    (half, at_half), (whole, at_whole) = points[-2:]
    quadratic = max(0.0, (at_whole / whole - at_half / half) / (whole - half))
    linear = at_whole / whole - quadratic * whole
    return int(2 * memory / (linear + math.sqrt(linear**2 + 4 * quadratic * memory)))


def _times(forms: dict[str, Form], size: Size, device: str, repeats: int) -> dict[str, tuple[float, float]]:
    """Seconds of value and gradient, and of the value alone."""
    given = _batch(size, device)
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in forms}
    for _ in track(range(repeats + 1), "measuring time"):
        for name, form in forms.items():
            both = _seconds(partial(_value_and_gradient, form, *given), device)
            taken[name].append((both, _seconds(partial(_value, form, *given), device)))
    return {
        name: (min(both for both, _ in all_[1:]), min(value for _, value in all_[1:])) for name, all_ in taken.items()
    }


def _seconds(function: Callable[[], object], device: str) -> float:
    wait_for(device)
    started = time.perf_counter()
    function()
    wait_for(device)
    return time.perf_counter() - started


def _matrix_rate(device: str) -> float:
    """Operations a second of one large matrix product in float32: the best of five."""
    side = 8192 if device.startswith("cuda") else 1024
    matrix = torch.randn(side, side, device=device)
    return 2 * side**3 / min(_seconds(lambda: matrix @ matrix, device) for _ in range(5))
