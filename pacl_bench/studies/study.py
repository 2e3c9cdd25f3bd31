"""What a study is: which models x data sets are measured, and how. Study files hold several: see experiment.py."""

from dataclasses import field
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field
from pydantic.dataclasses import dataclass

from pacl_bench.validation.values import STRICT

Rerun = Literal["missing", "always", "never"]
LONGEST_NAME = 200  # characters: the name of a study is that of a folder


def _word(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise ValueError("a name in printable characters is wanted.")
    return text


def _no_name_twice(names: list[str]) -> list[str]:
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"{twice!r} stands there twice.")
    return names


Name = Annotated[str, AfterValidator(_word)]
Names = Annotated[list[Name], AfterValidator(_no_name_twice)]


@dataclass(frozen=True, config=STRICT)
class Study:
    """Which models x data sets are measured, how."""

    name: Annotated[str, Field(max_length=LONGEST_NAME), AfterValidator(_word)]
    evaluator: Name
    encoders: Names = field(default_factory=list)  # measured as they are: before alignment
    heads: Names = field(default_factory=list)  # folders of trained heads
    datasets: Names = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)  # of the evaluator, by name; the others have their defaults
    trained: Names = field(default_factory=list)  # tables [train.NAME] of the same file, whose heads are measured too
