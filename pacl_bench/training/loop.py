"""Training a PACL head on image-caption pairs. Read `train` top to bottom, then `run_all`: the loop."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch

from pacl_bench import cores, processes
from pacl_bench.errors import RunError, UsageError
from pacl_bench.files import place_of, require_writable
from pacl_bench.locks import claimed
from pacl_bench.model.embedder import head_class
from pacl_bench.model.head_files import CARD, HeadCard
from pacl_bench.progress import bar
from pacl_bench.signals import interrupts_wait
from pacl_bench.training.encoded_stream import SharedStreams
from pacl_bench.training.recipe import OFTEN, Loading, TrainConfig, Watching, checkpoint_interval
from pacl_bench.training.run import Frozen, Head, Run
from pacl_bench.training.state import RESUME_STATE


def train(
    config: TrainConfig,
    out: Path,
    resume: bool = False,
    device: str = "cpu",
    checkpoint_every: str = OFTEN,
    loading: Loading | None = None,
    watching: Watching | None = None,
) -> HeadCard:
    """Trains a head and writes it to the folder `out`, with its log and the list of skipped pairs.

    Args:
        resume: go on from the last checkpoint in `out`; the weights become those of an uninterrupted run.
        checkpoint_every: steps, a time, or both: "100", "10m", "100,10m".
        loading: how pairs are read, and how many of them may fail.
        watching: what is told and kept of the run while it lasts.

    Raises:
        UsageError: `out` holds another run, or another process trains there. RunError: the loss became NaN, too many
            pairs failed, or the run was asked to stop (Ctrl-C, SIGTERM); the last good state is kept.
    """
    interval, loading = checkpoint_interval(checkpoint_every), loading or Loading()
    head_class(config.head)  # before anything is loaded: is there such a kind?
    with processes.joined(), claimed_once(out):
        resume = processes.agreed(resume)
        if processes.is_first():  # the others may come later, when it has written something
            refuse_to_overwrite(out, resume)
        frozen = Frozen.load(config.encoder, config.text, device)
        head = Head(config, out, frozen, device, loading)
        if resume:
            head.state.load(out / RESUME_STATE)
        if config.recipe.steps == 0:
            return head.finish()
        run = head.run(SharedStreams(frozen.vision, frozen.text, loading), interval, watching or Watching())
        run_all([run], f"Go on with --resume --out {out}.")
        return run.finish()


def run_all(runs: list[Run], way_on: str) -> None:
    """The loop. Of several heads, the one that has seen the least of the streams they share makes the next step.

    Args:
        way_on: what the line that tells of a stop ends with: how to go on.
    """
    total, before = sum(run.total_steps for run in runs), sum(run.state.step for run in runs)
    try:
        with interrupts_wait() as interrupted, ExitStack() as open_runs, bar("loss", "rate") as progress:
            open_runs.enter_context(cores.divided(_loading(runs)))
            for run in runs:
                open_runs.enter_context(run)
            task = progress.add_task("training", total=total, completed=before, loss="", rate="")
            while waiting := [run for run in runs if not run.is_done]:
                loss, rate = min(waiting, key=lambda run: run.batches.progress).step()
                progress.update(task, advance=1, loss=f"loss {loss:.3f}", rate=f"{rate:.0f} pairs/s")
                if processes.any_of(interrupted()):
                    raise KeyboardInterrupt
    except KeyboardInterrupt:
        raise RunError(f"Stopped at step {sum(run.state.step for run in runs)} of {total}. {way_on}") from None


def _loading(runs: list[Run]) -> int:
    """How many processes load beside the steps."""
    streamed = [run.head for run in runs if run.head.is_streamed]
    of_each = [cores.loaders(torch.device(head.device).type == "cpu", head.loading.workers) for head in streamed]
    return max((loaders.number for loaders in of_each), default=0)


@contextmanager
def claimed_once(out: Path) -> Iterator[None]:
    """Within the block `out` belongs to this run: of several processes the first claims it, and it can be written to.

    Raises:
        UsageError: a file stands where the folder is wanted, or another run writes there. WriteError: as
            `require_writable`.
    """
    place_of(out, "--out")  # wrong in every process, whichever writes
    with ExitStack() as held:
        if processes.is_first():
            held.enter_context(claimed(out, "--out"))
            require_writable(out, "--out")
        yield


def refuse_to_overwrite(out: Path, resume: bool) -> None:
    if not resume and any((out / name).exists() for name in (CARD, RESUME_STATE)):
        raise UsageError(f"--out {out} already holds a head or a run. Add --resume to go on, or choose another folder.")
