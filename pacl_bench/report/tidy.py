"""tidy.csv: every number of every record, a line each, written record by record. No torch here."""

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path
from typing import Any, TextIO

from pacl_bench.files import replacing
from pacl_bench.records import COLUMNS, Record, tidy_rows

# the columns that differ between the numbers of one record
FIRST, LAST = COLUMNS.index("protocol"), COLUMNS.index("n")
OWN = attrgetter(*COLUMNS[FIRST : LAST + 1])


@contextmanager
def writing_tidy(file: Path) -> Iterator[TextIO]:
    """Takes the lines of record after record; the file is there, whole, when all were taken."""
    with replacing(file) as temporary, temporary.open("w", encoding="utf-8", newline="") as opened:
        opened.write(_line(COLUMNS))
        yield opened


def tidy_text(record: Record) -> str:
    """The lines of one record. What its numbers share is made into text once: a record has up to thousands of them."""
    if not record.measurements:
        return ""
    shared = tidy_rows(
        Record(record.key, record.measurements[:1], record.config, record.provenance), str(record.key.path)
    )
    before = _line([shared[0][name] for name in COLUMNS[:FIRST]]).removesuffix("\n")
    behind = _line([shared[0][name] for name in COLUMNS[LAST + 1 :]])
    held = io.StringIO()
    csv.writer(held, lineterminator="\n").writerows(map(OWN, record.measurements))
    return "".join(f"{before},{line},{behind}" for line in held.getvalue().splitlines())


def _line(values: list[Any]) -> str:
    held = io.StringIO()
    csv.writer(held, lineterminator="\n").writerow(values)
    return held.getvalue()
