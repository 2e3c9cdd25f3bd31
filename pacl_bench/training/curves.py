"""What is left of a head's log in a folder of results: the loss by step in few points, for reports. No torch here."""

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any, NamedTuple

from pacl_bench.files import safe_name, write_json
from pacl_bench.model.head_files import read_card

LOG = "log.jsonl"  # in the folder of a head: a line a step
FOLDER = "training"  # in the folder of results
FILES = "[!.]*.json"  # in it; what begins with a dot is half of one
MOST_POINTS = 100
DIGITS = 6
SCHEMA = 1


class LossCurve(NamedTuple):
    """Losses in nats, each with the step behind which it is told."""

    steps: list[int]
    losses: list[float]


class TrainingCurves(NamedTuple):
    """How a head was trained: its loss, and that of the pairs held out, where there are any."""

    loss: LossCurve
    held_out: LossCurve
    pairs_per_second: float


def keep_curves(head: Path, results: Path) -> None:
    """Copies what the log of a head tells to a folder of results, once; nothing where there is no log of this head.

    Args:
        head: its folder.
    """
    card = read_card(head)
    file = results / FOLDER / f"{safe_name(card.name)}.{of_head(card.sha256)}.json"
    lines = [] if file.is_file() else _logged(head / LOG)
    if not lines or lines[-1]["step"] + 1 != card.step:  # of a training that goes on, or was broken off
        return
    loss, held_out = ([line for line in lines if name in line] for name in ("loss", "held_out_loss"))
    rate = round(median(line.get("pairs_per_second", 0.0) for line in lines), 1)
    curves = TrainingCurves(_averaged(loss, "loss"), _averaged(held_out, "held_out_loss"), rate)
    told = {"schema": SCHEMA, "head": card.name, "sha256": card.sha256, "pairs_per_second": rate}
    write_json(file, told | {"loss": curves.loss._asdict(), "held_out": curves.held_out._asdict()})


def curves_files(results: Path) -> dict[str, Path]:
    """The files of `keep_curves` in a folder of results, by what `of_head` says of their heads."""
    return {file.stem.rpartition(".")[2]: file for file in sorted((results / FOLDER).glob(FILES))}


def of_head(sha256: str) -> str:
    """By what the curves of a head are found: the beginning of the sha256 of its weights."""
    return sha256[:12]


def read_curves(file: Path) -> TrainingCurves:
    """What `keep_curves` wrote; a UsageError that names a file that is damaged."""
    from pacl_bench.validation.schema import TrainingCurvesShape
    from pacl_bench.validation.strict_json import read_checked

    content = read_checked(file, TrainingCurvesShape, SCHEMA, "the curves of a training")
    return TrainingCurves(LossCurve(**content["loss"]), LossCurve(**content["held_out"]), content["pairs_per_second"])


def _logged(file: Path) -> list[dict[str, Any]]:
    """The lines of a log; without one that is torn, as the last one may be."""
    found = []
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines() if file.is_file() else []:
        try:
            values = json.loads(line)
            found.append({name: float(value) for name, value in values.items()} | {"step": int(values["step"])})
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
    return found


def _averaged(lines: Sequence[dict[str, Any]], name: str) -> LossCurve:
    """Few points: each the mean of the losses since the one before, so that their noise does not hide their course."""
    points = min(len(lines), MOST_POINTS)
    ends = [len(lines) * (at + 1) // points for at in range(points)]
    parts = [lines[first:end] for first, end in zip([0, *ends], ends, strict=False)]
    means = [round(fmean(line[name] for line in part), DIGITS) for part in parts]
    return LossCurve([part[-1]["step"] + 1 for part in parts], means)
