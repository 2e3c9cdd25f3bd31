"""Every encoder of the table on its library's own architecture with random weights, beside what the library makes.

    python tests/samples/official.py [NAME ...]     all of them, in minutes and 6 GB, or those named

dino.txt is made by a clone of facebookresearch/dinov3 or facebookresearch/dinov2, which PACL_DINOV3_CLONE or
PACL_DINOV2_CLONE names.

The results go to pacl_bench/encoders/checked.csv, which `pacl-bench list encoders` shows.

Base models and smaller ones are whole, but for the vocabulary of text towers, which is cut to 1,000 words. Of larger
ones the first four blocks are run, and the table says so. What a text tower is given is no text but numbers of tokens,
since tokenizers lie on the hub.
"""

import csv
import gc
import importlib
import os
import sys
import warnings
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any
from unittest import mock

import open_clip
import timm
import torch
from open_clip.tokenizer import default_bpe
from torch import Tensor, nn
from torch.nn.functional import normalize

from pacl_bench.encoders.base import Preprocess, VisionEncoder
from pacl_bench.encoders.dinotxt import DinoTxtTextEncoder, DinoTxtVisionEncoder
from pacl_bench.encoders.open_clip import _adapted
from pacl_bench.encoders.open_clip_text import OpenClipTextEncoder
from pacl_bench.encoders.open_clip_weights import untrained_clip
from pacl_bench.encoders.source import first_on_path
from pacl_bench.encoders.spec import VisionOptions
from pacl_bench.encoders.table import ENCODERS, EncoderEntry
from pacl_bench.encoders.timm import TimmVisionEncoder, _create, _encoder

FILE = Path(__file__).parents[2] / "pacl_bench" / "encoders" / "checked.csv"
WORDS = 1000
OF_LIBRARIES = [
    name for name, entry in ENCODERS.items() if entry.library in ("timm", "open_clip", "dinotxt") and not entry.weights
]
TOLERANCE = 1e-5
LARGE, FEW = 1024, 4  # the width from which a model is large, and how many of its blocks are run


@dataclass(frozen=True)
class Checked:
    """The largest difference from what the library makes, as a share of its largest number."""

    name: str
    architecture: str
    library: str  # and its version
    blocks: str  # "12", or "4 of 24"
    patch_tokens: float
    image: float | None = None  # the embedding of the whole image, and of texts, where there is a text space
    text: float | None = None

    @property
    def passed(self) -> bool:
        return all(value is None or value <= TOLERANCE for value in (self.patch_tokens, self.image, self.text))


@torch.no_grad()
def check(name: str) -> Checked:
    """One image and four texts through an encoder of the table and through its library's model."""
    torch.manual_seed(0)
    entry = ENCODERS[name]
    return {"timm": _check_timm, "open_clip": _check_open_clip, "dinotxt": _check_dinotxt}[entry.library](name, entry)


def _check_dinotxt(name: str, entry: EncoderEntry) -> Checked:
    assert entry.patch is not None
    package = entry.model.partition("_")[0]
    clone = Path(os.environ[f"PACL_{package.upper()}_CLONE"])
    model, tokenizer = untrained_dinotxt(clone, entry.model)
    tower = model.visual_model
    trunk = getattr(tower.backbone, "model", tower.backbone)  # DINOv2's is wrapped
    whole = len(trunk.blocks)
    trunk.blocks, model.text_model.backbone.blocks = trunk.blocks[:FEW], model.text_model.backbone.blocks[:FEW]
    encoder = DinoTxtVisionEncoder(name, tower, Preprocess(224, entry.patch, (0.5,) * 3, (0.5,) * 3))
    images = torch.randn(1, 3, 224, 224)
    features = encoder(images)
    texts = ["one", "of a few more", "two words", "and a text that is rather long beside the others"]
    halves = normalize(model.encode_text(tokenizer.tokenize(texts)).unflatten(1, (2, -1))[:, 1], dim=-1)
    return Checked(
        name,
        entry.model,
        f"facebookresearch/{package}",
        f"{FEW} of {whole}",
        _difference(features.patch_tokens, tower.get_class_and_patch_tokens(images)[1]),
        _difference(encoder.image_embedding(features), model.encode_image(images)),
        _difference(DinoTxtTextEncoder(name, model.text_model)(texts, show_progress=False), halves),
    )


def untrained_dinotxt(clone: Path, function: str) -> tuple[Any, Any]:
    """What a clone's function makes where nothing is downloaded, its weights drawn at random; and its tokenizer."""
    package = function.partition("_")[0]
    with (
        first_on_path(clone),
        warnings.catch_warnings(),
        mock.patch.object(torch.hub, "load_state_dict_from_url", return_value={}),
        mock.patch.object(nn.Module, "load_state_dict"),
    ):
        warnings.simplefilter("ignore")
        hub = importlib.import_module(f"{package}.hub.dinotxt")
        made = getattr(hub, function)(**{"bpe_path_or_url": default_bpe()} if package == "dinov3" else {})
        model = made[0] if isinstance(made, tuple) else made
        model.init_weights()
        text = "eval.text" if package == "dinov3" else "hub.text"
        tokenizer = importlib.import_module(f"{package}.{text}.tokenizer").Tokenizer(default_bpe())
    for weight in model.parameters():  # those it begins with scale the additional blocks by 0.00001
        weight.data.add_(torch.randn_like(weight), alpha=0.02)
    return model.eval(), tokenizer


