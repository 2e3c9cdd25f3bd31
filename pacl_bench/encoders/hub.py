"""Downloads by the libraries' own means, without their minutes of retries where there is no network."""

import logging
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from urllib.error import HTTPError, URLError
from urllib.request import Request, build_opener

import huggingface_hub.constants as hub

ANSWER, SILENCE = 10.0, 60.0  # seconds
LOGGERS = ("huggingface_hub", "timm", "open_clip", "transformers", "root")


@contextmanager
def hub_access(wanted: bool = True) -> Iterator[None]:
    """Within the block a library may download from the hub. Offline, only what the hub's own cache holds is used.

    A hub that is not there, or gives no answer in ANSWER seconds, is found by one question, instead of five retries for
    each of several files. Of other servers, one that sends nothing for SILENCE seconds is given up.

    Args:
        wanted: False where all is on this machine: nobody is asked, and nothing is downloaded.
    """
    offline = hub.HF_HUB_OFFLINE
    levels = {name: logging.getLogger(name).level for name in LOGGERS}
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    hub.HF_HUB_OFFLINE = offline or not wanted or not _answers(hub.ENDPOINT)
    silence = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SILENCE)  # of what is downloaded past the hub, which has limits of its own
    try:
        yield
    finally:
        socket.setdefaulttimeout(silence)
        hub.HF_HUB_OFFLINE = offline
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def _answers(address: str) -> bool:
    """Whether a server says anything at all, be it an error; asked through a proxy where one is set."""
    try:
        build_opener().open(Request(address, method="HEAD"), timeout=ANSWER).close()
    except HTTPError:
        return True
    except URLError as error:
        return isinstance(error.reason, ssl.SSLError)  # the hub's library brings certificates of its own
    except (OSError, HTTPException):
        return False
    return True
