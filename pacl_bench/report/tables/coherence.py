"""The numbers of Figure 3, semantic coherence; and of every block of an encoder."""

from collections.abc import Sequence

from pacl_bench.report.lines import ALL_MODELS, cells, in_order, model_lines, models_by_dataset, of_dataset, of_protocol
from pacl_bench.report.runs import BEFORE, UNTRAINED, Number, Run, blocks, grouped, numbers, without_inner_blocks
from pacl_bench.report.tabular import Column, Group, Line, Table

METRICS = {
    "auroc": "AUROC",
    "mean_per_class_auroc": "AUROC, mean of classes",
    "average_precision": "average precision",
}
USUAL = ("coherence", "default")  # study and variant, which need not be told
FLOORS = ("random:", "pixels:")  # libraries of encoders that nobody trained


def coherence(runs: Sequence[Run]) -> list[Table]:
    """Coherence of each encoder, the best first. Of one measured block by block only, the last block."""
    measured = without_inner_blocks(numbers(runs, "coherence"))
    shown = [one for metric in METRICS for one in measured if one.metric == metric]
    return models_by_dataset(shown, _metric, _best_first, percent=False, first="Encoder")


def _metric(number: Number) -> str:
    return f"{METRICS[number.metric]}, {number.protocol}"


def _best_first(measured: Sequence[Number]) -> list[Group]:
    """One group of all encoders, by the first data set."""
    first = in_order(map(of_dataset, measured))[0]
    lines = model_lines(measured, name=_name, is_control=is_floor)
    return [Group("", sorted(lines, key=lambda line: -line.cells[first].value if first in line.cells else 0))]


def is_floor(run: Run) -> bool:
    """There to be compared with: what no training made."""
    return run.method == UNTRAINED or run.vision.get("architecture", "").startswith(FLOORS)


def _name(run: Run) -> str:
    return run.encoder if run.method == BEFORE else f"{run.encoder}, {run.method}"


def layers(runs: Sequence[Run]) -> list[Table]:
    """AUROC of the encoders that were measured block by block; a column for each block."""
    found = numbers(runs, "coherence", "auroc")
    block_of = blocks(one.run for one in found)
    measured = [one for one in found if one.run.file in block_of]
    sheets = grouped(measured, lambda one: (of_dataset(one), of_protocol(one)))
    return [_layers(*which, of_sheet, block_of) for which, of_sheet in sheets.items()]


def _layers(dataset: str, protocol: str, measured: Sequence[Number], block_of: dict[str, tuple[str, int]]) -> Table:
    def column(number: Number) -> str:
        return f"block {block_of[number.run.file][1]}"

    lines = [
        Line(encoder, " · ".join(told for told in (study, variant) if told not in USUAL), cells(of_encoder, column))
        for (encoder, study, variant), of_encoder in grouped(
            measured, lambda one: (block_of[one.run.file][0], one.run.study, one.run.variant)
        ).items()
    ]
    names = [f"block {block}" for block in sorted({block_of[one.run.file][1] for one in measured})]
    choices = {"view": ALL_MODELS, "data": dataset, "protocol": protocol}
    return Table(choices, list(map(Column, names)), [Group("", lines)], "Encoder", percent=False, ranked=False)
