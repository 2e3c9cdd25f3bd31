"""Patch tokens of whole image sets: encoded once, kept on disk, read from there ever after."""

import errno
import hashlib
import json
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Float
from rich.filesize import decimal
from torch import Tensor

from pacl_bench import cache
from pacl_bench.data.images import BrokenImage, ImageSet
from pacl_bench.data.vocabulary import text_hash
from pacl_bench.encoders.base import PatchFeatures, TextEncoder, VisionEncoder
from pacl_bench.errors import RunError, UsageError
from pacl_bench.paths import cache_root
from pacl_bench.progress import bar, note, track
from pacl_bench.windows import cut, side_by_side, window_starts

FORMAT = 1  # of the tokens' file: half precision, of each image the CLS token first
BATCH = 16  # images a forward pass, of one shape
LOADERS = 2  # threads that decode ahead of the encoder

In = TypeVar("In")
Out = TypeVar("Out")


@dataclass(frozen=True)
class View:
    """How an encoder is shown an image."""

    whole: bool  # True: the whole image, its aspect ratio kept; False: the centre square
    short_side: int | None = None  # in pixels, for `whole`; None is the encoder's image_size
    stride: int | None = None  # of the patch convolution in pixels; None is the patch size
    window: int | None = None  # side of a sliding window in pixels, for `whole`; None is the image in one piece
    overlap: float = 0.5  # the share of a window that the next one covers too

    def tensor(self, encoder: VisionEncoder, images: ImageSet, index: int) -> Tensor:
        image = images.image(index)
        return encoder.preprocess.whole(image, self.short_side) if self.whole else encoder.preprocess(image)

    def windows(self, image_shape: tuple[int, ...]) -> tuple[int, int]:
        """(rows, cols) of windows over an image of (height, width) pixels."""
        rows, cols = (len(window_starts(side, self.window, self.overlap)) for side in image_shape)
        return rows, cols

    def window_grid(self, encoder: VisionEncoder, image_shape: tuple[int, ...]) -> tuple[int, int]:
        """(rows, cols) of the patches of one window of an image of (height, width) pixels."""
        if self.window is not None and (self.window < 1 or self.window % encoder.patch_size):
            raise UsageError(
                f"--window {self.window}: must be a multiple of the patch size of {encoder.name}, {encoder.patch_size}."
            )
        return encoder.grid_of(tuple(min(side, self.window or side) for side in image_shape), self.stride)

    @property
    def identity(self) -> dict[str, object]:
        """All that decides which tokens come out; without windows as it was before there were any."""
        unused = () if self.window else ("window", "overlap")
        return {name: value for name, value in asdict(self).items() if name not in unused}


def encoded(encoder: VisionEncoder, images: ImageSet, view: View) -> Iterator[tuple[int, PatchFeatures]]:
    """(index, features of one image) for all images in order, from the cache where they are or fit.

    Tokens are rounded to half precision in either case, so that a number does not depend on whether it was cached.

    Raises:
        RunError: an image that does not decode: a measurement never leaves out an image in silence.
    """
    if fits_cache(encoder, images, view):
        tokens = cached_tokens(encoder, images, view)
        if tokens.broken:
            index, cause = next(iter(tokens.broken.items()))
            raise RunError(f"{images.name}: {cause} ({len(tokens.broken)} broken in all, the first is number {index}).")
        yield from ((index, tokens[index]) for index in range(len(images)))
        return
    _say_not_kept(encoder, images, view)
    for index, features in _encode_all(encoder, images, view):
        if isinstance(features, BrokenImage):
            raise RunError(f"{images.name}: {features}")
        cls_token = None if features.cls_token is None else _rounded(features.cls_token)
        yield index, PatchFeatures(cls_token, _rounded(features.patch_tokens), features.grid)


