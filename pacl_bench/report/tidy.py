"""tidy.csv: every number of every record, a line each, written record by record. No torch here."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any, TypedDict

from msgspec import Struct
from msgspec.json import Decoder

from pacl_bench import records as store
from pacl_bench.files import replacing
from pacl_bench.records import COLUMNS, MEASURED, Key, Record, shared_columns
from pacl_bench.report.beside import beside
from pacl_bench.validation.many_records import read_quickly

NEWLINE = "\n"
BUFFER = 1 << 20  # bytes that are written at once
BEFORE, BEHIND = COLUMNS[: COLUMNS.index(MEASURED[0])], COLUMNS[COLUMNS.index(MEASURED[-1]) + 1 :]
measured = attrgetter(*MEASURED)


class ToldRow(Struct):
    """A measurement. Its fractions stay the text that they are in the record's file: most of them are only copied."""

    metric: str
    value: Any
    protocol: str
    n: int
    class_name: str
    ci_low: Any
    ci_high: Any
    chance: Any


class ToldConfig(TypedDict, total=False):
    """What tidy.csv tells of a configuration."""

    model: dict[str, Any]
    seed: Any


class ToldRecord(Struct):
    """What tidy.csv tells of a record. The rest of its text is passed over: whether that is right, the tables' own
    reader says, and without tables there is no tidy.csv.
    """

    key: Key
    measurements: list[ToldRow]
    config: ToldConfig
    provenance: dict[str, Any]


@contextmanager
def writing_tidy(folder: Path, files: Sequence[Path], file: Path) -> Iterator[None]:
    """Writes the numbers of the records in `files` below `folder`; of many in a second process, meanwhile.

    The file is there, whole, when the block has ended well.
    """
    with replacing(file) as temporary, beside(partial(_write, folder, files, temporary), len(files)) as written:
        yield
        written()


def tidy_text(record: Record | ToldRecord, file: str) -> str:
    """The lines of one record. What its numbers share is made into text once: a record has up to thousands of them."""
    shared = shared_columns(record.key, record.config, record.provenance, file)
    before = f"{_text([[shared[name] for name in BEFORE]]).removesuffix(NEWLINE)},"
    behind = f",{_text([[shared[name] for name in BEHIND]])}"
    lines = before + _text(map(measured, record.measurements)).replace(NEWLINE, behind + before)
    return lines.removesuffix(before)


def _write(folder: Path, files: Iterable[Path], file: Path) -> None:
    above = len(str(folder)) + 1
    with file.open("wb", BUFFER) as opened:
        opened.write(_text([COLUMNS]).encode())
        opened.writelines(tidy_text(_read(record), str(record)[above:]).encode() for record in files)


def _read(file: Path) -> Record | ToldRecord:
    """The record in a file. One that is not as this program writes it is left to `records.read`."""
    return read_quickly(file, DECODER.decode, store.read)


def _text(rows: Iterable[Iterable[Any]]) -> str:
    held = io.StringIO()
    csv.writer(held, lineterminator=NEWLINE).writerows(rows)
    return held.getvalue()


DECODER = Decoder(ToldRecord, float_hook=str)
