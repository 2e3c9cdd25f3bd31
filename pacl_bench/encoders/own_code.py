"""Code of the user's own that encoders come from: it runs where its user names it, and never because a card does.

`python:FILE.py:NAME` calls any function with any values, and dino.txt is made by the code of a clone. A head's card is
data, which may come from anybody; so what it names of that kind is called only where the user has named the same thing,
in this command or in the one that began it.
"""

import os

from pacl_bench.encoders.spec import EncoderSpec, parse_spec
from pacl_bench.encoders.table import ENCODERS, LIBRARIES
from pacl_bench.errors import UsageError

NAMED = "PACL_OWN_CODE"  # a variable, so that the processes that this one starts are told too


def names_code(spec: EncoderSpec) -> bool:
    """Whether a name says which code of the user's own is to run; code of an installed package has a short name."""
    library = ENCODERS[spec.model].library if spec.model in ENCODERS and not spec.library else spec.library
    return library in LIBRARIES and LIBRARIES[library].own_code


def remember(spec: str) -> None:
    """The user has named it: cards may name it as well from now on."""
    os.environ[NAMED] = "\n".join(dict.fromkeys([*_named(), spec]))


def require_named(spec: str, option: str) -> None:
    """A UsageError where a card names code that the user has not named.

    Args:
        option: where to name it, `encoder` or `text`.
    """
    asked = parse_spec(spec)
    if names_code(asked) and asked.text not in _named():
        raise UsageError(
            f"The head's card names code to run, {spec!r}, and no card is obeyed in that. If you know this code, name "
            f"it beside the head: --{option} {spec}."
        )


def _named() -> list[str]:
    return os.environ.get(NAMED, "").split("\n")
