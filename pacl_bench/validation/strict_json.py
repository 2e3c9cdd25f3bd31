"""Reading the JSON files that we wrote ourselves: all of it as it should be, or one line that says what is not."""

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from pacl_bench.errors import UsageError

MAX_DIGITS = 18  # of a whole number: what 64 bits hold


def read_checked(file: Path, shape: type[BaseModel], newest: int, what: str) -> dict[str, Any]:
    """The content of a JSON file of ours, without its schema.

    Args:
        newest: the schema up to which this version reads. what: the file should be: "a record".

    Raises:
        UsageError: in one line that names the file: it cannot be read, is no JSON, has NaN or a key twice, was written
            by a newer version, or has something of another type than `shape` says.
    """
    try:
        content = parse(file.read_bytes().decode("utf-8-sig"))
        if not isinstance(content, dict):
            raise ValueError("no object in braces")
        _require_schema(file, content.pop("schema", None), newest)
        require_shape(content, shape)
    except (ValueError, OSError, RecursionError) as error:
        told = " ".join(str(error).split())[:200]
        raise UsageError(f"{file} is not {what} ({told}); move it away or mend it.") from None
    return content


def require_shape(content: dict[str, Any], shape: type[BaseModel]) -> None:
    """A ValueError of one line that names the first place where something else stands than should."""
    try:
        shape.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"][:6]))
        raise ValueError(f"{place}: {first['msg']}" if place else first["msg"]) from None


def parse(text: str) -> Any:
    """As `json.loads`; a key that stands there twice, a number without end and half a character are ValueErrors too."""
    content = DECODER.decode(text)
    if "\\ud" in text or "\\uD" in text:  # half of a surrogate pair, which UTF-8 cannot hold
        json.dumps(content, ensure_ascii=False).encode()
    return content


def _whole(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} stands there twice")
    return content


def _require_schema(file: Path, schema: Any, newest: int) -> None:
    if type(schema) is not int or schema < 1:
        raise ValueError("it has no schema number")
    if schema > newest:
        raise UsageError(
            f"{file} was written by a newer pacl-bench (schema {schema}, this one reads up to {newest}): update."
        )


DECODER = json.JSONDecoder(parse_int=_whole, object_pairs_hook=_once)  # made once, as many files are read
