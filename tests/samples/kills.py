"""Commands that are killed at random moments and given again: what they leave must be what an undisturbed run leaves.

A command runs in a fork of a process that has imported everything: torch takes seconds, and nothing can be lost yet
while it is imported. `python tests/samples/kills.py train --kills 3` prints one line of JSON a kind.
"""

import argparse
import csv
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # a thread that torch started would be missing in the forks

import numpy as np
from PIL import Image

from pacl_bench.partial_files import PARTIAL
from pacl_bench.records import FROM_PROVENANCE

SIGNALS = [signal.SIGKILL, signal.SIGTERM, signal.SIGINT]
VARYING = ("provenance", "pairs_per_second")  # what no two runs have in common
MOST_IN_A_ROW = 4  # kills before a command is let through
WORDS = ("zebra", "donut", "kite", "waffle", "leopard", "balloon", "snake", "basket")
HERE = Path(__file__).parent
Words = list[str]


@dataclass(frozen=True)
class Kind:
    """What is killed: the command, with what goes before it and comes after it."""

    command: Words
    before: tuple[Words, ...] = ()  # once, for all cycles
    after: tuple[Words, ...] = ()
    resumed: Callable[[], Words] = list  # options to add where there is something to go on with


def _resume() -> Words:
    return ["--resume"] if Path("head/checkpoint.pt").is_file() else []


TINY = ["--text", "tiny-clip", "--batch-size", "4", "--checkpoint-every", "5", "--out", "head"]
MEASURED = ["--encoders", "tiny-clip,tiny-dino", "--datasets", "folder:a,folder:b"]
PATCHES = ["patches", "--encoders", "tiny-clip", "--datasets", "folder:a,folder:b"]
KINDS = {
    "train": Kind(
        ["train", "--encoder", "tiny-clip", "--pairs", "pairs/p.csv", "--steps", "30", *TINY], resumed=_resume
    ),
    "train-shards": Kind(
        ["train", "--encoder", "tiny-dino", "--pairs", "shards", "--steps", "30", "--workers", "0", *TINY],
        resumed=_resume,
    ),
    "patches": Kind(PATCHES),
    "coherence": Kind(["coherence", *MEASURED]),
    "segment": Kind(["segment", "--encoders", "tiny-clip", "--datasets", "folder:a,folder:b", "--stride", "4"]),
    "classify": Kind(["classify", "--encoders", "tiny-clip", "--datasets", "folder:c,folder:d"]),
    "ablate": Kind(
        [
            "ablate",
            "--encoders",
            "tiny-clip,tiny-dino",
            "--text",
            "tiny-clip",
            "--pairs",
            "pairs/p.csv",
            "--recipe",
            "small",
            "--grid",
            "batch_size=4",
            "--steps",
            "20",
            "--dataset",
            "folder:a",
            "--out",
            "heads",
        ]
    ),
    "run": Kind(["run", "study.toml", "--out", "heads"]),
    "quickstart": Kind(["quickstart", "--out", "quick"]),
    "cache": Kind(["cache", "clear"], before=(PATCHES,), after=([*PATCHES, "--rerun", "always"],)),
    "report": Kind(["report"], before=(PATCHES, ["coherence", *MEASURED])),
}


@dataclass
class Outcome:
    """What came of the kills of a kind."""

    kind: str
    kills: dict[str, int] = field(default_factory=dict)  # by signal; those that came before the command had ended
    cycles: int = 0  # comparisons with the undisturbed run
    seconds: float = 0.0
    faults: list[str] = field(default_factory=list)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("kinds", nargs="*", choices=[[], *KINDS], default=[])
    options.add_argument("--kills", type=int, default=3, help="of each kind")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--seconds", type=float, default=3600.0, help="of each kind: then it has to do with fewer")
    given = options.parse_args()
    import_everything()
    for kind in given.kinds or KINDS:
        print(json.dumps(vars(killed(kind, given.kills, given.seed, given.seconds))), flush=True)


