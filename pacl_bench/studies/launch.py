"""Steps sent out to other processes or to the machines of a cluster, by submitit; waited for, and collected.

A job that its cluster takes away is put into the queue again, and goes on from what it has left on the disk: a head
from its last checkpoint, a measurement from its last record.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from pacl_bench.errors import UsageError
from pacl_bench.studies.orchestra import Launch, attempt
from pacl_bench.studies.steps import Done, Step

try:
    import submitit
    from submitit.helpers import Checkpointable
except ImportError:  # it is an extra
    submitit, Checkpointable = None, object

Launcher = Literal["local", "slurm"]
LOOK = {"local": 0.1, "slurm": 5.0}  # seconds between two looks at the jobs


class Errand(Checkpointable):  # type: ignore[misc]
    """Does a step in another process; put into the queue again, it does the same step."""

    def __call__(self, step: Step) -> Done:
        return attempt(step)


def launcher(kind: Launcher, logs: Path, at_once: int, options: dict[str, Any]) -> Launch:
    """What does steps elsewhere.

    Args:
        logs: folder of what the jobs print.
        at_once: how many jobs are sent out before the first of them is done.
        options: of submitit, by name, as it takes them for this kind: slurm_partition, timeout_min ...

    Raises:
        UsageError: submitit is not installed, or does not know an option.
    """
    if submitit is None:
        raise UsageError("--launcher needs submitit: pip install 'pacl-bench[cluster]'.")
    try:
        executor = submitit.AutoExecutor(folder=logs, cluster=kind)
        executor.update_parameters(name="pacl-bench", **options)
    except (RuntimeError, NameError, TypeError, ValueError) as error:  # no sbatch here, an option nobody knows
        raise UsageError(f"--launcher {kind}: {' '.join(str(error).split())}") from None

    def launch(steps: Sequence[Step]) -> Iterator[Done]:
        waiting, running = list(steps), {}
        try:
            while waiting or running:
                while waiting and len(running) < at_once:
                    step = waiting.pop(0)
                    running[executor.submit(Errand(), step)] = step
                finished = [job for job in running if job.done()]
                for job in finished:
                    yield _collected(job, running.pop(job))
                if not finished:
                    time.sleep(LOOK[kind])
        finally:
            for job in running:
                with suppress(Exception):
                    job.cancel()

    return launch


def _collected(job: Any, step: Step) -> Done:
    """What a job has left; one that died is a failure, with the file that tells more."""
    try:
        return job.result()
    except Exception as error:
        last = str(error).strip().splitlines()[-1:] or [type(error).__name__]
        return Done(failures=[f"{step.title}: {last[0]} ({job.paths.stderr})"])


def read_options(texts: Sequence[str]) -> dict[str, Any]:
    """What --job-option says, each KEY=VALUE: {"slurm_partition": "gpu", "timeout_min": 600}."""
    options: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"--job-option {text}: write KEY=VALUE, as slurm_partition=gpu or timeout_min=600.")
        options[key.strip()] = int(value) if value.strip().isdigit() else value.strip()
    return options
