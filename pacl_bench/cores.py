"""How the cores are divided between what computes and what reads and decodes beside it: decided here alone.

Both together are never more than there are cores: beside threads that wait for a core, all threads of a matrix product
wait. On a GPU nearly all cores load. On a CPU at most one does: it decodes 200 photos a second, and not even 16 cores
encode so many with a ViT-S; where there are less than FEW cores, images are decoded between two batches instead.

No torch is imported here.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import torch

FEW = 4  # with less cores than these, none is given away where the CPU encodes
MOST = 12  # processes that load for one GPU
CGROUP = Path("/sys/fs/cgroup")  # where Linux says how much of the machine a container has


class Loaders(NamedTuple):
    """What reads and decodes ahead; without any, that is done between two batches."""

    processes: int = 0
    threads: int = 0

    @property
    def number(self) -> int:
        return self.processes + self.threads


def cores() -> int:
    """The cores that this process may use: by its affinity, and by the share of the machine that its container has."""
    number = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(number, int(container_share() or number)))


def loaders(on_cpu: bool, asked: int | None = None) -> Loaders:
    """What loads for an encoder.

    Args:
        on_cpu: whether the encoder computes there, and not on a GPU.
        asked: `--workers`, where the user gives it.
    """
    if asked is not None:
        return Loaders(processes=asked)
    if on_cpu:
        return Loaders(threads=int(cores() >= FEW))
    return Loaders(processes=min(max(1, cores() - 1), MOST))


def torch_threads(now: int, loading: int) -> int:
    """How many threads torch gets beside so many that load.

    Args:
        now: how many it has. If these are not as many as there are cores, the user has set them, and they stay.
    """
    return max(1, now - loading) if now == cores() else now


_at_work: list[int] = []  # how many load, of each block that is open
_of_torch = 1  # the threads that torch has while no block is open


@contextmanager
def divided(loading: int) -> Iterator[None]:
    """Within the block torch leaves so many cores to what loads. Blocks may overlap, and end in any order."""
    import torch

    global _of_torch
    if not _at_work:
        _of_torch = torch.get_num_threads()
    _at_work.append(loading)
    try:
        torch.set_num_threads(torch_threads(_of_torch, sum(_at_work)))
        yield
    finally:
        _at_work.remove(loading)
        torch.set_num_threads(torch_threads(_of_torch, sum(_at_work)))


Map = Callable[..., Any]  # `map`, or that of a pool of threads


@contextmanager
def threads(device: "torch.device | None" = None) -> Iterator[Map]:
    """`map` by as many threads as torch has, each of which computes alone: for what torch or NumPy give one thread.

    Pieces should take a millisecond or more, and be few calls: threads that go from one short call to the next wait for
    each other. Whether gradients are kept is as outside.

    Args:
        device: where the pieces are computed; anywhere but on a CPU it is `map` itself.
    """
    import torch

    number = torch.get_num_threads()
    if number == 1 or (device is not None and device.type != "cpu"):
        yield map
        return
    inference, grad = torch.is_inference_mode_enabled(), torch.is_grad_enabled()

    def as_here(work: Callable[[Any], Any], piece: Any) -> Any:
        with torch.inference_mode(inference), torch.set_grad_enabled(grad):  # each thread has its own modes
            return work(piece)

    try:
        with ThreadPoolExecutor(number, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield lambda work, pieces: pool.map(partial(as_here, work), pieces)
    finally:
        torch.set_num_threads(number)  # threads that are new to torch have as many as were set last


def container_share() -> float | None:
    """The cores that a container has of Linux, by version 2 or 1 of its control groups; None where it has all."""
    with suppress(OSError, ValueError):
        quota, period = (CGROUP / "cpu.max").read_text(encoding="utf-8").split()
        return None if quota == "max" else int(quota) / int(period)
    with suppress(OSError, ValueError):
        quota, period = (
            int((CGROUP / "cpu" / f"cpu.cfs_{name}_us").read_text(encoding="utf-8")) for name in ("quota", "period")
        )
        return None if quota < 0 else quota / period
    return None
