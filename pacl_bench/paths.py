"""Where things live: four folders, each set by a variable of the environment (or the option of the same name)."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_given: dict[str, Path] = {}  # by variable: what `folders` says in its place


@contextmanager
def folders(
    *,
    data: Path | str | None = None,
    weights: Path | str | None = None,
    results: Path | str | None = None,
    cache: Path | str | None = None,
) -> Iterator[None]:
    """Within the block things live in other folders, whatever the environment says; None changes nothing.

    A data set keeps the folder it was opened in: sets of two data roots can be used side by side.
    """
    said = {"PACL_DATA": data, "PACL_WEIGHTS": weights, "PACL_RESULTS": results, "PACL_CACHE": cache}
    before = dict(_given)
    _given.update({variable: Path(folder) for variable, folder in said.items() if folder is not None})
    try:
        yield
    finally:
        _given.clear()
        _given.update(before)


def _folder(variable: str) -> str | None:
    return str(_given[variable]) if variable in _given else os.environ.get(variable)


def data_root() -> Path:
    """The folder that holds the data sets under their official folder names: PACL_DATA, or ./data."""
    return Path(_folder("PACL_DATA") or "data")


def weights_root() -> Path | None:
    """The folder that holds `<encoder name>.safetensors` (or .pt, .pth, .bin): PACL_WEIGHTS, or none."""
    folder = _folder("PACL_WEIGHTS")
    return Path(folder) if folder else None


def results_root() -> Path:
    """The folder that records/ and report/ are written to: PACL_RESULTS, or ./results."""
    return Path(_folder("PACL_RESULTS") or "results")


def cache_root() -> Path:
    """The folder of the patch-token cache: PACL_CACHE, or ~/.cache/pacl-bench."""
    return Path(_folder("PACL_CACHE") or "~/.cache/pacl-bench").expanduser()
