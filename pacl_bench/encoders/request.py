"""From the name of an encoder to what its library is asked for. No torch here."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import Any

from pacl_bench.encoders.setup import MOST_PIXELS
from pacl_bench.encoders.spec import EncoderSpec, VisionOptions, parse_spec
from pacl_bench.encoders.table import (
    ATTENTIONS,
    ENCODERS,
    LIBRARIES,
    POSITIONS,
    EncoderEntry,
    EncoderLibrary,
)
from pacl_bench.errors import UsageError
from pacl_bench.registry import entry_points, lookup, unknown_name

ENTRY_POINTS = "pacl_bench.encoders"


@dataclass(frozen=True)
class EncoderRequest:
    """An encoder that is asked for: its name taken apart, and what the tables say of it."""

    spec: EncoderSpec
    entry: EncoderEntry  # of the table, or made of LIBRARY:MODEL/TAG

    @property
    def library(self) -> EncoderLibrary:
        return LIBRARIES[self.entry.library]

    @property
    def architecture(self) -> str:
        """Library and model, as settings and head cards have them."""
        return f"{self.entry.library}:{self.entry.model}"

    @property
    def weights_name(self) -> str:
        """The name under which PACL_WEIGHTS is searched: without alias, file and options."""
        if self.spec.library:
            return f"{self.spec.library}:{self.spec.model}"
        return self.entry.weights or self.spec.model

    @cached_property
    def vision_options(self) -> VisionOptions:
        """The options after "?", with the defaults of entry and library filled in."""
        spec, entry = self.spec, self.entry
        block, size = spec.option_int("block"), spec.option_int("size")
        if size is not None and not 1 <= size <= MOST_PIXELS:
            raise UsageError(f"{spec.name}: size={size} must be 1 to {MOST_PIXELS} pixels.")
        tap: Any = spec.option_choice("tap", self.library.default_tap, self.library.taps)
        return VisionOptions(
            entry.block if block is None else block,
            tap,
            size or entry.size,
            spec.option_choice("attention", entry.attention, tuple(ATTENTIONS)),
            spec.option_choice("pos", "bicubic", tuple(POSITIONS)),
        )

    def vision_loader(self) -> Callable[["EncoderRequest"], Any]:
        """What loads it as a vision encoder; a UsageError where it is none or an option is not known."""
        if not self.library.load_vision:
            raise UsageError(
                f"{self.spec.name} is a text encoder; --encoder wants a vision encoder (`pacl-bench list encoders`)."
            )
        return self._loader(self.library.load_vision, self.library.options)

    def text_loader(self) -> Callable[["EncoderRequest"], Any]:
        """What loads it as a text encoder; a UsageError where it is none or an option is not known."""
        if not self.library.load_text:
            raise no_text_encoder(self.spec.name)
        return self._loader(self.library.load_text, self.library.text_options)

    def _loader(self, place: str, options: tuple[str, ...] | None) -> Callable[["EncoderRequest"], Any]:
        if options is not None:
            self.spec.refuse_options_but(*options)
        if self.spec.file is not None and not self.library.takes_file:
            raise UsageError(f"{self.spec.name} takes no file of weights; leave out @{self.spec.file}.")
        module, _, function = place.partition(":")
        return getattr(import_module(module), function)


def requested(name: str) -> EncoderRequest:
    """What a name asks for; a UsageError where neither it nor its library is known."""
    spec = parse_spec(name)
    if spec.library:
        return EncoderRequest(spec, _entry_of_library(spec))
    outside = entry_points(ENTRY_POINTS, ENCODERS)
    if spec.model in outside:
        return EncoderRequest(spec, EncoderEntry("python", outside[spec.model].value))
    if spec.model in ENCODERS:
        return EncoderRequest(spec, ENCODERS[spec.model])
    raise UsageError(unknown_name(spec.model, [*ENCODERS, *outside], "encoder"))


def no_text_encoder(name: str) -> UsageError:
    """The one line for what has no text encoder."""
    return UsageError(f"{name} has no text encoder. --text takes a CLIP, transformers:FOLDER or python:FILE:FUNCTION.")


def _entry_of_library(spec: EncoderSpec) -> EncoderEntry:
    writable = {name: library for name, library in LIBRARIES.items() if not library.short_names_alone}
    library = lookup(writable, spec.library, "encoder library")
    if not library.tagged:
        return EncoderEntry(spec.library, spec.model)
    model, _, tag = spec.model.partition("/")
    return EncoderEntry(spec.library, model, tag or None)
