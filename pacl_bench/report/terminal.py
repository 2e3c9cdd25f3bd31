"""What commands print: lines that fit a terminal of 80 columns."""

import io
import textwrap
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pacl_bench.image_sets import image_id
from pacl_bench.report.compared import first_of_each_set, summary
from pacl_bench.report.comparison import ClassDifference, Pair
from pacl_bench.report.explain import Differing, Explanation
from pacl_bench.report.figures.moved import data_of, moved_images
from pacl_bench.report.runs import grouped
from pacl_bench.report.tables.comparison import AS_FRACTIONS, signs
from pacl_bench.report.tabular import Cell

Show = Callable[[float], str]
WIDTH = 80
MOST_CLASSES = 3  # named of those that gained and of those that lost
MOST_IMAGES = 6
CELLS = (8, 8, 24)  # letters: of two numbers, and of their difference or of an interval


def comparison_lines(pairs: Sequence[Pair], names: tuple[str, str]) -> list[str]:
    """The numbers of two sides, data set by data set; then the classes and images that differ most."""
    lines = [summary(pairs, names)]
    first = set(first_of_each_set(pairs))
    for (evaluator, dataset, model), of_set in grouped(pairs, _place).items():
        head = " · ".join(dict.fromkeys([evaluator, dataset, *([] if model in names else [model])]))
        lines += ["", columns(head, "first", "second", "difference [95 %]")]
        lines += [line for pair in of_set for line in _number_lines(pair)]
        lines += [line for pair in of_set if pair in first for line in [*_class_lines(pair), *_image_lines(pair)]]
    return lines


def comparison_rows(pairs: Sequence[Pair]) -> list[dict[str, Any]]:
    """The same for other programs: fractions, a row for each number."""
    return [
        {
            "evaluator": pair.run.evaluator, "dataset": pair.run.dataset, "variant": pair.run.variant,
            "metric": pair.one[0].metric, "protocol": pair.one[0].protocol,
            "first": pair.first.value, "second": pair.second.value,
            **_values(pair.difference), "verdict": pair.verdict, "differs": pair.differs,
            "records": [*pair.first.records, *pair.second.records],
        }
        for pair in pairs
    ]  # fmt: skip


def explanation_lines(found: Explanation) -> list[str]:
    """Both numbers, the choices in which they differ, and how much each moves the first."""
    one = found.first
    show = _shown(one.run.evaluator)
    lines = textwrap.wrap(f"first: {one.run.file}, {one.metric}, {one.protocol}: {show(one.value)}", WIDTH)
    value = "" if found.value is None else f": {show(found.value)}"
    lines += textwrap.wrap(f"second: {found.second}{value}", WIDTH)
    if found.difference is not None:
        lines.append(f"second less first: {_with_bounds(found.difference, show)}")
    known = [one for one in found.choices if one.name not in found.unknown]
    head = ["choice", "first", "second", "moves the first by"]
    told = _table([head, *(_choice(one, show) for one in known)])
    lines += ["", *(told if known else ["No choice is known in which they differ."])]
    if found.unknown:
        names = ", ".join(name.replace("_", " ") for name in found.unknown)
        lines += ["", *textwrap.wrap(f"Told of one of them only: {names}.", WIDTH)]
    return lines


def explanation_rows(found: Explanation) -> list[dict[str, Any]]:
    """The same for other programs: fractions, a row for each choice."""
    return [
        {"choice": one.name, "first": one.first, "second": one.second, **_values(one.moved), "record": one.by}
        for one in found.choices
    ]


def _choice(one: Differing, show: Show) -> list[str]:
    return [
        one.name.replace("_", " "),
        one.first,
        one.second,
        "" if one.moved is None else _with_bounds(one.moved, show),
    ]


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of text in columns; what is too long goes on in the next line."""
    printed = io.StringIO()
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="")
    for head in rows[0]:
        table.add_column(head, overflow="fold")
    for row in rows[1:]:
        table.add_row(*map(escape, row))
    Console(file=printed, width=WIDTH, emoji=False).print(table)
    return [line.rstrip() for line in printed.getvalue().splitlines()]


def columns(name: str, *cells: str) -> str:
    """A line with a name at its left and three cells at its right; a long name has a line of its own."""
    right = "".join(f"{cell:>{width}}" for cell, width in zip(cells, CELLS, strict=True))
    room = WIDTH - len(right) - 1
    return f"{name:<{room}} {right}" if len(name) <= room else f"{name}\n{right:>{WIDTH}}"


def _place(pair: Pair) -> tuple[str, str, str]:
    return pair.run.evaluator, pair.run.dataset, pair.run.model


def _number_lines(pair: Pair) -> list[str]:
    show, difference = _shown(pair.run.evaluator), pair.difference
    told = "" if difference is None else _with_bounds(difference, show)
    name = "  " + pair.told.removeprefix(f"{pair.run.dataset} · ")
    line = columns(name, show(pair.first.value), show(pair.second.value), told)
    return [line] if difference is not None else [line, f"  not comparable: another {', '.join(pair.differs)}"]


def _class_lines(pair: Pair) -> list[str]:
    show = _shown(pair.run.evaluator)

    def told(classes: Iterable[ClassDifference]) -> str:
        return ", ".join(f"{one.name} {_signed(one.value, show)}" for one in classes)

    gained = [one for one in pair.classes if one.value > 0][:MOST_CLASSES]
    lost = [one for one in reversed(pair.classes) if one.value < 0][:MOST_CLASSES]
    parts = [told(part) for part in (gained, lost) if part]
    return _wrapped(f"{signs(pair)}: {'; '.join(parts)}") if parts else []


def _image_lines(pair: Pair) -> list[str]:
    show, images = _shown(pair.run.evaluator), data_of(pair.run)
    shown = [
        f"{moved.place if images is None else image_id(images, moved.place)} {show(moved.first)}→{show(moved.second)}"
        for moved in moved_images(pair)[:MOST_IMAGES]
    ]
    return _wrapped(f"images that changed most: {', '.join(shown)}") if shown else []


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent="  ", subsequent_indent="    ")


def _values(found: Cell | None) -> dict[str, float | None]:
    """For JSON: what is not known is None."""
    values = (None,) * 3 if found is None else (found.value, found.low, found.high)
    return {
        name: value if value == value else None
        for name, value in zip(("difference", "low", "high"), values, strict=True)
    }


def _shown(evaluator: str) -> Show:
    """How its numbers are told: percent with one digit, or a fraction with three."""
    return (lambda value: f"{value:.3f}") if evaluator in AS_FRACTIONS else (lambda value: f"{100 * value:.1f}")


def _with_bounds(difference: Cell, show: Show) -> str:
    """ "+1.2 [-0.3, +2.7]"; without an interval where none is known."""
    bounds = [_signed(bound, show) for bound in (difference.low, difference.high) if bound == bound]  # NaN: unknown
    return _signed(difference.value, show) + (f" [{', '.join(bounds)}]" if bounds else "")


def _signed(value: float, show: Show) -> str:
    return f"{'+' if value >= 0 else '-'}{show(abs(value))}"
