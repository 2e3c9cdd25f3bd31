"""Where things live: four folders, each set by a variable of the environment (or the option of the same name)."""

import os
from pathlib import Path


def data_root() -> Path:
    """The folder that holds the data sets under their official folder names: PACL_DATA, or ./data."""
    return Path(os.environ.get("PACL_DATA", "data"))


def weights_root() -> Path | None:
    """The folder that holds `<encoder name>.safetensors` (or .pt, .pth, .bin): PACL_WEIGHTS, or none."""
    folder = os.environ.get("PACL_WEIGHTS")
    return Path(folder) if folder else None


def results_root() -> Path:
    """The folder that records/ and report/ are written to: PACL_RESULTS, or ./results."""
    return Path(os.environ.get("PACL_RESULTS", "results"))


def cache_root() -> Path:
    """The folder of the patch-token cache: PACL_CACHE, or ~/.cache/pacl-bench."""
    return Path(os.environ.get("PACL_CACHE", "~/.cache/pacl-bench")).expanduser()
