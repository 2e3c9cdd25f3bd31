"""Text embeddings on disk: encoded once, read from there ever after."""

import json

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pacl_bench.caching import disk
from pacl_bench.data.vocabulary import text_hash
from pacl_bench.encoders.base import TextEncoder
from pacl_bench.progress import note


def cached_texts(encoder: TextEncoder, texts: list[str]) -> Float[Tensor, "text dim"]:
    """The embeddings of many texts, unit norm, encoded now if the cache does not hold them."""
    key = _key(encoder, texts)
    file = disk.texts_file(key)
    if file.is_file():
        try:
            embeddings = np.load(file)
            if embeddings.shape == (len(texts), encoder.dim):
                disk.touch(file)
                return torch.from_numpy(embeddings)
        except (FileNotFoundError, ValueError, EOFError):  # removed or damaged
            pass
        note(f"{file} is damaged; encoding {len(texts)} texts with {encoder.name} again")
    embeddings = encoder(texts)
    disk.keep_texts(key, embeddings.numpy(), {"encoder": encoder.name, "texts": len(texts)})
    return embeddings


def texts_are_cached(encoder: TextEncoder, texts: list[str]) -> bool:
    """Whether the cache holds the embeddings of this very list."""
    return disk.texts_file(_key(encoder, texts)).is_file()


def _key(encoder: TextEncoder, texts: list[str]) -> str:
    return text_hash([encoder.fingerprint, json.dumps(encoder.settings), *texts])[:32]
