"""One process alone writes to a folder; what a killed one held is free."""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import FileLock

from pacl_bench.errors import UsageError
from pacl_bench.files import WriteError
from pacl_bench.locks import CLAIM, claimed, locked


@contextmanager
def another_process_claims(folder: Path):
    code = "import time; from pathlib import Path; from pacl_bench.locks import claimed\n"
    code += f"with claimed(Path({str(folder)!r}), '--out'): print('claimed', flush=True); time.sleep(60)"
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "claimed\n"
    yield other
    other.kill()
    other.wait()
    other.stdout.close()


def test_the_second_is_told_and_a_killed_one_holds_nothing(tmp_path: Path) -> None:
    with another_process_claims(tmp_path / "out") as other:
        told = pytest.raises(UsageError, match=r"^--out .*out: another run writes there\. Wait for it")
        with told, claimed(tmp_path / "out", "--out"):
            pytest.fail("two write to one folder")
        assert (tmp_path / "out" / CLAIM).is_file()
        os.kill(other.pid, signal.SIGKILL)
        other.wait()
        with claimed(tmp_path / "out", "--out"):
            (tmp_path / "out" / "kept").touch()
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["kept"]


def test_a_folder_that_gets_nothing_goes_again(tmp_path: Path) -> None:
    with pytest.raises(KeyError), claimed(tmp_path / "out", "--out"):
        raise KeyError
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("error", [NotImplementedError("no locks"), PermissionError(13, "Permission denied")])
def test_where_there_are_no_locks_nothing_is_claimed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fails(*given: object) -> None:
        raise error

    monkeypatch.setattr(FileLock, "acquire", fails)
    with pytest.raises(WriteError, match=r"a\.lock cannot be written"), locked(tmp_path / "a.lock"):
        pytest.fail("locked")
    with claimed(tmp_path, "--out"):
        (tmp_path / "worked").touch()
    assert (tmp_path / "worked").exists()
