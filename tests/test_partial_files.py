"""Files that are being written: those of killed processes go, those of living ones never."""

import multiprocessing
import os
import time
from pathlib import Path

import pytest

from pacl_bench import partial_files
from pacl_bench.files import replacing, write_bytes
from pacl_bench.partial_files import remove_abandoned

OLD = time.time() - partial_files.STALE - 60
PROCESSES = multiprocessing.get_context("forkserver")


def begin(file: Path, begun) -> None:
    """Begins to write a file, and hangs."""
    with replacing(file) as temporary:
        temporary.write_bytes(b"half of it")
        begun.set()
        time.sleep(600)


@pytest.fixture
def writer(tmp_path: Path):
    """Another process that is writing tmp_path/a.json."""
    begun = PROCESSES.Event()
    process = PROCESSES.Process(target=begin, args=(tmp_path / "a.json", begun), daemon=True)
    process.start()
    assert begun.wait(180)
    yield process
    process.kill()
    process.join()


def partial(folder: Path) -> list[Path]:
    return sorted(folder.glob(".partial-*"))


def kill(writer) -> None:
    writer.kill()
    writer.join()


def test_what_a_killed_process_left_goes_with_the_next_write_into_the_folder(writer, tmp_path: Path) -> None:
    (left,) = partial(tmp_path)
    kill(writer)
    assert partial(tmp_path) == [left]
    write_bytes(tmp_path / "b.json", b"b")
    assert [file.name for file in tmp_path.iterdir()] == ["b.json"]


def test_what_a_living_process_writes_stays_however_old(writer, tmp_path: Path) -> None:
    (living,) = partial(tmp_path)
    remove_abandoned(tmp_path)
    os.utime(living, (OLD, OLD))
    remove_abandoned(tmp_path)
    assert partial(tmp_path) == [living]
    kill(writer)
    remove_abandoned(tmp_path)
    assert partial(tmp_path) == []


@pytest.mark.parametrize("name", [".partial-0123abcd-0123456789ab.json", ".partial-0123456789ab.json"])
def test_what_another_machine_or_an_earlier_version_began_goes_when_it_is_old(name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_bytes(b"half")
    remove_abandoned(tmp_path)
    assert file.exists()
    os.utime(file, (OLD, OLD))
    remove_abandoned(tmp_path)
    assert not file.exists()


def test_nothing_else_is_touched(tmp_path: Path) -> None:
    """A set of patch tokens that was begun is gone on with; other programs have hidden files too."""
    others = [".partial-" + 32 * "a", ".partial-mine.json", ".partial", "a.partial-0123456789ab.json"]
    for name in others:
        (tmp_path / name).write_bytes(b"")
        os.utime(tmp_path / name, (OLD, OLD))
    folder = tmp_path / ".partial-0123456789ab.d"
    folder.mkdir()
    remove_abandoned(tmp_path)
    remove_abandoned(tmp_path / "is not there")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*others, folder.name])


def test_one_that_was_taken_for_abandoned_is_begun_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process comes by just before its writer has locked it."""
    assert partial_files.fcntl is not None
    lock, came_by = partial_files.fcntl.flock, []

    def flock(handle, operation: int) -> None:
        if not came_by:
            came_by.extend(partial(tmp_path))
            came_by[0].unlink()
        lock(handle, operation)

    monkeypatch.setattr(partial_files.fcntl, "flock", flock)
    write_bytes(tmp_path / "a.json", b"whole")
    assert len(came_by) == 1
    assert (tmp_path / "a.json").read_bytes() == b"whole"


@pytest.mark.parametrize("is_old", [False, True])
def test_where_there_are_no_locks_age_alone_tells(
    is_old: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(handle, operation: int) -> None:
        raise OSError(95, "Operation not supported")

    assert partial_files.fcntl is not None
    monkeypatch.setattr(partial_files.fcntl, "flock", no_locks)
    with replacing(tmp_path / "a.json"):
        (mine,) = partial(tmp_path)
        if is_old:
            os.utime(mine, (OLD, OLD))
        remove_abandoned(tmp_path)
        assert partial(tmp_path) == ([] if is_old else [mine])
        mine.write_bytes(b"")
