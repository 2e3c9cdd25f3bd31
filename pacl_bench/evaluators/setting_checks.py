"""What the bounds of a setting cannot say of it, for pydantic: names that exist, lists without doubles."""

from collections.abc import Callable
from pathlib import Path

from pacl_bench.data.vocabulary import OWN, VOCABULARIES, load_templates, vocabulary_file
from pacl_bench.errors import UsageError
from pacl_bench.evaluators.presets import PRESETS
from pacl_bench.registry import listed, lookup


def passes(check: Callable[[str], object]) -> Callable[[str | None], str | None]:
    """A check of a text that is given, for pydantic: what the check says of it is said of the setting."""

    def checked(text: str | None) -> str | None:
        try:
            if text is not None:
                check(text)
        except UsageError as error:
            raise ValueError(str(error)) from None
        return text

    return checked


def each_passes(check: Callable[[str], object]) -> Callable[[str | None], str | None]:
    """A check of every name in a text, likewise."""
    return passes(lambda text: [check(name) for name in listed(text)])


def require_templates(name: str) -> None:
    if name != OWN:
        load_templates(name)


def require_vocabulary(name: str) -> None:
    if name not in VOCABULARIES:
        vocabulary_file(name)


def require_protocol(name: str) -> None:
    lookup(PRESETS, name, "protocol")


def exactly_one(text: str) -> str:
    if len(listed(text)) != 1:
        raise ValueError("one is wanted.")
    return text


def all_told_apart(label: Callable[[str], str]) -> Callable[[str | None], str | None]:
    """A check, for pydantic, that each name in a text is told apart by its label."""

    def checked(text: str | None) -> str | None:
        labels = [label(name) for name in listed(text)] if text is not None else [""]
        if not labels:
            raise ValueError("at least one is wanted.")
        if len(set(labels)) < len(labels):
            raise ValueError("one of them stands there twice.")
        return text

    return checked


def file_name(name: str) -> str:
    return Path(name).name


def numbers_told_apart(values: tuple[float, ...]) -> tuple[float, ...]:
    if len(set(values)) < len(values):
        raise ValueError("one of them stands there twice.")
    if len({f"{value:g}" for value in values}) < len(values):
        raise ValueError("two of them are one in the six digits by which protocols are called.")
    return values