class CachedTokens:
    """The features of an image set in a folder: tokens in one flat file of half precision, memory-mapped.

    While this object lives, no process removes them to make room.

    Raises:
        Whatever a damaged folder leads to; `cached_tokens` makes it anew.
    """

    def __init__(self, folder: Path):
        index = json.loads((folder / "index.json").read_text())
        self.width: int = index["width"]
        self.has_cls: bool = index["has_cls"]
        self.grids: list[tuple[int, int]] = [tuple(grid) for grid in index["grids"]]  # (0, 0) for a broken image
        self.broken = {int(number): cause for number, cause in index["broken"].items()}
        sizes = [rows * cols + self.has_cls for rows, cols in self.grids]
        self.starts = np.concatenate(
            [[0], np.cumsum([size if grid[0] else 0 for size, grid in zip(sizes, self.grids, strict=True)])]
        ).astype(int)
        # all tokens of all images, "token width"; of each image the CLS token first
        self.tokens = cache.mapped(folder / cache.TOKENS, int(self.starts[-1]), self.width)

    def __len__(self) -> int:
        return len(self.grids)

    def __getitem__(self, index: int) -> PatchFeatures:
        """The features of one image, as a batch of one, in float32."""
        rows = torch.from_numpy(self.tokens[self.starts[index] : self.starts[index + 1]].astype(np.float32))
        cls_token = rows[:1] if self.has_cls else None
        return PatchFeatures(cls_token, rows[self.has_cls :][None], self.grids[index])

    def batch(self, indices: list[int]) -> Tensor:
        """Patch tokens "image patch width" of images of one shape, in float32."""
        return torch.cat([self[index].patch_tokens for index in indices])


class OnlineTokens:
    """The features of an image set that is too large for the cache: encoded whenever they are asked for."""

    def __init__(self, encoder: VisionEncoder, images: ImageSet, view: View):
        self.encoder, self.images, self.view = encoder, images, view
        _say_not_kept(encoder, images, view)
        # decoded once beforehand, so that which images count is known before the first batch
        checks = track(ahead(self._cause, range(len(images))), f"checking {images.name}", len(images))
        self.broken = {index: cause for index, cause in enumerate(checks) if cause is not None}

    def batch(self, indices: list[int]) -> Tensor:
        """Patch tokens "image patch width" of images of one shape, in float32."""
        tensors = list(ahead(lambda index: self.view.tensor(self.encoder, self.images, index), indices))
        chunks = [tensors[start : start + BATCH] for start in range(0, len(tensors), BATCH)]
        features = (one for chunk in chunks for one in _encode(self.encoder, chunk, self.view))
        return torch.cat([_rounded(one.patch_tokens) for one in features])

    def _cause(self, index: int) -> str | None:
        try:
            self.images.image(index)
        except BrokenImage as broken:
            return str(broken)
        return None


def cached_tokens(encoder: VisionEncoder, images: ImageSet, view: View) -> CachedTokens:
    """The features of an image set, encoded now if the cache does not hold them.

    An encoding that was interrupted is gone on with. If another process is at it, it is waited for.
    """
    folder = _folder(encoder, images, view)
    tokens = _opened(folder) or _made(encoder, images, view)
    cache.touch(folder)
    return tokens


def _made(encoder: VisionEncoder, images: ImageSet, view: View) -> CachedTokens:
    """What the cache lacks or holds damaged, encoded; with it those of the encoder's siblings that are missing too."""
    together = _together(encoder, images, view)
    with ExitStack() as held:
        for one in together:
            held.enter_context(cache.encoding(_folder(one, images, view).name, f"{images.name} with {one.name}"))
        # another process may have made some by now
        missing = [one for one in together if _opened(_folder(one, images, view)) is None]
        for one in missing:
            folder = _folder(one, images, view)
            if folder.exists() and cache.remove_folder(folder):
                note(f"the cached patch tokens of {images.name} with {one.name} are damaged; encoding them again")
        if missing:
            _write(missing, images, view)
        return CachedTokens(_folder(encoder, images, view))


def _together(encoder: VisionEncoder, images: ImageSet, view: View) -> list[VisionEncoder]:
    """The encoder with those of its siblings that the cache lacks, where there is room for them all."""
    folders = {one.block: _folder(one, images, view) for one in encoder.siblings}
    missing = [one for one in encoder.siblings if one.block == encoder.block or not folders[one.block].is_dir()]
    needed = estimated_bytes(encoder, images, view) * len(missing)
    return missing if missing and cache.fits(folders[encoder.block].name, needed) else [encoder]


