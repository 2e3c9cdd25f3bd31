"""Patch tokens of whole image sets: encoded once, kept on disk, read from there ever after."""

import errno
import hashlib
import json
import math
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.filesize import decimal
from torch import Tensor

from pacl_bench.caching import disk, token_file
from pacl_bench.caching.token_file import FORMAT, CachedTokens, flat, opened, rounded
from pacl_bench.encoders.base import PatchFeatures, VisionEncoder
from pacl_bench.encoders.batched import BATCH, Blocks, ahead, encode_all, encode_batch, encoded_batches
from pacl_bench.encoders.view import View
from pacl_bench.errors import RunError
from pacl_bench.image_sets import BrokenImage, ImageSet
from pacl_bench.paths import cache_root
from pacl_bench.progress import bar, note, track


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
    for index, features in encode_all(encoder, images, view):
        if isinstance(features, BrokenImage):
            raise RunError(f"{images.name}: {features}")
        cls_token = None if features.cls_token is None else rounded(features.cls_token)
        yield index, PatchFeatures(cls_token, rounded(features.patch_tokens), features.grid)


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
        features = (one for chunk in chunks for one in encode_batch(self.encoder, chunk, self.view))
        return torch.cat([rounded(one.patch_tokens) for one in features])

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
    tokens = opened(folder) or _made(encoder, images, view)
    disk.touch(folder)
    return tokens


def _made(encoder: VisionEncoder, images: ImageSet, view: View) -> CachedTokens:
    """What the cache lacks or holds damaged, encoded; with it those of the encoder's siblings that are missing too."""
    together = _together(encoder, images, view)
    with ExitStack() as held:
        for one in together:
            held.enter_context(disk.encoding(_folder(one, images, view).name, f"{images.name} with {one.name}"))
        # another process may have made some by now
        missing = [one for one in together if opened(_folder(one, images, view)) is None]
        for one in missing:
            folder = _folder(one, images, view)
            if folder.exists() and disk.remove_folder(folder):
                note(f"the cached patch tokens of {images.name} with {one.name} are damaged; encoding them again")
        if missing:
            _write(missing, images, view)
        return CachedTokens(_folder(encoder, images, view))


def _together(encoder: VisionEncoder, images: ImageSet, view: View) -> list[VisionEncoder]:
    """The encoder with those of its siblings that the cache lacks, where there is room for them all."""
    folders = {one.block: _folder(one, images, view) for one in encoder.siblings}
    missing = [one for one in encoder.siblings if one.block == encoder.block or not folders[one.block].is_dir()]
    needed = estimated_bytes(encoder, images, view) * len(missing)
    return missing if missing and disk.fits(folders[encoder.block].name, needed) else [encoder]


def fits_cache(encoder: VisionEncoder, images: ImageSet, view: View) -> bool:
    """Whether the tokens of an image set are in the cache, or may be kept there.

    PACL_CACHE_LIMIT (default 20GB, 0 for never) bounds the whole cache. What is not in use makes room.
    """
    needed = estimated_bytes(encoder, images, view)
    return is_cached(encoder, images, view) or disk.fits(_folder(encoder, images, view).name, needed)


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
    return disk.tokens_folder(key)


def _write(encoders: list[VisionEncoder], images: ImageSet, view: View) -> None:
    """Encodes everything into the cache, from where an interrupted run left off.

    Args:
        encoders: one, or several blocks of one.
    """
    encoder = encoders[0] if len(encoders) == 1 else Blocks(encoders)
    description = f"encoding {images.name} with {encoder.name}"
    needed = len(encoders) * estimated_bytes(encoders[0], images, view)
    note(
        f"{description}: about {decimal(needed)} of patch tokens into {cache_root()} "
        f"(limit {decimal(disk.cache_limit())}, {decimal(sum(entry.bytes for entry in disk.entries()))} used)"
    )
    try:
        begun = [disk.begin(_folder(one, images, view).name, _about(one, images, view)) for one in encoders]
        with ExitStack() as stack:
            writers = [
                stack.enter_context(token_file.TokenWriter(folder, one.width))
                for folder, one in zip(begun, encoders, strict=True)
            ]
            done = min(writer.images for writer in writers)
            if done:
                note(f"{done:,} of {len(images):,} images were encoded before; going on from there")
            progress = stack.enter_context(bar())
            task = progress.add_task(description, total=len(images), completed=done)
            for batch in encoded_batches(encoder, images, view, done):
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


def _add(batch: list[PatchFeatures] | BrokenImage, writers: list[token_file.TokenWriter], done: int) -> None:
    """Hands each writer its part of the tokens; one that had more before an interruption waits for the others."""
    if isinstance(batch, BrokenImage):
        for writer in (writer for writer in writers if writer.images == done):
            writer.add_broken(str(batch))
        return
    parts = zip(*(np.split(flat(features), len(writers), axis=-1) for features in batch), strict=True)
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
        f"tokens, which are not kept (limit {decimal(disk.cache_limit())}: PACL_CACHE_LIMIT)"
    )
