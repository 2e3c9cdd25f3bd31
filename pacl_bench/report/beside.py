"""Parts of the report of many records that a second process makes while the first goes on. No torch here."""

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection
from typing import TypeVar

MANY = 5000  # records, from which on a second process pays
Made = TypeVar("Made")


@contextmanager
def beside(work: Callable[[], Made], number: int) -> Iterator[Callable[[], Made]]:
    """Makes something in a second process, meanwhile; what it is given for is called for the result, and waits for it.

    Where there are few records or one core, or the second process fails, it is made by that call: then that is what
    raises the error. The second process shares the memory of the first, so nothing is copied to begin with.

    Args:
        number: of the records that the work is about.
    """
    # a forked process needs no main module that guards itself; macOS and Windows have none that is safe
    if number < MANY or sys.platform != "linux" or (os.cpu_count() or 1) == 1:
        yield work
        return
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=_send, args=(work, sender), daemon=True)
    process.start()
    sender.close()  # so that the other end is closed when the process ends
    try:
        yield partial(_received, receiver, work)
    finally:
        process.kill()
        process.join()
        receiver.close()


def _send(work: Callable[[], object], sender: Connection) -> None:
    """Ends the process without a word: with 0 where the work was done."""
    try:
        sender.send(work())
    except BaseException:
        os._exit(1)
    os._exit(0)


def _received(receiver: Connection, work: Callable[[], Made]) -> Made:
    try:
        return receiver.recv()
    except (EOFError, OSError):  # nothing came, or half of it
        return work()
