"""Damaged records and cards: each is read, or is a UsageError of one line that names the file; nothing else, ever."""

import json
import os
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pacl_bench import records
from pacl_bench.errors import UsageError
from pacl_bench.model.head_files import CARD, read_card
from pacl_bench.report import all_tables, write_report
from pacl_bench.validation.many_records import ManyRecords

FROZEN = Path(__file__).parents[1] / "frozen" / "v1"
RECORDS = sorted((FROZEN / "records").rglob("*.json"))
CARDS = sorted((FROZEN / "heads").rglob(CARD))
DEEP = json.loads("[" * 400 + "]" * 400)
VALUES = [
    None, True, False, 0, -1, 7, 1.5, 1e8, 1e308, float("nan"), float("inf"), 10**30, 10**400, "", "0.5", "naïve 🦓",
    "a|b\n<c>", "../..", "\ud800", "\x00", [], [0.5], ["x"], [None], {}, {"name": 1}, DEEP,
]  # fmt: skip


Place = tuple[Any, Any]  # a container, and a key or index in it


def places(content: Any) -> Iterator[Place]:
    """Of everything in a JSON; of lists the first two and the last."""
    keys = list(content) if isinstance(content, dict) else sorted({0, 1, len(content) - 1} & {*range(len(content))})
    for key in keys:
        yield content, key
        if isinstance(content[key], dict | list):
            yield from places(content[key])


def one_of(draw: st.DrawFn, choices: list) -> Any:
    return choices[draw(st.integers(0, len(choices) - 1))]


@st.composite
def damaged(draw: st.DrawFn, wholes: list[Path]) -> bytes:
    """A file with up to three values replaced, moved or left out, maybe cut, or with a byte or a key too many."""
    content = json.loads(one_of(draw, wholes).read_text())
    for _ in range(draw(st.integers(0, 3))):
        container, key = one_of(draw, list(places(content)))
        action = one_of(draw, ["replace", "leave out", "rename", "move"])
        if action == "replace":
            container[key] = deepcopy(one_of(draw, VALUES))
        elif action == "move":
            other, at = one_of(draw, list(places(content)))
            container[key] = deepcopy(other[at])
        else:
            value = container.pop(key)
            if action == "rename" and isinstance(container, dict):
                container["other"] = value
    return damaged_bytes(draw, json.dumps(content))


def damaged_bytes(draw: st.DrawFn, text: str) -> bytes:
    raw = text.encode(one_of(draw, ["utf-8"] * 5 + ["utf-8-sig", "utf-16", "latin-1"]))
    at = draw(st.integers(0, len(raw)))
    damages = [raw[:at], raw[:at] + b"\x00" + raw[at:], raw[:at] + b'"n": 1, ' + raw[at:], raw + raw, b""]
    return one_of(draw, [raw] * 6 + damages)


MORE = int(os.environ.get("PACL_FUZZ_EXAMPLES", "0"))  # in place of the few of every run
FUZZ = settings(
    derandomize=True, database=None, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def read_or_told(read: Callable[[Path], Any], file: Path) -> Any:
    """What is read of a file; None where it is told in one line that it is damaged."""
    try:
        return read(file)
    except UsageError as error:
        told = str(error)
    assert "\n" not in told
    assert str(file) in told or "for one cell of a table" in told
    return None


def written(folder: Path, content: bytes) -> Path:
    file = folder / "records" / "study" / "model" / "x.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return file


@settings(FUZZ, max_examples=MORE or 60)
@given(content=damaged(RECORDS))
def test_a_damaged_record_is_read_or_named(tmp_path: Path, content: bytes) -> None:
    file = written(tmp_path, content)
    record = read_or_told(records.read, file)
    if record is None:
        with pytest.raises(UsageError, match=r"x\.json"):
            records.load(tmp_path)
        return
    rows = records.tidy_rows(record)
    assert len(records.load(tmp_path)) == len(rows)
    json.dumps(rows, allow_nan=False)
    read_or_told(lambda _: all_tables("table2", [record]), file)


@settings(FUZZ, max_examples=MORE or 60)
@given(content=damaged(RECORDS))
def test_a_damaged_record_is_read_alike_alone_and_by_the_thousand(tmp_path: Path, content: bytes) -> None:
    file = written(tmp_path, content)
    assert read_or_told(ManyRecords().read, file) == read_or_told(records.read, file)


@settings(FUZZ, max_examples=MORE // 10 or 6)
@given(content=damaged(RECORDS))
def test_a_report_is_written_or_the_record_named(tmp_path: Path, content: bytes) -> None:
    read_or_told(lambda _: write_report(tmp_path), written(tmp_path, content))


@settings(FUZZ, max_examples=MORE or 60)
@given(content=damaged(CARDS))
def test_a_damaged_card_is_read_or_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / CARD).write_bytes(content)
    card = read_or_told(lambda file: read_card(file.parent), tmp_path / CARD)
    if card is not None:
        assert card.name == tmp_path.name
        assert card.encoder.spec
        json.dumps(card.content(), allow_nan=False)
