"""Makes the figures of results/bench/ again: each benchmark in a process of its own; with command and machine."""

import json
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from pacl_bench.errors import RunError
from pacl_bench.files import require_writable, safe_name, write_json
from pacl_bench.progress import note, stages
from pacl_bench.provenance import commit, packages

# in the order of what they take; a process of its own each, so that one's memory is not counted as another's
ON_A_DEVICE = ("compatibility --no-compile", "coherence --patches 100000", "train --steps 1")
ON_THE_CPU = ("plan --device cpu", "texts", "segment", "report", "coverage")


@dataclass(frozen=True)
class Figure:
    """A file of results/bench/."""

    file: str
    command: str
    machine: str
    seconds: float  # that the command took
    made: str  # "now", or "before" where the file was there already


def measure_all(out: Path, device: str, again: bool = False) -> Iterator[Figure]:
    """Runs one benchmark after the other; what each leaves, written as soon as it is done.

    A file that is there already, of the same command, is left as it is: stopped at any moment, the same call goes on.

    Args:
        again: make what is there anew.

    Raises:
        RunError: a benchmark failed; what it said is told.
    """
    require_writable(out, "--out")
    commands = [f"{command} --device {device}" for command in ON_A_DEVICE] + list(ON_THE_CPU)
    for command in stages(commands, "benchmark"):
        where = machine(device if command.endswith(device) else "cpu")
        file = out / f"{command.split()[0]}-{safe_name(where).lower()}.json"
        asked = f"pacl-bench bench {command} --json"
        seconds = None if again else _seconds_of(file, asked)
        if seconds is not None:
            note(f"{file} is there, and left as it is; --again makes it anew")
            yield Figure(str(file), asked, where, seconds, "before")
            continue
        started = time.monotonic()
        rows = _rows(command)
        seconds = round(time.monotonic() - started, 1)
        about = {"command": asked, "machine": where, "commit": commit(), "seconds": seconds}
        write_json(file, {**about, "packages": packages(), "rows": rows})
        yield Figure(str(file), asked, where, seconds, "now")


def _rows(command: str) -> list[dict]:
    told = subprocess.run(
        [sys.executable, "-m", "pacl_bench", "bench", *shlex.split(command), "--json"],
        stdout=subprocess.PIPE,
        text=True,
    )
    if told.returncode != 0:
        raise RunError(f"bench {command} failed.")
    return json.loads(told.stdout)


def _seconds_of(file: Path, command: str) -> float | None:
    """What a command took that has left this file; None where there is no file, or one of something else."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return float(content["seconds"]) if content["command"] == command else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def machine(device: str) -> str:
    """What a figure was measured on: "2 threads x86_64", or the name of a GPU."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    return f"{torch.get_num_threads()} threads {platform.machine()}"
