"""How an encoder is named on the command line: `[ALIAS=]NAME[@FILE][?option=value&...]`."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qsl

from pacl_bench.errors import UsageError
from pacl_bench.registry import unknown_name

Tap = Literal["pre-norm", "post-norm", "values"]
PYTHON = "python:"
# the function is the first name that stands between a colon and "?" or the end: a path may hold colons (C:\enc.py), "@"
# and "?" itself
PYTHON_NAME = re.compile(r"(?P<name>python:.+?:[A-Za-z_]\w*)(?:\?(?P<query>.*))?")


@dataclass(frozen=True)
class VisionOptions:
    """Which tokens of a vision encoder are taken: the options after "?", with the defaults of the table filled in."""

    block: int | None = None  # None is the last
    tap: Tap = "post-norm"
    size: int | None = None  # side of the input square in pixels; None is the model's own
    attention: str = "clip"  # of the last block; another is one of encoders.attention
    pos: str = "bicubic"  # how positional embeddings are interpolated to another grid


@dataclass(frozen=True)
class EncoderSpec:
    """A name taken apart. `library` and `model` are empty and the name for an entry of the table."""

    text: str  # as written, without the alias
    alias: str | None
    library: str  # one of LIBRARIES, or "" for a short name
    model: str  # what the library calls it
    file: Path | None  # a local checkpoint named after "@"
    options: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What tables and records call the encoder."""
        return self.alias or self.text

    def option_choice(self, option: str, default: str, choices: tuple[str, ...]) -> str:
        """An option that takes one of a few words."""
        value = self.options.get(option, default)
        if value not in choices:
            raise UsageError(f"{self.name}: {option}={value} must be one of {', '.join(choices)}.")
        return value

    def option_int(self, option: str) -> int | None:
        """An option that takes a whole number."""
        value = self.options.get(option)
        try:
            return None if value is None else int(value)
        except ValueError:
            raise UsageError(f"{self.name}: {option}={value} must be a whole number.") from None

    def refuse_options_but(self, *known: str) -> None:
        """A misspelt option is an error, never ignored."""
        for option in self.options:
            if option not in known:
                raise UsageError(f"{self.name}: {unknown_name(option, known, 'option')}")


def parse_spec(text: str) -> EncoderSpec:
    """Takes `vits14=timm:vit_small_patch14_dinov2@weights.safetensors?block=10` apart."""
    alias, body = _split_alias(text)
    name, file, query = _split_python(body) if body.startswith(PYTHON) else _split_body(body)
    if file == "":
        raise UsageError(f"{text!r}: a file is wanted behind @.")
    library, colon, model = name.partition(":")
    if not colon:
        library, model = "", name
    if not model:
        raise UsageError(f"{text!r} names no encoder. See `pacl-bench list encoders`.")
    written = text[len(alias) + 1 :] if alias else text
    return EncoderSpec(written, alias, library, model, Path(file) if file else None, _options(text, query))


def _options(text: str, query: str | None) -> dict[str, str]:
    """What stands behind "?"; None where there is none."""
    if query is None:
        return {}
    try:
        # a plus is a plus here (pos=bicubic+0.1), not a blank as in an address
        options = parse_qsl(query.replace("+", "%2B"), keep_blank_values=True, strict_parsing=True)
    except ValueError:
        options = []
    names = [name for name, _ in options]
    if not options or not all(value.strip() for _, value in options):
        raise UsageError(f"{text!r}: options are written ?name=value&name=value.")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"{text!r}: {twice} is given twice.")
    return dict(options)


def _split_body(body: str) -> tuple[str, str | None, str | None]:
    """NAME@FILE?QUERY apart; None for what is not there."""
    body, asked, query = body.partition("?")
    name, at, file = body.partition("@")
    return name, file if at else None, query if asked else None


def _split_python(body: str) -> tuple[str, None, str | None]:
    """python:MODULE_OR_FILE:FUNCTION?QUERY apart; there is no @FILE, which would be a part of the path."""
    found = PYTHON_NAME.fullmatch(body)
    if found is None:
        raise UsageError(f"{body!r} names no function: write python:FILE.py:FUNCTION or python:MODULE:FUNCTION.")
    return found["name"], None, found["query"]


def with_alias(name: str, spec: str) -> str:
    """The text that loads `spec` under `name` again."""
    return spec if name == spec else f"{name}={spec}"


def with_option(spec: str, option: str, value: object) -> str:
    """The spec with an option set to a value, None to leave it out; what else is asked for stays."""
    base, _, query = spec.partition("?")
    asked = [part for part in query.split("&") if part and not part.startswith(f"{option}=")]
    asked += [f"{option}={value}"] if value is not None else []
    return f"{base}?{'&'.join(asked)}" if asked else base


def _split_alias(text: str) -> tuple[str | None, str]:
    """ALIAS=NAME apart. An "=" behind one of ":@?/" belongs to the name."""
    head, equals, rest = text.partition("=")
    if equals and head and not set(head) & set(":@?/"):
        return head, rest
    return None, text
