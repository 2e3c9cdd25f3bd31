"""The frozen encoders: a table of names, and loading by name or by `LIBRARY:MODEL`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pacl_bench.encoders.spec import EncoderSpec, parse_spec, with_option
from pacl_bench.errors import UsageError
from pacl_bench.records import block_name
from pacl_bench.registry import lookup, unknown_name

if TYPE_CHECKING:
    from pacl_bench.encoders.base import TextEncoder, VisionEncoder

Library = Literal["open_clip", "timm", "built-in"]
DEFAULT_TAP = {"open_clip": "pre-norm"}  # the others: post-norm
LIBRARIES = ("open_clip", "timm", "transformers")


@dataclass(frozen=True)
class EncoderEntry:
    """An encoder with a short name."""

    library: Library
    model: str  # what the library calls it
    tag: str | None = None  # of the weights, in open_clip
    size: int | None = None  # side of the input square in pixels, where another than the library's is used
    block: int | None = None  # whose tokens are taken, where it is not the last
    note: str = ""


# DINOv2's timm entries ask for 518 pixels, its last and short phase of training; 224 makes it comparable with the rest
ENCODERS: dict[str, EncoderEntry] = {
    "clip-b32": EncoderEntry("open_clip", "ViT-B-32", "openai", note="OpenAI CLIP ViT-B/32"),
    "clip-b16": EncoderEntry("open_clip", "ViT-B-16", "openai", note="OpenAI CLIP ViT-B/16, the paper's main encoder"),
    "clip-l14": EncoderEntry("open_clip", "ViT-L-14", "openai", note="OpenAI CLIP ViT-L/14"),
    "clip-l14-336": EncoderEntry("open_clip", "ViT-L-14-336", "openai", note="OpenAI CLIP ViT-L/14 at 336 pixels"),
    "dino-s16": EncoderEntry("timm", "vit_small_patch16_224.dino", note="DINO ViT-S/16"),
    "dino-s8": EncoderEntry("timm", "vit_small_patch8_224.dino", note="DINO ViT-S/8"),
    "dino-b16": EncoderEntry("timm", "vit_base_patch16_224.dino", note="DINO ViT-B/16, the paper's comparison"),
    "dino-b8": EncoderEntry("timm", "vit_base_patch8_224.dino", note="DINO ViT-B/8"),
    "dinov2-s14": EncoderEntry("timm", "vit_small_patch14_dinov2.lvd142m", size=224, note="DINOv2 ViT-S/14"),
    "dinov2-b14": EncoderEntry("timm", "vit_base_patch14_dinov2.lvd142m", size=224, note="DINOv2 ViT-B/14"),
    "dinov2-l14": EncoderEntry("timm", "vit_large_patch14_dinov2.lvd142m", size=224, note="DINOv2 ViT-L/14"),
    "dinov2-s14-reg": EncoderEntry("timm", "vit_small_patch14_reg4_dinov2.lvd142m", size=224, note="with 4 registers"),
    "dinov2-b14-reg": EncoderEntry("timm", "vit_base_patch14_reg4_dinov2.lvd142m", size=224, note="with 4 registers"),
    "dinov2-l14-reg": EncoderEntry("timm", "vit_large_patch14_reg4_dinov2.lvd142m", size=224, note="with 4 registers"),
    "tiny-clip": EncoderEntry("built-in", "tiny-clip", note="CLIP of the built-in world, shipped: 64 pixels, patch 8"),
    # the last of its four blocks serves the CLS token: AUROC of its patch tokens is 0.66, of the block before 0.87
    "tiny-dino": EncoderEntry(
        "built-in", "tiny-dino", block=2, note="DINO of the built-in world, shipped; block 2 of 0-3"
    ),
    "mae-b16": EncoderEntry("timm", "vit_base_patch16_224.mae", note="MAE ViT-B/16"),
}


def load_encoder(name: str) -> "VisionEncoder":
    """A frozen vision encoder by name, on the CPU, in float32.

    Args:
        name: of the table ENCODERS, or `open_clip:ARCH/TAG`, `open_clip:ARCH@FILE`, `timm:NAME`, `timm:NAME@FILE`;
            options after `?`: `block` (from 0, or from -1 backwards; default the last), `tap` (`pre-norm` or
            `post-norm`; default pre-norm for open_clip, post-norm for timm), `size` (side of the input in pixels).
            `ALIAS=...` before it sets the name shown in tables.

    Raises:
        UsageError: a name, option, file or weights that do not exist, in one line that says the way out.
    """
    spec = parse_spec(name)
    spec.refuse_options_but("block", "tap", "size")
    library, model, tag = _resolve(spec)
    entry = None if spec.library else ENCODERS.get(spec.model)
    size = spec.option_int("size") or (entry and entry.size)
    block = spec.option_int("block")
    if block is None and entry is not None:
        block = entry.block
    tap: Any = spec.option_choice("tap", DEFAULT_TAP.get(library, "post-norm"), ("pre-norm", "post-norm"))
    if library == "open_clip":
        from pacl_bench.encoders.open_clip import load_open_clip_vision

        encoder = load_open_clip_vision(_weights_name(spec), model, tag, spec.file, block, tap, size)
    elif library == "timm":
        from pacl_bench.encoders.timm import load_timm_vision

        encoder = load_timm_vision(_weights_name(spec), model, spec.file, block, tap, size)
    elif library == "built-in":
        from pacl_bench.encoders.tiny import load_tiny_vision

        encoder = load_tiny_vision(model, spec.file, block, tap, size)
    else:
        raise UsageError(
            f"{spec.name} is a text encoder; --encoder wants a vision encoder (`pacl-bench list encoders`)."
        )
    return _named(encoder, spec)


def load_every_block(name: str) -> "list[VisionEncoder]":
    """The encoder that a name with `?block=all` stands for, once for each of its blocks, the first block first.

    They share their weights, and what is encoded for one of them is encoded for all in one pass. They are called
    `NAME block 0` and so on.
    """
    spec = parse_spec(with_option(name, "block", None))
    last = load_encoder(with_option(name, "block", -1))
    encoders = [last.at_block(block) for block in range(last.num_blocks)]
    for encoder in encoders:
        encoder.name, encoder.spec = (
            block_name(spec.name, encoder.block),
            with_option(spec.text, "block", encoder.block),
        )
        encoder.siblings = tuple(encoders)
    return encoders


def load_text_encoder(name: str) -> "TextEncoder":
    """A frozen text encoder by name, on the CPU, in float32.

    Args:
        name: a CLIP of the table ENCODERS, `open_clip:ARCH/TAG`, `open_clip:ARCH@FILE`, or
            `transformers:NAME_OR_FOLDER` with `?pool=mean` (default) or `cls`.

    Raises:
        UsageError: as `load_encoder`.
    """
    spec = parse_spec(name)
    if spec.library == "transformers":
        from pacl_bench.encoders.transformers import load_transformers_text

        spec.refuse_options_but("pool")
        encoder = load_transformers_text(spec.name, spec.model, spec.option_choice("pool", "mean", ("mean", "cls")))
    else:
        spec.refuse_options_but("block", "tap", "size")  # a CLIP may be named with the options of its vision tower
        library, model, tag = _resolve(spec)
        if model == "tiny-clip":
            from pacl_bench.encoders.tiny import load_tiny_text

            encoder = load_tiny_text(spec.file)
        elif library == "open_clip":
            from pacl_bench.encoders.open_clip import load_open_clip_text

            encoder = load_open_clip_text(_weights_name(spec), model, tag, spec.file)
        else:
            raise UsageError(f"{spec.name} has no text encoder. --text takes a CLIP or transformers:FOLDER.")
    return _named(encoder, spec)


def _named(encoder: Any, spec: EncoderSpec) -> Any:
    """The encoder under the name the user gave it, frozen."""
    library, model, _ = _resolve(spec)
    encoder.name, encoder.spec, encoder.architecture = spec.name, spec.text, f"{library}:{model}"
    return encoder.requires_grad_(False).eval()


def _resolve(spec: EncoderSpec) -> tuple[str, str, str | None]:
    """(library, model, tag) of a name of the table or a `LIBRARY:MODEL/TAG`."""
    if not spec.library:
        entry = lookup(ENCODERS, spec.model, "encoder")
        return entry.library, entry.model, entry.tag
    if spec.library not in LIBRARIES:
        raise UsageError(unknown_name(spec.library, LIBRARIES, "encoder library"))
    if spec.library == "transformers":
        return spec.library, "text", None  # what kind it is the folder says, not its name
    if spec.library == "open_clip":
        model, _, tag = spec.model.partition("/")
        return spec.library, model, tag or None
    return spec.library, spec.model, None


def _weights_name(spec: EncoderSpec) -> str:
    """The name under which PACL_WEIGHTS is searched: without alias, file and options."""
    return f"{spec.library}:{spec.model}" if spec.library else spec.model
