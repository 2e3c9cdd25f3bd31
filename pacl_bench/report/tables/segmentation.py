"""Table 2, zero-shot segmentation; and the records that compare protocols."""

from collections.abc import Sequence
from dataclasses import replace

from pacl_bench.report.lines import (
    ALL_MODELS,
    PAPERS,
    in_order,
    model_lines,
    models_by_dataset,
    of_dataset,
    of_protocol,
)
from pacl_bench.report.published import TODAY, UNKNOWN_PROTOCOL, published, segmentation_lines
from pacl_bench.report.runs import AFTER, BEFORE, BENCHMARKS, Number, Run, grouped, numbers
from pacl_bench.report.tables.ablation import ABLATION, MEASURED_HERE
from pacl_bench.report.tabular import Cell, Column, Group, Line, Table

TODAYS = "other papers, 2024–2026"  # the view
DATASET_MIOU = "dataset-miou"  # the protocol those numbers follow, and the default one here
COMMAND = "pacl-bench run table2-segmentation"
ENCODER = "clip-b16"  # of the paper's two rows that can be measured here
TWINS = {"CLIP": BEFORE, "CLIP + PACL": AFTER}  # the method they are here


def table2(runs: Sequence[Run]) -> list[Table]:
    """mIoU of each model, one protocol at a time: beside the paper's rows and columns, then on all data sets.

    The study `ablate` is Table 3's, and records that compare protocols have a section of their own.
    """
    measured = [
        one for one in numbers(runs, "segment", "miou") if one.run.study != ABLATION and not compares_protocols(one.run)
    ]
    protocols = grouped(measured, of_protocol) or {f"{DATASET_MIOU}, background=none": []}
    papers = [_papers_layout(*sheet) for sheet in protocols.items()]
    return [*papers, *map(_with_todays, models_by_dataset(measured)), _todays()]


def _papers_layout(protocol: str, measured: Sequence[Number]) -> Table:
    columns = {row.dataset_name: Column(row.dataset_name, row.dataset) for row in published(2)}
    columns = [columns[name] for name in in_order(columns)]
    shown = [one for one in measured if of_dataset(one) in {column.name for column in columns}]
    ours = {method: _twins(method, shown) for method in TWINS.values()}
    lines = []
    for name, line in segmentation_lines(2).items():
        lines += [line, *ours[TWINS[name]]] if name in TWINS else [line]
    others = [one for one in shown if one.run.encoder != ENCODER or one.run.method not in ours]
    groups = [Group("Printed in the paper", lines, UNKNOWN_PROTOCOL)]
    groups += [Group("Measured here", model_lines(others, tells_encoder=True), protocol)] if others else []
    table = Table({"view": PAPERS, "data": BENCHMARKS, "protocol": protocol}, columns, groups, "Method")
    return _with_todays(table)


def _twins(method: str, measured: Sequence[Number]) -> list[Line]:
    """What was measured of a method that the paper prints too; a line of gaps where nothing was."""
    ours = [one for one in measured if one.run.encoder == ENCODER and one.run.method == method]
    lines = model_lines(ours, name=lambda _: MEASURED_HERE, is_control=lambda _: False, tells_encoder=True)
    return lines or [Line(MEASURED_HERE, ENCODER, command=COMMAND)]


def _with_todays(table: Table) -> Table:
    """With other papers' numbers on its data sets, where it shows the protocol that they follow."""
    names = {column.name for column in table.columns}
    lines = [line for line in segmentation_lines(TODAY).values() if names & set(line.cells)]
    if not lines or not table.choices["protocol"].startswith(DATASET_MIOU):
        return table
    note = "each as its source measures it"
    group = Group("Printed in other papers, 2024–2026", lines, note)
    return replace(table, groups=[*table.groups, group])


def _todays() -> Table:
    shown = {row.dataset_name: row.dataset for row in published(TODAY)}
    columns = [Column(name, shown[name]) for name in in_order(shown)]
    choices = {"view": TODAYS, "data": BENCHMARKS, "protocol": DATASET_MIOU}
    lines = list(segmentation_lines(TODAY).values())
    note = "VOC21, PC60 and Object with background, by a rule of each method's own"
    return Table(choices, columns, [Group("", lines, note)], "Method", ranked=False)


def compares_protocols(run: Run) -> bool:
    """Whether a run scores more of `dataset-miou` than background left out and background as a class."""
    if run.evaluator != "segment":
        return False
    protocols = {one.protocol for one in run.record.measurements if one.metric == "miou"}
    return sum(protocol.startswith(DATASET_MIOU) for protocol in protocols) > 2


def protocols(runs: Sequence[Run]) -> list[Table]:
    """mIoU of the runs that compare protocols: these down, models across; a table for each data set."""
    compared = [one for one in numbers(runs, "segment", "miou") if compares_protocols(one.run)]
    return [_by_protocol(dataset, of_set) for dataset, of_set in grouped(compared, of_dataset).items()]


def _by_protocol(dataset: str, measured: Sequence[Number]) -> Table:
    models = {line.name: line.cells for line in model_lines(measured, of_protocol, name=lambda run: run.model)}
    by_average = grouped(dict.fromkeys(map(of_protocol, measured)), lambda name: name.partition(",")[0])
    groups = [
        Group(average, [_of_protocol(name, average, models) for name in names]) for average, names in by_average.items()
    ]
    columns = [Column(model) for model in models]
    return Table({"view": ALL_MODELS, "data": dataset}, columns, groups, "Protocol", ranked=False, of_models=False)


def _of_protocol(name: str, average: str, models: dict[str, dict[str, Cell]]) -> Line:
    found = {model: known[name] for model, known in models.items() if name in known}
    return Line(name.removeprefix(f"{average}, "), "", found)
