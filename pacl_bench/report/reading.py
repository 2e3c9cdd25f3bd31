"""Records from disk as runs, a hundred thousand of them in seconds and little memory. No torch here."""

import gc
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from pacl_bench import records as store
from pacl_bench.image_counts import DIGEST, counts_file
from pacl_bench.records import Measurement, Record
from pacl_bench.report.runs import Run, Runs, in_place
from pacl_bench.training.curves import curves_files, of_head
from pacl_bench.validation.many_records import ManyRecords, WrittenRow


def runs_of(records: Iterable[Record] | Path | str) -> Runs:
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


def read_runs(folder: Path, files: Iterable[Path] | None = None) -> Runs:
    """The runs of every record below a folder, in the order of the paper's tables.

    Args:
        files: those of `records.files(folder)`, where they are known already.
    """
    files = store.files(folder) if files is None else files
    many, above = ManyRecords(keeps=_is_shown), len(str(folder)) + 1
    trained = curves_files(folder.parent if folder.name == store.FOLDER else folder)
    return in_place(_run(many.read(file), file, str(file)[above:], trained) for file in files)


def _is_shown(row: Measurement | WrittenRow) -> bool:
    """Not the number of a class that no table shows: most numbers are."""
    return not row.class_name or row.metric == "patch_recall"


def _run(record: Record, file: Path, below: str, trained: Mapping[str, Path]) -> Run:
    head = record.config.get("model", {}).get("head") if trained else None
    counts = counts_file(file) if DIGEST in record.provenance else None
    curves = {  # in a tenth of the memory
        name: {axis: np.asarray(points, np.float32) for axis, points in axes.items()}
        for name, axes in record.curves.items()
    }
    there = counts if counts and counts.is_file() else None
    bare = Record(record.key, record.measurements, record.config, record.provenance)
    return Run(bare, there, curves, below, trained.get(of_head(head["sha256"])) if head else None)
