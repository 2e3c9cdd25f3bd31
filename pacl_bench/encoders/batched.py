"""Encoding many images: neighbours of one shape share a forward pass, decoding runs ahead where cores are free."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from multiprocessing import get_all_start_methods
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pacl_bench import cores
from pacl_bench.cores import Loaders
from pacl_bench.encoders.base import PatchFeatures, VisionEncoder
from pacl_bench.encoders.resizing import tiled
from pacl_bench.encoders.view import View
from pacl_bench.encoders.windows import cut, side_by_side
from pacl_bench.image_sets import BrokenImage, ImageSet
from pacl_bench.signals import stop_if_asked
from pacl_bench.workers import Made, Workers, by_workers

BATCH = 16  # images a forward pass, of one shape
AHEAD = 2 * BATCH  # images that are decoded before they are asked for

In = TypeVar("In")
Out = TypeVar("Out")


class Blocks(VisionEncoder):
    """Several blocks of one encoder as one, whose tokens are theirs side by side: from one pass through it."""

    def __init__(self, encoders: list[VisionEncoder]):
        super().__init__()
        self.first = encoders[0]
        self.taken = [encoder.block for encoder in encoders]
        self.name = f"{len(encoders)} blocks of {self.first.architecture}"
        self.preprocess, self.patch_size = self.first.preprocess, self.first.patch_size

    @property
    def device(self) -> torch.device:
        return self.first.device

    def forward(self, images: Float[Tensor, "image 3 height width_px"], stride: int | None = None) -> PatchFeatures:
        features = self.first.blocks(images, self.taken, stride)
        cls_tokens = [one.cls_token for one in features if one.cls_token is not None]
        tokens = torch.cat([one.patch_tokens for one in features], dim=-1)
        return PatchFeatures(torch.cat(cls_tokens, dim=-1) if cls_tokens else None, tokens, features[0].grid)


def encode_all(
    encoder: VisionEncoder, images: ImageSet, view: View, first: int = 0, workers: int | None = None
) -> Iterator[tuple[int, PatchFeatures | BrokenImage]]:
    """(index, features) of every image from `first` on, in order."""
    index = first
    for batch in encoded_batches(encoder, images, view, first, workers):
        for features in [batch] if isinstance(batch, BrokenImage) else batch:
            yield index, features
            index += 1


def encoded_batches(
    encoder: VisionEncoder, images: ImageSet, view: View, first: int = 0, workers: int | None = None
) -> Iterator[list[PatchFeatures] | BrokenImage]:
    """Every image from `first` on, in order. Neighbours of one shape share a forward pass; images are decoded ahead.

    With `first` at the end of a batch, the batches are those of a run from the beginning.

    Args:
        workers: processes that decode; None leaves it to `pacl_bench.cores`.
    """

    def load(index: int) -> np.ndarray | BrokenImage:
        try:
            return view.tensor(encoder, images, index).numpy()  # as a tensor it would take shared memory
        except BrokenImage as broken:
            return broken

    waiting: list[Tensor] = []
    loading = cores.loaders(encoder.device.type == "cpu", workers)
    for loaded in loaded_ahead(load, range(first, len(images)), loading, images.name):
        is_broken = isinstance(loaded, BrokenImage)
        if waiting and (len(waiting) == BATCH or is_broken or loaded.shape != waiting[0].shape):
            yield list(encode_batch(encoder, waiting, view))
            waiting = []
        if is_broken:
            yield loaded
        else:
            waiting.append(torch.from_numpy(loaded))
    if waiting:
        yield list(encode_batch(encoder, waiting, view))


def encode_batch(encoder: VisionEncoder, tensors: list[Tensor], view: View) -> Iterator[PatchFeatures]:
    """The features of images of one shape; windows lie side by side as one large grid, and have no one CLS token."""
    shape = tensors[0].shape[1:]
    windows = [window for tensor in tensors for window in cut(tensor, view.window, view.overlap)]
    crops = [tiled(window, encoder.patch_size, view.remainder) for window in windows]
    chunks = (torch.stack(crops[start : start + BATCH]) for start in range(0, len(crops), BATCH))
    features = [encoder(chunk.to(encoder.device), view.stride) for chunk in chunks]
    (rows, cols), (down, across) = view.window_grid(encoder, shape), view.windows(shape)
    patch_tokens = side_by_side(torch.cat([one.patch_tokens for one in features]), (rows, cols), (down, across))
    cls_tokens = [one.cls_token for one in features if one.cls_token is not None and view.window is None]
    for row in range(len(tensors)):
        cls_token = torch.cat(cls_tokens)[row : row + 1] if cls_tokens else None
        yield PatchFeatures(cls_token, patch_tokens[row : row + 1], (down * rows, across * cols))


def loaded_ahead(function: Callable[[int], Out], numbers: range, loading: Loaders, what: str) -> Iterator[Out]:
    """`map` of a function that loads, in order, ahead of what is asked for.

    Processes are forked, so they know all that the function knows; where a system cannot do that, a thread takes their
    place. To start one pays from a batch on.

    Args:
        what: is loaded, for the line that says that a process was killed.
    """
    processes = min(loading.processes, len(numbers) // BATCH) if "fork" in get_all_start_methods() else 0
    if not processes:
        yield from ahead(function, numbers, loading.number and 1)
        return
    made = by_workers(Made(function, numbers), processes, -(-AHEAD // processes), multiprocessing_context="fork")
    with cores.divided(processes), closing(Workers(made, what)) as items:
        for item, error in items:
            stop_if_asked()
            if error is not None:
                raise error
            yield item


def ahead(function: Callable[[In], Out], items: Iterable[In], threads: int | None = None) -> Iterator[Out]:
    """`map` by threads, in order, a few batches ahead of what is asked for: loading overlaps with computing.

    Args:
        threads: None leaves it to `pacl_bench.cores`; 0 does each thing when it is asked for.
    """
    number = cores.loaders(on_cpu=True).threads if threads is None else threads
    if not number:
        for item in items:
            stop_if_asked()
            yield function(item)
        return
    with cores.divided(number), ThreadPoolExecutor(number) as pool:
        pending: deque = deque()
        try:
            for item in items:
                stop_if_asked()
                pending.append(pool.submit(function, item))
                if len(pending) > AHEAD:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
