"""Encoders that are code of your own: `python:FILE.py:FUNCTION`, `python:MODULE:FUNCTION`, or an entry point.

FUNCTION is called with the options after "?" and returns one of these:

- a torch module that takes images "image 3 height width_px" to patch tokens "image patch width" (without CLS and
  registers) or to a grid "image width rows cols". It says how photos are shown to it by its attributes `patch_size`
  and `image_size` in pixels and `mean` and `std` (of pixels from 0 to 1: three numbers or one), and may say
  `interpolation`; each may be given as an option instead (`?patch_size=16&mean=0.48+0.46+0.41`);
- for --text, a torch module that takes a list of texts to embeddings "text dim";
- a `VisionEncoder` or `TextEncoder` (encoders.base), for all that these can do: CLS tokens, blocks, a text space;
- a pair of one for vision and one for text, where one model is both.

FUNCTION may also be the module's class, or the module itself. Weights that it draws are the same at every load. The
code is part of the settings, and with them of the cache's key: changed code never reads old tokens.
"""

import copy
import hashlib
import inspect
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from PIL import Image
from pydantic import ConfigDict, PositiveInt, TypeAdapter, ValidationError
from torch import Tensor, nn

from pacl_bench.encoders import own_code
from pacl_bench.encoders.base import Preprocess, TextEncoder, Tokens, VisionEncoder, frozen
from pacl_bench.encoders.request import EncoderRequest
from pacl_bench.encoders.source import import_function
from pacl_bench.errors import RunError, UsageError, cause_of, one_line
from pacl_bench.registry import lookup, unknown_name

SHOWN = ("patch_size", "image_size", "mean", "std", "interpolation")  # how photos are shown to a plain torch module

INTERPOLATIONS = {one.name.lower(): one.name.lower() for one in Image.Resampling}


class ModuleVisionEncoder(VisionEncoder):
    """A plain torch module as a vision encoder of one block, without CLS token, stride trick and text space."""

    any_stride = False

    def __init__(self, name: str, module: nn.Module, preprocess: Preprocess, files: frozenset[str] = frozenset()):
        super().__init__()
        self.name = self.spec = name
        self.module, self.files = frozen(module), files
        self.preprocess = preprocess
        self.patch_size, self.image_size = preprocess.patch_size, preprocess.image_size
        side = self.image_size // self.patch_size
        pixels = torch.zeros(1, 3, side * self.patch_size, side * self.patch_size)
        self.width = self._patch_tokens(pixels, (side, side)).shape[-1]

    def encode(self, images: Float[Tensor, "image 3 height width_px"], stride: int, grid: tuple[int, int]) -> Tokens:
        return None, self._patch_tokens(images, grid)

    @torch.no_grad()
    def _patch_tokens(
        self, images: Float[Tensor, "image 3 height width_px"], grid: tuple[int, int]
    ) -> Float[Tensor, "image patch width"]:
        given = _called(self, self.module, images, f"images of {' x '.join(map(str, images.shape))}")
        shape = tuple(given.shape) if isinstance(given, Tensor) else ()
        rows, cols = grid
        if len(shape) == 4 and (shape[0], *shape[2:]) == (len(images), rows, cols):
            return given.flatten(2).mT.float()
        if len(shape) == 3 and shape[:2] == (len(images), rows * cols):
            return given.float()
        raise UsageError(
            f"{self.name} gives {_told(given)} for {len(images)} image(s) of {rows} x {cols} patches of "
            f"{self.patch_size} pixels; wanted are patch tokens ({len(images)}, {rows * cols}, width), without CLS and "
            f"registers, or a grid ({len(images)}, width, {rows}, {cols})."
        )


class ModuleTextEncoder(TextEncoder):
    """A plain torch module that takes a list of texts, as a text encoder."""

    def __init__(self, name: str, module: nn.Module, files: frozenset[str] = frozenset()):
        super().__init__()
        self.name = self.spec = name
        self.module, self.files = frozen(module), files
        self.dim = self.encode(["a", "b"]).shape[1]

    @torch.no_grad()
    def encode(self, texts: list[str]) -> Float[Tensor, "text dim"]:
        given = _called(self, self.module, texts, f"{len(texts)} texts")
        if not isinstance(given, Tensor) or given.ndim != 2 or len(given) != len(texts):
            raise UsageError(
                f"{self.name} gives {_told(given)} for {len(texts)} texts; wanted are embeddings ({len(texts)}, dim)."
            )
        return given


