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

    name: Annotated[
        str,
        Field(max_length=LONGEST_NAME, description="The folder of its records; default the evaluator's name."),
        AfterValidator(_word),
    ]
    evaluator: Annotated[Name, Field(description="`patches`, `coherence`, `segment` or `classify`.")]
    encoders: Annotated[Names, Field(description="Measured as they are: before alignment.")] = field(
        default_factory=list
    )
    heads: Annotated[Names, Field(description="Folders of trained heads.")] = field(default_factory=list)
    datasets: Annotated[Names, Field(description="As for `--datasets`.")] = field(default_factory=list)
    settings: Annotated[
        dict[str, Any], Field(description="Of the evaluator, as its command has them: `{ stride = 4 }`.")
    ] = field(default_factory=dict)
    trained: Annotated[Names, Field(description="Tables `[train.NAME]`, whose heads are measured too.")] = field(
        default_factory=list
    )
    encoder: Annotated[Name | None, Field(description="Of the heads, where it lies elsewhere than in training.")] = None
    text: Annotated[Name | None, Field(description="Of the heads, as `encoder`.")] = None
