"""Text embeddings on disk: encoded once, read from there ever after."""

import json
import zlib
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from pacl_bench import processes
from pacl_bench.caching import disk
from pacl_bench.encoders.base import TextEncoder
from pacl_bench.files import WriteError, replacing, write_json
from pacl_bench.paths import cache_root
from pacl_bench.progress import note
from pacl_bench.registry import text_hash


def cached_texts(encoder: TextEncoder, texts: list[str]) -> Float[Tensor, "text dim"]:
    """The embeddings of many texts, unit norm, encoded now if the cache does not hold them."""
    key = _key(encoder, texts)
    kept = _kept(encoder, texts, disk.texts_file(key))
    # of several processes each encodes its share, unless all find the file
    if not processes.any_of(kept is None):
        return torch.from_numpy(kept)
    own = [texts[number] for number in processes.share(len(texts))]
    embeddings = torch.cat(processes.each(encoder(own)))
    if processes.is_first():
        try:
            _keep(key, embeddings.numpy(), encoder.name)
        except WriteError as error:  # a full disk too: what is lost is time
            disk.say_not_kept(cache_root(), error.cause)
    return embeddings


def _kept(encoder: TextEncoder, texts: list[str], file: Path) -> Float32[np.ndarray, "text dim"] | None:
    """What the cache holds of these texts; None where it holds nothing, or nothing whole."""
    if not disk.is_there(file):
        return None
    kept = _read(file, (len(texts), encoder.dim))
    if kept is None:
        note(f"{file} is damaged; encoding {len(texts)} texts with {encoder.name} again")
    else:
        disk.touch(file)
    return kept


def texts_are_cached(encoder: TextEncoder, texts: list[str]) -> bool:
    """Whether the cache holds the embeddings of this very list."""
    return disk.texts_file(_key(encoder, texts)).is_file()


def _key(encoder: TextEncoder, texts: list[str]) -> str:
    parts = [encoder.fingerprint, json.dumps(encoder.settings), *texts]
    # joined by line breaks, as ever; texts that have some themselves would be taken for more and shorter ones
    return text_hash([json.dumps(parts)] if any("\n" in text for text in texts) else parts)[:32]


def _read(file: Path, shape: tuple[int, int]) -> Float32[np.ndarray, "text dim"] | None:
    """What a file of the cache holds; None where it is damaged. Checking costs a millisecond for a megabyte."""
    try:
        embeddings = np.load(file)
        found = _checksum(embeddings)
    except Exception:  # a damaged file can make numpy raise anything
        return None
    written = disk.read_about(file.with_suffix(".json")).get("checksum", found)  # older versions wrote none
    return embeddings if (embeddings.shape, embeddings.dtype, found) == (shape, np.float32, written) else None


def _keep(key: str, embeddings: Float32[np.ndarray, "text dim"], encoder: str) -> None:
    """Writes text embeddings, if they fit."""
    if not disk.fits(key, embeddings.nbytes):
        return
    file = disk.texts_file(key)
    with disk.locked(disk.ROOM):
        disk.make_room(key, embeddings.nbytes)
        about = {"encoder": encoder, "texts": len(embeddings), "checksum": _checksum(embeddings)}
        with replacing(file) as temporary:
            _save(temporary, embeddings)
            write_json(file.with_suffix(".json"), about)


def _save(file: Path, embeddings: Float32[np.ndarray, "text dim"]) -> None:
    """As `np.save`, which does not notice when the last bytes find no room on the disk."""
    with file.open("wb") as handle:
        np.lib.format.write_array_header_1_0(handle, np.lib.format.header_data_from_array_1_0(embeddings))
        handle.write(embeddings.data)


def _checksum(embeddings: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(embeddings).data)
