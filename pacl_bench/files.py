"""Files that are whole or not there."""

import json
import os
from pathlib import Path
from typing import Any

from pacl_bench.errors import UsageError


def write_text(file: Path, text: str) -> None:
    """Writes to a temporary name beside the file and renames: a reader never sees half of it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.{os.getpid()}.partial")
    temporary.write_text(text)
    temporary.replace(file)


def write_json(file: Path, content: Any) -> None:
    """As `write_text`; NaN and infinity, which JSON does not know, are refused with a ValueError."""
    write_text(file, json.dumps(content, indent=1, allow_nan=False) + "\n")


def read_text(file: Path) -> str:
    """What a user's text file holds, without a byte order mark; a UsageError names one that is not UTF-8."""
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{file} is no text in UTF-8 ({error}).") from None


def safe_name(text: str) -> str:
    """A name as part of a path: what a file name may not hold becomes "-", and so does a leading dot."""
    safe = "".join(
        char if char.isalnum() or char in "-_=,+" or (char == "." and at) else "-" for at, char in enumerate(text)
    )
    return safe or "-"
