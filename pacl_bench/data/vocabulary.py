"""Class names and prompt templates, read from the files shipped in names/ and templates/ or from the user's own."""

import hashlib
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from pacl_bench.errors import UsageError
from pacl_bench.registry import unknown_name

TEMPLATES = ("paper7", "simple", "openai80")
OWN = "own"  # the templates that go with a data set


@cache
def shipped_names(name: str) -> list[str]:
    """The class names in names/<name>.txt, in class order."""
    return _lines((files("pacl_bench.data") / "names" / f"{name}.txt").read_text())


@cache
def shipped_folder_names(name: str) -> dict[str, str]:
    """Folder -> class name from names/<name>.tsv, in class order, for sets with folders named oddly."""
    return folder_names((files("pacl_bench.data") / "names" / f"{name}.tsv").read_text())


def has_folder_names(name: str) -> bool:
    """Whether there is names/<name>.tsv."""
    return (files("pacl_bench.data") / "names" / f"{name}.tsv").is_file()


def folder_names(text: str) -> dict[str, str]:
    """Folder -> class name, from lines of folder <tab> class name."""
    return {folder: name for folder, _, name in (row.partition("\t") for row in _lines(text))}


@cache
def shipped_templates(name: str) -> list[str]:
    """The prompt templates in templates/<name>.txt."""
    return _lines((files("pacl_bench.data") / "templates" / f"{name}.txt").read_text())


def templates_for(images: Any, name: str) -> list[str]:
    """As `load_templates`; `own` are those of the data set, where it has some."""
    if name != OWN:
        return load_templates(name)
    own = getattr(images, "templates", [])
    if not own:
        raise UsageError(f"{images.name} has no templates of its own: give {', '.join(TEMPLATES)} or a file.")
    return own


def load_templates(name: str) -> list[str]:
    """Prompt templates by name (`paper7`, `simple`, `openai80`) or from a file, one a line, each with one `{}`."""
    if name in TEMPLATES:
        return shipped_templates(name)
    file = Path(name)
    if not file.is_file():
        raise UsageError(
            f"{unknown_name(name, TEMPLATES, 'set of templates')} Or give a file with one template a line."
        )
    return read_templates(file)


def read_templates(file: Path) -> list[str]:
    """The templates in a file, each with exactly one `{}` or, as CLIP_benchmark writes it, `{c}`; else a UsageError."""
    templates = [template.replace("{c}", "{}") for template in _lines(file.read_text())]
    bad = next((template for template in templates if template.count("{}") != 1), None)
    if bad is not None or not templates:
        raise UsageError(f"{file}: every line must hold exactly one {{}}; found {bad!r}.")
    return templates


def text_hash(lines: list[str]) -> str:
    """sha256 of a list of names or templates, as records hold it."""
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
