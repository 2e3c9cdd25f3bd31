"""What is found where, and how much space it takes."""

import os
from functools import cache
from pathlib import Path
from typing import Any

from pacl_bench.data.catalog import declaration, declarations, kind_of
from pacl_bench.data.declaration import Declaration
from pacl_bench.data.tools.downloads import DOWNLOADS
from pacl_bench.paths import cache_root, data_root, results_root, weights_root
from pacl_bench.progress import bar

Rows = list[dict[str, Any]]


def roots() -> Rows:
    """The folders that options and variables of the environment name."""
    named = {
        "data (PACL_DATA)": data_root(),
        "weights (PACL_WEIGHTS)": weights_root(),
        "results (PACL_RESULTS)": results_root(),
        "cache (PACL_CACHE)": cache_root(),
    }
    return [
        {"root": what, "folder": str(folder or "not set"), "there": "yes" if folder and folder.is_dir() else "no"}
        for what, folder in named.items()
    ]


def sets(names: list[str]) -> Rows:
    """A row a set: where it is or was looked for, and the space it takes; all declared sets where none is named."""
    entries = [declaration(name) for name in names] or list(declarations().values())
    measure = cache(space_of)  # sets that share a folder are measured once
    return [_row(entry, measure) for entry in entries]


def _row(entry: Declaration, measure: Any) -> dict[str, Any]:
    folder = entry.found()
    return {
        "name": entry.name,
        "kind": kind_of(entry.name),
        "found": "yes" if folder else "no",
        "folder": str(folder) if folder else " or ".join(map(str, entry.candidates())),
        "space": told(measure(folder)) if folder else f"({entry.space})",
        "get it": f"pacl-bench data fetch {entry.name}" if entry.name in DOWNLOADS else "by hand",
    }


def space_of(folder: Path) -> int:
    """Bytes of all files below a folder; links to other folders are not followed, what cannot be read is left out."""
    total = 0
    with bar("space") as progress:
        task = progress.add_task(f"measuring {folder}", total=None, space="")
        for place, _, files in os.walk(folder):
            for file in files:
                total += _bytes(Path(place, file))
            progress.update(task, advance=len(files), space=told(total))
    return total


def told(number: int) -> str:
    """Bytes as people say them: "1.4 GB"."""
    size = float(number)
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:,.0f} {unit}" if unit == "bytes" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def _bytes(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:  # a dangling link, no permission
        return 0
