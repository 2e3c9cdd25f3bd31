"""Sentence encoders of the transformers library, by hub name or local folder."""

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pacl_bench.encoders.base import TextEncoder, frozen
from pacl_bench.encoders.hub import hub_access
from pacl_bench.encoders.request import EncoderRequest
from pacl_bench.encoders.weights_files import failed_download
from pacl_bench.errors import UsageError


class TransformersTextEncoder(TextEncoder):
    """A text encoder whose sentence embedding is the mean of its token states, or the state of the first token."""

    BATCH = 64

    def __init__(self, name: str, model: Any, tokenizer: Any, pool: str = "mean"):
        super().__init__()
        self.name = self.spec = name
        self.model = frozen(model)
        self.tokenizer = tokenizer
        self.pool = pool
        self.dim = model.config.hidden_size

    @torch.no_grad()
    def encode(self, texts: list[str]) -> Float[Tensor, "text dim"]:
        tokens = self.tokenizer(texts, padding=True, truncation=True, max_length=self.max_length, return_tensors="pt")
        tokens = tokens.to(next(self.model.parameters()).device)
        states = self.model(**tokens).last_hidden_state
        return states[:, 0] if self.pool == "cls" else mean_over_tokens(states, tokens["attention_mask"])

    @property
    def settings(self) -> dict[str, object]:
        return {**super().settings, "pool": self.pool, "max_length": self.max_length}

    @property
    def max_length(self) -> int:
        """Tokens a text is cut to; tokenizers without a limit state an absurd one, so the model's own holds."""
        return min(self.tokenizer.model_max_length, getattr(self.model.config, "max_position_embeddings", 512))


def mean_over_tokens(
    states: Float[Tensor, "text token dim"], attention_mask: Int[Tensor, "text token"]
) -> Float[Tensor, "text dim"]:
    """The mean of the states that stand for words, padding left out."""
    words = attention_mask[..., None].to(states.dtype)
    return (states * words).sum(1) / words.sum(1)


def load_transformers_text(request: EncoderRequest) -> TransformersTextEncoder:
    """A text encoder from a local folder (never touching the network) or from the hub."""
    name, model = request.spec.name, request.entry.model
    pool = request.spec.option_choice("pool", "mean", ("mean", "cls"))
    try:
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging
    except ImportError:
        raise UsageError(f"{name} needs the transformers library: pip install 'pacl-bench[text]'") from None
    logging.disable_progress_bar()
    local = Path(model).is_dir()
    if not local and (model.startswith((".", "/", "~")) or model.count("/") > 1):
        raise UsageError(f"{name}: the folder {model} does not exist.")
    with hub_access():
        try:
            tokenizer = AutoTokenizer.from_pretrained(model, local_files_only=local)
            # safetensors only: a pickled checkpoint is refused
            encoder = AutoModel.from_pretrained(
                model, local_files_only=local, use_safetensors=True, dtype=torch.float32
            )
        except (OSError, ValueError) as error:
            if local:
                raise UsageError(
                    f"{name}: {model} holds no text encoder ({str(error).splitlines()[0][:120]})."
                ) from None
            raise failed_download(name, model, error) from None
    loaded = TransformersTextEncoder(name, encoder, tokenizer, pool)
    loaded.architecture = "transformers:text"  # what kind it is the folder says, not its name
    return loaded
