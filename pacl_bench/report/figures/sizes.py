"""Beside Table 3: mIoU against the size of the training set, measured and as the paper prints it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from pacl_bench.report.figures.style import (
    COLUMN_WIDTH,
    MOST_PANELS,
    PALETTE,
    TEXT_WIDTH,
    as_written,
    draw_line,
    draw_panels,
    label_ends,
    new_axes,
    new_figure,
)
from pacl_bench.report.lines import cells
from pacl_bench.report.published import published
from pacl_bench.report.runs import AFTER, Number, Run, grouped, numbers
from pacl_bench.report.tables.ablation import ABLATION, of_towers
from pacl_bench.report.tabular import Cell

HEIGHT = 2.1
MOST_LINES = 8
LONG = 24  # characters of a line's name, beside two panels in a row
MILLIONS = {"cc3m": 3, "cc12m": 12, "yfcc15m": 15}  # pairs, as the names of the paper's sets say


@dataclass(frozen=True)
class SizesPanel:
    """mIoU of heads by the pairs they were trained on: a line for each pair of encoders."""

    title: str
    lines: dict[str, list[tuple[float, Cell]]]  # towers -> (pairs, mIoU) from the smallest training set to the largest
    colours: Mapping[str, str]

    def draw(self, ax: Axes | None = None) -> Axes:
        """Lines with the interval or range of each point, named at their end."""
        ax = new_axes(COLUMN_WIDTH, HEIGHT) if ax is None else ax
        for towers, points in self.lines.items():
            draw_line(ax, [size for size, _ in points], [cell for _, cell in points], self.colours[towers])
        self._draw_scale(ax)
        last = {towers: points[-1] for towers, points in self.lines.items()}
        ends = {towers: (size, 100 * cell.value, self.colours[towers]) for towers, (size, cell) in last.items()}
        low, high = ax.get_ylim()
        label_ends(ax, ends, 0.075 * (high - low))
        return as_written(ax)

    def _draw_scale(self, ax: Axes) -> None:
        pairs = sorted({size for points in self.lines.values() for size, _ in points})
        ax.set_xscale("log")
        ax.set_xticks([size for at, size in enumerate(pairs) if at == 0 or size > 1.15 * pairs[at - 1]])
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter(FuncFormatter(lambda size, _: _short(size)))
        ax.set(xlabel="Pairs of image and caption (log scale)", ylabel="mIoU (%)", title=self.title)
        ax.margins(x=0.12, y=0.15)


def sizes_panels(runs: Sequence[Run]) -> list[SizesPanel]:
    """A panel for each data set and protocol for which the study `ablate` measured heads that differ in nothing but
    their training set, and the paper's own numbers in one of their own: their protocol is unknown.
    """
    shown = [
        one
        for one in numbers(runs, "segment", "miou")
        if one.run.study == ABLATION and one.run.method == AFTER and one.run.variant == "default" and _pairs(one.run)
    ]
    sheets = grouped(shown, lambda one: (one.run.dataset, one.protocol))
    panels = [_panel(" · ".join(which), of_sheet) for which, of_sheet in sheets.items()]
    panels = [panel for panel in panels if panel.lines]
    return [*panels[: MOST_PANELS - 1], _printed()] if panels else []


def sizes_figure(panels: Sequence[SizesPanel]) -> Figure:
    """The panels two in a row; one in a row where the names of lines are too long for two."""
    longest = max(len(name) for panel in panels for name in panel.lines)
    cols = 1 if longest > LONG else min(2, len(panels))
    rows = -(-len(panels) // cols)
    width = TEXT_WIDTH if cols == 2 or longest > LONG else COLUMN_WIDTH
    return draw_panels(new_figure(width, rows * HEIGHT), panels, cols)


def _panel(title: str, measured: Sequence[Number]) -> SizesPanel:
    """A line for each pair of encoders and recipe, the best of them, where there are two training sets or more.

    Its name tells of the recipe what is not the same for all lines.
    """
    by_line = grouped(measured, lambda one: (of_towers(one), _recipe(one.run)))
    drawn = {which: of_line for which, of_line in by_line.items() if len(set(map(_training_set, of_line))) > 1}
    best = sorted(drawn, key=lambda which: -max(one.value for one in drawn[which]))[:MOST_LINES]
    shared = set.intersection(*(set(recipe) for _, recipe in best)) if best else set()

    def name(towers: str, recipe: Sequence[str]) -> str:
        return ", ".join([towers, *(part for part in recipe if part not in shared)])

    lines = {name(*which): _points(of_line) for which, of_line in drawn.items() if which in best}
    return SizesPanel(title, lines, _colours(lines))


def _printed() -> SizesPanel:
    lines = {
        towers: [(1e6 * sum(MILLIONS[name] for name in row.training_name.split("+")), row.cell) for row in rows]
        for towers, rows in grouped(published(3), lambda row: f"{row.encoder} × {row.text_encoder}").items()
    }
    return SizesPanel("printed in the paper · PV-20, protocol unknown", lines, _colours(lines))


def _points(of_line: Sequence[Number]) -> list[tuple[float, Cell]]:
    """(pairs, mIoU) of each training set, the smallest first."""
    points = [(_pairs(cell.numbers[0].run), cell) for cell in cells(of_line, _training_set).values()]
    return sorted(points, key=lambda point: point[0])


def _training_set(number: Number) -> str:
    return number.run.training_set


def _recipe(run: Run) -> tuple[str, ...]:
    """Without the number of steps: a larger training set is trained on for longer."""
    return tuple(run.recipe.split(", ")[1:])


def _pairs(run: Run) -> float:
    return float(run.train.get("captions") or run.train.get("images") or 0)


def _colours(lines: Mapping[str, object]) -> dict[str, str]:
    return {towers: PALETTE[at % len(PALETTE)] for at, towers in enumerate(lines)}


def _short(size: float) -> str:
    return f"{size / 1e6:g}M" if size >= 1e6 else f"{size / 1e3:g}k" if size >= 1e3 else f"{size:g}"