def load_python_vision(request: EncoderRequest) -> VisionEncoder:
    """The vision encoder that a function of the user's own returns."""
    made = _Made(request)
    returned = made.returned[0] if isinstance(made.returned, tuple) else made.returned
    if isinstance(returned, VisionEncoder):
        made.refuse_left_options("block")
        _require_attributes(made.asked, returned)
        encoder = copy.copy(returned)  # it may be returned to others too
    elif isinstance(returned, nn.Module) and not isinstance(returned, TextEncoder):
        made.refuse_left_options("block", *SHOWN)
        preprocess = _preprocess(made, returned)
        encoder = ModuleVisionEncoder(request.spec.name, returned, preprocess, made.own.files)
    else:
        raise UsageError(f"{made.asked} returned {_told(returned)}; --encoder wants a torch module or a VisionEncoder.")
    made.sign(encoder)
    block = request.spec.option_int("block") if "block" in made.left else None
    return encoder if block is None else encoder.at_block(block)


def load_python_text(request: EncoderRequest) -> TextEncoder:
    """The text encoder that a function of the user's own returns."""
    made = _Made(request)
    returned = made.returned[-1] if isinstance(made.returned, tuple) else made.returned
    made.refuse_left_options(*(("block", *SHOWN) if isinstance(made.returned, tuple) else ()))
    if isinstance(returned, TextEncoder):
        encoder = copy.copy(returned)  # it may be returned to others too
    elif isinstance(returned, nn.Module) and not isinstance(returned, VisionEncoder):
        encoder = ModuleTextEncoder(request.spec.name, returned, made.own.files)
    else:
        raise UsageError(f"{made.asked} returned {_told(returned)}; --text wants a torch module or a TextEncoder.")
    made.sign(encoder)
    return encoder


class _Made:
    """What a function of the user's own returned when it was called with the options of a request.

    Attributes:
        asked: its file or module and its name, as errors say them. left: options that are none of its parameters.
    """

    def __init__(self, request: EncoderRequest):
        own_code.remember(request.spec.text)
        place, _, name = request.entry.model.rpartition(":")
        self.name = request.spec.name
        self.asked = f"python:{place}:{name}"
        self.own = import_function(place, name)
        self.architecture = f"python:{Path(place).name if place.endswith('.py') else place}:{name}"
        function: Any = self.own.value
        if isinstance(function, nn.Module):
            self.arguments, self.left, self.returned = {}, request.spec.options, function
            return
        if not callable(function):
            raise UsageError(f"{self.asked} is {_told(function)}; a function or a torch module is wanted.")
        self.arguments, self.left = _arguments(self.asked, function, request.spec.options)
        with one_line(f"{self.asked} raised", self.own.files), torch.random.fork_rng(devices=[]):
            # or else weights that nobody trained would be others at every load, and neither cache nor head would fit
            torch.manual_seed(0)
            self.returned = function(**self.arguments)

    def refuse_left_options(self, *known: str) -> None:
        """A misspelt option is an error, never ignored."""
        for option in self.left:
            if option not in known:
                raise UsageError(f"{self.asked}: {unknown_name(option, [*self.arguments, *known], 'option')}")

    def sign(self, encoder: VisionEncoder | TextEncoder) -> None:
        """Names an encoder, and puts into its settings which code it is and with which options."""
        encoder.name = self.name
        encoder.architecture = self.architecture
        options = {name: _recorded(value) for name, value in self.arguments.items()}
        encoder.code = {"source": self.own.source, **({"options": options} if options else {})}
        if encoder.settings.get("source") != self.own.source:
            raise UsageError(
                f"{self.asked}: `settings` of {type(encoder).__name__} must hold what super().settings does."
            )


