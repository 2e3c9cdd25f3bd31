"""Downloads, against a server on 127.0.0.1 that does what servers do."""

import contextlib
import gzip
import hashlib
import io
import os
import resource
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

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
        self.certificate, self.tunnels = Path(), []

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
        if how == "silent":
            self.server.release.wait(120)
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
            self.server.release.wait(120)

    def do_CONNECT(self) -> None:
        """As a proxy, whose tunnel leads to this server itself."""
        self.server.tunnels.append(self.path)
        self.send_response(200)
        self.end_headers()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.server.certificate)
        with contextlib.suppress(ssl.SSLError), context.wrap_socket(self.connection, server_side=True) as tunnel:
            self.rfile, self.wfile = tunnel.makefile("rb"), tunnel.makefile("wb")  # type: ignore[assignment]
            self.handle_one_request()

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


def test_a_server_that_never_answers_is_given_up_in_the_time_that_is_said(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert (Patience().longest, QUICK.longest) == (330.0, pytest.approx(0.93))
    server.script = ["silent"] * 3
    started = time.monotonic()
    with pytest.raises(RunError, match=r"the server does not answer; given up after 3 attempts"):
        get(server, tmp_path)
    assert QUICK.longest < time.monotonic() - started < QUICK.longest + 20
    assert "trying again in 0.01 s, giving up after 1 s without a byte at the latest" in capsys.readouterr().err


def test_a_proxy_finds_the_server(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the machine itself cannot: the name of the server is never looked up here."""
    monkeypatch.setattr("socket.getaddrinfo", only_this_machine)
    with pytest.raises(RunError, match="no connection"):
        receive(Download("http://nowhere.invalid/set.bin", ("set.bin",)), tmp_path, "owner.org", QUICK)
    monkeypatch.setenv("http_proxy", server.url(""))
    download = Download("http://nowhere.invalid/set.bin", ("set.bin",), checksum=MD5)
    assert receive(download, tmp_path, "owner.org", QUICK).read_bytes() == CONTENT


def test_https_through_a_proxy(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy is asked for a tunnel to the server, and what goes through it is encrypted for the server."""
    if not shutil.which("openssl"):
        pytest.skip("openssl, which makes the server's certificate, is not installed")
    server.certificate = certificate(tmp_path, "nowhere.invalid")
    monkeypatch.setattr("socket.getaddrinfo", only_this_machine)
    monkeypatch.setenv("HTTPS_PROXY", server.url(""))
    download = Download("https://nowhere.invalid/set.bin", ("set.bin",), checksum=MD5)
    with pytest.raises(RunError, match="certificate verify failed"):
        receive(download, tmp_path, "owner.org", Patience(5.0, 1, 0.0))
    monkeypatch.setenv("SSL_CERT_FILE", str(server.certificate))
    assert receive(download, tmp_path, "owner.org", Patience(5.0, 1, 0.0)).read_bytes() == CONTENT
    assert server.tunnels == ["nowhere.invalid:443"] * 2


def only_this_machine(host: str, *given: Any, found: Any = socket.getaddrinfo, **named: Any) -> Any:
    """A machine without DNS."""
    if host != "127.0.0.1":
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    return found(host, *given, **named)


def certificate(folder: Path, host: str) -> Path:
    """A key and a certificate of a server, signed by itself, in one file."""
    file = folder / "server.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={host}"]
    command += ["-addext", f"subjectAltName=DNS:{host}", "-keyout", str(file), "-out", str(folder / "cert.pem")]
    subprocess.run(command, check=True, capture_output=True)
    file.write_text(file.read_text() + (folder / "cert.pem").read_text())
    return file


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


def packed_tar(members: dict[str, bytes]) -> bytes:
    return gzip.decompress(packed(".tar.gz", members))


def packed(kind: str, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    if kind == ".zip":
        with zipfile.ZipFile(buffer, "w", compression) as archive:
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


def bomb(kind: str, size: int) -> bytes:
    """An archive of zeros: a thousandth of what it unpacks to."""
    return gzip.compress(bytes(size)) if kind == ".gz" else packed(kind, {"zeros": bytes(size)}, zipfile.ZIP_DEFLATED)


@pytest.mark.parametrize("kind", [".tar.gz", ".zip", ".gz"])
def test_an_archive_that_unpacks_to_far_more_than_its_size_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    file = tmp_path / f"set{kind}"
    file.write_bytes(bomb(kind, 4_000_000))
    unpack(file, tmp_path / "small")  # a small one may
    monkeypatch.setattr("pacl_bench.data.tools.archives.SMALL", 1_000_000)
    with pytest.raises(
        RunError, match=rf"set{kind} unpacks to more than the 0.0 GB that are to be expected of set{kind}"
    ):
        unpack(file, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / f"photos{kind}").write_bytes(
        packed(kind, {"a": os.urandom(2_000_000)}) if kind != ".gz" else bomb(kind, 1)
    )
    unpack(tmp_path / f"photos{kind}", tmp_path / "photos")


@pytest.mark.parametrize("kind", [".tar.gz", ".zip"])
def test_more_than_the_disk_has_room_for_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    (tmp_path / f"set{kind}").write_bytes(packed(kind, {"a": bytes(3000), "b": bytes(3000)}))
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=5000))
    with pytest.raises(RunError, match=r"unpacks to more than the 0\.0 GB that are free at"):
        unpack(tmp_path / f"set{kind}", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", [".tar.gz", ".zip"])
def test_too_many_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    (tmp_path / f"set{kind}").write_bytes(packed(kind, {f"{at}": b"" for at in range(6)}))
    monkeypatch.setattr("pacl_bench.data.tools.archives.MAX_MEMBERS", 5)
    with pytest.raises(RunError, match="holds more than 5 files"):
        unpack(tmp_path / f"set{kind}", tmp_path / "out")


def test_a_header_of_absurd_size_is_not_read(tmp_path: Path) -> None:
    """A long name of gigabytes would go to memory; a size below 0 would send the reader back for ever."""
    for size in (2 << 20, -512):
        long_name, member = tarfile.TarInfo("././@LongLink"), tarfile.TarInfo("a")
        long_name.type, long_name.size = tarfile.GNUTYPE_LONGNAME, size
        header = long_name.tobuf(tarfile.GNU_FORMAT)
        (tmp_path / "bad.tar").write_bytes(header + member.tobuf() + bytes(1024))
        with pytest.raises(RunError, match=r"bad\.tar is damaged \(a size that no member has at byte 0\)"):
            unpack(tmp_path / "bad.tar", tmp_path / "out")


def test_a_tar_with_a_damaged_member_is_not_half_used(tmp_path: Path) -> None:
    content = bytearray(packed_tar({"a": b"1", "b": b"2", "c": b"3"}))
    content[1024 + 150] ^= 1  # in the checksum of b
    (tmp_path / "bad.tar").write_bytes(content)
    with pytest.raises(RunError, match=r"bad\.tar is damaged \(bad checksum at byte 1,024\)"):
        unpack(tmp_path / "bad.tar", tmp_path / "out")
    (tmp_path / "two.tar").write_bytes(packed_tar({"a": b"1"}) + packed_tar({"b": b"2"}) + b"what a server adds")
    unpack(tmp_path / "two.tar", tmp_path / "out")
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"a", "b"}


def test_a_zip_with_a_password_is_one_line(tmp_path: Path) -> None:
    content = bytearray(packed(".zip", {"a": b"1"}))
    content[6] |= 1  # encrypted, says the file's header
    content[content.index(b"PK\1\2") + 8] |= 1  # and the directory
    (tmp_path / "locked.zip").write_bytes(content)
    with pytest.raises(RunError, match=r"locked\.zip is damaged \(File .* is encrypted"):
        unpack(tmp_path / "locked.zip", tmp_path / "out")


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
        assert server.half_sent.wait(120)
        partial = tmp_path / FOLDER / "dtd.zip.partial"
        while not partial.exists() or partial.stat().st_size < len(server.content) // 2:
            assert running.poll() is None
            time.sleep(0.01)
        running.send_signal(signal.SIGINT)
        _, complaint = running.communicate(timeout=120)
    assert running.returncode == 1
    assert complaint.count("\n") == 1
    assert "the same command goes on from there" in complaint
    assert partial.stat().st_size == len(server.content) // 2
    assert not (tmp_path / "dtd").exists()
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
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
