"""Class names and prompt templates, read from the files shipped in names/ and templates/ or from the user's own."""

import hashlib
from functools import cache
from importlib.resources import files
from pathlib import Path

from pacl_bench.errors import UsageError
from pacl_bench.registry import unknown_name

TEMPLATES = ("paper7", "simple", "openai80")


@cache
def shipped_names(name: str) -> list[str]:
    """The class names in names/<name>.txt, in class order."""
    return _lines((files("pacl_bench.data") / "names" / f"{name}.txt").read_text())


@cache
def shipped_folder_names(name: str) -> dict[str, str]:
    """Folder -> class name from names/<name>.tsv, in class order, for sets with folders named oddly."""
    rows = _lines((files("pacl_bench.data") / "names" / f"{name}.tsv").read_text())
    return {folder: name for folder, _, name in (row.partition("\t") for row in rows)}


def load_templates(name: str) -> list[str]:
    """Prompt templates by name (`paper7`, `simple`, `openai80`) or from a file, one a line, each with one `{}`."""
    if name in TEMPLATES:
        return _lines((files("pacl_bench.data") / "templates" / f"{name}.txt").read_text())
    file = Path(name)
    if not file.is_file():
        raise UsageError(
            f"{unknown_name(name, TEMPLATES, 'set of templates')} Or give a file with one template a line."
        )
    templates = _lines(file.read_text())
    bad = next((template for template in templates if template.count("{}") != 1), None)
    if bad is not None or not templates:
        raise UsageError(f"{file}: every line must hold exactly one {{}}; found {bad!r}.")
    return templates


def load_vocabulary(name: str, dataset_name: str, classnames: list[str]) -> list[list[str]]:
    """The names of each class: its own alone (`plain`), or those of a file, a line a class, separated by commas."""
    if name == "plain":
        return [[classname] for classname in classnames]
    file = Path(name)
    if not file.is_file():
        raise UsageError(f"{unknown_name(name, ['plain'], 'vocabulary')} Or give a file with one line a class.")
    names = [split(line) for line in _lines(file.read_text())]
    if len(names) != len(classnames):
        raise UsageError(f"{file}: {len(names)} lines of names; {dataset_name} has {len(classnames)} classes.")
    return names


def split(text: str) -> list[str]:
    """The parts between commas."""
    return [part.strip() for part in text.split(",") if part.strip()]


def text_hash(lines: list[str]) -> str:
    """sha256 of a list of names or templates, as records hold it."""
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
