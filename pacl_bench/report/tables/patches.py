"""Table 1, patch classification before and after alignment; and the recall of each class."""

from collections.abc import Sequence

from pacl_bench.report.lines import ALL_MODELS, PAPERS, model_lines, models_by_dataset, of_dataset, of_protocol
from pacl_bench.report.published import published
from pacl_bench.report.runs import AFTER, BEFORE, UNTRAINED, Number, Run, grouped, numbers
from pacl_bench.report.tabular import Cell, Column, Group, Line, Table

PROTOCOLS = ["all-classes", "present-classes", "present-classes, images of 2+ classes", "binary"]
COLUMNS = {BEFORE: "before", UNTRAINED: "untrained", AFTER: "after"}
DIFFERENCE = "difference"  # after less before


def table1(runs: Sequence[Run]) -> list[Table]:
    """Before, with an untrained head, and after alignment, of each encoder; then all models on all data sets."""
    measured = sorted(numbers(runs, "patches", "patch_accuracy"), key=_place)
    majority = {(one.run.file, one.protocol): one.value for one in numbers(runs, "patches", "majority_class_share")}
    sheets = grouped(measured, lambda one: (of_dataset(one), of_protocol(one)))
    papers = [_papers_layout(*which, of_sheet, majority) for which, of_sheet in sheets.items()]
    return (papers or [_papers_layout("voc20", PROTOCOLS[0], [], majority)]) + models_by_dataset(measured)


def _place(number: Number) -> int:
    return PROTOCOLS.index(number.protocol) if number.protocol in PROTOCOLS else len(PROTOCOLS)


def _papers_layout(
    dataset: str, protocol: str, measured: Sequence[Number], majority: dict[tuple[str, str], float]
) -> Table:
    """A line for each head, with its encoder before alignment and with an untrained head beside."""
    shares = {
        f"majority class {100 * majority[one.run.file, protocol]:.1f}"
        for one in measured
        if (one.run.file, protocol) in majority
    }
    most = shares.pop() if len(shares) == 1 else ""
    columns = [Column(name, note=most if name == COLUMNS[AFTER] else "") for name in (*COLUMNS.values(), DIFFERENCE)]
    groups = [Group("Printed in the paper", _printed(), "data set and protocol unknown")]
    alike = grouped(measured, lambda one: (one.run.encoder, one.run.variant))
    lines = [line for (encoder, _), of_encoder in alike.items() for line in _before_and_after(encoder, of_encoder)]
    groups += [Group("Measured here", lines)] if lines else []
    return Table({"view": PAPERS, "data": dataset, "protocol": protocol}, columns, groups, "Encoder", ranked=False)


def _printed() -> list[Line]:
    places = {"CLIP, pre-alignment": COLUMNS[BEFORE], "CLIP, post-alignment": COLUMNS[AFTER]}
    return [
        Line(f"CLIP {encoder}", "", {places[row.method]: row.cell for row in rows})
        for encoder, rows in grouped(published(1), lambda row: row.encoder).items()
    ]


def _before_and_after(encoder: str, measured: Sequence[Number]) -> list[Line]:
    """A line for each head of an encoder; one line for an encoder without."""
    lines = model_lines([one for one in measured if one.run.method in COLUMNS], _column, lambda _: encoder)
    after = [line for line in lines if COLUMNS[AFTER] in line.cells]
    beside: dict[str, Cell] = {}
    for line in lines:
        beside |= {name: cell for name, cell in line.cells.items() if name not in (*beside, COLUMNS[AFTER])}
    return [Line(encoder, line.detail, _with_difference(beside | line.cells)) for line in after] or [
        Line(encoder, "", beside)
    ]


def _column(number: Number) -> str:
    return COLUMNS[number.run.method]


def _with_difference(cells: dict[str, Cell]) -> dict[str, Cell]:
    before = cells.get(COLUMNS[BEFORE])
    difference = Cell.difference(cells[COLUMNS[AFTER]], before) if before else None
    return {**cells, DIFFERENCE: difference} if difference else cells


def recall_tables(runs: Sequence[Run]) -> list[Table]:
    """Patch recall of each class, every class of the set being a candidate; a column for each model."""
    of_classes = numbers(runs, "patches", "patch_recall", of_classes=True)
    measured = [one for one in of_classes if one.protocol == PROTOCOLS[0]]
    return [_recall(dataset, of_set) for dataset, of_set in grouped(measured, of_dataset).items()]


def _recall(dataset: str, measured: Sequence[Number]) -> Table:
    models = _models(measured)
    classes = dict.fromkeys(one.class_name for one in measured)
    lines = [
        Line(name, "", {model: known[name] for model, known in models.items() if name in known}) for name in classes
    ]
    columns = [Column(model) for model in models]
    return Table(
        {"view": ALL_MODELS, "data": dataset}, columns, [Group("", lines)], "Class", ranked=False, of_models=False
    )


def _models(measured: Sequence[Number]) -> dict[str, dict[str, Cell]]:
    """The recall of each class, by the name of the model."""
    lines = model_lines(measured, lambda one: one.class_name, name=lambda run: f"{run.encoder} {run.method}")
    return {
        " · ".join(filter(None, dict.fromkeys([line.name, line.detail, one.detail]))): one.cells
        for line in lines
        for one in line.all
    }
