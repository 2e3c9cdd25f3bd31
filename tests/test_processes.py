"""Processes on one machine: one line when one of them dies, one voice, shares that hold everything once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pacl_bench import processes
from pacl_bench.errors import UsageError

WORDS = """
import os
import torch

class Words(torch.nn.Module):
    def forward(self, texts):
        if os.environ.get("RANK") == os.environ.get("DIES"):
            os.kill(os.getpid(), 9)
        return torch.tensor([[len(text), 1.0, 2.0] for text in texts])
"""


def train(tmp_path: Path, pairs_csv: Path, out: str, *more: str, **environment: str) -> subprocess.CompletedProcess:
    (tmp_path / "words.py").write_text(WORDS)
    command = [sys.executable, "-m", "pacl_bench", "train", "--encoder", "tiny-clip", "--pairs", str(pairs_csv)]
    command += ["--text", f"python:{tmp_path / 'words.py'}:Words", "--steps", "2", "--batch-size", "6", "--json"]
    command += ["--out", str(tmp_path / out), *more]
    given = {**os.environ, "DIES": "nobody", **environment}
    return subprocess.run(command, env=given, capture_output=True, text=True, timeout=240)


@pytest.mark.slow
def test_devices_on_the_command_line(tmp_path: Path, pairs_csv: Path) -> None:
    """One process prints; the loss is that of a process alone. Where one is killed, one line says so."""
    two = train(tmp_path, pairs_csv, "two", "--devices", "2")
    assert two.returncode == 0, two.stderr
    assert [row["steps"] for row in json.loads(two.stdout)] == [2]
    assert train(tmp_path, pairs_csv, "alone").returncode == 0
    losses = [
        [json.loads(line)["loss"] for line in (tmp_path / out / "log.jsonl").read_text().splitlines()]
        for out in ("two", "alone")
    ]
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)
    assert " ".join(two.stderr.split()).count("images; skipped") == 1
    killed = train(tmp_path, pairs_csv, "killed", "--devices", "2", DIES="1")
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
