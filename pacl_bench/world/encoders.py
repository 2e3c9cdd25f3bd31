"""The built-in pair: a tiny CLIP and a tiny DINO, trained from scratch in the built-in world, shipped with the package.

Their text side reads the world's own words: open_clip's byte-pair table alone would be larger than both encoders.
"""

import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import torch
from jaxtyping import Int64
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
from safetensors.torch import save
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from pacl_bench.encoders.base import Preprocess
from pacl_bench.encoders.open_clip import OpenClipVisionEncoder, no_other_attention
from pacl_bench.encoders.open_clip_text import OpenClipTextEncoder
from pacl_bench.encoders.request import EncoderRequest, no_text_encoder
from pacl_bench.encoders.timm import TimmVisionEncoder
from pacl_bench.encoders.weights_files import find_weights, load_strictly, read_state_dict
from pacl_bench.errors import UsageError
from pacl_bench.files import write_bytes
from pacl_bench.world import IMAGE_SIZE, vocabulary

Encoder = TypeVar("Encoder", bound=nn.Module)

WEIGHTS = Path(__file__).parent / "weights"
TINY_CLIP = WEIGHTS / "tiny-clip.safetensors"
TINY_DINO = WEIGHTS / "tiny-dino.safetensors"

PATCH_SIZE = 8  # pixels
WIDTH = 96
DEPTH = 4  # blocks
HEADS = 3
MLP_RATIO = 4
TEXT_DIM = 64
CONTEXT_LENGTH = 24  # tokens; the tail of a longer caption is cut off
PIXEL_MEAN = PIXEL_STD = (0.5, 0.5, 0.5)  # of both encoders: pixels from -1 to 1


class WorldTokenizer:
    """Words to numbers. 0 pads, 1 begins, the largest number ends: CLIP pools the text at the largest."""

    def __init__(self) -> None:
        self.words = vocabulary()
        self.context_length = CONTEXT_LENGTH
        self._number = {word: number for number, word in enumerate(self.words, start=2)}
        self.begin, self.end = 1, len(self.words) + 2
        self.vocab_size = self.end + 1

    def __call__(self, texts: str | Sequence[str]) -> Int64[Tensor, "text token"]:
        texts = [texts] if isinstance(texts, str) else texts
        tokens = torch.zeros(len(texts), self.context_length, dtype=torch.int64)
        for row, text in zip(tokens, texts, strict=True):
            numbers = [self.begin, *self.encode(text)][: self.context_length - 1] + [self.end]
            row[: len(numbers)] = torch.tensor(numbers)
        return tokens

    def encode(self, text: str) -> list[int]:
        """The numbers of a text's words; capitals and punctuation do not count."""
        words = re.findall(r"[^\s.,;:!?\"'()]+", text.lower())
        unknown = [word for word in words if word not in self._number]
        if unknown:
            raise UsageError(self._complaint(unknown[0], text))
        return [self._number[word] for word in words]

    def _complaint(self, word: str, text: str) -> str:
        near = difflib.get_close_matches(word, self.words, n=3)
        guess = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
        known = ", ".join(self.words)
        return f"The built-in text encoder does not know the word {word!r} of {text!r}.{guess} It knows: {known}."


def build_tiny_clip(patch_dropout: float = 0.0) -> CLIP:
    """The tiny CLIP, untrained. `patch_dropout` is for pre-training only: the share of patches left out of a step."""
    vision = CLIPVisionCfg(
        layers=DEPTH,
        width=WIDTH,
        head_width=WIDTH // HEADS,
        mlp_ratio=MLP_RATIO,
        patch_size=PATCH_SIZE,
        image_size=IMAGE_SIZE,
        patch_dropout=patch_dropout,
    )
    text = CLIPTextCfg(
        context_length=CONTEXT_LENGTH, vocab_size=WorldTokenizer().vocab_size, width=WIDTH, heads=HEADS, layers=2
    )
    return CLIP(TEXT_DIM, vision, text)


def build_tiny_dino() -> VisionTransformer:
    """The tiny DINO, untrained: the same vision transformer, with no head."""
    return VisionTransformer(
        img_size=IMAGE_SIZE,
        patch_size=PATCH_SIZE,
        embed_dim=WIDTH,
        depth=DEPTH,
        num_heads=HEADS,
        mlp_ratio=MLP_RATIO,
        num_classes=0,
        dynamic_img_size=True,  # self-distillation looks at small crops too
    )


def load_tiny_clip(weights: Path = TINY_CLIP) -> CLIP:
    """The tiny CLIP as shipped (or as pre-trained anew into `weights`), frozen, in single precision."""
    return _loaded(build_tiny_clip(), weights)


def load_tiny_dino(weights: Path = TINY_DINO) -> VisionTransformer:
    """The tiny DINO as shipped (or as pre-trained anew into `weights`), frozen, in single precision."""
    return _loaded(build_tiny_dino(), weights)


def save_weights(encoder: nn.Module, weights: Path) -> None:
    """In half precision: image embeddings keep a cosine of 0.9999997 with those of single precision."""
    write_bytes(weights, save({name: tensor.half().contiguous() for name, tensor in encoder.state_dict().items()}))


def _loaded(encoder: Encoder, weights: Path) -> Encoder:
    load_strictly(encoder, read_state_dict(weights), weights)
    return encoder.eval().requires_grad_(False)


def load_tiny_vision(request: EncoderRequest) -> OpenClipVisionEncoder | TimmVisionEncoder:
    """tiny-clip or tiny-dino with the shipped weights, or those of a file that `pacl-bench world pretrain` wrote."""
    model, file, options = request.entry.model, request.spec.file, request.vision_options
    preprocess = Preprocess(options.size or IMAGE_SIZE, PATCH_SIZE, PIXEL_MEAN, PIXEL_STD)
    block, tap, pos = options.block, options.tap, options.pos
    if model == "tiny-clip":
        visual = load_tiny_clip(find_weights(model, file) or TINY_CLIP).visual
        return OpenClipVisionEncoder(model, visual, preprocess, block, tap, options.attention, pos)
    if options.attention != "clip":
        raise no_other_attention(model, options.attention)
    return TimmVisionEncoder(
        model, load_tiny_dino(find_weights(model, file) or TINY_DINO), preprocess, block, tap, pos=pos
    )


def load_tiny_text(request: EncoderRequest) -> OpenClipTextEncoder:
    """The text tower of tiny-clip: it knows the words of the built-in world and no others."""
    model = request.entry.model
    if model != "tiny-clip":
        raise no_text_encoder(request.spec.name)
    weights = find_weights(model, request.spec.file) or TINY_CLIP
    return OpenClipTextEncoder(model, load_tiny_clip(weights), WorldTokenizer())