def _arguments(asked: str, function: Any, options: dict[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """The options that are parameters of a function, as their annotations say, and the others as they are."""
    if getattr(function, "__init__", None) is nn.Module.__init__:  # which takes anything, and wants nothing
        return {}, options
    with one_line(f"{asked} has no readable parameters"):
        parameters = inspect.signature(function, eval_str=True).parameters.values()
    named = {one.name: one for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)}
    wanted = next((one.name for one in named.values() if one.default is one.empty and one.name not in options), None)
    if wanted is not None:
        raise UsageError(f"{asked} wants the option {wanted}: {asked}?{wanted}=...")
    arguments = {
        name: _converted(asked, name, value, named[name].annotation) for name, value in options.items() if name in named
    }
    left = {name: value for name, value in options.items() if name not in named}
    return (arguments | left, {}) if any(one.kind is one.VAR_KEYWORD for one in parameters) else (arguments, left)


def _converted(asked: str, name: str, value: Any, annotation: Any) -> Any:
    if annotation is inspect.Parameter.empty:
        return value
    try:
        return TypeAdapter(annotation, config=ConfigDict(arbitrary_types_allowed=True)).validate_python(value)
    except ValidationError as error:
        raise UsageError(f"{asked}: {name}={value}: {error.errors()[0]['msg']}.") from None


def _recorded(value: Any) -> object:
    """An argument as settings hold it: of a file its content counts, not where it lies."""
    if isinstance(value, Path) and value.is_file():
        with value.open("rb") as handle:
            return f"sha256 {hashlib.file_digest(handle, 'sha256').hexdigest()}"
    return value if isinstance(value, bool | int | float | str | None) else str(value)


def _preprocess(made: _Made, module: nn.Module) -> Preprocess:
    """How photos are shown to a plain torch module; a UsageError says what is missing or wrong."""
    given = {name: made.left.get(name, getattr(module, name, None)) for name in SHOWN}
    missing = [name for name in SHOWN if given[name] is None and name != "interpolation"]
    if missing:
        raise UsageError(
            f"{made.asked} returned {_told(module)}, which does not say its {', '.join(missing)}. Set them as "
            f"attributes, or give them as options: {made.asked}?{missing[0]}=..."
        )
    patch_size, image_size = (_converted(made.asked, name, given[name], PositiveInt) for name in SHOWN[:2])
    mean, std = (_channels(made.asked, name, given[name]) for name in SHOWN[2:4])
    interpolation = lookup(INTERPOLATIONS, given["interpolation"] or "bicubic", "interpolation")
    return Preprocess(image_size, patch_size, mean, std, interpolation)


def _channels(asked: str, name: str, value: Any) -> tuple[float, ...]:
    """A number a channel; one stands for all three, and a text holds them with "+" or spaces between."""
    try:
        numbers = [
            float(one)
            for one in (value.replace("+", " ").split() if isinstance(value, str) else torch.as_tensor(value).ravel())
        ]
    except (TypeError, ValueError, RuntimeError):
        numbers = []
    if len(numbers) not in (1, 3):
        raise UsageError(f"{asked}: {name}={value} must be three numbers (0.48+0.46+0.41 as an option) or one.")
    return tuple(numbers * 3 if len(numbers) == 1 else numbers)


def _require_attributes(asked: str, encoder: VisionEncoder) -> None:
    missing = [name for name in ("patch_size", "width", "image_size", "preprocess") if not hasattr(encoder, name)]
    if missing:
        raise UsageError(f"{asked} returned {_told(encoder)}, which has not set its {', '.join(missing)}.")


def _called(encoder: ModuleVisionEncoder | ModuleTextEncoder, module: nn.Module, given: Any, what: str) -> Any:
    try:
        return module(given)
    except Exception as error:  # foreign code can raise anything
        raise RunError(f"{encoder.name} failed on {what}: {cause_of(error, encoder.files)}") from None


def _told(value: Any) -> str:
    """What a value is, in words."""
    if value is None:
        return "nothing"
    if isinstance(value, Tensor):
        return f"a tensor {tuple(value.shape)}"
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"
