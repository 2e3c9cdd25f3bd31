"""Worker processes that load beside the work: PyTorch's, with their signals kept back and their errors in one line."""

import signal
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

from torch.utils.data import DataLoader, Dataset

from pacl_bench.errors import RunError, UsageError
from pacl_bench.signals import OF_CLUSTERS, EndsOfWorkers

Item = TypeVar("Item")


class Workers(Iterator[Item], Generic[Item]):
    """What a dataset gives, in its own order, loaded ahead. The processes are started when the first item is asked for.

    Args:
        what: they load: "pairs".
    """

    def __init__(self, loader: Iterable[Item], what: str):
        self.loader, self.what = loader, what
        self._items: Iterator[Item] | None = None
        self._ends = EndsOfWorkers()

    def __next__(self) -> Item:
        """The next item; a RunError where a process was killed, or the disk went away."""
        try:
            with self._ends.heeded():
                if self._items is None:
                    self._items = iter(self.loader)
                return next(self._items)
        except (RuntimeError, OSError) as error:
            told = str(error).strip().splitlines() or [repr(error)]
            raise RunError(f"Loading {self.what} failed: {' ... '.join(dict.fromkeys([told[0], told[-1]]))}") from error

    def close(self) -> None:
        """Ends the processes."""
        self._items = None
        self._ends.close()


def by_workers(dataset: Dataset, number: int, ahead: int = 4, **more: Any) -> DataLoader:
    """The loader of a dataset whose items are whole as they are; with 0 it loads in this process.

    Args:
        ahead: items that each process loads before they are asked for.
    """
    return DataLoader(
        dataset,
        batch_size=None,
        num_workers=number,
        prefetch_factor=ahead if number else None,
        collate_fn=_as_it_is,  # numpy goes through a pipe: shared memory is often small in containers
        worker_init_fn=_leave_stopping_to_the_main_process,
        **more,
    )


class Made(Dataset[tuple[Item | None, Exception | None]]):
    """What a function makes of each of some numbers, or the error by which it says that it cannot: PyTorch would hand
    on a traceback in place of its one line. For processes that are forked: the function need not be pickled.
    """

    def __init__(self, function: Callable[[int], Item], numbers: range):
        self.function, self.numbers = function, numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, at: int) -> tuple[Item | None, Exception | None]:
        try:
            return self.function(self.numbers[at]), None
        except (RunError, UsageError) as error:
            return None, error


def _as_it_is(item: Any) -> Any:
    return item


def _leave_stopping_to_the_main_process(worker: int) -> None:
    for number in (signal.SIGINT, *OF_CLUSTERS):  # a cluster tells all processes of a job
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # with which PyTorch ends a worker that hangs