def cached_texts(encoder: TextEncoder, texts: list[str]) -> Float[Tensor, "text dim"]:
    """The embeddings of many texts, unit norm, encoded now if the cache does not hold them."""
    key = text_hash([encoder.fingerprint, json.dumps(encoder.settings), *texts])[:32]
    file = cache.texts_file(key)
    if file.is_file():
        try:
            embeddings = np.load(file)
            if embeddings.shape == (len(texts), encoder.dim):
                cache.touch(file)
                return torch.from_numpy(embeddings)
        except (FileNotFoundError, ValueError, EOFError):  # removed or damaged
            pass
        note(f"{file} is damaged; encoding {len(texts)} texts with {encoder.name} again")
    embeddings = encoder(texts)
    cache.keep_texts(key, embeddings.numpy(), {"encoder": encoder.name, "texts": len(texts)})
    return embeddings


def fits_cache(encoder: VisionEncoder, images: ImageSet, view: View) -> bool:
    """Whether the tokens of an image set are in the cache, or may be kept there.

    PACL_CACHE_LIMIT (default 20GB, 0 for never) bounds the whole cache. What is not in use makes room.
    """
    needed = estimated_bytes(encoder, images, view)
    return is_cached(encoder, images, view) or cache.fits(_folder(encoder, images, view).name, needed)


def estimated_bytes(encoder: VisionEncoder, images: ImageSet, view: View) -> int:
    """Disk space for the tokens; an image shown whole is taken to be 4:3."""
    side = view.short_side or encoder.image_size
    shape = (side, side * 4 // 3 if view.whole else side)
    tokens = math.prod((*view.windows(shape), *view.window_grid(encoder, shape)))
    return len(images) * (tokens + 1) * encoder.width * 2


def is_cached(encoder: VisionEncoder, images: ImageSet, view: View) -> bool:
    """Whether the tokens of an image set are on disk already."""
    return _folder(encoder, images, view).is_dir()


def _folder(encoder: VisionEncoder, images: ImageSet, view: View) -> Path:
    """Where the tokens lie: the name says all that decides which tokens they are."""
    identity = {
        "format": FORMAT,
        "weights": encoder.fingerprint,
        "settings": encoder.settings,
        "images": images.fingerprint,
        "view": view.identity,
    }
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]
    return cache.tokens_folder(key)


def _opened(folder: Path) -> CachedTokens | None:
    """What a folder of the cache holds; None where it is not there, or damaged."""
    try:
        return CachedTokens(folder)
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError, AttributeError):
        return None


class _Blocks(VisionEncoder):
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


def _write(encoders: list[VisionEncoder], images: ImageSet, view: View) -> None:
    """Encodes everything into the cache, from where an interrupted run left off.

    Args:
        encoders: one, or several blocks of one.
    """
    encoder = encoders[0] if len(encoders) == 1 else _Blocks(encoders)
    description = f"encoding {images.name} with {encoder.name}"
    needed = len(encoders) * estimated_bytes(encoders[0], images, view)
    note(
        f"{description}: about {decimal(needed)} of patch tokens into {cache_root()} "
        f"(limit {decimal(cache.cache_limit())}, {decimal(sum(entry.bytes for entry in cache.entries()))} used)"
    )
    try:
        begun = [cache.begin(_folder(one, images, view).name, _about(one, images, view)) for one in encoders]
        with ExitStack() as stack:
            writers = [
                stack.enter_context(cache.TokenWriter(folder, one.width))
                for folder, one in zip(begun, encoders, strict=True)
            ]
            done = min(writer.images for writer in writers)
            if done:
                note(f"{done:,} of {len(images):,} images were encoded before; going on from there")
            progress = stack.enter_context(bar())
            task = progress.add_task(description, total=len(images), completed=done)
            for batch in _batches(encoder, images, view, done):
                _add(batch, writers, done)
                done += 1 if isinstance(batch, BrokenImage) else len(batch)
                progress.update(task, completed=done)
        for writer in writers:
            writer.finish()
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise RunError(
            f"{description}: {error.strerror}. What is encoded is kept. Make room (`pacl-bench cache clear`), set "
            "PACL_CACHE to another disk, or PACL_CACHE_LIMIT=0 to keep nothing; then give the same command again."
        ) from None


def _add(batch: list[PatchFeatures] | BrokenImage, writers: list[cache.TokenWriter], done: int) -> None:
    """Hands each writer its part of the tokens; one that had more before an interruption waits for the others."""
    if isinstance(batch, BrokenImage):
        for writer in (writer for writer in writers if writer.images == done):
            writer.add_broken(str(batch))
        return
    parts = zip(*(np.split(_flat(features), len(writers), axis=-1) for features in batch), strict=True)
    for writer, part in zip(writers, parts, strict=True):
        if writer.images == done:
            writer.add(batch[0].grid, batch[0].cls_token is not None, part)


