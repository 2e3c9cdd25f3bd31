"""Makes the figures of results/bench/ again: each benchmark in a process of its own; with command and machine."""

import json
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from pacl_bench.errors import RunError
from pacl_bench.files import require_writable, safe_name, write_json
from pacl_bench.progress import stages
from pacl_bench.provenance import commit, packages

# in the order of what they take; a process of its own each, so that one's memory is not counted as another's
ON_A_DEVICE = ("compatibility --no-compile", "coherence --patches 100000", "train")
ON_THE_CPU = ("texts", "segment", "coverage")


def measure_all(out: Path, device: str) -> Iterator[Path]:
    """Runs one benchmark after the other; the file of each, written as soon as it is done.

    Raises:
        RunError: a benchmark failed; what it said is told.
    """
    require_writable(out, "--out")
    commands = [f"{command} --device {device}" for command in ON_A_DEVICE] + list(ON_THE_CPU)
    for command in stages(commands, "benchmark"):
        told = subprocess.run(
            [sys.executable, "-m", "pacl_bench", "bench", *shlex.split(command), "--json"],
            stdout=subprocess.PIPE,
            text=True,
        )
        if told.returncode != 0:
            raise RunError(f"bench {command} failed.")
        where = machine(device if command.endswith(device) else "cpu")
        file = out / f"{command.split()[0]}-{safe_name(where).lower()}.json"
        about = {"command": f"pacl-bench bench {command} --json", "machine": where, "commit": commit()}
        write_json(file, {**about, "packages": packages(), "rows": json.loads(told.stdout)})
        yield file


def machine(device: str) -> str:
    """What a figure was measured on: "2 cores x86_64", or the name of a GPU."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    return f"{torch.get_num_threads()} threads {platform.machine()}"
