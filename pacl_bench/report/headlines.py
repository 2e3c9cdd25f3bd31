"""Sentences made from tables: the best number of each, and where protocols disagree. No torch here."""

from collections.abc import Sequence

from pacl_bench.report.runs import grouped
from pacl_bench.report.tabular import Cell, Line, Table


def default_table(tables: Sequence[Table]) -> Table | None:
    """The table that is shown first: the paper's layout where anything measured stands in it, else the first that holds
    something measured.
    """
    return next((table for table in tables if table.is_measured), tables[0] if tables else None)


def best_sentence(tables: Sequence[Table], metric: str) -> str:
    """ "Highest mIoU on voc20: PACL head, vits14 · 1,877 images, 15.5 % (13.3–16.9; chance 1.6)."; empty without."""
    table = default_table(tables)
    best = _best(table) if table else None
    if table is None or best is None:
        return ""
    column, line, cell = best
    unit = " %" if table.percent else ""
    group = next(group.title for group in table.groups for one in group.lines if line in one.all)
    told = ", ".join(dict.fromkeys(part for part in (line.name, line.detail, group) if part and "easured" not in part))
    where = column if column in _datasets(table) else table.choices["data"]
    known = [table.show_spread(cell)] * bool(table.show_spread(cell)) + [f"chance {table.show(cell.chance)}"]
    return f"Highest {metric} on {where}: {told}, {table.show_cell(cell)}{unit} ({'; '.join(known)})."


def gain_sentence(tables: Sequence[Table]) -> str:
    """ "Patch accuracy of tiny-clip on world-things, all-classes: 25.6 % before, 90.1 % after alignment (...): +64.5
    [+61.2, +67.8], paired over images."
    """
    table = default_table(tables)
    lines = [line for line in table.lines if line.is_measured and "after" in line.cells] if table else []
    if table is None or not lines:
        return ""
    line = max(lines, key=lambda line: line.cells["after"].value)
    after = line.cells["after"]
    beside = [
        f"{table.show_cell(line.cells[name])} % {name}, " for name in ("before", "untrained") if name in line.cells
    ]
    return (
        f"Patch accuracy of {line.name} on {table.choices['data']}, {table.choices['protocol']}: {''.join(beside[:1])}"
        f"{table.show_cell(after)} % after alignment ({table.show_spread(after)}; chance {table.show(after.chance)})"
        f"{_paired(table, line)}."
    )


def _paired(table: Table, line: Line) -> str:
    """The difference, where its paired interval is known."""
    difference = next((cell for cell in line.cells.values() if cell.kind == "difference"), None)
    if difference is None or not table.show_spread(difference):
        return ""
    return f": {table.show_cell(difference)} {table.show_spread(difference)}, paired over images"


def disagreement(tables: Sequence[Table]) -> str:
    """A sentence where two protocols put different models first on one data set; empty where none do."""
    leaders: dict[tuple[str, str], dict[str, str]] = {}
    for table in tables:
        if "protocol" not in table.choices or not table.ranked:
            continue
        for column in table.columns:
            line = _leader(table, column.name)
            if line is not None:
                key = table.choices["view"], column.name
                leaders.setdefault(key, {})[table.choices["protocol"]] = _told(line)
    for (_, column), by_protocol in leaders.items():
        of_leader = grouped(by_protocol, lambda protocol: by_protocol[protocol])  # noqa: B023
        if len(of_leader) > 1:
            told = "; ".join(f"{leader} under {protocols[0]}" for leader, protocols in of_leader.items())
            return f"Which model is best depends on the protocol. On {column}: {told}."
    return ""


def _best(table: Table) -> tuple[str, Line, Cell] | None:
    """The highest measured number that is no control, in the column in which most is measured."""
    found = [
        (column.name, line, cell)
        for column in table.columns
        for line in table.lines
        if not line.is_control and (cell := line.cells.get(column.name)) is not None and cell.kind == "measured"
    ]
    if not found:
        return None
    most = max(grouped(found, lambda one: one[0]).values(), key=len)
    alike = set(table.comparable([cell for _, _, cell in most]))
    return max((one for one in most if one[2] in alike), key=lambda one: one[2].value)


def _leader(table: Table, column: str) -> Line | None:
    lines = [line for line in table.lines if line.cells.get(column) in table.best]
    return max(lines, key=lambda line: line.cells[column].value, default=None)


def _told(line: Line) -> str:
    return ", ".join(part for part in (line.name, line.detail) if part)


def _datasets(table: Table) -> set[str]:
    return {one.run.dataset for cell in table.cells for one in cell.numbers}
