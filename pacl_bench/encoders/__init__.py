"""The frozen encoders, loaded by a short name or by `LIBRARY:MODEL`."""

from typing import TYPE_CHECKING, TypeVar

from pacl_bench.encoders.request import EncoderRequest, requested
from pacl_bench.encoders.spec import parse_spec, with_option
from pacl_bench.errors import UsageError
from pacl_bench.records import block_name

if TYPE_CHECKING:
    from pacl_bench.encoders.base import TextEncoder, VisionEncoder

    Encoder = TypeVar("Encoder", VisionEncoder, TextEncoder)


def load_encoder(name: str) -> "VisionEncoder":
    """A frozen vision encoder by name, on the CPU, in float32.

    Args:
        name: of the table ENCODERS or of an installed package, or `open_clip:ARCH/TAG`, `open_clip:ARCH@FILE`,
            `timm:NAME`, `timm:NAME@FILE`, `random:NAME` for a model of timm that was never trained, or
            `python:FILE.py:FUNCTION` and `python:MODULE:FUNCTION` for code of your own (see encoders.python); options
            after `?`: `block` (from 0, or from -1 backwards; default the last), `tap` (`pre-norm` or `post-norm`;
            default pre-norm for open_clip, post-norm for timm), `size` (side of the input in pixels), `pos` (how
            positional embeddings come to another grid: `bicubic`, the default, `bilinear`, `bicubic-noalias` or
            `bicubic+0.1`; see encoders.positions), and for open_clip `attention` (of the last block: `clip`, the
            default, or `maskclip`, `sclip`, `clearclip`, `naclip` and others; see encoders.attention). `ALIAS=...`
            before it sets the name shown in tables.

    Raises:
        UsageError: a name, option, file or weights that do not exist, in one line that says the way out.
    """
    request = requested(name)
    return _named(request.vision_loader()(request), request)


def load_every_block(name: str) -> "list[VisionEncoder]":
    """The encoder that a name with `?block=all` stands for, once for each of its blocks, the first block first.

    They share their weights, and what is encoded for one of them is encoded for all in one pass. They are called
    `NAME block 0` and so on. What has no blocks (pixels, crf-kernel) stands for itself.

    Raises:
        UsageError: attention other than CLIP's own, which changes the last block alone.
    """
    spec = parse_spec(with_option(name, "block", None))
    plain = load_encoder(with_option(name, "block", None))
    if plain.num_blocks == 1:
        return [plain]
    if plain.attention != "clip":
        raise UsageError(f"{spec.name}: attention={plain.attention} changes the last block alone; leave out block=all.")
    if plain.blocks_share_a_pass:
        encoders = [plain.at_block(block) for block in range(plain.num_blocks)]
    else:
        encoders = [load_encoder(with_option(name, "block", block)) for block in range(plain.num_blocks)]
    for encoder in encoders:
        encoder.name, encoder.spec = (
            block_name(spec.name, encoder.block),
            with_option(spec.text, "block", encoder.block),
        )
        encoder.siblings = tuple(encoders) if plain.blocks_share_a_pass else ()
    return encoders


def load_text_encoder(name: str) -> "TextEncoder":
    """A frozen text encoder by name, on the CPU, in float32.

    Args:
        name: a CLIP of the table ENCODERS, `open_clip:ARCH/TAG`, `open_clip:ARCH@FILE`, `transformers:NAME_OR_FOLDER`
            with `?pool=mean` (default) or `cls`, or code of your own as for `load_encoder`.

    Raises:
        UsageError: as `load_encoder`.
    """
    request = requested(name)
    return _named(request.text_loader()(request), request)


def _named(encoder: "Encoder", request: EncoderRequest) -> "Encoder":
    """The encoder under the name the user gave it, frozen."""
    encoder.name, encoder.spec = request.spec.name, request.spec.text
    encoder.architecture = encoder.architecture or request.architecture
    return encoder.requires_grad_(False).eval()
