"""How the program starts and how it ends, as a process of its own."""

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch

from pacl_bench.cli import _told
from pacl_bench.errors import UsageError


def run(*arguments: str, module: str = "pacl_bench", **environment: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-X", "importtime", "-m", module, *arguments]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("module", ["pacl_bench", "pacl_bench.cli"])
def test_the_version_is_said_without_torch(module: str) -> None:
    ended = run("--version", module=module)
    assert (ended.returncode, ended.stdout) == (0, f"pacl-bench {version('pacl-bench')}\n")
    assert " torch\n" not in ended.stderr


def test_without_arguments_there_is_help_and_no_complaint() -> None:
    ended = run()
    assert "quickstart" in ended.stdout
    assert "pacl-bench:" not in ended.stderr


def test_an_output_without_room_is_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "pacl_bench", "list", "encoders"]
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (1, "pacl-bench: The output: No space left on device.\n")


def test_a_locale_without_the_letters_ends_no_command() -> None:
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-c", "from pacl_bench import cli; cli._speak_every_locale(); print('mIoU \\u00d7 100')"]
    ended = subprocess.run(command, env=os.environ | locale, capture_output=True, text=True, check=True)
    assert ended.stdout == "mIoU \\xd7 100\n"


def test_what_an_error_is_told_as(tmp_path: Path) -> None:
    assert _told(UsageError("--size: no")) == ("--size: no", 2)
    with pytest.raises(FileNotFoundError) as missing:
        (tmp_path / "gone").read_bytes()
    assert _told(missing.value) == (f"{tmp_path / 'gone'}: No such file or directory.", 1)
    with pytest.raises(ZeroDivisionError):
        _told(ZeroDivisionError())


def test_a_link_to_itself_is_named(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    command = [sys.executable, "-m", "pacl_bench", "segment", "--encoders", "tiny-clip"]
    command += ["--datasets", f"folder:{tmp_path / 'loop'}"]
    ended = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert str(tmp_path / "loop") in ended.stderr


@pytest.mark.parametrize("take", [lambda: np.empty(1 << 50), lambda: torch.empty(1 << 50), lambda: bytearray(1 << 60)])
def test_no_memory_left_names_the_options_that_help(take) -> None:
    with pytest.raises((MemoryError, RuntimeError)) as raised:
        take()
    line, code = _told(raised.value)
    assert code == 1
    assert line.startswith("Out of memory (")
    assert line.endswith("A smaller --size, --window or --batch-size, or a larger --stride, needs less.")


@pytest.mark.parametrize(
    "words",
    [
        "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has 79 GiB",
        "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "MPS backend out of memory (MPS allocated: 9 GB)",
    ],
)
def test_no_memory_left_on_a_gpu_too(words: str) -> None:
    for error in (torch.OutOfMemoryError(words), RuntimeError(words)):
        line, code = _told(error)
        assert code == 1
        assert line.startswith(f"Out of memory ({words[:10]}")
        assert line.endswith("needs less.")
        assert "\n" not in line
    with pytest.raises(RuntimeError, match="shape"):
        _told(RuntimeError("shape mismatch"))
