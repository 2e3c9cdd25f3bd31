"""Tables of named things, and an answer to a name that is not in them."""

import difflib
import hashlib
from collections.abc import Iterable, Mapping
from typing import TypeVar

from pacl_bench.errors import UsageError

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
    return f"Unknown {kind} {name!r}. Known: {', '.join(known)}."


def listed(text: str) -> list[str]:
    """The names in a text, separated by commas."""
    return [part.strip() for part in text.split(",") if part.strip()]


def text_hash(lines: list[str]) -> str:
    """sha256 of a list of names or templates, as records hold it."""
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
