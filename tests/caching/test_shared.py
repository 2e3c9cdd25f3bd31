"""A cache that several users share, or that this one may only read. Users are changed by root, and by nobody else."""

import multiprocessing
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# What a user's process runs: two small sets of drawn images and a list of texts, encoded or read; how much was encoded.
WORK = """
import os
os.environ.update(environment)
import numpy as np
from PIL import Image
from pacl_bench import load_encoder, load_text_encoder, progress
from pacl_bench.caching import disk, encoded_set, texts
from pacl_bench.caching.encoded_set import EncodedSet
from pacl_bench.encoders import batched
from pacl_bench.encoders.view import View

class Drawn:
    def __init__(self, name):
        self.name = self.fingerprint = name
    def __len__(self):
        return 3
    def image(self, index):
        return Image.fromarray(np.full((64, 64, 3), 40 * index, np.uint8))

vision, text = load_encoder("tiny-clip"), load_text_encoder("tiny-clip")
list(batched.encode_all(vision, Drawn("x"), View(whole=False))), text(["a zebra"])  # imports what is imported late
said, passes, encode = [], [], batched.encode_batch
def counting(encoder, tensors, view):
    passes.append(len(tensors))
    return encode(encoder, tensors, view)
batched.encode_batch = counting
encoded_set.note = disk.note = texts.note = said.append
if user is not None:
    os.setgroups([])
    os.setgid(2000)
    os.setuid(user)
os.umask(umask)
encoded = [EncodedSet(vision, Drawn(name), View(whole=False)) for name in sets]
tokens = [float(features.patch_tokens.sum()) for one in encoded for _, features in one.features()]
embeddings = float(texts.cached_texts(text, ["a zebra", "a kite"]).sum())
told.send((sum(passes), said, tokens + [embeddings]))
"""
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["open_clip", "pacl_bench.caching.encoded_set", "pacl_bench.world.encoders"])
root = os.geteuid() == 0


def run(user: int | None, umask: int, cache: Path, *sets: str) -> tuple[int, list[str], list[float]]:
    """Images encoded, lines said, sums of what came out."""
    heard, told = processes.Pipe(duplex=False)
    environment = {"PACL_CACHE": str(cache), "PACL_CACHE_LIMIT": os.environ.get("PACL_CACHE_LIMIT", "20GB")}
    names = {"environment": environment, "user": user, "umask": umask, "sets": sets, "told": told}
    process = processes.Process(target=exec, args=(WORK, names), daemon=True)
    process.start()
    told.close()
    try:
        return heard.recv()
    finally:
        process.join(60)


@pytest.fixture
def cache() -> Iterator[Path]:
    """A folder of group 2000 in which new files are of that group; not below pytest's own, which only we may enter."""
    folder = Path(tempfile.mkdtemp(prefix="pacl-shared-"))
    if root:
        os.chown(folder, -1, 2000)
    folder.chmod(0o2775)
    yield folder
    shutil.rmtree(folder)


def modes(folder: Path) -> set[str]:
    return {stat.filemode(path.stat().st_mode)[:7] for path in folder.rglob("*")}


@pytest.mark.skipif(not root, reason="only root can become another user")
def test_a_group_shares_a_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded, _, first = run(1001, 0o002, cache, "a")
    assert encoded == 3
    assert modes(cache) == {"drwxrws", "-rw-rw-"}
    encoded, said, second = run(1002, 0o002, cache, "a")
    assert (encoded, said, second) == (0, [], first)
    one_set = sum(file.stat().st_size for file in (cache / "tokens").rglob("*"))
    monkeypatch.setenv("PACL_CACHE_LIMIT", str(one_set + 5000))  # the other's set has to go
    encoded, said, _ = run(1002, 0o002, cache, "b")
    assert encoded == 3
    assert "made room in the cache" in "\n".join(said)
    assert len(list((cache / "tokens").iterdir())) == 1


@pytest.mark.skipif(not root, reason="only root can become another user")
def test_a_cache_of_another_user_is_read_and_not_written(cache: Path) -> None:
    _, _, first = run(1001, 0o022, cache, "a")
    assert modes(cache) == {"drwxr-s", "-rw-r--", "-rw-rw-"}  # the last one: locks, which are everybody's
    before = sorted(cache.rglob("*"))
    encoded, said, second = run(1002, 0o022, cache, "a", "b", "c")
    assert (encoded, second[:3], second[-1]) == (6, first[:3], first[-1])
    assert said == [
        f"{cache}: Permission denied. What is encoded is not kept; set PACL_CACHE to a folder that may be written to."
    ]
    assert sorted(cache.rglob("*")) == before


def test_a_read_only_cache_is_read_and_not_written(cache: Path) -> None:
    other = 1001 if root else None
    _, _, first = run(None, 0o022, cache, "a")
    for path in [*cache.rglob("*"), cache]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    encoded, said, second = run(other, 0o022, cache, "a", "b")
    assert (encoded, second[:3], second[-1]) == (3, first[:3], first[-1])
    assert len(said) == 1
    for path in [cache, *cache.rglob("*")]:
        path.chmod(0o755)


def test_a_cache_that_may_not_even_be_entered(cache: Path) -> None:
    other = 1001 if root else None
    _, _, first = run(None, 0o022, cache, "a")
    cache.chmod(0)
    encoded, said, second = run(other, 0o022, cache, "a")
    assert (encoded, second) == (3, first)
    assert len(said) == 1
    cache.chmod(0o755)


def test_files_that_may_not_be_read_are_none(cache: Path) -> None:
    """Those of a user who lets nobody look, or that an older version wrote."""
    other = 1001 if root else None
    _, _, first = run(None, 0o022, cache, "a")
    for path in (cache / "tokens").glob("*"):
        path.chmod(0)
    for path in (cache / "texts").glob("*.npy"):
        path.chmod(0)
    encoded, _, second = run(other, 0o022, cache, "a")
    assert (encoded, second) == (3, first)
    for path in (cache / "tokens").glob("*"):
        path.chmod(0o755)
