"""What is left of the numbers when images drown in noise."""

from collections.abc import Sequence

from pacl_bench.data.noise import noise_of
from pacl_bench.report.lines import ALL_MODELS, cells, of_dataset, of_protocol
from pacl_bench.report.runs import Number, Run, grouped, numbers
from pacl_bench.report.tabular import Column, Group, Line, Table

METRICS = {"patches": "patch_accuracy", "segment": "miou", "classify": "top1"}
TITLES = {"patch_accuracy": "patch accuracy", "miou": "mIoU", "top1": "top-1 accuracy"}
PROTOCOLS = ("all-classes", "dataset-miou, background=none", "zero-shot")


def noise(runs: Sequence[Run]) -> list[Table]:
    """A table for each data set and metric: models down, shares of noise across, and what guessing scores."""
    sheets = grouped(drowned_numbers(runs), lambda one: (noise_of(one.run.dataset)[0], of_protocol(one)))
    return [_table(*which, of_sheet) for which, of_sheet in sheets.items()]


def drowned_numbers(runs: Sequence[Run]) -> list[Number]:
    """The headline numbers of models on sets that were drowned, the least noise first: without any, too."""
    found = [one for evaluator, metric in METRICS.items() for one in numbers(runs, evaluator, metric)]
    found = [one for one in _of_drowned_sets(found) if one.protocol in PROTOCOLS]
    by_set = grouped(found, lambda one: (one.run.study, one.run.variant, one.run.model, noise_of(one.run.dataset)[0]))
    kept = [one for of_set in by_set.values() if any(map(_share, of_set)) for one in of_set]
    return sorted(kept, key=_share)


def _of_drowned_sets(measured: Sequence[Number]) -> list[Number]:
    """Those of sets that were drowned in any share of noise, without any, too."""
    marked = {name: noise_of(name) for name in set(map(of_dataset, measured))}
    drowned = {plain for plain, share in marked.values() if share}
    return [one for one in measured if marked[of_dataset(one)][0] in drowned] if drowned else []


def _share(number: Number) -> float:
    return noise_of(number.run.dataset)[1]


def of_share(number: Number) -> str:
    """The column: "25 % noise"."""
    return f"{100 * _share(number):g} % noise"


def _table(dataset: str, protocol: str, measured: Sequence[Number]) -> Table:
    columns = [Column(name) for name in dict.fromkeys(map(of_share, measured))]
    by_model = grouped(measured, lambda one: one.run.model)
    lines = [Line(model, "", cells(of_model, of_share)) for model, of_model in by_model.items()]
    choices = {"view": ALL_MODELS, "data": dataset, "protocol": f"{TITLES[measured[0].metric]}, {protocol}"}
    return Table(choices, columns, [Group("", lines)], "Model")