def _check_timm(name: str, entry: EncoderEntry) -> Checked:
    with torch.device("meta"):
        whole = _create(entry.model, num_classes=0)
    few = {"depth": FEW} if whole.embed_dim >= LARGE else {}
    trunk = _create(entry.model, num_classes=0, **few).eval()
    encoder = _encoder(name, trunk, VisionOptions(size=entry.size))
    images = torch.randn(1, 3, encoder.image_size, encoder.image_size)
    expected = trunk.forward_features(images)[:, trunk.num_prefix_tokens :]
    difference = _difference(encoder(images).patch_tokens, expected)
    return Checked(name, entry.model, f"timm {timm.__version__}", _blocks(encoder, len(whole.blocks)), difference)


def _check_open_clip(name: str, entry: EncoderEntry) -> Checked:
    clip, blocks = _clip(entry.model)
    encoder = _adapted(name, clip.visual, VisionOptions(tap="pre-norm"))
    assert encoder is not None
    images = torch.randn(1, 3, encoder.image_size, encoder.image_size)
    features = encoder(images)
    text = OpenClipTextEncoder(name, clip, lambda texts: _tokens(texts, clip))
    texts = ["one", "of a few more", "two words", "and a text that is rather long beside the others"]
    expected = normalize(clip.encode_text(_tokens(texts, clip)), dim=-1)
    return Checked(
        name,
        entry.model,
        f"open_clip {open_clip.__version__}",
        _blocks(encoder, blocks),
        _difference(features.patch_tokens, _states(clip.visual, images, encoder)),
        _difference(encoder.image_embedding(features), clip.encode_image(images)),
        _difference(text(texts, show_progress=False), expected),
    )


def _clip(architecture: str) -> tuple[torch.nn.Module, int]:
    """The official architecture, its text tower with few words, a large one with few blocks; and how many it has."""
    config = open_clip.get_model_config(architecture)
    vision, text = config["vision_cfg"], config["text_cfg"] | {"vocab_size": WORDS}
    large = text["width"] >= LARGE or vision.get("width", 0) >= LARGE
    blocks = vision.get("layers")
    if large:
        text, vision = text | {"layers": FEW}, vision | ({"layers": FEW} if blocks else {})
    open_clip.factory._MODEL_CONFIGS["cut-short"] = config | {"vision_cfg": vision, "text_cfg": text}
    clip = untrained_clip("cut-short", pretrained_text=False).eval()
    return clip, blocks or len(clip.visual.trunk.blocks)  # a tower of timm is run whole


def _blocks(encoder: VisionEncoder, whole: int) -> str:
    return f"{whole}" if encoder.num_blocks == whole else f"{encoder.num_blocks} of {whole}"


def _states(visual: torch.nn.Module, images: Tensor, encoder: VisionEncoder) -> Tensor:
    """What the last block of a tower gives in the library's own pass over an image."""
    seen: list[Tensor] = []
    trunk = visual.trunk if isinstance(encoder, TimmVisionEncoder) else visual
    blocks = trunk.blocks if isinstance(encoder, TimmVisionEncoder) else trunk.transformer.resblocks
    handle = blocks[-1].register_forward_hook(lambda _module, _given, out: seen.append(out))
    visual(images)
    handle.remove()
    return seen[0][:, getattr(trunk, "num_prefix_tokens", 1) :]


def _tokens(texts: list[str], clip: torch.nn.Module) -> Tensor:
    """A begin, a token a letter, the end, padding; the end is the largest number, and what a tower pools by."""
    whole: torch.nn.Module = getattr(clip, "text", clip)
    length = clip.context_length if hasattr(clip, "context_length") else 64
    end = getattr(whole, "eos_id", None) or getattr(whole, "text_eos_id", None) or WORDS - 1
    tokens = torch.zeros(len(texts), length, dtype=torch.int64)
    for row, text in zip(tokens, texts, strict=True):
        letters = [100 + ord(letter) for letter in text][: length - 2]
        row[: len(letters) + 2] = torch.tensor([1, *letters, min(end, WORDS - 1)])
    return tokens


def _difference(found: Tensor, expected: Tensor) -> float:
    assert found.shape == expected.shape, (found.shape, expected.shape)
    return float((found - expected).abs().max() / expected.abs().max())


def main() -> None:
    rows = _written()
    for name in sys.argv[1:] or OF_LIBRARIES:
        found = check(name)
        print(found, flush=True)
        rows[name] = {**{column: _told(value) for column, value in asdict(found).items()}, "passed": found.passed}
        _write([rows[name] for name in OF_LIBRARIES if name in rows])
        gc.collect()
    sys.exit(not all(row["passed"] in (True, "True") for row in rows.values()))


def _written() -> dict[str, dict[str, object]]:
    if not FILE.is_file():
        return {}
    with FILE.open(newline="", encoding="utf-8") as handle:
        return {row["name"]: dict(row) for row in csv.DictReader(handle)}


def _write(rows: list[dict[str, object]]) -> None:
    with FILE.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, [*(field.name for field in fields(Checked)), "passed"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _told(value: object) -> object:
    return f"{value:.0e}" if isinstance(value, float) else value


if __name__ == "__main__":
    main()
