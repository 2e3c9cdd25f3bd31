"""Study files: TOML that says which models x data sets are measured, how. The shipped ones are in studies/."""

import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from pacl_bench.errors import UsageError
from pacl_bench.registry import unknown_name


@dataclass(frozen=True)
class Study:
    """Which models x data sets are measured, how."""

    name: str
    evaluator: str
    encoders: list[str] = field(default_factory=list)  # measured as they are: before alignment
    heads: list[str] = field(default_factory=list)  # folders of trained heads
    datasets: list[str] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)


def studies_folder() -> Path:
    """Where the shipped studies are: in the package when installed as a wheel, beside it in a checkout."""
    shipped = Path(__file__).parent / "files"
    return shipped if shipped.is_dir() else Path(__file__).parents[2] / "studies"


def shipped_studies() -> dict[str, Path]:
    """Study files by name."""
    return {file.stem: file for file in sorted(studies_folder().glob("*.toml"))}


def load_study(file: Path) -> Study:
    """A study from a file, or a shipped one by its name; a UsageError for anything in it that is not known."""
    file = shipped_studies().get(str(file), file)
    if not file.is_file():
        raise UsageError(f"{unknown_name(str(file), shipped_studies(), 'study')} Or give a TOML file.")
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{file}: {error}.") from None
    known = [entry.name for entry in fields(Study)]
    for key in content:
        if key not in known:
            raise UsageError(f"{file}: {unknown_name(key, known, 'key')}")
    if "evaluator" not in content:
        raise UsageError(f"{file}: the key 'evaluator' is missing (patches, coherence, segment or classify).")
    _require_lists(file, content)
    return Study(**{"name": file.stem, **content})


def _require_lists(file: Path, content: dict) -> None:
    for key in ("encoders", "heads", "datasets"):
        value = content.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise UsageError(f'{file}: {key} must be a list of names, ["a", "b"].')
