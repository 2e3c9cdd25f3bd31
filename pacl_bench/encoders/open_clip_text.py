"""Text towers of open_clip's models."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import open_clip
import torch
from jaxtyping import Float, Int
from open_clip import CLIP, CustomTextCLIP
from open_clip.transformer import TextTransformer
from torch import Tensor
from torch.func import functional_call

from pacl_bench.encoders.base import TextEncoder, frozen
from pacl_bench.encoders.hub import hub_access
from pacl_bench.encoders.open_clip_weights import activation, clip_of
from pacl_bench.encoders.request import EncoderRequest
from pacl_bench.encoders.weights_files import not_on_this_machine


class OpenClipTextEncoder(TextEncoder):
    """The text tower of an open_clip model with its own tokenizer and projection.

    Its tokenizer fills every text up to 77 tokens. A tower that sees nothing of what follows the token it pools is run
    at the length of the longest text of a batch; a tower that sees its padding (SigLIP's) is run at all of it.
    """

    BATCH = 64  # of up to 77 tokens each

    def __init__(self, name: str, clip: Any, tokenizer: Callable[[list[str]], Tensor]):
        super().__init__()
        self.name = self.spec = name
        self.clip = frozen(clip)
        self.tokenizer = tokenizer
        self.causal = _causal_tower(clip)
        self.dim = self.encode(["a"]).shape[1]

    @torch.no_grad()
    def encode(self, texts: list[str]) -> Float[Tensor, "text dim"]:
        tokens = self.tokenizer(texts).to(next(self.clip.parameters()).device)
        if self.causal is None:
            return self.clip.encode_text(tokens)
        tokens = tokens[:, : int(self.causal.lengths(tokens).max())]
        return functional_call(self.clip, self.causal.cut_to(tokens.shape[1]), kwargs={"text": tokens})[1]

    def lengths(self, texts: list[str]) -> list[int]:
        if self.causal is None:
            return super().lengths(texts)
        batches = (texts[start : start + self.BATCH] for start in range(0, len(texts), self.BATCH))
        return [int(length) for batch in batches for length in self.causal.lengths(self.tokenizer(batch))]

    @property
    def settings(self) -> dict[str, object]:
        return {**super().settings, "activation": activation(self.clip)}


class _CausalTower(NamedTuple):
    """A text tower whose tokens see none that come after them: what follows the token that it pools changes nothing."""

    tower: Any  # has the two tensors below
    prefix: str  # of its tensors' names in the whole model
    pool_type: str
    end: int  # the token that ends a text

    def lengths(self, tokens: Int[Tensor, "text token"]) -> Int[Tensor, " text"]:
        """How many tokens each text takes, with the one that is pooled as the last (open_clip's text_global_pool)."""
        pooled = tokens == self.end if self.pool_type == "eos" else tokens
        return pooled.int().argmax(dim=-1) + 1

    def cut_to(self, length: int) -> dict[str, Tensor]:
        """What the tower has for each position, for `length` positions."""
        return {
            f"{self.prefix}positional_embedding": self.tower.positional_embedding[:length],
            f"{self.prefix}attn_mask": self.tower.attn_mask[:length, :length],
        }


def _causal_tower(clip: Any) -> _CausalTower | None:
    """The text tower of a model, where it is open_clip's own, causal, and pools the token that ends the text."""
    whole: Any = clip  # pyright takes any attribute of a module for another module
    if isinstance(clip, CLIP):
        found = _CausalTower(whole, "", whole.text_pool_type, whole.text_eos_id)
    elif isinstance(clip, CustomTextCLIP) and type(clip.text) is TextTransformer and clip.text.cls_emb is None:
        found = _CausalTower(whole.text, "text.", whole.text.pool_type, whole.text.eos_id)
    else:
        return None
    mask = found.tower.attn_mask
    causal = mask is not None and torch.equal(mask, torch.full_like(mask, float("-inf")).triu(1))
    return found if causal and found.pool_type in ("argmax", "eos") else None


def load_open_clip_text(request: EncoderRequest) -> TextEncoder:
    """The text tower that belongs to the same weights."""
    name, arch = request.weights_name, request.entry.model
    clip = clip_of(request)
    try:
        tokenizer = tokenizer_of(arch)
    except OSError as error:  # some models keep their tokenizer on the hub
        raise not_on_this_machine(name, f"the tokenizer of {arch}", error) from None
    return OpenClipTextEncoder(name, clip, tokenizer)


@lru_cache(maxsize=8)
def tokenizer_of(arch: str) -> Callable[[list[str]], Tensor]:
    """The tokenizer of an architecture. It is kept: to read its words takes 0.2 s, and a study loads a model anew for
    each measurement.
    """
    with hub_access():
        return open_clip.get_tokenizer(arch)
