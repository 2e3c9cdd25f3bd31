"""The frozen encoders: a table of names, and loading by name or by `LIBRARY:MODEL`."""

from typing import TYPE_CHECKING, Any

from pacl_bench.encoders.spec import EncoderSpec, VisionOptions, parse_spec, with_option
from pacl_bench.errors import UsageError
from pacl_bench.records import block_name
from pacl_bench.registry import lookup, unknown_name

if TYPE_CHECKING:
    from pacl_bench.encoders.base import TextEncoder, VisionEncoder
from pacl_bench.encoders.table import ATTENTIONS, DEFAULT_TAP, ENCODERS, LIBRARIES, OPTIONS, POSITIONS, EncoderEntry


def load_encoder(name: str) -> "VisionEncoder":
    """A frozen vision encoder by name, on the CPU, in float32.

    Args:
        name: of the table ENCODERS, or `open_clip:ARCH/TAG`, `open_clip:ARCH@FILE`, `timm:NAME`, `timm:NAME@FILE`, or
            `random:NAME` for a model of timm that was never trained; options after `?`: `block` (from 0, or from -1
            backwards; default the last), `tap` (`pre-norm` or `post-norm`; default pre-norm for open_clip, post-norm
            for timm), `size` (side of the input in pixels), `pos` (`bicubic`, the default, `bilinear`,
            `bicubic-noalias` or `bicubic+0.1`: how positional embeddings are interpolated to another grid; see
            encoders.positions), and for open_clip `attention` (of the last block: `clip`, the default, or `maskclip`,
            `sclip`, `clearclip`, `naclip` and others; see encoders.attention).
            `ALIAS=...` before it sets the name shown in tables.

    Raises:
        UsageError: a name, option, file or weights that do not exist, in one line that says the way out.
    """
    spec = parse_spec(name)
    library, model, tag = _resolve(spec)
    if library == "transformers":
        raise UsageError(
            f"{spec.name} is a text encoder; --encoder wants a vision encoder (`pacl-bench list encoders`)."
        )
    spec.refuse_options_but(*OPTIONS[library])
    return _named(_load_vision(spec, library, model, tag), spec)


def _load_vision(spec: EncoderSpec, library: str, model: str, tag: str | None) -> "VisionEncoder":
    options, name = _vision_options(spec, library), _weights_name(spec)
    if library == "open_clip":
        from pacl_bench.encoders.open_clip import load_open_clip_vision

        return load_open_clip_vision(name, model, tag, spec.file, options)
    if library == "timm":
        from pacl_bench.encoders.timm import load_timm_vision

        return load_timm_vision(name, model, spec.file, options)
    if library == "built-in":
        from pacl_bench.world.encoders import load_tiny_vision

        return load_tiny_vision(model, spec.file, options)
    if library == "mocov2":
        from pacl_bench.encoders.mocov2 import load_mocov2

        return load_mocov2(name, spec.file, options)
    if spec.file is not None:
        raise UsageError(f"{spec.name} has no weights to load; leave out @{spec.file}.")
    if library == "random":
        from pacl_bench.encoders.timm import load_random_vit

        return load_random_vit(name, model, options)
    from pacl_bench.encoders.pixels import PIXEL_ENCODERS

    return PIXEL_ENCODERS[model](name, options.size)


def _vision_options(spec: EncoderSpec, library: str) -> VisionOptions:
    """The options of a name, with the defaults of its entry and library filled in."""
    entry = EncoderEntry("timm", "") if spec.library else ENCODERS[spec.model]
    block, size = spec.option_int("block"), spec.option_int("size")
    tap: Any = spec.option_choice("tap", DEFAULT_TAP.get(library, "post-norm"), ("pre-norm", "post-norm"))
    return VisionOptions(
        entry.block if block is None else block,
        tap,
        size or entry.size,
        spec.option_choice("attention", entry.attention, tuple(ATTENTIONS)),
        spec.option_choice("pos", "bicubic", tuple(POSITIONS)),
    )


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
        spec.refuse_options_but(*OPTIONS["open_clip"])  # a CLIP may be named with the options of its vision tower
        library, model, tag = _resolve(spec)
        if model == "tiny-clip":
            from pacl_bench.world.encoders import load_tiny_text

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
    return f"{spec.library}:{spec.model}" if spec.library else ENCODERS[spec.model].weights or spec.model
