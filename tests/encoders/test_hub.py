"""Whether the hub answers, and how long a server that says nothing is waited for."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

import huggingface_hub.constants as hub
import pytest

from pacl_bench.encoders import hub as module
from pacl_bench.encoders.hub import SILENCE, hub_access


@pytest.fixture(autouse=True)
def may_be_online(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", False)
    for name in ("HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@contextmanager
def server(answer: bytes) -> Iterator[str]:
    """One that says this to everyone, whatever is asked for; its address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    asked, _ = listening.accept()
                except OSError:
                    return
                open_ones.append(asked)
                if answer:
                    asked.recv(1000)
                    asked.sendall(answer)
                    asked.close()

        open_ones: list[socket.socket] = []
        thread = Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()
        for asked in open_ones:
            asked.close()


def is_offline(address: str, monkeypatch: pytest.MonkeyPatch, wanted: bool = True) -> bool:
    monkeypatch.setattr(hub, "ENDPOINT", address)
    with hub_access(wanted):
        return hub.HF_HUB_OFFLINE


@pytest.mark.parametrize("status", [b"200 OK", b"404 Not Found", b"503 Busy"])
def test_a_hub_that_answers_is_used(status: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    with server(b"HTTP/1.0 " + status + b"\r\n\r\n") as address:
        assert not is_offline(address, monkeypatch)
        assert is_offline(address, monkeypatch, wanted=False)
    assert not hub.HF_HUB_OFFLINE


def test_a_hub_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWER", 0.2)
    with server(b"") as address:
        assert is_offline(address, monkeypatch)


def test_a_proxy_knows_names_that_this_machine_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_offline("http://hub.invalid", monkeypatch)
    with server(b"HTTP/1.0 200 OK\r\n\r\n") as proxy:
        monkeypatch.setenv("http_proxy", proxy)
        assert not is_offline("http://hub.invalid", monkeypatch)


def test_what_is_asked_for_stays_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
    with server(b"HTTP/1.0 200 OK\r\n\r\n") as address:
        assert is_offline(address, monkeypatch)


def test_another_silent_server_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "ENDPOINT", "http://hub.invalid")
    with hub_access():
        assert socket.getdefaulttimeout() == SILENCE
    assert socket.getdefaulttimeout() is None
