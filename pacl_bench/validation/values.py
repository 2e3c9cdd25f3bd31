"""Values checked against their declaration; the first that is wrong becomes one line. No torch here.

A setting is declared once, as a field of a pydantic dataclass: its type, default, bounds and meaning. Whoever gets
values from outside (the command line, a study file, Python) makes the dataclass with `made`, and says how a value is
written where it comes from: `--purity 2`, or `mine.toml: settings.purity = 2`.
"""

from collections.abc import Callable, Mapping
from dataclasses import fields
from reprlib import Repr
from typing import Any, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from pacl_bench.errors import UsageError
from pacl_bench.registry import unknown_name

Made = TypeVar("Made")
Written = Callable[[str, str], str]  # from a name and the text of its value to how the two stand in a file or command
# text is no number, True is not 1, NaN and infinity are nothing to measure with, and no name may be misspelt
STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, defer_build=True)
SHORT = Repr()
SHORT.maxstring = SHORT.maxother = 80


def made(declared: type[Made], values: Mapping[str, Any], written: Written) -> Made:
    """An instance of a pydantic dataclass; a UsageError in one line for the first value that it does not take."""
    try:
        return declared(**values)
    except ValidationError as error:
        known = [field.name for field in fields(declared)]  # type: ignore[arg-type]
        raise UsageError(_line(error.errors()[0], known, written)) from None


def checked(declared: Any, name: str, value: Any, written: Written) -> Any:
    """A value of a type with bounds, like Annotated[int, Field(ge=0)]; a UsageError in one line where it is none."""
    try:
        return TypeAdapter(declared, config=STRICT).validate_python(value)
    except ValidationError as error:
        wrong = error.errors()[0]
        raise UsageError(_line({**wrong, "loc": (name, *wrong["loc"])}, [], written)) from None


def as_option(name: str, value: str) -> str:
    """As the command line writes a setting: --noun-share 0.5; of several values the wrong one."""
    return f"--{name.partition('[')[0].replace('_', '-')} {value}"


def _line(wrong: ErrorDetails, known: list[str], written: Written) -> str:
    name = "".join(f"[{part}]" if isinstance(part, int) else part for part in wrong["loc"])
    return f"{written(name, SHORT.repr(wrong['input']))}: {_why(wrong, known)}"


def _why(wrong: ErrorDetails, known: list[str]) -> str:
    """What is wrong with a value: in pydantic's words, but for names nobody knows and checks of our own."""
    if wrong["type"] == "unexpected_keyword_argument":
        return unknown_name(str(wrong["loc"][-1]), known, "key")
    if wrong["type"] == "value_error":
        return str(wrong.get("ctx", {}).get("error"))
    if wrong["type"] == "missing":
        return "a value is missing."
    words = wrong["msg"].replace("Input should", "should").replace("tuple", "list").replace("dictionary", "table")
    return f"{words}."
