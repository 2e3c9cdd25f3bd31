"""Downloads by the libraries' own means, without their minutes of retries where there is no network."""

import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlparse

import huggingface_hub.constants as hub

LOGGERS = ("huggingface_hub", "timm", "open_clip", "transformers", "root")


@contextmanager
def hub_access() -> Iterator[None]:
    """Within the block a library may download from the hub. Offline, only what the hub's own cache holds is used.

    A missing network is found by one look-up of the hub's name, instead of five retries for each of several files.
    """
    offline = hub.HF_HUB_OFFLINE
    levels = {name: logging.getLogger(name).level for name in LOGGERS}
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    hub.HF_HUB_OFFLINE = offline or not _resolves(urlparse(hub.ENDPOINT).hostname)
    try:
        yield
    finally:
        hub.HF_HUB_OFFLINE = offline
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def _resolves(host: str | None) -> bool:
    try:
        socket.getaddrinfo(host, 443)
    except OSError:
        return False
    return True
