"""What a report of many records takes: made-up records of many models, read, put into tables, and written whole."""

import math
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from itertools import islice, product
from pathlib import Path
from typing import TypeVar

from pacl_bench import records
from pacl_bench.errors import RunError
from pacl_bench.files import json_bytes, write_bytes
from pacl_bench.records import SCHEMA, Key, Measurement, Record
from pacl_bench.report.reading import read_runs, without_collector
from pacl_bench.report.sections import all_sections

CLASSES = [f"class {label}" for label in range(20)]  # of each segmentation set
SEEDS = 5  # of each head
METRICS = {"segment": "miou", "classify": "top1"}
# The command, which tells Linux's own count in the end: getrusage counts what the process that started it held, too.
WATCHED = """
import atexit, sys
from pathlib import Path
from pacl_bench.cli import main
status = Path("/proc/self/status")
atexit.register(lambda: status.is_file() and print(status.read_text(), file=sys.stderr))
main()
"""
PEAK = re.compile(r"VmHWM:\s+(\d+) kB")
SETS = [("segment", "voc20"), ("segment", "ade150"), *(("classify", name) for name in ("cifar10", "caltech101", "dtd"))]

Made = TypeVar("Made")


@dataclass(frozen=True)
class ReportCost:
    """What a part of the work takes."""

    part: str
    records: int
    seconds: float
    cpu_seconds: float  # of all processes
    peak_mb: float | None = None  # of its first process, libraries and all; of a report as a command


def report_costs(number: int) -> list[ReportCost]:
    """Reading, making the tables, and the whole command with every default form, of so many records."""
    with tempfile.TemporaryDirectory() as place, without_collector():
        results = Path(place)
        _write_records(results / records.FOLDER, number)
        runs, reading = _timed("reading", number, lambda: read_runs(results / records.FOLDER))
        _, tables = _timed("tables", number, lambda: [section.tables(runs) for section in all_sections().values()])
        peak, whole = _timed("the whole report", number, lambda: _report(results))
    return [reading, tables, replace(whole, peak_mb=peak)]


def _timed(part: str, number: int, work: Callable[[], Made]) -> tuple[Made, ReportCost]:
    started, cpu = time.monotonic(), _cpu()
    made = work()
    return made, ReportCost(part, number, round(time.monotonic() - started, 2), round(_cpu() - cpu, 2))


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _report(results: Path) -> float | None:
    """Runs the command; the most memory that it held, in MB, where the system tells."""
    told = subprocess.run(
        [sys.executable, "-c", WATCHED, "report", "--results", str(results)], capture_output=True, text=True
    )
    if told.returncode != 0:
        raise RunError(told.stderr.strip())
    peak = PEAK.search(told.stderr)
    return int(peak[1]) / 1024 if peak else None


def _write_records(folder: Path, number: int) -> None:
    for record in islice(_made_up(), number):
        content = json_bytes({"schema": SCHEMA, **asdict(record)})
        write_bytes(folder / record.key.path, content, durable=False)


def _made_up() -> Iterator[Record]:
    """Heads of one encoder after another, each with several seeds, on every set."""
    encoder = 0
    while True:
        for seed, (evaluator, dataset) in product(range(SEEDS), SETS):
            yield _record(f"encoder{encoder:05}", seed, evaluator, dataset)
        encoder += 1


def _record(encoder: str, seed: int, evaluator: str, dataset: str) -> Record:
    model = f"pacl-{encoder}.seed{seed}"
    value = _share(f"{model} {dataset}")
    rows = [Measurement(METRICS[evaluator], value, "made up", 200, "", value - 0.02, value + 0.02, 0.05)]
    if evaluator == "segment":
        rows += [Measurement("iou", _share(f"{model} {name}"), "made up", 200, name) for name in CLASSES]
    train = {"pairs": "made-up", "images": 1000, "captions": 1000, "seed": seed, "batch_size": 96, "lr": 0.002}
    head = {"sha256": _digest(model), "patch_scale": 10.0, "step": 400, "train": train}
    vision = {"name": encoder, "sha256": _digest(encoder), "block": 10, "tap": "post-norm"}
    config = {
        "evaluator": evaluator,
        "settings": {"templates": "paper7", "vocabulary": "plain", "stride": None, "size": None},
        "model": {"encoder": vision, "text": {"name": "text", "sha256": _digest("text")}, "head": head},
        "dataset": {"name": dataset, "images": 200, "official_images": 200, "fingerprint": _digest(dataset)},
        "seed": 0,
    }
    made = {"commit": "0" * 12, "packages": {"pacl-bench": "0"}, "device": "cpu", "seconds": 1 + value}
    return Record(Key(evaluator, model, dataset), rows, config, made)


def _share(text: str) -> float:
    """A number between 0.03 and 0.97 that is always the same for a text."""
    return 0.5 + 0.47 * math.sin(int(_digest(text)[:8], 16))


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()