def killed(kind: str, kills: int, seed: int, seconds: float) -> Outcome:
    """Kills the command of a kind so often, in several cycles: each ends with a run that is let through."""
    draw, outcome, started = random.Random(f"{kind} {seed}"), Outcome(kind), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="pacl-kills-") as place:
        root = Path(place)
        make_inputs(root / "inputs")
        for words in KINDS[kind].before:
            run(words, root / "inputs")
        expected, whole = undisturbed(KINDS[kind], shutil.copytree(root / "inputs", root / "whole"))
        until = started + seconds
        while sum(outcome.kills.values()) < kills and not outcome.faults and time.monotonic() < until:
            cycle = root / f"cycle{outcome.cycles}"
            shutil.copytree(root / "inputs", cycle)
            wanted = min(draw.randint(2, MOST_IN_A_ROW), kills - sum(outcome.kills.values()))
            one_cycle(KINDS[kind], cycle, draw, whole, wanted, outcome)
            outcome.cycles += 1
            outcome.faults += differences(expected, left_by(cycle))
            shutil.rmtree(cycle)
    outcome.seconds = round(time.monotonic() - started, 1)
    return outcome


def undisturbed(kind: Kind, folder: Path) -> tuple[dict[str, bytes], float]:
    """What the command leaves when nobody disturbs it, and the seconds it takes."""
    started = time.monotonic()
    run(kind.command, folder)
    seconds = time.monotonic() - started
    for words in kind.after:
        run(words, folder)
    return left_by(folder), seconds


def one_cycle(kind: Kind, folder: Path, draw: random.Random, whole: float, wanted: int, outcome: Outcome) -> None:
    """Kills the command up to so many times at moments of a whole run, then lets it through.

    What is gone on with has less to do, so the moments are drawn from what is left of a whole run.
    """
    left, was_killed = whole, True
    for _ in range(wanted):
        number, moment = draw.choice(SIGNALS), draw.uniform(0.02, max(0.1, left))
        told, code = run_and_kill(kind, folder, number, moment)
        was_killed = code is None
        if not was_killed:  # it was faster
            outcome.faults += [f"exit code {code}: {told[-2000:]}"] if code else []
            break
        left -= moment / 2  # a part of what it did is done again
        outcome.kills[number.name] = outcome.kills.get(number.name, 0) + 1
        if "Traceback" in told:
            outcome.faults.append(f"{number.name}: {told[max(0, told.index('Traceback') - 200) :][:2000]}")
    try:
        if was_killed:
            run([*kind.command, *within(folder, kind.resumed)], folder)
        for words in kind.after:
            run(words, folder)
    except RuntimeError as error:
        outcome.faults.append(str(error))


def run(words: Words, folder: Path) -> None:
    """Runs a command to its end; a RuntimeError with what it said where it fails."""
    said = folder / ".said"
    _, status = os.waitpid(forked(words, folder, said), 0)
    if os.waitstatus_to_exitcode(status):
        raise RuntimeError(f"{' '.join(words)}: {(said.read_text().strip().splitlines() or [''])[-1]}")


def run_and_kill(kind: Kind, folder: Path, number: signal.Signals, seconds: float) -> tuple[str, int | None]:
    """Runs a command and sends a signal after so many seconds; what it said, and its exit code if it ended before."""
    child = forked([*kind.command, *within(folder, kind.resumed)], folder, folder / ".said")
    time.sleep(seconds)
    ended, status = os.waitpid(child, os.WNOHANG)
    if ended == 0:
        os.kill(child, number)
        os.waitpid(child, 0)
    return (folder / ".said").read_text(), os.waitstatus_to_exitcode(status) if ended else None


