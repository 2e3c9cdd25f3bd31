"""Values against their declaration: the first that is wrong is one line in the words of whoever wrote it."""

from typing import Annotated

import pytest
from pydantic import Field
from pydantic.dataclasses import dataclass

from pacl_bench.errors import UsageError
from pacl_bench.validation.values import STRICT, as_option, checked, made


@dataclass(frozen=True, config=STRICT)
class Oven:
    heat: Annotated[float, Field(ge=0, le=250)] = 180.0
    minutes: Annotated[int | None, Field(ge=1)] = None
    shelves: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(strict=False)] = ()


def in_file(name: str, value: str) -> str:
    return f"oven.toml: {name} = {value}"


def test_what_is_right_is_made() -> None:
    assert made(Oven, {"heat": 200, "shelves": [1, 3]}, in_file) == Oven(200.0, None, (1, 3))
    assert checked(Annotated[int, Field(ge=0)], "seed", 7, as_option) == 7


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"heat": 251}, "oven.toml: heat = 251: should be less than or equal to 250."),
        ({"heat": "hot"}, "oven.toml: heat = 'hot': should be a valid number."),
        ({"heat": True}, "oven.toml: heat = True: should be a valid number."),
        ({"heat": float("nan")}, "oven.toml: heat = nan: should be a finite number."),
        ({"minutes": 1.0}, "oven.toml: minutes = 1.0: should be a valid integer."),
        ({"shelves": [1, 0]}, "oven.toml: shelves[1] = 0: should be greater than or equal to 1."),
        ({"shelves": 3}, "oven.toml: shelves = 3: should be a valid list."),
        ({"haet": 3}, "oven.toml: haet = 3: Unknown key 'haet'. Did you mean 'heat'?"),
    ],
)
def test_what_is_wrong_is_one_line(values: dict, line: str) -> None:
    with pytest.raises(UsageError) as raised:
        made(Oven, values, in_file)
    assert str(raised.value) == line


def test_a_long_value_is_cut() -> None:
    with pytest.raises(UsageError) as raised:
        made(Oven, {"heat": "x" * 10_000}, in_file)
    assert len(str(raised.value)) < 200


def test_an_option_is_called_as_it_is_written() -> None:
    with pytest.raises(UsageError, match=r"^--first-shelf 0: should be greater than or equal to 1.$"):
        checked(Annotated[int, Field(ge=1)], "first_shelf", 0, as_option)
    with pytest.raises(UsageError, match=r"^--shelves 0: should be greater than or equal to 1.$"):
        made(Oven, {"shelves": [0]}, as_option)