def _about(encoder: VisionEncoder, images: ImageSet, view: View) -> dict[str, Any]:
    """What `pacl-bench cache info` says of a set."""
    return {
        "encoder": encoder.name,
        "dataset": images.name,
        "images": len(images),
        "view": {
            **view.identity,
            "short_side": view.short_side or encoder.image_size,
            "stride": view.stride or encoder.patch_size,
            "block": encoder.settings.get("block"),
            "tap": encoder.settings.get("tap"),
        },
        "bytes": estimated_bytes(encoder, images, view),
    }


def _say_not_kept(encoder: VisionEncoder, images: ImageSet, view: View) -> None:
    note(
        f"encoding {images.name} with {encoder.name}: about {decimal(estimated_bytes(encoder, images, view))} of patch "
        f"tokens, which are not kept (limit {decimal(cache.cache_limit())}: PACL_CACHE_LIMIT)"
    )


def _flat(features: PatchFeatures) -> np.ndarray:
    """All tokens of one image, "token width", the CLS token first."""
    patch_tokens = _rounded(features.patch_tokens)[0]
    if features.cls_token is None:
        return patch_tokens.numpy()
    return torch.cat([_rounded(features.cls_token), patch_tokens]).numpy()


def _rounded(tokens: Tensor) -> Tensor:
    """On the CPU, in float32 but with the digits of half precision."""
    rounded = tokens.half().float().cpu()
    if not bool(rounded.isfinite().all()):
        raise RunError("patch tokens are NaN or beyond half precision; check the encoder's weights.")
    return rounded


def _encode_all(
    encoder: VisionEncoder, images: ImageSet, view: View
) -> Iterator[tuple[int, PatchFeatures | BrokenImage]]:
    """One item an image, in order."""
    index = 0
    for batch in _batches(encoder, images, view):
        for features in [batch] if isinstance(batch, BrokenImage) else batch:
            yield index, features
            index += 1


def _batches(
    encoder: VisionEncoder, images: ImageSet, view: View, first: int = 0
) -> Iterator[list[PatchFeatures] | BrokenImage]:
    """Every image from `first` on, in order. Neighbours of one shape share a forward pass; images are decoded ahead.

    With `first` at the end of a batch, the batches are those of a run from the beginning.
    """

    def load(index: int) -> Tensor | BrokenImage:
        try:
            return view.tensor(encoder, images, index)
        except BrokenImage as broken:
            return broken

    waiting: list[Tensor] = []
    for loaded in ahead(load, range(first, len(images))):
        if waiting and (len(waiting) == BATCH or not isinstance(loaded, Tensor) or loaded.shape != waiting[0].shape):
            yield list(_encode(encoder, waiting, view))
            waiting = []
        if isinstance(loaded, BrokenImage):
            yield loaded
        else:
            waiting.append(loaded)
    if waiting:
        yield list(_encode(encoder, waiting, view))


def _encode(encoder: VisionEncoder, tensors: list[Tensor], view: View) -> Iterator[PatchFeatures]:
    """The features of images of one shape; windows lie side by side as one large grid, and have no one CLS token."""
    shape = tensors[0].shape[1:]
    crops = [crop for tensor in tensors for crop in cut(tensor, view.window, view.overlap)]
    chunks = (torch.stack(crops[start : start + BATCH]) for start in range(0, len(crops), BATCH))
    features = [encoder(chunk.to(encoder.device), view.stride) for chunk in chunks]
    (rows, cols), (down, across) = view.window_grid(encoder, shape), view.windows(shape)
    patch_tokens = side_by_side(torch.cat([one.patch_tokens for one in features]), (rows, cols), (down, across))
    cls_tokens = [one.cls_token for one in features if one.cls_token is not None and view.window is None]
    for row in range(len(tensors)):
        cls_token = torch.cat(cls_tokens)[row : row + 1] if cls_tokens else None
        yield PatchFeatures(cls_token, patch_tokens[row : row + 1], (down * rows, across * cols))


def ahead(function: Callable[[In], Out], items: Iterable[In]) -> Iterator[Out]:
    """`map` by threads, in order, a few batches ahead of what is asked for: loading overlaps with computing."""
    with ThreadPoolExecutor(LOADERS) as pool:
        pending: deque = deque()
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) > 2 * BATCH:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
