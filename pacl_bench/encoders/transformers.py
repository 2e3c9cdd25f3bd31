"""Text encoders of the transformers library, by hub name or local folder: sentence encoders, and towers of duals."""

from typing import Any

import torch
from jaxtyping import Float, Int
from open_clip.tokenizer import canonicalize_text
from torch import Tensor

from pacl_bench.encoders.base import TextEncoder, frozen
from pacl_bench.encoders.request import EncoderRequest
from pacl_bench.encoders.transformers_folder import from_pretrained, load_model
from pacl_bench.errors import UsageError

PROBE = "a photo of the cat and 2 dogs ."  # a tokenizer of any language has a token for some of it


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
        return min(self.tokenizer.model_max_length, _positions(self.model))


def _positions(model: Any) -> int:
    """How many tokens a model has positions for. RoBERTa, MPNet and their like begin to count behind the padding's."""
    positions = getattr(model.config, "max_position_embeddings", 512)
    tables = (module for name, module in model.named_modules() if name.endswith("embeddings.position_embeddings"))
    table = next(tables, None)
    padding = getattr(table, "padding_idx", None)
    return positions if padding is None else positions - padding - 1


def mean_over_tokens(
    states: Float[Tensor, "text token dim"], attention_mask: Int[Tensor, "text token"]
) -> Float[Tensor, "text dim"]:
    """The mean of the states that stand for words, padding left out."""
    words = attention_mask[..., None].to(states.dtype)
    return (states * words).sum(1) / words.sum(1)


class DualTextEncoder(TextEncoder):
    """The text tower of a dual encoder (CLIP, SigLIP, TIPSv2) with its own pooling and projection.

    SigLIP's towers see their padding: they were trained on texts filled up to their full length, and of small letters
    without punctuation, which the tokenizers of some folders leave as they are.
    """

    BATCH = 64

    def __init__(self, name: str, model: Any, tokenizer: Any):
        super().__init__()
        self.name = self.spec = name
        self.model = frozen(model)
        self.tokenizer = tokenizer
        self.sees_padding = model.config.model_type in ("siglip", "siglip2")
        self.dim = self.encode(["a"]).shape[1]

    @torch.no_grad()
    def encode(self, texts: list[str]) -> Float[Tensor, "text dim"]:
        tokens = self.tokens(texts).to(next(self.model.text_model.parameters()).device)
        features = self.model.get_text_features(**tokens)
        return features if isinstance(features, Tensor) else features.pooler_output  # a tensor before version 5

    def tokens(self, texts: list[str]) -> Any:
        """What the tower takes: numbers of tokens, and which of them are padding unless that is not told it."""
        options: dict[str, Any] = {"truncation": True, "max_length": self.max_length, "return_tensors": "pt"}
        if self.sees_padding:
            texts = [canonicalize_text(text) for text in texts]
            return self.tokenizer(texts, padding="max_length", return_attention_mask=False, **options)
        return self.tokenizer(texts, padding=True, **options)

    @property
    def max_length(self) -> int:
        """Tokens a text is cut to."""
        return min(self.tokenizer.model_max_length, _positions(self.model.text_model))

    @property
    def settings(self) -> dict[str, object]:
        return {**super().settings, "max_length": self.max_length}


def load_transformers_text(request: EncoderRequest) -> TextEncoder:
    """A text encoder, or the text tower of a dual encoder, from a local folder (never the network) or from the hub."""
    name, model = request.spec.name, request.entry.model
    pool = request.spec.option_choice("pool", "mean", ("mean", "cls"))
    tokenizer = from_pretrained(name, model, "AutoTokenizer")
    _require_words(name, tokenizer)
    encoder = load_model(name, model)
    if hasattr(encoder, "get_text_features"):
        if "pool" in request.spec.options:
            raise UsageError(
                f"{name}: pool is of sentence encoders; a {type(encoder).__name__} pools as it was trained."
            )
        loaded = DualTextEncoder(name, encoder, tokenizer)
        loaded.architecture = f"transformers:{encoder.config.model_type}"
        return loaded
    if encoder.config.model_type.endswith("_text_model"):  # CLIPTextModel and its like
        raise UsageError(
            f"{name}: a {type(encoder).__name__} is the text tower of a model, without its projection. Name the folder "
            "of the whole model."
        )
    if not hasattr(encoder.config, "vocab_size"):
        raise UsageError(f"{name}: a {type(encoder).__name__} reads no texts.")
    if encoder.config.is_encoder_decoder:  # T5: a text's embedding is of the encoder's states
        encoder = encoder.get_encoder()
    loaded = TransformersTextEncoder(name, encoder, tokenizer, pool)
    loaded.architecture = "transformers:text"  # what kind it is the folder says, not its name
    return loaded


def _require_words(name: str, tokenizer: Any) -> None:
    """A UsageError for a tokenizer that came without its words, to which all texts are one, or that cannot fill up."""
    try:
        words = set(tokenizer(PROBE, add_special_tokens=False)["input_ids"]) - {tokenizer.unk_token_id}
    except Exception:  # an empty vocabulary lacks the token for unknown words too
        words = set()
    if not words:
        raise UsageError(f"{name}: its tokenizer has no words (vocab.txt, tokenizer.json): all texts would be equal.")
    if tokenizer.pad_token is None:
        raise UsageError(f"{name}: its tokenizer has no padding token, as those of text encoders have.")
