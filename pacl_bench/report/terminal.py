"""What commands print: lines that fit a terminal of 80 columns."""

import textwrap
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from pacl_bench.image_sets import image_id
from pacl_bench.report.compared import first_of_each_set, summary
from pacl_bench.report.comparison import ClassDifference, Pair
from pacl_bench.report.figures.moved import data_of, moved_images
from pacl_bench.report.runs import grouped
from pacl_bench.report.tables.comparison import AS_FRACTIONS, signs

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
            **_difference_of(pair), "verdict": pair.verdict, "differs": pair.differs,
            "records": [*pair.first.records, *pair.second.records],
        }
        for pair in pairs
    ]  # fmt: skip


def columns(name: str, *cells: str) -> str:
    """A line with a name at its left and three cells at its right; a long name has a line of its own."""
    right = "".join(f"{cell:>{width}}" for cell, width in zip(cells, CELLS, strict=True))
    room = WIDTH - len(right) - 1
    return f"{name:<{room}} {right}" if len(name) <= room else f"{name}\n{right:>{WIDTH}}"


def _place(pair: Pair) -> tuple[str, str, str]:
    return pair.run.evaluator, pair.run.dataset, pair.run.model


def _number_lines(pair: Pair) -> list[str]:
    name, show, found = "  " + pair.told.removeprefix(f"{pair.run.dataset} · "), _show(pair), pair.difference
    if found is None:
        why = f"  not comparable: another {', '.join(pair.differs)}"
        return [columns(name, show(pair.first.value), show(pair.second.value), ""), why]
    bounds = [_signed(bound, show) for bound in (found.low, found.high) if bound == bound]  # NaN where unknown
    told = _signed(found.value, show) + (f" [{', '.join(bounds)}]" if bounds else "")
    return [columns(name, show(pair.first.value), show(pair.second.value), told)]


def _class_lines(pair: Pair) -> list[str]:
    show = _show(pair)

    def told(classes: Iterable[ClassDifference]) -> str:
        return ", ".join(f"{one.name} {_signed(one.value, show)}" for one in classes)

    gained = [one for one in pair.classes if one.value > 0][:MOST_CLASSES]
    lost = [one for one in reversed(pair.classes) if one.value < 0][:MOST_CLASSES]
    parts = [told(part) for part in (gained, lost) if part]
    return _wrapped(f"{signs(pair)}: {'; '.join(parts)}") if parts else []


def _image_lines(pair: Pair) -> list[str]:
    show, images = _show(pair), data_of(pair.run)
    shown = [
        f"{moved.place if images is None else image_id(images, moved.place)} {show(moved.first)}→{show(moved.second)}"
        for moved in moved_images(pair)[:MOST_IMAGES]
    ]
    return _wrapped(f"images that changed most: {', '.join(shown)}") if shown else []


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent="  ", subsequent_indent="    ")


def _difference_of(pair: Pair) -> dict[str, float | None]:
    found = pair.difference
    values = (None,) * 3 if found is None else (found.value, found.low, found.high)
    return {
        name: value if value == value else None
        for name, value in zip(("difference", "low", "high"), values, strict=True)
    }


def _show(pair: Pair) -> Show:
    """How its numbers are told: percent with one digit, or a fraction with three."""
    if pair.run.evaluator in AS_FRACTIONS:
        return lambda value: f"{value:.3f}"
    return lambda value: f"{100 * value:.1f}"


def _signed(value: float, show: Show) -> str:
    return f"{'+' if value >= 0 else '-'}{show(abs(value))}"
