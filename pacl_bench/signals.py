"""What asks a command to stop, so that it keeps what was done: Ctrl-C, a batch system, `timeout`, a closed terminal."""

import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from pacl_bench.errors import RunError
from pacl_bench.files import WriteError

AT_ONCE = 5.0  # seconds
# sent by SLURM, `timeout` and `kill`; and by a terminal that is closed, which Windows does not have
FROM_OUTSIDE = [number for name in ("SIGTERM", "SIGHUP") if (number := getattr(signal, name, None)) is not None]
# by which a cluster takes a job away; where one is heeded, as by submitit, the job is put into the queue again
OF_CLUSTERS = [number for name in ("SIGUSR1", "SIGUSR2") if (number := getattr(signal, name, None)) is not None]

_asked = threading.Event()  # whether the command was asked to stop


@contextmanager
def stopped_as_by_ctrl_c() -> Iterator[None]:
    """Within the block a signal from outside raises KeyboardInterrupt, as Ctrl-C does.

    One that follows another at once does not: `timeout` sends two, and the second must not end the saving that the
    first one began. Where Python loses the exception, `stop_if_asked` raises it again.
    """
    asked = -math.inf

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        _asked.set()
        before, asked = asked, time.monotonic()
        if number == signal.SIGINT or asked - before > AT_ONCE:
            raise KeyboardInterrupt

    try:
        with _handled(interrupt, [signal.SIGINT, *FROM_OUTSIDE]), _lost_in_silence():
            yield
    finally:
        _asked.clear()


def ignore_ctrl_c() -> None:
    """From now on Ctrl-C does nothing: the command is over, and what interrupts Python's own end prints a traceback."""
    if _in_main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def stop_if_asked() -> None:
    """KeyboardInterrupt where the command was asked to stop and goes on all the same; called between two steps.

    A signal that comes amid the callback of a weak reference or a `__del__` raises the exception there, where Python
    prints and drops it.
    """
    if _asked.is_set():
        raise KeyboardInterrupt


@contextmanager
def _lost_in_silence() -> Iterator[None]:
    """Within the block Python prints nothing of a KeyboardInterrupt that it drops: it is raised again soon."""
    before = sys.unraisablehook

    def tell(dropped: Any) -> None:
        if not issubclass(dropped.exc_type, KeyboardInterrupt):
            before(dropped)

    sys.unraisablehook = tell
    try:
        yield
    finally:
        sys.unraisablehook = before


@contextmanager
def interrupts_wait() -> Iterator[Callable[[], bool]]:
    """Within the block what asks to stop is remembered, to be asked for between two steps: no step is left half done.

    Where the block ends without having asked, KeyboardInterrupt is raised behind it. A second Ctrl-C interrupts at
    once. What takes a job away is handed behind the block to whoever heeds it, such as submitit.
    """
    asked, put_off = threading.Event(), []
    heeded = [number for number in OF_CLUSTERS if callable(signal.getsignal(number))]

    def remember(number: int, frame: FrameType | None) -> None:
        asked.set()
        if number in heeded:
            put_off.append(number)
        if number == signal.SIGINT:
            signal.signal(number, signal.default_int_handler)

    try:
        with _handled(remember, [signal.SIGINT, *FROM_OUTSIDE, *heeded]):
            yield asked.is_set
    except RunError as error:  # worker processes are told too, and end at once: what fails then is no failure
        if isinstance(error, WriteError) or not asked.is_set():
            raise
    finally:
        for number in dict.fromkeys(put_off):
            signal.raise_signal(number)
    if asked.is_set():
        raise KeyboardInterrupt


class EndsOfWorkers:
    """Keeps back the signal that a worker process of PyTorch was killed, except while it is waited for.

    PyTorch has it raise an error wherever the main process just is, amid a training step too.
    """

    def __init__(self) -> None:
        self.number = getattr(signal, "SIGCHLD", None) if _in_main_thread() else None
        self.handler = None if self.number is None else signal.getsignal(self.number)
        self.missed = False

    @contextmanager
    def heeded(self) -> Iterator[None]:
        """Within the block workers may be started; the end of one, before it too, raises PyTorch's RuntimeError."""
        if self.number is None:
            yield
            return
        signal.signal(self.number, self.handler)
        try:
            if self.missed:
                signal.raise_signal(self.number)
            yield
        finally:
            self.handler = signal.signal(self.number, self._remember)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self.missed = True

    def close(self) -> None:
        """From now on the signal is no longer kept back."""
        if self.number is not None:
            signal.signal(self.number, self.handler)


@contextmanager
def _handled(handler: Callable[[int, FrameType | None], Any], numbers: list[signal.Signals]) -> Iterator[None]:
    """Within the block the handler is called for these signals; what is ignored, as nohup has SIGHUP, stays so."""
    if not _in_main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in numbers}
    heeded = {number: own for number, own in before.items() if own not in (signal.SIG_IGN, None)}
    for number in heeded:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, own in heeded.items():
            signal.signal(number, own)


def _in_main_thread() -> bool:
    """No other thread may set what a signal does, or is told of one."""
    return threading.current_thread() is threading.main_thread()
