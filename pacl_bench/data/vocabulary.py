"""Class names, other names for them, and prompt templates: shipped in names/, synonyms/, templates/, or the user's."""

import hashlib
import re
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from pacl_bench.data.text_lines import is_comment, lines_of
from pacl_bench.errors import UsageError
from pacl_bench.files import read_text
from pacl_bench.progress import note
from pacl_bench.registry import unknown_name

TEMPLATES = ("paper7", "simple", "openai80", "maskclip85", "tcl9")
PEERS = ("sclip", "clearclip", "maskclip", "tipsv2", "dinotxt")  # whose names for classes are in names/<peer>/
VOCABULARIES = ("plain", "synonyms", *PEERS)
OWN = "own"  # the templates that go with a data set


@cache
def shipped_names(name: str) -> list[str]:
    """The class names in names/<name>.txt, in class order."""
    return _lines((files("pacl_bench.data") / "names" / f"{name}.txt").read_text(encoding="utf-8"))


@cache
def shipped_folder_names(name: str) -> dict[str, str]:
    """Folder -> class name from names/<name>.tsv, in class order, for sets with folders named oddly."""
    return folder_names((files("pacl_bench.data") / "names" / f"{name}.tsv").read_text(encoding="utf-8"))


def has_folder_names(name: str) -> bool:
    """Whether there is names/<name>.tsv."""
    return (files("pacl_bench.data") / "names" / f"{name}.tsv").is_file()


def folder_names(text: str) -> dict[str, str]:
    """Folder -> class name, from lines of folder <tab> class name."""
    return {folder: name for folder, _, name in (row.partition("\t") for row in _lines(text))}


@cache
def shipped_templates(name: str) -> list[str]:
    """The prompt templates in templates/<name>.txt."""
    return _lines((files("pacl_bench.data") / "templates" / f"{name}.txt").read_text(encoding="utf-8"))


def templates_for(images: Any, name: str) -> list[str]:
    """As `load_templates`; `own` are those of the data set, where it has some."""
    if name != OWN:
        return load_templates(name)
    own = getattr(images, "templates", [])
    if not own:
        raise UsageError(f"{images.name} has no templates of its own: give {', '.join(TEMPLATES)} or a file.")
    return own


def load_vocabulary(name: str, dataset_name: str, classnames: list[str]) -> list[list[str]]:
    """The names each class of a set goes by, in class order.

    Args:
        name: `plain` (the class names alone), `synonyms` (synonyms/<set>.txt, the plain name first), `sclip`,
            `clearclip`, `maskclip`, `tipsv2` or `dinotxt` (the names that their code uses: names/<peer>/<set>.txt), or
            a file with one line a class in class order, its names separated by commas or semicolons (as ADE20K's own
            lists have them: no name can hold either): SCLIP's, NACLIP's and ClearCLIP's cls_*.txt as they are. The
            names in a file need not be those of the set. Lines that begin with # and a
            space are skipped.

    Returns:
        The names of each class. One that a file gives to two classes stands in both, as in the code such files are
        from: both count in a softmax over names, and as they are always equal, the first class gets the pixels. A
        warning says so.

    Raises:
        UsageError: one line that names the file, and the line of it, where there is no such vocabulary, it has a line
            too many or too few, or an empty line.
    """
    if name == "plain":
        return [[classname] for classname in classnames]
    if name == "synonyms":
        return _synonyms(dataset_name, classnames)
    if name in PEERS:
        return _peers_names(name, dataset_name, classnames)
    file = vocabulary_file(name)
    return _names_of_classes(str(file), read_text(file), classnames)


def vocabulary_file(name: str) -> Path:
    """The user's file of that name; a UsageError with the nearest shipped vocabulary where there is none."""
    file = Path(name)
    if not file.is_file():
        raise UsageError(f"{unknown_name(name, VOCABULARIES, 'vocabulary')} Or give a file with one line a class.")
    return file


def _synonyms(dataset_name: str, classnames: list[str]) -> list[list[str]]:
    folder = files("pacl_bench.data") / "synonyms"
    shipped = sorted(file.name.removesuffix(".txt") for file in folder.iterdir())
    if dataset_name in shipped:
        text = (folder / f"{dataset_name}.txt").read_text(encoding="utf-8")
        vocabulary = _names_of_classes(f"synonyms/{dataset_name}.txt", text, classnames)
        if [names[0] for names in vocabulary] == classnames:
            return vocabulary
    raise UsageError(
        f"No synonyms are known for {dataset_name} (for {', '.join(shipped)} they are). "
        "Give a file with one line a class, its names separated by commas."
    )


def has_names(peer: str, dataset_name: str) -> bool:
    """Whether a peer's code has names for the classes of a set."""
    return _peers_file(peer, dataset_name).is_file()


def _peers_names(peer: str, dataset_name: str, classnames: list[str]) -> list[list[str]]:
    if has_names(peer, dataset_name):
        text = _peers_file(peer, dataset_name).read_text(encoding="utf-8")
        return _names_of_classes(f"names/{peer}/{dataset_name}.txt", text, classnames)
    known = sorted(file.name.removesuffix(".txt") for file in (files("pacl_bench.data") / "names" / peer).iterdir())
    raise UsageError(
        f"{peer} has no names for {dataset_name} (for {', '.join(known)} it has). "
        "Give --vocabulary plain, or a file with one line a class."
    )


def _peers_file(peer: str, dataset_name: str) -> Any:
    return files("pacl_bench.data") / "names" / peer / f"{dataset_name}.txt"


def vocabulary_label(name: str) -> str:
    """What a protocol's name says of a vocabulary: of a file its name and the beginning of its sha256.

    Two files of one name, each in a folder of its own, are told apart by it.
    """
    if name in VOCABULARIES:
        return name
    file = Path(name)
    return f"{file.name}#{hashlib.sha256(file.read_bytes()).hexdigest()[:8]}" if file.is_file() else file.name


def _names_of_classes(file: str, text: str, classnames: list[str]) -> list[list[str]]:
    lines = [(at, line) for at, line in enumerate(lines_of(text.rstrip()), start=1) if not is_comment(line)]
    if len(lines) != len(classnames):
        raise UsageError(
            f"{file} has {len(lines)} lines of names for {len(classnames)} classes; one a class is wanted."
        )
    vocabulary, line_of = [], {}
    for at, line in lines:
        names = list(dict.fromkeys(part.strip() for part in re.split("[,;]", line) if part.strip()))
        if not names:
            raise UsageError(f"{file}, line {at}: no name for {classnames[len(vocabulary)]!r}.")
        for name in names:
            first = line_of.setdefault(name, at)
            if first != at:
                _warn(f"{file}: {name!r} stands in lines {first} and {at}; pixels of it go to line {first}.")
        vocabulary.append(names)
    return vocabulary


@cache
def _warn(line: str) -> None:
    """Once, however often the file is read."""
    note(f"warning: {line}")


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
    templates = [template.replace("{c}", "{}") for template in _lines(read_text(file))]
    bad = next((template for template in templates if template.count("{}") != 1), None)
    if bad is not None or not templates:
        raise UsageError(f"{file}: every line must hold exactly one {{}}; found {bad!r}.")
    return templates


def _lines(text: str) -> list[str]:
    return [line.strip() for line in lines_of(text) if line.strip() and not is_comment(line)]
