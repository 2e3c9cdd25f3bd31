"""What asks a command to stop is one KeyboardInterrupt, or waits for the end of a step."""

import os
import signal
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType, SimpleNamespace

import pytest

from pacl_bench import signals
from pacl_bench.encoders.batched import ahead
from pacl_bench.errors import RunError
from pacl_bench.files import WriteError
from pacl_bench.progress import stages, track
from pacl_bench.signals import FROM_OUTSIDE, OF_CLUSTERS, interrupts_wait, stopped_as_by_ctrl_c


@pytest.mark.parametrize("number", FROM_OUTSIDE)
def test_a_signal_from_outside_is_ctrl_c_once(number: signal.Signals) -> None:
    before, ended = signal.getsignal(number), []

    def told_to_stop() -> None:
        try:
            signal.raise_signal(number)
        finally:
            signal.raise_signal(number)  # the second one of `timeout`
            ended.append(number)

    with stopped_as_by_ctrl_c(), pytest.raises(KeyboardInterrupt):
        told_to_stop()
    assert ended == [number]
    assert signal.getsignal(number) is before


def signalled(*numbers: signal.Signals, error: Exception | None = None) -> None:
    """Sends signals within a block that lets them wait, then fails."""
    with interrupts_wait():
        for number in numbers:
            signal.raise_signal(number)
        if error is not None:
            raise error


@pytest.mark.parametrize("number", [signal.SIGINT, *FROM_OUTSIDE])
def test_a_signal_waits_for_the_end_of_a_step(number: signal.Signals) -> None:
    steps = []

    def work() -> None:
        with interrupts_wait() as asked:
            signal.raise_signal(number)
            steps.append(asked())

    with pytest.raises(KeyboardInterrupt):
        work()
    assert steps == [True]


def test_another_signal_later_is_heeded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first may come where Python cannot heed it, such as amid the end of an object."""
    now = iter([0.0, 1.0, 7.0])
    monkeypatch.setattr(signals, "time", SimpleNamespace(monotonic=lambda: next(now)))
    with stopped_as_by_ctrl_c():
        for number in (1, 0, 1):
            try:
                signal.raise_signal(signal.SIGTERM)
                assert number == 0
            except KeyboardInterrupt:
                assert number == 1


def dropped_by_python(number: signal.Signals) -> None:
    """Sends a signal amid the callback of a weak reference, out of which no exception comes."""
    items = {1}
    reference = weakref.ref(items, lambda _: signal.raise_signal(number))
    del items
    assert reference() is None


@pytest.mark.parametrize("number", [signal.SIGINT, *FROM_OUTSIDE])
@pytest.mark.parametrize(
    "steps",
    [
        lambda: track([1, 2], "working"),
        lambda: stages([1, 2], "step"),
        lambda: ahead(lambda step: step, [1, 2]),
    ],
)
def test_what_python_drops_is_heeded_before_the_next_step(
    steps: Callable[[], Iterator[int]], number: signal.Signals, capfd: pytest.CaptureFixture
) -> None:
    done = []

    def work() -> None:
        dropped_by_python(number)
        done.append("dropped")
        done.extend(steps())

    with pytest.raises(KeyboardInterrupt), stopped_as_by_ctrl_c():
        work()
    assert done == ["dropped"]
    assert capfd.readouterr().err == ""
    assert list(steps()) == [1, 2]  # the next command is not asked


def test_other_errors_that_python_drops_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told = []
    monkeypatch.setattr(sys, "unraisablehook", told.append)
    items = {1}
    reference = weakref.ref(items, lambda _: 1 / 0)
    with stopped_as_by_ctrl_c():
        del items
    assert reference() is None
    assert [dropped.exc_type for dropped in told] == [ZeroDivisionError]


@pytest.mark.parametrize("number", OF_CLUSTERS)
def test_a_job_that_is_taken_away_ends_its_step_first(number: signal.Signals) -> None:
    """As submitit does it, whose own handler ends the process wherever it is."""
    steps = []

    def put_into_the_queue_again(number: int, frame: FrameType | None) -> None:
        steps.append("requeued")
        raise SystemExit(-1)

    def work() -> None:
        with interrupts_wait() as asked:
            signal.raise_signal(number)
            steps.append(asked())
            raise KeyboardInterrupt

    before = signal.signal(number, put_into_the_queue_again)
    try:
        with pytest.raises(SystemExit):
            work()
        assert signal.getsignal(number) is put_into_the_queue_again
    finally:
        signal.signal(number, before)
    assert steps == [True, "requeued"]


def test_several_from_outside_wait_and_a_second_ctrl_c_does_not() -> None:
    steps = []

    def work() -> None:
        with interrupts_wait():
            for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT, signal.SIGINT):
                signal.raise_signal(number)
                steps.append(number)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert steps == [signal.SIGTERM, signal.SIGTERM, signal.SIGINT]


def test_what_fails_after_a_signal_is_no_failure_but_a_full_disk(tmp_path: Path) -> None:
    killed, full = RunError("A worker was killed."), WriteError(tmp_path, OSError(28, "No space left on device"))
    with pytest.raises(KeyboardInterrupt):
        signalled(signal.SIGTERM, error=killed)
    with pytest.raises(WriteError):
        signalled(signal.SIGTERM, error=full)
    with pytest.raises(RunError, match="worker"):
        signalled(error=killed)


def test_what_nohup_ignores_stays_ignored() -> None:
    own = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stopped_as_by_ctrl_c(), interrupts_wait() as asked:
            signal.raise_signal(signal.SIGHUP)
            assert not asked()
    finally:
        signal.signal(signal.SIGHUP, own)


def test_every_command_ends_with_one_line() -> None:
    """Told to stop amid whatever it does: here amid the import of a command's own modules."""
    code = "import os, signal, sys; from pacl_bench import cli; sys.argv = ['pacl-bench', 'list', 'encoders']\n"
    code += (
        "cli.app.registered_commands[-1].callback = lambda **given: os.kill(os.getpid(), signal.SIGTERM)\ncli.main()"
    )
    ended = subprocess.run([sys.executable, "-c", code], env=os.environ, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr == "pacl-bench: Stopped. What was finished is kept; the same command goes on from there.\n"


def test_ctrl_c_after_the_last_step_changes_nothing() -> None:
    """It comes while Python ends, which would print a traceback."""
    code = "import atexit, os, signal, sys; from pacl_bench import cli; sys.argv = ['pacl-bench', '--version']\n"
    code += "atexit.register(os.kill, os.getpid(), signal.SIGINT)\ncli.main()"
    ended = subprocess.run([sys.executable, "-c", code], env=os.environ, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
