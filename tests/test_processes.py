"""Processes on one machine: one line when one of them dies, one voice, shares that hold everything once."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pacl_bench import processes
from pacl_bench.errors import UsageError

WORDS = """
import os
import torch

class Words(torch.nn.Module):
    def forward(self, texts):
        if os.environ.get("RANK") == os.environ.get("DIES", "nobody"):
            os.kill(os.getpid(), 9)
        return torch.tensor([[len(text), 1.0, 2.0] for text in texts])
"""


def training(tmp_path: Path, pairs_csv: Path, out: str) -> list[str]:
    (tmp_path / "words.py").write_text(WORDS)
    command = ["train", "--encoder", "tiny-clip", "--text", f"python:{tmp_path / 'words.py'}:Words"]
    command += ["--pairs", str(pairs_csv), "--steps", "2", "--batch-size", "6", "--json"]
    return [*command, "--out", str(tmp_path / out)]


def in_two(command: list[str], dies: str = "nobody") -> subprocess.CompletedProcess:
    program = [sys.executable, "-m", "pacl_bench", *command, "--devices", "2"]
    return subprocess.run(program, env={**os.environ, "DIES": dies}, capture_output=True, text=True, timeout=240)


@pytest.mark.slow
def test_devices_on_the_command_line(
    tmp_path: Path, pairs_csv: Path, pacl: Callable[..., tuple[int, str, str]]
) -> None:
    """One process prints; the loss is that of a process alone. Where one is killed, one line says so."""
    two = in_two(training(tmp_path, pairs_csv, "two"))
    assert two.returncode == 0, two.stderr
    assert [row["steps"] for row in json.loads(two.stdout)] == [2]
    assert pacl(*training(tmp_path, pairs_csv, "alone"))[0] == 0
    losses = [
        [json.loads(line)["loss"] for line in (tmp_path / out / "log.jsonl").read_text().splitlines()]
        for out in ("two", "alone")
    ]
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)
    assert " ".join(two.stderr.split()).count("images; skipped") == 1
    killed = in_two(training(tmp_path, pairs_csv, "killed"), dies="1")
    assert (killed.returncode, killed.stdout) == (1, "")
    assert killed.stderr == "pacl-bench: Process 2 of 2 was ended by signal 9.\n"


@pytest.mark.parametrize(
    ("variables", "line"),
    [
        ({"WORLD_SIZE": "2", "RANK": "x"}, "RANK=x: a number is wanted, as torchrun sets it"),
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE=two: a number is wanted"),
        ({"WORLD_SIZE": "2", "RANK": "0"}, "WORLD_SIZE is set and MASTER_ADDR is not: start several processes by"),
    ],
)
def test_what_torchrun_would_not_set(variables: dict[str, str], line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=line), processes.joined():
        pass


@pytest.mark.parametrize(("number", "of"), [(10, 3), (2, 3), (0, 2), (7, 1)])
def test_shares_hold_everything_once(number: int, of: int, monkeypatch: pytest.MonkeyPatch) -> None:
    shares = []
    for rank in range(of):
        monkeypatch.setattr(processes, "rank", lambda rank=rank: rank)
        monkeypatch.setattr(processes, "world_size", lambda: of)
        shares.append(processes.share(number))
    assert [one for share in shares for one in share] == list(range(number))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
