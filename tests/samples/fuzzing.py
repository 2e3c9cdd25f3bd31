"""What the fuzzers of readers share: how many examples, damage to files, and what a reader may answer."""

import hashlib
import os
from collections.abc import Callable
from typing import TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from pacl_bench.errors import RunError, UsageError

Made = TypeVar("Made")
fuzzed = settings(
    max_examples=int(os.environ.get("PACL_FUZZ_EXAMPLES", "20")),
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def word(text: int | str) -> str:
    """A word of twenty letters: what is damaged in it makes it no other's."""
    return hashlib.sha256(str(text).encode("utf-8", "surrogateescape")).hexdigest()[:20]


def or_one_line(read: Callable[[], Made]) -> Made | None:
    """What a reader gives; None where it refuses in one line. A traceback or a second line fails the test."""
    try:
        return read()
    except (UsageError, RunError) as error:
        said = str(error)
    assert said
    assert "\n" not in said
    return None


INSERTED = [b'"', b",", b"\n", b"\r", b"\t", b"\0", b"\xff", b"{", b"#", b"|"]


@st.composite
def damaged(draw: st.DrawFn, content: bytes, most: int = 3) -> bytes:
    """The same with some bytes changed, added or left out, or the end cut off."""
    changed = bytearray(content)
    for _ in range(draw(st.integers(0, most))):
        at = draw(st.integers(0, max(len(changed) - 1, 0)))
        kind = draw(st.sampled_from(["change", "add", "remove", "cut"]))
        if kind == "change":
            changed[at : at + 1] = bytes([draw(st.integers(0, 255))])
        elif kind == "add":
            changed[at:at] = draw(st.sampled_from(INSERTED))
        elif kind == "remove":
            del changed[at : at + 1]
        else:
            del changed[at:]
    return bytes(changed)
