"""How sets of pairs are named: several joined by "+", each with a weight or none."""

import re
from pathlib import Path

from pacl_bench.data.shards import names_shards, shard_files
from pacl_bench.errors import UsageError


def split_sum(names: str) -> list[str]:
    """The sets of a sum. A "+" within the path of a file or folder does not split."""
    parts = names.split("+")
    found = []
    while parts:
        ends = range(len(parts), 1, -1)
        end = next((end for end in ends if is_path(name_and_weight("+".join(parts[:end]))[0])), 1)
        found.append("+".join(parts[:end]))
        parts = parts[end:]
    return found


def is_path(name: str) -> bool:
    return Path(name).exists() or (names_shards(name) and any(file.exists() for file in shard_files(name)))


def name_and_weight(text: str) -> tuple[str, float | None]:
    matched = re.fullmatch(r"(.+):(\d*\.?\d+|\d+\.)", text)
    if matched is None or Path(text).exists():
        return text, None
    if float(matched[2]) == 0:
        raise UsageError(f"--pairs {text}: a weight of 0 leaves the set out. Do not name it.")
    return matched[1], float(matched[2])
