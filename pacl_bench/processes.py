"""Several processes that work on one task together, by torch.distributed. A process alone is the first of one.

They all run the same command. Within `joined` they know of each other: each takes its `share` of the images, what they
found is put together by `gathered`, and the first alone writes files. All of them must come by the same calls in the
same order, so what one process alone can know (is a file there by now?) the first decides for all: `agreed`.

No torch is imported here: where it is not, there is but one process.
"""

import atexit
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from pacl_bench.errors import RunError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

Value = TypeVar("Value")
LOST = 3  # exit code of a process that ends because another one did
GRACE = 20.0  # seconds in which the others may end by themselves, the first of them after it has kept its state


class ProcessLost(RunError):
    """Another process ended. It says why, so this one says nothing."""

    def __init__(self) -> None:
        super().__init__("")


def rank() -> int:
    """The number of this process, from 0."""
    group = _group()
    return 0 if group is None else group.get_rank()


def world_size() -> int:
    """How many processes work together."""
    group = _group()
    return 1 if group is None else group.get_world_size()


def is_first() -> bool:
    """Whether this process is the one that writes files and talks to the user."""
    return rank() == 0


def own_rank() -> int:
    """The number of this process as torchrun has set it, before it has joined the others."""
    return _number("RANK", 0)


def local_rank() -> int:
    """The number of this process on its machine, by which it takes its GPU."""
    return _number("LOCAL_RANK", 0)


def are_several() -> bool:
    """Whether torchrun, or `start`, has started this process as one of several."""
    return _number("WORLD_SIZE", 1) > 1


@contextmanager
def joined() -> Iterator[None]:
    """Within the block this process works together with those that were started beside it, if there are any.

    It stays with them until it ends: one that leaves and joins again would find the meeting place of the first time,
    which another process is still closing.

    Raises:
        UsageError: RANK, WORLD_SIZE and the like are not what torchrun sets.
    """
    if not are_several() or _group() is not None:
        yield
        return
    own_rank()
    missing = [name for name in ("MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]
    if missing:
        raise UsageError(
            f"WORLD_SIZE is set and {missing[0]} is not: start several processes by torchrun or --devices."
        )
    import torch.distributed as group
    from torch.cuda import is_available as has_gpu

    try:
        group.init_process_group("cpu:gloo,cuda:nccl" if has_gpu() else "gloo")
    except (RuntimeError, ValueError) as error:
        raise RunError(f"The processes do not find each other: {str(error).splitlines()[0]}") from None
    atexit.register(group.destroy_process_group)
    yield


def share(number: int) -> range:
    """Which of so many things are this process's: a run of them, as long as that of any other, give or take one."""
    processes = world_size()
    return range(number * rank() // processes, number * (rank() + 1) // processes)


def gathered(items: list[Value]) -> list[Value]:
    """The items of all processes, those of the first at the beginning."""
    return [item for items in each(items) for item in items]


def each(value: Value) -> list[Value]:
    """What every process has, in their order."""
    group = _group()
    if group is None:
        return [value]
    found: list[Any] = [None] * group.get_world_size()
    with _peers():
        group.all_gather_object(found, value)
    return found


def agreed(value: Value) -> Value:
    """What the first process has."""
    group = _group()
    if group is None:
        return value
    found: list[Any] = [value]
    with _peers():
        group.broadcast_object_list(found, src=0)
    return found[0]


def any_of(value: bool) -> bool:
    """Whether it is so in any process."""
    return any(each(value))


def add_up(tensors: "list[Tensor]") -> None:
    """Makes each tensor the sum of what all processes have in its place."""
    _reduce(tensors, "SUM")


def take_highest(tensors: "list[Tensor]") -> None:
    """Makes each entry of each tensor the highest that any process has in its place."""
    _reduce(tensors, "MAX")


def _reduce(tensors: "list[Tensor]", operation: str) -> None:
    group = _group()
    if group is None:
        return
    with _peers():
        for tensor in tensors:
            group.all_reduce(tensor, op=getattr(group.ReduceOp, operation))


@contextmanager
def _peers() -> Iterator[None]:
    """What torch raises where another process is gone."""
    try:
        yield
    except RuntimeError:
        raise ProcessLost from None


def _group() -> Any:
    """torch.distributed, where this process is one of several that have joined; else None."""
    group = sys.modules.get("torch.distributed")
    return group if group is not None and group.is_available() and group.is_initialized() else None


def _number(variable: str, default: int) -> int:
    text = os.environ.get(variable) or str(default)
    if not text.isdecimal():
        raise UsageError(f"{variable}={text}: a number is wanted, as torchrun sets it.")
    return int(text)


def start(processes: int) -> int:
    """Runs this very command in so many processes on this machine, and waits for them. Only the first is heard.

    When one fails the others are ended, and one line says why it did.

    Returns:
        The exit code of the command.
    """
    with ExitStack() as stack:
        told = [None, *(stack.enter_context(tempfile.TemporaryFile()) for _ in range(1, processes))]
        port = str(_free_port())
        running = [_started(number, processes, port, errors) for number, errors in enumerate(told)]
        codes = _codes(running)
        failed = next((number for number, code in enumerate(codes) if code not in (None, 0, LOST)), None)
        if failed is None:
            return int(any(codes))
        code, errors = codes[failed] or 0, told[failed]
        if code < 0:
            raise RunError(f"Process {failed + 1} of {processes} was ended by signal {-code}.")
        if errors is not None:
            errors.seek(0)
            print(errors.read().decode(errors="replace").strip().rpartition("\n")[2], file=sys.stderr)
        return code


def _started(number: int, processes: int, port: str, errors: BinaryIO | None) -> subprocess.Popen:
    place = {"RANK": number, "LOCAL_RANK": number, "WORLD_SIZE": processes}
    surroundings = {**os.environ, **{name: str(value) for name, value in place.items()}}
    surroundings |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    command = [sys.executable, "-m", "pacl_bench", *sys.argv[1:]]
    output = None if number == 0 else subprocess.DEVNULL
    # in a session of their own Ctrl-C does not reach them: this process passes it on, once
    return subprocess.Popen(command, env=surroundings, stdout=output, stderr=errors, start_new_session=True)


def _codes(running: list[subprocess.Popen]) -> list[int | None]:
    """The exit codes once all have ended, or one has failed and the others have had their time; None of what hangs.

    Ctrl-C is passed on, and then each ends its step and keeps its state.
    """
    with ThreadPoolExecutor(len(running)) as pool:
        ended = [pool.submit(_succeed, process) for process in running]
        try:
            wait(ended, return_when=FIRST_EXCEPTION)
            wait(ended, GRACE)
        except KeyboardInterrupt:
            for process in running:
                process.terminate()
            wait(ended)
        finally:
            codes = [process.poll() for process in running]
            for process in running:
                process.kill()
    return codes


def _succeed(process: subprocess.Popen) -> None:
    if process.wait() != 0:
        raise subprocess.CalledProcessError(process.returncode, process.args)


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]
