"""Records from disk as runs, a hundred thousand of them in seconds and little memory. No torch here."""

import gc
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pacl_bench import records as store
from pacl_bench.image_counts import DIGEST, counts_file
from pacl_bench.records import Record
from pacl_bench.report.runs import Curves, Run, in_place

MANY = 5000  # files, from which on it pays to read in several processes
BATCH = 250  # files that a process reads at a time
Tell = Callable[[Record], str]  # what is to be said of each record, whole


class Light(NamedTuple):
    """What is kept of a record."""

    record: Record  # without curves and the numbers of classes that no table shows
    curves: Curves  # in a tenth of the memory
    counts: Path | None  # the file of its counts by image, where there is one
    told: str


def runs_of(records: Iterable[Record] | Path | str) -> list[Run]:
    """The records, or those below a folder, in the order of the paper's tables."""
    return read_runs(Path(records)) if isinstance(records, Path | str) else in_place(map(Run, records))


@contextmanager
def without_collector() -> Iterator[None]:
    """Meanwhile Python looks for no reference cycles: among millions of objects that stay it takes half of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def read_runs(folder: Path, tell: Tell | None = None, say: Callable[[str], Any] = lambda told: None) -> list[Run]:
    """The runs of every record below a folder, in the order of the paper's tables.

    Args:
        tell: makes a text of each record while it is whole; `say` gets these one by one, in the order of the files.
    """
    shared: dict[str, Any] = {}
    runs, above = [], len(str(folder)) + 1
    for batch, lights in _lights(store.files(folder), tell):
        known: dict[int, Any] = {}
        for file, light in zip(batch, lights, strict=True):
            say(light.told)
            record = light.record
            config = {name: _once(part, shared, known) for name, part in record.config.items()}
            made = record.provenance | {"packages": _once(record.provenance["packages"], shared, known)}
            record = Record(record.key, record.measurements, config, made)
            runs.append(Run(record, light.counts, light.curves, str(file)[above:]))
    return in_place(runs)


def _lights(files: Sequence[Path], tell: Tell | None) -> Iterator[tuple[Sequence[Path], list[Light]]]:
    """Batch after batch of files, and what is kept of them."""
    batches = [files[at : at + BATCH] for at in range(0, len(files), BATCH)]
    processes = os.cpu_count() or 1
    # a forked process needs no main module that guards itself; macOS and Windows have none that is safe
    if len(files) < MANY or processes == 1 or sys.platform != "linux":
        yield from zip(batches, map(partial(_read_batch, tell), batches), strict=True)
        return
    with ProcessPoolExecutor(processes, multiprocessing.get_context("fork")) as pool:
        yield from zip(batches, pool.map(partial(_read_batch, tell), batches), strict=True)


def _read_batch(tell: Tell | None, files: Sequence[Path]) -> list[Light]:
    shared: dict[str, Any] = {}
    return [_lightened(file, store.read(file), tell, shared) for file in files]


def _lightened(file: Path, record: Record, tell: Tell | None, shared: dict[str, Any]) -> Light:
    counts = counts_file(file) if DIGEST in record.provenance else None
    curves = {
        name: {axis: np.asarray(points, np.float32) for axis, points in axes.items()}
        for name, axes in record.curves.items()
    }
    kept = replace(
        record,
        measurements=[row for row in record.measurements if not row.class_name or row.metric == "patch_recall"],
        config={name: _once(part, shared) for name, part in record.config.items()},
        provenance=record.provenance | {"packages": _once(record.provenance.get("packages", {}), shared)},
        curves={},
    )
    return Light(kept, curves, counts if counts and counts.is_file() else None, "" if tell is None else tell(record))


def _once(part: Any, shared: dict[str, Any], known: dict[int, Any] | None = None) -> Any:
    """The first of all that say the same: every record of a model describes it whole.

    Args:
        known: what was answered for the very same object before, which need not be looked at again.
    """
    if known is None:
        return shared.setdefault(repr(part), part)
    if id(part) not in known:
        known[id(part)] = (part, shared.setdefault(repr(part), part))  # the part is held, or its id may be another's
    return known[id(part)][1]
