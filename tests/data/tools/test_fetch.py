"""Downloads, against a server on 127.0.0.1 that does what servers do."""

import gzip
import hashlib
import io
import os
import resource
import signal
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torchvision.datasets as theirs

from pacl_bench.data.catalog import declarations
from pacl_bench.data.tools.archives import merge, unpack
from pacl_bench.data.tools.downloads import DOWNLOADS, Download
from pacl_bench.data.tools.fetch import FOLDER, Patience, fetch, fetch_one, receive
from pacl_bench.errors import RunError, UsageError

CONTENT = bytes(range(256)) * 400  # 102,400 bytes
MD5 = "md5:" + hashlib.md5(CONTENT).hexdigest()
QUICK = Patience(timeout=0.3, attempts=3, pause=0.01)


class Server(ThreadingHTTPServer):
    """Serves one file. `script` says how the next requests are answered, `asked` what Range they came with."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.script, self.asked = CONTENT, [], []
        self.release, self.half_sent = threading.Event(), threading.Event()

    def url(self, name: str = "set.bin") -> str:
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        span = self.headers.get("Range")
        self.server.asked.append(span)
        how = self.server.script.pop(0) if self.server.script else "ok"
        if isinstance(how, int):
            self.send_error(how)
            return
        content = self.server.content
        start = int(span.removeprefix("bytes=").partition("-")[0]) if span and how != "ignore range" else 0
        if start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(10**18 if how == "huge" else len(content) - start))
        self.end_headers()
        rest = content[start:]
        self.wfile.write(rest if how in ("ok", "ignore range") else rest[: len(rest) // 2])
        self.wfile.flush()
        self.server.half_sent.set()
        if how == "stall":
            self.server.release.wait(20)

    def log_message(self, format: str, *given: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as serving:
        thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield serving
        serving.release.set()
        serving.shutdown()
        thread.join()


def get(server: Server, folder: Path, **changed: object) -> Path:
    download = Download(**{"url": server.url(), "makes": ("set.bin",), "checksum": MD5, **changed})  # type: ignore[arg-type]
    return receive(download, folder, "owner.org/page", QUICK)


HALF = len(CONTENT) // 2


@pytest.mark.parametrize(
    ("script", "asked"),
    [
        (["ok"], [None]),
        ([500, 503, "ok"], [None, None, None]),
        (["truncate", "ok"], [None, f"bytes={HALF}-"]),
        (["stall", "ok"], [None, f"bytes={HALF}-"]),
        (["truncate", 500, 500, "ok"], [None, *[f"bytes={HALF}-"] * 3]),
        (["truncate", "ignore range"], [None, f"bytes={HALF}-"]),
        (["truncate"] * 5, [None, *[f"bytes={len(CONTENT) - len(CONTENT) // 2**n}-" for n in range(1, 6)]]),
    ],
)
def test_what_passes_is_tried_again_from_where_it_stopped(
    server: Server, tmp_path: Path, script: list, asked: list[str | None]
) -> None:
    server.script = list(script)
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.asked == asked
    assert [file.name for file in tmp_path.iterdir()] == ["set.bin"]


def test_what_an_earlier_run_has_left_is_continued(server: Server, tmp_path: Path) -> None:
    (tmp_path / "set.bin.partial").write_bytes(CONTENT[:1000])
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.asked == ["bytes=1000-"]
    get(server, tmp_path)  # complete: nothing is asked for
    assert len(server.asked) == 1


def test_more_than_there_is_starts_anew(server: Server, tmp_path: Path) -> None:
    (tmp_path / "set.bin.partial").write_bytes(CONTENT + b"more")
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.asked == [f"bytes={len(CONTENT) + 4}-", None]


@pytest.mark.parametrize(
    ("script", "changed", "message", "left"),
    [
        ([404], {}, "answers 404 Not Found. Its owners' page may say where it has gone: owner.org/page", []),
        ([500] * 3, {}, "500 Internal Server Error; given up after 3 attempts", []),
        (["truncate", *[503] * 3], {}, "the same command goes on from there", ["set.bin.partial"]),
        (["ok"], {"checksum": "sha256:" + "0" * 64}, "the sha256 .* expected 000.*it is removed", []),
        (["ok"], {"size": 7}, "has 102,400 bytes, 7 are expected: its owners have replaced it", []),
        (["huge"], {}, "GB are needed to fetch and unpack it", []),
    ],
)
def test_what_does_not_pass_is_one_line_and_nothing_has_the_final_name(
    server: Server, tmp_path: Path, script: list, changed: dict, message: str, left: list[str]
) -> None:
    server.script = list(script)
    with pytest.raises(RunError, match=message) as raised:
        get(server, tmp_path, **changed)
    assert "\n" not in str(raised.value)
    assert [file.name for file in tmp_path.iterdir()] == left


def test_nobody_answers(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no connection \(.*refused\); given up after 3"):
        receive(Download("http://127.0.0.1:9/set.bin", ("set.bin",)), tmp_path, "owner.org", QUICK)


def test_a_disk_that_takes_no_more(server: Server, tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(RunError, match=r"cannot be written \(File too large"):
            get(server, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=4096-"]


def packed(kind: str, members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    if kind == ".zip":
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        return buffer.getvalue()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


@pytest.mark.parametrize("kind", [".tar.gz", ".zip"])
def test_fetch_unpacks_to_its_place(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setenv("PACL_DATA", str(tmp_path))
    server.content = packed(kind, {"dtd/images/dotted/1.jpg": b"1", "dtd/labels.txt": b"2", "__MACOSX/x": b"3"})
    server.script = ["truncate", 500, "ok"]
    monkeypatch.setitem(DOWNLOADS, "dtd", (Download(server.url(f"dtd{kind}"), makes=("dtd/images",)),))
    assert fetch("dtd", QUICK) == tmp_path / "dtd" / "images"
    assert (tmp_path / "dtd" / "images" / "dotted" / "1.jpg").read_bytes() == b"1"
    assert not (tmp_path / FOLDER).exists()
    assert (tmp_path / "__MACOSX").exists() == (kind != ".zip")
    fetch("dtd", QUICK)
    assert len(server.asked) == 3  # what is there is not fetched again


def test_an_archive_within_an_archive_and_plain_files(server: Server, tmp_path: Path) -> None:
    inner = packed(".tar.gz", {"101_ObjectCategories/cup/1.jpg": b"1"})
    server.content = packed(".zip", {"caltech-101/inner.tar.gz": inner, "caltech-101/rest.tar": b""})
    nested = Download(
        server.url("c.zip"), makes=("c/101_ObjectCategories",), into="c", inside="caltech-101/inner.tar.gz"
    )
    fetch_one(nested, tmp_path, "owner.org", QUICK)
    server.content = gzip.compress(CONTENT)
    fetch_one(Download(server.url("idx.gz"), makes=("m/idx",), into="m"), tmp_path, "owner.org", QUICK)
    server.content = CONTENT
    fetch_one(Download(server.url("ids.mat"), makes=("m/ids.mat",), into="m"), tmp_path, "owner.org", QUICK)
    assert sorted(str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*") if file.is_file()) == [
        "c/101_ObjectCategories/cup/1.jpg",
        "m/ids.mat",
        "m/idx",
    ]
    assert (tmp_path / "m" / "idx").read_bytes() == CONTENT


def test_an_archive_of_something_else_is_told_and_kept(server: Server, tmp_path: Path) -> None:
    server.content = packed(".zip", {"other/1.jpg": b"1"})
    with pytest.raises(RunError, match=r"does not hold dtd/images: its owners may have changed it; see owner\.org"):
        fetch_one(Download(server.url("dtd.zip"), makes=("dtd/images",)), tmp_path, "owner.org", QUICK)


@pytest.mark.parametrize("kind", [".tar.gz", ".zip"])
@pytest.mark.parametrize("name", ["../evil.txt", "/tmp/pacl-evil.txt", "a/../../evil.txt"])
def test_what_would_be_written_elsewhere_is_refused(tmp_path: Path, kind: str, name: str) -> None:
    file = tmp_path / f"bad{kind}"
    file.write_bytes(packed(kind, {name: b"evil"}))
    if kind == ".tar.gz" and name.startswith("/"):  # tarfile's data filter takes the leading slash away
        unpack(file, tmp_path / "out" / "here")
        assert (tmp_path / "out" / "here" / "tmp" / "pacl-evil.txt").is_file()
    else:
        with pytest.raises(RunError, match=r"outside"):
            unpack(file, tmp_path / "out" / "here")
    assert not list(tmp_path.rglob("evil.txt"))
    assert not Path("/tmp/pacl-evil.txt").exists()


@pytest.mark.parametrize("kind", [".tar.gz", ".zip", ".gz", ".tar"])
def test_a_damaged_archive_is_named(tmp_path: Path, kind: str) -> None:
    whole = gzip.compress(CONTENT) if kind == ".gz" else packed(kind, {"a/1.jpg": CONTENT})
    (tmp_path / f"cut{kind}").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RunError, match=rf"cut{kind} is damaged .*fetch it again"):
        unpack(tmp_path / f"cut{kind}", tmp_path / "out")


def test_merging_never_replaces(tmp_path: Path) -> None:
    for file, content in (("a/x/1", "new"), ("a/x/2", "new"), ("b/x/1", "mine")):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(content)
    merge(tmp_path / "a", tmp_path / "b")
    assert {file.name: file.read_text() for file in (tmp_path / "b" / "x").iterdir()} == {"1": "mine", "2": "new"}


def test_ctrl_c_keeps_what_has_arrived(server: Server, tmp_path: Path) -> None:
    server.content, server.script = packed(".zip", {"dtd/images/1.jpg": os.urandom(100_000)}), ["stall"]
    code = (
        "import sys\nfrom pacl_bench import cli\nfrom pacl_bench.data.tools import downloads\n"
        f"downloads.DOWNLOADS['dtd'] = (downloads.Download({server.url('dtd.zip')!r}, makes=('dtd/images',)),)\n"
        f"sys.argv = ['pacl-bench', 'data', 'fetch', 'dtd', '--data-root', {str(tmp_path)!r}]\ncli.main()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True) as running:
        assert server.half_sent.wait(20)
        partial = tmp_path / FOLDER / "dtd.zip.partial"
        while not partial.exists() or partial.stat().st_size < len(server.content) // 2:
            assert running.poll() is None
            time.sleep(0.01)
        running.send_signal(signal.SIGINT)
        _, complaint = running.communicate(timeout=20)
    assert running.returncode == 1
    assert complaint.count("\n") == 1
    assert "the same command goes on from there" in complaint
    assert partial.stat().st_size == len(server.content) // 2
    assert not (tmp_path / "dtd").exists()
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert ran.returncode == 0, ran.stderr
    assert server.asked[1] == f"bytes={len(server.content) // 2}-"
    assert "fetched." in ran.stdout


def test_unknown_and_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="Did you mean 'voc20'"):
        fetch("vok20")
    with pytest.raises(UsageError, match="drawn by the built-in world"):
        fetch("world-things")
    monkeypatch.delitem(DOWNLOADS, "dtd")
    with pytest.raises(UsageError, match="no plain download; what to do says: pacl-bench data where dtd"):
        fetch("dtd")


@pytest.mark.parametrize("name", DOWNLOADS)
def test_what_is_fetched_lies_where_its_reader_looks(name: str) -> None:
    entry = declarations()[name]
    assert any(
        _related(made, folder) for download in DOWNLOADS[name] for made in download.makes for folder in entry.folders
    )


def _related(made: str, folder: str) -> bool:
    return f"{made}/".startswith(f"{folder}/") or f"{folder}/".startswith(f"{made}/")


@pytest.mark.parametrize("download", [download for entry in DOWNLOADS.values() for download in entry])
def test_every_download_is_complete(download: Download) -> None:
    assert download.url.startswith(("https://", "http://"))
    assert download.makes
    algorithm, _, digest = download.checksum.partition(":")
    assert len(digest) == {"": 0, "md5": 32, "sha1": 40, "sha256": 64}[algorithm]


@pytest.mark.parametrize(
    ("name", "url", "md5"),
    [
        ("voc20", theirs.voc.DATASET_YEAR_DICT["2012"]["url"], theirs.voc.DATASET_YEAR_DICT["2012"]["md5"]),
        ("cifar10", theirs.CIFAR10.url, theirs.CIFAR10.tgz_md5),
        ("cifar100", theirs.CIFAR100.url, theirs.CIFAR100.tgz_md5),
        ("stl10", theirs.STL10.url, theirs.STL10.tgz_md5),
        ("food101", theirs.Food101._URL, theirs.Food101._MD5),
        ("dtd", theirs.DTD._URL, theirs.DTD._MD5),
        ("sun397", theirs.SUN397._DATASET_URL, theirs.SUN397._DATASET_MD5),
        ("country211", theirs.Country211._URL, theirs.Country211._MD5),
        ("svhn", theirs.SVHN.split_list["test"][0], theirs.SVHN.split_list["test"][2]),
        ("fgvc-aircraft", theirs.FGVCAircraft._URL, ""),
        *[("oxford-pets", url, md5) for url, md5 in theirs.OxfordIIITPet._RESOURCES],
        *[("mnist", theirs.MNIST.mirrors[0] + file, md5) for file, md5 in theirs.MNIST.resources],
        *[
            ("flowers102", theirs.Flowers102._download_url_prefix + file, md5)
            for file, md5 in theirs.Flowers102._file_dict.values()
        ],
    ],
)
def test_addresses_and_checksums_are_those_of_torchvision(name: str, url: str, md5: str) -> None:
    assert (url, md5 and f"md5:{md5}") in {(download.url, download.checksum) for download in DOWNLOADS[name]}
