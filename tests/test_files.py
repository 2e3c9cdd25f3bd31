"""Files are whole or not there, whoever writes them and whatever goes wrong."""

import ast
import multiprocessing
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from full_disk import full_disk

from pacl_bench.errors import RunError
from pacl_bench.files import WriteError, append_lines, replacing, write_bytes, write_json, write_text

PACKAGE = Path(__file__).parents[1] / "pacl_bench"


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
@pytest.mark.parametrize("there", [False, True])
def test_the_mode_is_the_umasks(tmp_path: Path, mask: int, mode: int, there: bool) -> None:
    file = tmp_path / "new" / "a.json"
    if there:
        write_json(file, {})
    with umask(mask):
        write_json(file, {"a": 1})
    assert stat.S_IMODE(file.stat().st_mode) == mode
    assert file.read_text() == '{\n "a": 1\n}\n'


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, RunError])
@pytest.mark.parametrize("at", ["before", "after"])
def test_what_goes_wrong_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, error: type[BaseException], at: str
) -> None:
    file = tmp_path / "a.txt"
    write_text(file, "old")

    def write() -> None:
        with replacing(file) as temporary:
            if at == "after":
                temporary.write_text("half of the n")
            raise error

    with pytest.raises(error):
        write()
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_the_temporary_file_is_hidden_and_has_the_suffix(tmp_path: Path) -> None:
    """Libraries choose the format by it; who lists a folder does not see it."""
    with replacing(tmp_path / "a.npy") as temporary:
        assert (temporary.parent, temporary.suffix, temporary.name[0]) == (tmp_path, ".npy", ".")
    assert [file.name for file in tmp_path.iterdir()] == ["a.npy"]


def test_a_full_disk_is_one_line_that_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    write_text(file, "old")
    with full_disk(100), pytest.raises(WriteError) as raised:
        write_text(file, "new" * 100)
    assert str(raised.value) == (
        f"{file} cannot be written: File too large. Make room there or choose another folder, then give the same "
        "command again."
    )
    assert raised.value.full
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]
    with full_disk(100), pytest.raises(WriteError, match=r"log.jsonl cannot be written: File too large"):
        append_lines(tmp_path / "log.jsonl", ["x" * 200])


def test_a_file_in_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    with pytest.raises(
        WriteError, match=r"a/b.txt cannot be written: .* Choose a folder that may be written to"
    ) as raised:
        write_text(tmp_path / "a" / "b.txt", "")
    assert not raised.value.full


def test_text_is_utf8_and_a_strange_file_name_is_no_error(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "mIoU × 100 – \udce9")
    assert (tmp_path / "a.txt").read_bytes() == "mIoU × 100 – \\udce9".encode()


def _write_often(file: Path, content: bytes, times: int) -> None:
    for _ in range(times):
        write_bytes(file, content, durable=False)


def test_two_processes_that_write_one_file(tmp_path: Path) -> None:
    file, contents = tmp_path / "a.bin", [b"a" * 100_000, b"b" * 50_000]
    write_bytes(file, contents[0])
    processes = multiprocessing.get_context("forkserver")
    writers = [processes.Process(target=_write_often, args=(file, content, 200)) for content in contents]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert file.read_bytes() in contents
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert list(tmp_path.iterdir()) == [file]


def _opens_text_in_the_locale(call: ast.Call) -> bool:
    """Whether a call reads or writes text in whatever encoding the machine's locale has."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if any(keyword.arg == "encoding" for keyword in call.keywords):
        return False
    if name in ("read_text", "write_text"):
        return isinstance(call.func, ast.Attribute)  # those of pacl_bench.files are called by their bare names
    if name != "open":
        return False
    of = call.func.value if isinstance(call.func, ast.Attribute) else None
    if isinstance(of, ast.Name) and of.id in ("Image", "tarfile", "gzip", "os"):
        return False
    given = [node.value for argument in call.args for node in ast.walk(argument) if isinstance(node, ast.Constant)]
    return not any(isinstance(value, str) and "b" in value for value in given)


def test_every_text_file_is_opened_as_utf8() -> None:
    found = [
        f"{file.relative_to(PACKAGE)}:{call.lineno}"
        for file in PACKAGE.rglob("*.py")
        for call in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and _opens_text_in_the_locale(call)
    ]
    addresses = ("data/tools/fetch.py", "encoders/hub.py")  # what these open is none of our files
    assert [place for place in found if not place.startswith(addresses)] == []
