"""Table 3: training sets down, encoders across."""

from collections.abc import Sequence

from pacl_bench.report.lines import ALL_MODELS, PAPERS, cells, of_dataset, of_protocol, tell_apart
from pacl_bench.report.published import UNKNOWN_PROTOCOL, published
from pacl_bench.report.runs import AFTER, Number, Run, grouped, numbers
from pacl_bench.report.tabular import Column, Group, Line, Table

ABLATION = "ablate"  # the study that fills it
MEASURED_HERE = "↳ measured here"
COMMAND = "pacl-bench ablate"


def table3(runs: Sequence[Run]) -> list[Table]:
    """mIoU of heads by what they were trained on: in the paper's rows and columns, then all that was measured.

    Only the study `ablate` fills it: a head measured for another study was not necessarily trained under the
    conditions the grid holds fixed. Heads of one encoder, training set, recipe and seed claim one cell: an error.
    """
    measured = [one for one in numbers(runs, "segment", "miou") if one.run.study == ABLATION]
    measured.sort(key=lambda one: one.run.train.get("images") or 0)
    sheets = grouped(measured, lambda one: (of_dataset(one), of_protocol(one)))
    on_voc = {protocol: of_sheet for (dataset, protocol), of_sheet in sheets.items() if dataset == "voc20"}
    papers = [_papers_layout(*sheet) for sheet in (on_voc or {"dataset-miou, background=none": []}).items()]
    return [*papers, *(_all(*which, of_sheet) for which, of_sheet in sheets.items())]


def of_towers(number: Number) -> str:
    """The column: vision encoder × text encoder."""
    return f"{number.run.encoder} × {number.run.text}"


def _papers_layout(protocol: str, measured: Sequence[Number]) -> Table:
    columns = {f"{row.encoder_name} × {row.text_name}": f"{row.encoder} × {row.text_encoder}" for row in published(3)}
    ours = grouped(measured, lambda one: one.run.train.get("pairs"))
    lines = []
    for training_set, rows in grouped(published(3), lambda row: row.training_set).items():
        lines.append(Line(training_set, "", {f"{row.encoder_name} × {row.text_name}": row.cell for row in rows}))
        here = [one for one in ours.get(rows[0].training_name, []) if of_towers(one) in columns]
        lines += _lines(here, MEASURED_HERE) or [Line(MEASURED_HERE, command=COMMAND)]
    groups = [Group("Printed in the paper", lines, UNKNOWN_PROTOCOL)]
    choices = {"view": PAPERS, "data": "voc20", "protocol": protocol}
    return Table(choices, [Column(name, shown) for name, shown in columns.items()], groups, "Training sets")


def _all(dataset: str, protocol: str, measured: Sequence[Number]) -> Table:
    columns = [Column(name) for name in dict.fromkeys(map(of_towers, measured))]
    choices = {"view": ALL_MODELS, "data": dataset, "protocol": protocol}
    return Table(choices, columns, [Group("", _lines(measured))], "Training sets")


def _lines(measured: Sequence[Number], name: str = "") -> list[Line]:
    """A line for each training set and recipe; what was trained on nothing says so."""
    alike = grouped(measured, lambda one: (_trained_on(one.run), one.run.recipe, one.run.variant))
    firsts = [of_line[0].run for of_line in alike.values()]
    names = [name or _trained_on(run) for run in firsts]
    return [
        Line(told, detail, cells(of_line, of_towers), is_control=of_line[0].run.method != AFTER)
        for told, detail, of_line in zip(names, tell_apart(firsts, names), alike.values(), strict=True)
    ]


def _trained_on(run: Run) -> str:
    return run.train["pairs"].replace("+", " + ") if run.train else f"none: {run.method}"
