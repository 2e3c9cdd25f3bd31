"""Options made from declarations: a setting is declared where it belongs, and a command names the class that holds it.

Besides what Typer knows (`Annotated[str, typer.Option(help="...")]`), a parameter of a command may be

- of a type with a pydantic Field, like Annotated[int, Field(ge=0, description="...")]: an option with the Field's
  description, checked by the Field's bounds;
- a dataclass: one option for each of its fields, of either kind; the command gets an instance;
- `Annotated[dict[str, Any], Changes(Recipe)]`: one option without default for each field of the dataclass Recipe; the
  command gets those that were given, by name;
- `Given`: no option, but the list of those that stand on the command line.
"""

import inspect
from collections.abc import Callable
from contextlib import suppress
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer
from pydantic.fields import FieldInfo
from rich.markup import escape

from pacl_bench.registry import listed
from pacl_bench.validation.values import as_option, checked, made

Values = dict[str, Any]  # of options, by the names of their parameters
BOUNDS = {"ge": "from {}", "gt": "above {}", "le": "to {}", "lt": "to below {}"}  # as --help says them


@dataclass(frozen=True)
class Changes:
    """Marks a parameter that takes single values of a dataclass: those that are given."""

    of: type


GIVEN = object()  # marks the parameter that takes the options that were given
Given = Annotated[list[str], GIVEN]


@dataclass(frozen=True)
class _Option:
    """An option as it is declared; `annotation` holds a pydantic Field or a typer.Option."""

    name: str
    annotation: Any
    default: Any = ...  # ... where a value must be given

    @property
    def field(self) -> FieldInfo | None:
        """The pydantic Field, where there is one."""
        has_field = any(isinstance(mark, FieldInfo) for mark in get_args(self.annotation)[1:])
        return FieldInfo.from_annotation(self.annotation) if has_field else None

    def parameter(self) -> inspect.Parameter:
        """What Typer is told."""
        annotation, default = self.annotation, self.default
        if self.field is not None:
            kind, default = self._typed(self.field.annotation)
            flag = [f"--{self.name.replace('_', '-')}"] if default is False else []  # it can be set, and is not set
            annotation = Annotated[kind, typer.Option(*flag, help=_help(self.field))]
        default = inspect.Parameter.empty if default is ... else default
        return inspect.Parameter(self.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)

    def _typed(self, kind: Any) -> tuple[Any, Any]:
        """The type and default that Typer is told: several values are one text, separated by commas."""
        if self.field is not None and _item(self.field):
            return str | None, ",".join(map(str, self.default or ())) or None
        return (kind | None if self.default is None else kind), self.default

    def value(self, given: Any) -> Any:
        """What stands for what Typer gives: several values for one text."""
        item = self.field and _item(self.field)
        if item is None:
            return given
        if given is None:
            return self.default
        return tuple(map(str if item.annotation is str else _number, listed(given)))


@dataclass(frozen=True)
class _Part:
    """A parameter of a function: the options that it stands for, and what makes its value of theirs."""

    options: list[_Option]
    make: Callable[[Values], Any]

    def value(self, values: Values) -> Any:
        return self.make({option.name: option.value(values[option.name]) for option in self.options})


def spread(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as Typer wants it: each option a parameter of its own."""
    parts = {name: _part(parameter) for name, parameter in inspect.signature(function).parameters.items()}
    parameters = [option.parameter() for part in parts.values() for option in part.options]

    def command(**values: Any) -> Any:
        return function(**{name: part.value(values) for name, part in parts.items()})

    command.__name__, command.__doc__ = function.__name__, function.__doc__
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


def _part(parameter: inspect.Parameter) -> _Part:
    name, declared = parameter.name, parameter.annotation
    if declared is Given:
        return _Part([_Option(name, typer.Context)], lambda values: _given(values[name]))
    changes = next((mark for mark in get_args(declared) if isinstance(mark, Changes)), None)
    if changes is not None:
        return _Part(_options_of(changes.of, dict.fromkeys(_names(changes.of))), _those_given)
    if isinstance(declared, type) and is_dataclass(declared):
        options = _options_of(declared, _defaults(declared, parameter.default))
        return _Part(options, lambda values: made(declared, values, as_option))
    option = _Option(name, declared, ... if parameter.default is parameter.empty else parameter.default)
    if option.field is None:
        return _Part([option], lambda values: values[name])
    return _Part([option], lambda values: checked(declared, name, values[name], as_option))


def _options_of(declared: type, defaults: Values) -> list[_Option]:
    hints = get_type_hints(declared, include_extras=True)
    return [_Option(name, hints[name], default) for name, default in defaults.items()]


def _names(declared: Any) -> list[str]:
    return [field.name for field in fields(declared)]


def _defaults(declared: Any, instance: Any) -> Values:
    """Those of the instance that a parameter has as its default; without one, those of the class."""
    if is_dataclass(instance):
        return {name: getattr(instance, name) for name in _names(declared)}
    return {field.name: ... if field.default is MISSING else field.default for field in fields(declared)}


def _given(context: Any) -> list[str]:
    sources = {each.opts[0]: context.get_parameter_source(each.name or "") for each in context.command.params}
    return [option for option, source in sources.items() if getattr(source, "name", "") == "COMMANDLINE"]


def _those_given(values: Values) -> Values:
    return {name: value for name, value in values.items() if value is not None}


def _item(field: FieldInfo) -> FieldInfo | None:
    """The Field of each of several values; None where a setting takes one."""
    several = get_origin(field.annotation) is tuple
    return FieldInfo.from_annotation(get_args(field.annotation)[0]) if several else None


def _number(text: str) -> int | float | str:
    """A text that is no number stays one: the Field says so in its words."""
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return text


def _help(field: FieldInfo) -> str:
    """What the Field says of itself, and its bounds."""
    marks = (_item(field) or field).metadata
    bounds = [
        said.format(getattr(mark, name)) for mark in marks for name, said in BOUNDS.items() if hasattr(mark, name)
    ]
    return escape(field.description or "") + (f" [dim]({' '.join(bounds)})[/dim]" if bounds else "")
