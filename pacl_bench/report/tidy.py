"""tidy.csv: every number of every record, a line each, written record by record. No torch here."""

import csv
import io
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any

from pacl_bench import records as store
from pacl_bench.files import replacing
from pacl_bench.records import COLUMNS, Record, tidy_rows
from pacl_bench.validation.many_records import ManyRecords

MANY = 5000  # records, from which on a second process pays
# the columns that differ between the numbers of one record
FIRST, LAST = COLUMNS.index("protocol"), COLUMNS.index("n")
OWN = attrgetter(*COLUMNS[FIRST : LAST + 1])


@contextmanager
def writing_tidy(folder: Path, file: Path) -> Iterator[None]:
    """Writes the numbers of every record below `folder`; of many in a second process, while the block goes on.

    The file is there, whole, when the block has ended well.
    """
    with replacing(file) as temporary:
        write = partial(_write, folder, temporary)
        # a forked process needs no main module that guards itself; macOS and Windows have none that is safe
        if sys.platform == "linux" and (os.cpu_count() or 1) > 1 and len(store.files(folder)) >= MANY:
            with _meanwhile(write):
                yield
        else:
            write()
            yield


def tidy_text(record: Record, file: str) -> str:
    """The lines of one record. What its numbers share is made into text once: a record has up to thousands of them."""
    if not record.measurements:
        return ""
    [shared] = tidy_rows(Record(record.key, record.measurements[:1], record.config, record.provenance), file)
    before = _line([shared[name] for name in COLUMNS[:FIRST]]).removesuffix("\n")
    behind = _line([shared[name] for name in COLUMNS[LAST + 1 :]])
    held = io.StringIO()
    csv.writer(held, lineterminator="\n").writerows(map(OWN, record.measurements))
    return "".join(f"{before},{line},{behind}" for line in held.getvalue().splitlines())


@contextmanager
def _meanwhile(work: Callable[[], None]) -> Iterator[None]:
    """Does the work in a second process. Where that fails, it is done again here, which tells what is wrong."""
    process = multiprocessing.get_context("fork").Process(target=_ends, args=(work,), daemon=True)
    process.start()
    try:
        yield
        process.join()
    finally:
        process.kill()
    if process.exitcode != 0:
        work()


def _ends(work: Callable[[], None]) -> None:
    """Ends the process without a word: with 0 where the work was done."""
    try:
        work()
    except BaseException:
        os._exit(1)
    os._exit(0)


def _write(folder: Path, file: Path) -> None:
    many, above = ManyRecords(), len(str(folder)) + 1
    with file.open("w", encoding="utf-8", newline="") as opened:
        opened.write(_line(COLUMNS))
        opened.writelines(tidy_text(many.read(record), str(record)[above:]) for record in store.files(folder))


def _line(values: list[Any]) -> str:
    held = io.StringIO()
    csv.writer(held, lineterminator="\n").writerow(values)
    return held.getvalue()
