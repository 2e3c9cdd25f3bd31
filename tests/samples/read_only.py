"""A disk that may be read and not written to."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Within the block nothing at or below the folder can be written: its disk is mounted so, or its modes forbid it.

    Modes do not bind the user root, who in turn may mount, unless a container forbids that: then the test is skipped.
    """
    if os.geteuid():
        with _forbidden(folder):
            yield
        return
    if not _mount("--bind", str(folder), str(folder)):
        pytest.skip("this container does not let root mount")
    try:
        assert _mount("-o", "remount,ro,bind", str(folder))
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@contextmanager
def _forbidden(folder: Path) -> Iterator[None]:
    modes = {path: path.stat().st_mode for path in (folder, *folder.rglob("*"))}
    for path, mode in modes.items():
        path.chmod(mode & ~0o222)
    try:
        yield
    finally:
        for path, mode in modes.items():
            path.chmod(mode)


def _mount(*words: str) -> bool:
    return subprocess.run(["mount", *words], capture_output=True, check=False).returncode == 0
