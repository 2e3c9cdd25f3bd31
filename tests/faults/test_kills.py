"""Every command that writes is killed at random moments and goes on: heads, records and reports are those of one run.

`python -m tests.faults` kills each of them more often.
"""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import kills
import pytest

KILLS = 2


@pytest.fixture(scope="module")
def outcomes() -> dict[str, dict]:
    """Of all kinds, in a process that can be forked: this one has threads of its own."""
    command = [sys.executable, str(Path(kills.__file__)), "--kills", str(KILLS)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return {outcome["kind"]: outcome for outcome in map(json.loads, ended.stdout.splitlines())}


@pytest.mark.slow
@pytest.mark.parametrize("kind", kills.KINDS)
def test_what_is_killed_goes_on_to_what_one_run_leaves(outcomes: dict[str, dict], kind: str) -> None:
    assert outcomes[kind]["faults"] == []
    assert Counter(outcomes[kind]["kills"]).total() == KILLS


def test_a_difference_is_found() -> None:
    whole = {"head/head.json": b"1", "results/a.json": b"2"}
    assert list(kills.differences(whole, whole)) == []
    assert list(kills.differences(whole, {"head/head.json": b"3", "head/.partial-1.pt": b""})) == [
        "results/a.json is missing",
        "head/.partial-1.pt is left",
        "head/head.json differs",
    ]