def forked(words: Words, folder: Path, said: Path) -> int:
    """A process of its own that runs a command in a folder, which holds all that it leaves."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # until the command begins: what Python raises is no fault of its
        os.chdir(folder)
        os.environ.update(PACL_RESULTS="results", PACL_CACHE="cache", PACL_DATA="data", HF_HUB_OFFLINE="1")
        output = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (0, 1, 2):
            os.dup2(os.open(os.devnull, os.O_RDONLY) if stream == 0 else output, stream)
        sys.argv = ["pacl-bench", *words]
        from pacl_bench import cli

        cli.main()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return 0


def within(folder: Path, ask: Callable[[], Words]) -> Words:
    before = Path.cwd()
    os.chdir(folder)
    try:
        return ask()
    finally:
        os.chdir(before)


def left_by(folder: Path) -> dict[str, bytes]:
    """Heads, logs, records, reports: by path, without what varies from run to run. The cache is not looked at."""
    return {
        str(file.relative_to(folder)): without_what_varies(file)
        for file in sorted(folder.rglob("*"))
        if file.is_file() and is_result(file.relative_to(folder))
    }


def is_result(file: Path) -> bool:
    of_the_run = {"head", "heads", "results", "quick"} & {file.parts[0]} and "cache" not in file.parts
    is_shown = file.name.startswith(PARTIAL) or not file.name.startswith(".")
    return bool(of_the_run) and is_shown and file.suffix != ".pt"


def without_what_varies(file: Path) -> bytes:
    """The content of a file without seconds and dates; of a page that shows them in its midst, that it is whole."""
    if file.name.startswith(PARTIAL):
        return b""
    if file.name == "report.html":
        return file.read_bytes()[-len("</html>\n") :]
    if file.name == "tidy.csv":
        rows = csv.DictReader(file.open(encoding="utf-8"))
        return json.dumps(
            [{key: text for key, text in row.items() if key not in FROM_PROVENANCE} for row in rows]
        ).encode()
    if file.suffix not in (".json", ".jsonl"):
        return file.read_bytes()
    lines = [file.read_text()] if file.suffix == ".json" else file.read_text().splitlines()
    kept = [{key: value for key, value in json.loads(line).items() if key not in VARYING} for line in lines]
    return json.dumps(kept, sort_keys=True).encode()


def differences(expected: dict[str, bytes], found: dict[str, bytes]) -> Iterator[str]:
    yield from (f"{name} is missing" for name in expected.keys() - found.keys())
    yield from (f"{name} is left" for name in found.keys() - expected.keys())
    yield from (f"{name} differs" for name in expected.keys() & found.keys() if expected[name] != found[name])


def make_inputs(root: Path) -> None:
    """Two segmentation sets, two classification sets, pairs as a csv and as shards, and a study."""
    draw = np.random.default_rng(0)
    for name in ("a", "b"):
        for number in range(6):
            labels = np.zeros((64, 64), np.uint8)
            labels[16:48, 16:48] = 1 + number % 2
            save(root / name / "images" / f"{number}.png", draw.integers(0, 256, (64, 64, 3), dtype=np.uint8))
            save(root / name / "masks" / f"{number}.png", labels)
        (root / name / "names.txt").write_text("grass\nzebra\ndonut\n")
    for name in ("c", "d"):
        for label in ("zebra", "donut"):
            for number in range(4):
                photo = draw.integers(0, 256, (64, 64, 3), dtype=np.uint8)
                save(root / name / label / f"{number}.png", photo)
    for number in range(len(WORDS)):
        save(root / "pairs" / f"{number}.jpg", draw.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    rows = "".join(f"{number}.jpg,a {word} on the grass\n" for number, word in enumerate(WORDS))
    (root / "pairs" / "p.csv").write_text(f"filepath,caption\n{rows}")
    make_shards(root)
    (root / "study.toml").write_text((HERE / "killed_study.toml").read_text())


def make_shards(root: Path) -> None:
    from shard_samples import write_tar

    (root / "shards").mkdir()
    samples = [
        {"jpg": (root / "pairs" / f"{number}.jpg").read_bytes(), "txt": f"a {word} on the grass"}
        for number, word in enumerate(WORDS)
    ]
    for shard in range(3):
        write_tar(root / "shards" / f"{shard:05}.tar", samples)


def save(file: Path, pixels: np.ndarray) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file)


def import_everything() -> None:
    """So that a fork need not; what a fork does is small, else each kill would cost half a minute."""
    import matplotlib.pyplot
    import open_clip
    import pandas
    import sklearn.metrics
    import timm
    import torch
    import torchvision

    import pacl_bench.studies.orchestra
    from pacl_bench.studies import probes, quickstart

    del matplotlib, open_clip, pandas, sklearn, timm, torchvision
    assert torch.get_num_threads() == 1
    probes.PATCHES = 256  # pairs of which are counted to foretell seconds that nobody reads
    load = quickstart.load_experiment
    quickstart.load_experiment = lambda name: load(HERE / "killed_quickstart.toml")
    assert pacl_bench


if __name__ == "__main__":
    main()
