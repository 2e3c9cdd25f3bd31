"""What is told of a training run while it lasts: its log, a loss on pairs held out, TensorBoard."""

import json
import math
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pacl_bench import processes
from pacl_bench.errors import UsageError
from pacl_bench.files import append_lines, write_text
from pacl_bench.training.batches import Batch
from pacl_bench.training.curves import LOG
from pacl_bench.training.recipe import Watching
from pacl_bench.training.state import TrainState

BOARD = "tensorboard"


class Watch:
    """Keeps what a run says of itself; of several processes the first does.

    Args:
        first_step: where the run begins; what is told of later steps is taken back.
        held_out: pairs that are not trained on.
    """

    def __init__(self, out: Path, first_step: int, watching: Watching, held_out: Batch | None):
        self.watching, self.held_out = watching, held_out
        self.log = Log(out / LOG, first_step) if processes.is_first() else None
        self.board = _board(out / BOARD, first_step) if watching.tensorboard and processes.is_first() else None

    def step(self, state: TrainState, step: int, loss: float, rate: float) -> None:
        """Told after each step."""
        values = {"loss": loss, "lr": state.lr, "temperature": state.temperature.item(), "pairs_per_second": rate}
        if self.held_out is not None and state.step % self.watching.held_out_every == 0:
            values["held_out_loss"] = state.loss(self.held_out)
        if self.log is not None:
            self.log.write(step=step, **values)
        if self.board is not None:
            for name, value in values.items():
                self.board.add_scalar(name, value, step)

    def close(self) -> None:
        if self.board is not None:
            self.board.close()


def _board(folder: Path, first_step: int) -> Any:
    if find_spec("tensorboard") is None:
        raise UsageError("--tensorboard needs the package tensorboard: pip install 'pacl-bench[tensorboard]'.")
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder), purge_step=first_step)


class Log:
    """JSON lines, one a step; a resumed run first takes back what the checkpoint had not seen."""

    def __init__(self, file: Path, first_step: int):
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines() if file.is_file() else []
        kept = [line for line in lines if _step_of(line) < first_step]
        write_text(file, "".join(f"{line}\n" for line in kept))
        self.file = file

    def write(self, **values: float | int) -> None:
        append_lines(self.file, [json.dumps({key: round(value, 8) for key, value in values.items()})])


def _step_of(line: str) -> float:
    """The step of a line of the log; infinity for one that is torn, as the last one may be, or damaged."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf
