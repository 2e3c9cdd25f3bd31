"""Tables of named things, what installed packages add to them, and an answer to a name that is in none."""

import difflib
import hashlib
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from importlib import metadata
from typing import Any, TypeVar

from pacl_bench.errors import UsageError, one_line

Entry = TypeVar("Entry")


def lookup(table: Mapping[str, Entry], name: str, kind: str) -> Entry:
    """The entry called `name`; a UsageError that says the nearest known name where there is none."""
    if name in table:
        return table[name]
    raise UsageError(unknown_name(name, table, kind))


def unknown_name(name: str, known: Iterable[str], kind: str) -> str:
    """One line for a name nobody knows: "Unknown encoder 'clip-b61'. Did you mean 'clip-b16'?"."""
    known = list(known)
    lowered = {candidate.lower(): candidate for candidate in known}
    nearest = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.6)
    if nearest:
        return f"Unknown {kind} {name!r}. Did you mean {lowered[nearest[0]]!r}?"
    return f"Unknown {kind} {name!r}. " + (f"Known: {', '.join(known)}." if known else "There is none yet.")


def listed(text: str) -> list[str]:
    """The names in a text, separated by commas."""
    return [part.strip() for part in text.split(",") if part.strip()]


def text_hash(lines: list[str]) -> str:
    """sha256 of a list of names or templates, as records hold it."""
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def entry_points(group: str, own: Iterable[str] = ()) -> dict[str, metadata.EntryPoint]:
    """What installed packages add to a table, by name; nothing of it is imported yet.

    Args:
        group: of entry points: `pacl_bench.encoders`, `pacl_bench.datasets`, `pacl_bench.heads` or
            `pacl_bench.evaluators`.
        own: the names in our own table. They win over those of a package, and so does the first of two packages; both
            is told in one line, once.
    """
    found: dict[str, metadata.EntryPoint] = {}
    for point in _installed(group):
        if point.name in own:
            _tell(f"{point.name!r} of the package {package_of(point)} is not used: pacl-bench has its own")
        elif point.name in found and point.value != found[point.name].value:
            taken = package_of(found[point.name])
            _tell(f"{point.name!r} of the package {package_of(point)} is not used: {taken} has one of that name")
        else:
            found[point.name] = point
    return found


def loaded(point: metadata.EntryPoint) -> Any:
    """What an entry point names, imported; a UsageError that names the package where that fails."""
    with one_line(f"{point.name!r} of the package {package_of(point)}: {point.value} does not import"):
        return point.load()


def loaded_entry_points(
    group: str, own: Iterable[str] = (), load: Callable[[metadata.EntryPoint], Any] = loaded
) -> dict[str, Any]:
    """As `entry_points`, each imported by `load`. What fails is told in one line, once, and left out."""
    found = {}
    for name, point in entry_points(group, own).items():
        try:
            found[name] = load(point)
        except UsageError as error:
            _tell(str(error))
    return found


def package_of(point: metadata.EntryPoint) -> str:
    """The name of the package that an entry point belongs to."""
    return point.dist.name if point.dist is not None else "unknown"


@cache
def _installed(group: str) -> tuple[metadata.EntryPoint, ...]:
    return tuple(sorted(metadata.entry_points(group=group), key=lambda point: (point.name, package_of(point))))


@cache
def _tell(line: str) -> None:
    """A warning, once a process."""
    from pacl_bench.progress import note  # rich is not needed to look a name up

    note(f"warning: {line}")
