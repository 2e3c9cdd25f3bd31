"""Study files: TOML that says which models x data sets are measured, how. The shipped ones are in studies/."""

import tomllib
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field
from pydantic.dataclasses import dataclass

from pacl_bench.errors import UsageError
from pacl_bench.evaluators import EVALUATORS, find_evaluator
from pacl_bench.evaluators.base import Evaluator
from pacl_bench.files import read_text
from pacl_bench.registry import unknown_name
from pacl_bench.validation.values import STRICT, made

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


def studies_folder() -> Path:
    """Where the shipped studies are: in the package when installed as a wheel, beside it in a checkout."""
    shipped = Path(__file__).parent / "files"
    return shipped if shipped.is_dir() else Path(__file__).parents[2] / "studies"


def shipped_studies() -> dict[str, Path]:
    """Study files by name."""
    return {file.stem: file for file in sorted(studies_folder().glob("*.toml"))}


def load_study(file: Path) -> Study:
    """A study from a file, or a shipped one by its name; a UsageError names the file and key that are wrong."""
    file = shipped_studies().get(str(file), file)
    if not file.is_file():
        raise UsageError(f"{unknown_name(str(file), shipped_studies(), 'study')} Or give a TOML file.")
    content = _read(file)
    if "evaluator" not in content:
        raise UsageError(f"{file}: the key 'evaluator' is missing ({', '.join(EVALUATORS)}).")
    study = made(Study, {"name": file.stem, **content}, lambda name, value: f"{file}: {name} = {value}")
    made(_evaluator(file, study).settings, study.settings, lambda name, value: f"{file}: settings.{name} = {value}")
    if not study.encoders and not study.heads:
        raise UsageError(f"{file}: nothing to measure: the keys 'encoders' and 'heads' name none.")
    if not study.datasets:
        raise UsageError(f"{file}: nothing to measure on: the key 'datasets' names none.")
    return study


def _evaluator(file: Path, study: Study) -> Evaluator:
    try:
        return find_evaluator(study.evaluator)
    except UsageError as error:
        raise UsageError(f"{file}: {error}") from None


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_text(file))
    except (ValueError, RecursionError) as error:  # also a number of thousands of digits, and lists within lists
        raise UsageError(f"{file}: {error}.") from None
