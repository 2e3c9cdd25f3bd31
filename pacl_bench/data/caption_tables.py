"""Tables of image files and captions, as csv files hold them: rows that can be read in one way only, and the others."""

import csv
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pacl_bench.data.images import photo_suffixes
from pacl_bench.data.text_lines import read_lines
from pacl_bench.errors import UsageError

COLUMNS = ("filepath", "caption")
DELIMITERS = {",": "comma", "\t": "tab", ";": "semicolon", "|": "bar"}


class Row(NamedTuple):
    """What a row says, or what is wrong with it."""

    line: int  # where it begins, from 1
    filepath: str = ""
    caption: str = ""
    problem: str = ""


class _Header(NamedTuple):
    """What the first line says of the others."""

    delimiter: str
    columns: int
    filepath: int  # which column
    caption: int


def read_caption_table(file: Path) -> Iterator[Row]:
    """The rows of a table with the columns filepath and caption, in any order and among others.

    The line of column names says what separates the columns. A row with more or fewer fields than there are columns
    (a comma within a caption that is not quoted) is not guessed at, nor is one with a stray quote, which would swallow
    the rows behind it.

    Raises:
        UsageError: the file is no text in UTF-8, or a column is missing or there twice.
    """
    lines = read_lines(file)
    first = next((at for at, line in enumerate(lines) if line.strip()), len(lines))
    header = _header(file, "".join(lines[first : first + 1]))
    for at, fields in _records(lines, first + 1, header.delimiter, file.parent):
        if isinstance(fields, str):
            yield Row(at + 1, problem=fields)
        elif len(fields) == header.columns or (len(fields) > header.columns and not any(fields[header.columns :])):
            yield Row(at + 1, fields[header.filepath].strip(), fields[header.caption])
        elif fields:  # a line without anything in it is no row
            yield Row(at + 1, problem=_miscounted(len(fields), header))


def _miscounted(fields: int, header: _Header) -> str:
    if fields < header.columns:
        return f"too few fields, {fields} for {header.columns} columns"
    way_out = f"what holds a {DELIMITERS[header.delimiter]} must stand in quotes"
    return f"too many fields, {fields} for {header.columns} columns; {way_out}"


def _header(file: Path, line: str) -> _Header:
    likely = "\t" if file.suffix.lower() == ".tsv" else ","
    names = {delimiter: _column_names(line, delimiter) for delimiter in (likely, *DELIMITERS)}
    delimiter = max(names, key=lambda delimiter: len({*COLUMNS} & {*names[delimiter]}))
    columns = names[delimiter]
    missing = next((column for column in COLUMNS if column not in columns), None)
    if missing is not None:
        raise UsageError(
            f"{file}: the column {missing!r} is missing; the first line must name the columns filepath and caption, "
            f"with commas, tabs, semicolons or bars as the delimiter. It is {line[:80]!r}."
        )
    double = next((column for column in COLUMNS if columns.count(column) > 1), None)
    if double is not None:
        raise UsageError(f"{file}: the column {double!r} is there {columns.count(double)} times.")
    return _Header(delimiter, len(columns), *map(columns.index, COLUMNS))


def _column_names(line: str, delimiter: str) -> list[str]:
    return [name.strip().lower() for name in next(csv.reader([line], delimiter=delimiter), [])]


def _records(lines: list[str], start: int, delimiter: str, folder: Path) -> Iterator[tuple[int, list[str] | str]]:
    """The fields of each row with the number of its first line from 0, or of each line that is of no row, why.

    Behind a quote that cannot be right, reading goes on with the next line.
    """
    while start < len(lines):
        rest = (f"{lines[at]}\n" for at in range(start, len(lines)))
        reader = csv.reader(rest, delimiter=delimiter, skipinitialspace=True, strict=True)
        before = start
        try:
            for fields in reader:
                end = before + reader.line_num
                if end > start + 1 and _swallows(fields, delimiter, folder):
                    swallowed = f"a quote without a partner in line {start + 1} makes one row of this line and others"
                    yield from ((at, swallowed) for at in range(start, end))
                else:
                    yield start, fields
                start = end
        except csv.Error as error:
            yield start, f"a quote without a partner, or one within quotes that is not doubled ({error})"
            start += 1


def _swallows(fields: list[str], delimiter: str, folder: Path) -> bool:
    """Whether other rows stand within a field of several lines: one of them names an image file of its own."""
    lines = (line for field in fields if "\n" in field for line in field.split("\n") if delimiter in line)
    return any(_is_image(part.strip(), folder) for line in lines for part in line.split(delimiter))


def _is_image(name: str, folder: Path) -> bool:
    # unlike Path.is_file, os.path knows names that are too long to be one
    return Path(name).suffix.lower() in photo_suffixes() or os.path.isfile(folder / name)  # noqa: PTH113
