"""pacl-bench cache: what is kept of patch tokens and text embeddings, and how to be rid of it."""

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.filesize import decimal

from pacl_bench.cli.app import App
from pacl_bench.cli.options import AsJson, CacheRoot
from pacl_bench.cli.output import print_rows
from pacl_bench.paths import cache_root as cache_folder

if TYPE_CHECKING:
    from pacl_bench.caching.disk import Entry

app = App(help="The cache of patch tokens and text embeddings.", no_args_is_help=True)


@app.command("info")
def cache_info(cache_root: CacheRoot = None, as_json: AsJson = False) -> None:
    """Show what the cache holds, least recently used first: that goes first when room is needed."""
    from pacl_bench.caching.disk import entries

    held = entries()
    if as_json:
        print(json.dumps({**_totals(held), "entries": [_described(entry) for entry in held]}, indent=1))
    elif held:
        print_rows([_row(entry) for entry in held], _summary(held), as_json)
    else:
        print(_summary(held))


@app.command("clear")
def cache_clear(
    encoder: Annotated[str | None, typer.Option(help="Only what this encoder made.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Only the patch tokens of this data set.")] = None,
    cache_root: CacheRoot = None,
) -> None:
    """Delete what the cache holds, except what another process is using."""
    from pacl_bench.caching.disk import clear, entries

    removed, kept = clear(encoder, dataset)
    print(f"Removed {_counted(removed)}.")
    if kept:
        print(f"In use by another process, and kept: {_counted(kept)}.")
    print(_summary(entries()))


def _totals(held: "list[Entry]") -> dict[str, Any]:
    from pacl_bench.caching.disk import cache_limit

    total = sum(entry.bytes for entry in held)
    return {"folder": str(cache_folder()), "bytes": total, "limit_bytes": cache_limit()}


def _summary(held: "list[Entry]") -> str:
    totals = _totals(held)
    return f"{totals['folder']}: {decimal(totals['bytes'])} of {decimal(totals['limit_bytes'])} (PACL_CACHE_LIMIT)"


def _counted(chosen: "list[Entry]") -> str:
    size = decimal(sum(entry.bytes for entry in chosen))
    texts = sum(entry.kind == "texts" for entry in chosen)
    return f"{size} (sets of patch tokens: {len(chosen) - texts}, lists of texts: {texts})"


def _row(entry: "Entry") -> dict[str, Any]:
    return {
        "encoder": entry.encoder,
        "data set": entry.dataset,
        "view": _view(entry),
        "images": entry.about.get("images"),
        "space": decimal(entry.bytes),
        "last used": f"{datetime.fromtimestamp(entry.used):%Y-%m-%d %H:%M}",
        "state": _state(entry),
    }


def _described(entry: "Entry") -> dict[str, Any]:
    return {
        "encoder": entry.encoder,
        "dataset": entry.dataset,
        "view": entry.about.get("view"),
        "images": entry.about.get("images"),
        "texts": entry.about.get("texts"),
        "bytes": entry.bytes,
        "last_used": datetime.fromtimestamp(entry.used, UTC).isoformat(timespec="seconds"),
        "state": _state(entry),
        "path": str(entry.path),
    }


def _view(entry: "Entry") -> str:
    """What decides which tokens of an image they are: "whole, 224 px, stride 16, block 11"."""
    if entry.kind == "texts":
        texts = entry.about.get("texts")
        return "texts" if texts is None else f"{texts:,} texts"
    view = dict(entry.about.get("view", {}))
    if not {"whole", "short_side"} <= view.keys():
        return entry.key  # written by an older version, which kept no names
    parts = ["whole" if view.pop("whole") else "square", f"{view.pop('short_side')} px"]
    return ", ".join(parts + [f"{name} {value}" for name, value in view.items() if value is not None])


def _state(entry: "Entry") -> str:
    if entry.kind == "unfinished":
        return "being encoded" if entry.in_use else "interrupted"
    return "in use" if entry.in_use else ""
