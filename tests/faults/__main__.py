"""`python -m tests.faults --kills 30 --examples 5000`: more kills and inputs than CI has, for results/reliability.md.

To be given in the root of the repository. Kills take minutes a kind; what is in --log is not done again, so that the
command may be stopped, and given in parts: --only kills, --only inputs.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "tests" / "samples"
REPORT = ROOT / "results" / "reliability.md"
FUZZERS = [*sorted((ROOT / "tests" / "faults").glob("test_fuzz_*.py")), ROOT / "tests/validation/test_fuzz_stored.py"]
Done = list[dict[str, Any]]  # lines of the log: of a kind of kills, and of the inputs

OF_KILLS = """\
## Killed and gone on with

Each command was killed at random moments of its run and given again, up to four times in a row, then let through.
Its heads, logs, records and reports were compared byte by byte with those of an undisturbed run, but for dates and
seconds. Inputs are small; the moments are drawn after everything is imported, when there is something to lose.

| command | SIGKILL | SIGTERM | SIGINT | runs compared | faults |
|---|---|---|---|---|---|"""
OF_INPUTS = """
## Fuzzed

Whole inputs, and inputs with bytes changed, added or left out. Each is read as it was written, or refused in one line.

| reader, by its test | inputs |
|---|---|"""


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--kills", type=int, default=30, help="of each kind of command")
    options.add_argument("--examples", type=int, default=5000, help="inputs, over all readers")
    options.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    options.add_argument("--only", choices=["kills", "inputs"], help="a part; without it both, and the page is written")
    options.add_argument("--log", type=Path, default=REPORT.with_suffix(".jsonl"))
    given = options.parse_args()
    if given.only != "inputs":
        kill(given.kills, given.seed, given.log)
    if given.only != "kills":
        fuzz(given.examples, given.log)
    done = read(given.log)
    if given.only is None:
        command = f"python -m tests.faults --kills {given.kills} --examples {given.examples} --seed {given.seed}"
        REPORT.write_text("\n".join(page(command, done)) + "\n", encoding="utf-8")
    return int(any(one["faults"] for one in done))


def read(log: Path) -> Done:
    return [json.loads(line) for line in log.read_text().splitlines()] if log.is_file() else []


def kill(kills: int, seed: int, log: Path) -> None:
    """Kills the kinds of commands that are not in the log yet."""
    sys.path.insert(0, str(SAMPLES))
    from kills import KINDS

    missing = KINDS.keys() - {one.get("kind") for one in read(log)}
    if missing:
        command = [sys.executable, str(SAMPLES / "kills.py"), *missing, "--kills", str(kills), "--seed", str(seed)]
        with log.open("a") as output:
            subprocess.run(command, stdout=output, check=True)


def fuzz(examples: int, log: Path) -> None:
    """Gives the readers so many inputs in all, unless the log says that it was done."""
    if any("inputs" in one for one in read(log)):
        return
    each = -(-examples // sum(file.read_text().count("@given") for file in FUZZERS))
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "--hypothesis-show-statistics", *map(str, FUZZERS)]
    environment = os.environ | {"PACL_FUZZ_EXAMPLES": str(each)}
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    print(ended.stdout, file=sys.stderr)
    faults = [line for line in ended.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    with log.open("a") as output:
        print(json.dumps({"inputs": counted(ended.stdout), "faults": faults}), file=output)


def counted(statistics: str) -> dict[str, int]:
    """How many inputs each test was given, from what hypothesis prints."""
    inputs: Counter[str] = Counter()
    name = ""
    for line in statistics.splitlines():
        if title := re.fullmatch(r"tests/(\S+?)(\[.*\])?:", line):
            name = title[1]
        if told := re.search(r"- (\d+) passing, (\d+) failing", line):
            inputs[name] += int(told[1]) + int(told[2])
    return dict(inputs)


def page(command: str, done: Done) -> Iterator[str]:
    """results/reliability.md, line by line."""
    killed, (fuzzed,) = [one for one in done if "kind" in one], [one for one in done if "inputs" in one]
    yield "# Reliability: what was killed and what was fuzzed\n"
    yield f"Made by `{command}` on {machine()}. `tests/faults` does a part of it in every run of the tests.\n"
    yield OF_KILLS
    for one in killed:
        kills = " | ".join(str(one["kills"].get(name, 0)) for name in ("SIGKILL", "SIGTERM", "SIGINT"))
        yield f"| {one['kind']} | {kills} | {one['cycles']} | {len(one['faults'])} |"
    yield f"\nTogether {sum(sum(one['kills'].values()) for one in killed):,} kills."
    yield OF_INPUTS
    yield from (f"| {name} | {number:,} |" for name, number in fuzzed["inputs"].items())
    yield f"\nTogether {sum(fuzzed['inputs'].values()):,} inputs."
    faults = [fault for one in done for fault in one["faults"]]
    yield "\n## Faults\n"
    yield from (f"- {' '.join(fault.split())}" for fault in faults)
    if not faults:
        yield "None: no traceback, no run that ended otherwise, no value other than was written."


def machine() -> str:
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    python, system = platform.python_version(), f"{platform.machine()} {platform.system()}"
    return f"{system}, {cores} cores, Python {python}, torch {torch.__version__}"


if __name__ == "__main__":
    sys.exit(main())
