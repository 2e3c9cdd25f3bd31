"""What all commands have in common: options made from declarations, none of them given twice, empty or broken off."""

import inspect
import unicodedata
from collections.abc import Callable
from typing import Any, Literal, get_args, get_origin

import typer
from typer.core import TyperCommand, TyperOption

from pacl_bench.cli.declared import spread
from pacl_bench.errors import UsageError
from pacl_bench.registry import listed, unknown_name

CONTROL = ("Cc", "Zl", "Zp")  # categories of Unicode: control characters, ends of lines and paragraphs


class App(typer.Typer):
    """A Typer whose commands may have parameters as `cli.declared` describes them."""

    def command(self, *given: Any, **named: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """As Typer's; the function itself stays as it is."""
        register = super().command(*given, **{"cls": Command, **named})

        def add(function: Callable[..., Any]) -> Callable[..., Any]:
            register(spread(function))
            return function

        return add


class Command(TyperCommand):
    """A command that refuses what Typer takes in silence: an option given twice, or with a value nobody means."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        values, _, order = self.make_parser(ctx).parse_args(list(args))
        for parameter in order:
            value = values.get(parameter.name or "")
            _refuse_control_characters(parameter, value)
            _refuse_nothing(parameter, value)
            self._refuse_unknown_choice(parameter, value)
        for option in (parameter for parameter in order if isinstance(parameter, TyperOption)):
            if order.count(option) > 1 and not option.multiple:
                raise UsageError(f"{option.opts[0]} is given twice.")
        return super().parse_args(ctx, args)

    def _refuse_unknown_choice(self, parameter: Any, value: Any) -> None:
        """With the nearest one, which Typer does not name."""
        declared = inspect.signature(self.callback or Command).parameters.get(parameter.name)
        choices = _choices(declared.annotation) if declared else []
        if choices and isinstance(value, str) and value not in choices:
            kind = f"value of {parameter.opts[0]}" if isinstance(parameter, TyperOption) else "name"
            raise UsageError(unknown_name(value, choices, kind))


def _choices(annotation: Any) -> list[str]:
    """The names in a Literal, which may be optional or annotated."""
    if get_origin(annotation) is Literal:
        return [str(choice) for choice in get_args(annotation)]
    return [choice for part in get_args(annotation) for choice in _choices(part)]


def _refuse_nothing(parameter: Any, value: Any) -> None:
    """Of an option no empty list either; an argument may be the name of a file, which may hold commas."""
    for text in value if isinstance(value, list | tuple) else [value]:
        if isinstance(text, str) and not (listed(text) if isinstance(parameter, TyperOption) else text.strip()):
            raise UsageError(f"{parameter.opts[0]} {text!r} says nothing: leave it out, or give it a value.")


def _refuse_control_characters(parameter: Any, value: Any) -> None:
    """A line end, copied along with a name, would end up in file names and tables."""
    for text in value if isinstance(value, list | tuple) else [value]:
        if isinstance(text, str) and any(unicodedata.category(char) in CONTROL for char in text):
            raise UsageError(f"{parameter.opts[0]} {text!r} holds a line end or another control character.")
