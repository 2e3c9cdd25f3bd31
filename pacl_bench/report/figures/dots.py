"""Figure 8: zero-shot classification before and after alignment, as dots along a line for each data set."""

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pacl_bench.report.figures.style import (
    COLUMN_WIDTH,
    INK,
    LEGEND,
    MOST_PANELS,
    PALETTE,
    RANDOM,
    STYLE,
    TEXT_WIDTH,
    VANILLA,
    as_written,
    legend_columns,
    new_axes,
    new_figure,
)
from pacl_bench.report.lines import by_encoder
from pacl_bench.report.runs import AFTER, BEFORE, UNTRAINED, Run, grouped, numbers
from pacl_bench.report.tabular import Cell, Line

MARKERS = {BEFORE: ("o", VANILLA), UNTRAINED: ("x", RANDOM), AFTER: ("*", PALETTE[0])}
ROW = 0.17  # inches


@dataclass(frozen=True)
class Dots:
    """One data set: what models score on it."""

    dataset: str
    before: Cell | None
    untrained: Cell | None
    after: dict[str, Cell]  # by what tells the heads apart

    @property
    def chance(self) -> float:
        return next(cell.chance for cell in (self.before, self.untrained, *self.after.values()) if cell)

    @property
    def gain(self) -> float:
        """From before alignment, else from an untrained head, to the best head; what is not there is chance."""
        first = self.before or self.untrained
        best = max((cell.value for cell in self.after.values()), default=self.chance)
        return best - (first.value if first else self.chance)


@dataclass(frozen=True)
class DotsPanel:
    """One encoder's accuracy: a row for each data set, the largest gain on top."""

    title: str
    rows: list[Dots]
    top: float  # of the axis, in percent

    def draw(self, ax: Axes | None = None) -> Axes:
        """From before (o) to after alignment (*), with intervals, and a tick at what guessing scores."""
        ax = new_axes(COLUMN_WIDTH, self.height) if ax is None else ax
        for at, row in enumerate(self.rows):
            self._draw_row(ax, row, at)
        ax.set_yticks(range(len(self.rows)), [row.dataset for row in self.rows])
        ax.set(
            xlim=(0, self.top * 1.02), ylim=(len(self.rows) - 0.5, -0.5), xlabel="Top-1 accuracy (%)", title=self.title
        )
        ax.tick_params(axis="y", length=0)
        ax.grid(axis="y", color=RANDOM, lw=0.4, alpha=0.6)
        ax.spines["left"].set_visible(False)
        return as_written(ax)

    def _draw_row(self, ax: Axes, row: Dots, at: int) -> None:
        for number, cell in enumerate(row.after.values()):
            _, colour = MARKERS[AFTER]
            start = row.before or row.untrained
            if start is not None and number == 0:
                ax.plot([100 * start.value, 100 * cell.value], [at, at], color=colour, lw=0.9, alpha=0.5, zorder=1)
            _draw_cell(ax, cell, at + 0.12 * number, AFTER, PALETTE[number % len(PALETTE)])
        for method, cell in ((BEFORE, row.before), (UNTRAINED, row.untrained)):
            if cell is not None:
                _draw_cell(ax, cell, float(at), method, MARKERS[method][1])
        ax.plot([100 * row.chance] * 2, [at - 0.3, at + 0.3], color=INK, lw=0.9)

    @property
    def height(self) -> float:
        """In inches."""
        return 0.55 + ROW * len(self.rows)


def dots_panels(runs: Sequence[Run]) -> list[DotsPanel]:
    """Figure 8: a panel for each encoder and variant; seeds are one dot with their range."""
    shown = numbers(runs, "classify", "top1")
    top = min(100.0, 10 * (1 + 10 * max((one.value for one in shown), default=0) // 1))
    panels = []
    for variant, of_variant in grouped(shown, lambda one: one.run.variant).items():
        for group in by_encoder(of_variant, MOST_PANELS):
            rows = _rows(group.lines)
            title = group.title if variant == "default" else f"{group.title} · {variant}"
            panels.append(DotsPanel(title, sorted(rows, key=lambda row: (-row.gain, row.dataset)), top))
    return panels[:MOST_PANELS]


def dots_figure(panels: Sequence[DotsPanel]) -> Figure:
    """The panels two in a row, on one scale, below one legend of marks."""
    cols = min(2, len(panels))
    rows = [panels[at : at + cols] for at in range(0, len(panels), cols)]
    heights = [max(panel.height for panel in row) for row in rows]
    figure = new_figure(COLUMN_WIDTH if cols == 1 else TEXT_WIDTH, 0.3 + sum(heights))
    with matplotlib.rc_context(STYLE):
        places = figure.add_gridspec(len(rows), cols, height_ratios=heights)
        for at, panel in enumerate(panels):
            panel.draw(figure.add_subplot(places[divmod(at, cols)]))
        handles = _handles(panels)
        cols = legend_columns([str(handle.get_label()) for handle in handles], figure.get_figwidth())
        figure.legend(handles=handles, loc="outside upper left", ncols=cols, **LEGEND)
    return figure


def _rows(lines: Sequence[Line]) -> list[Dots]:
    """By data set, from a table's lines."""
    datasets = dict.fromkeys(name for line in lines for name in line.cells)

    def cell(method: str, dataset: str) -> Cell | None:
        return next((line.cells[dataset] for line in lines if line.name == method and dataset in line.cells), None)

    def heads(dataset: str) -> dict[str, Cell]:
        of_heads = [line for line in lines if line.name not in (BEFORE, UNTRAINED) and dataset in line.cells]
        return {f"{line.name}, {line.detail}": line.cells[dataset] for line in of_heads}

    return [Dots(name, cell(BEFORE, name), cell(UNTRAINED, name), heads(name)) for name in datasets]


def _draw_cell(ax: Axes, cell: Cell, at: float, method: str, colour: str) -> None:
    marker = MARKERS[method][0]
    ax.plot([100 * cell.low, 100 * cell.high], [at, at], color=colour, lw=0.8, zorder=2)
    ax.plot(100 * cell.value, at, marker, ms=6 if marker == "*" else 3.6, color=colour, mew=0.9, zorder=3)


def _handles(panels: Sequence[DotsPanel]) -> list[Line2D]:
    """One mark a method, one colour a head where an encoder has several."""
    rows = [row for panel in panels for row in panel.rows]
    shown = {BEFORE: any(row.before for row in rows), UNTRAINED: any(row.untrained for row in rows)}
    handles = [_handle(method, *MARKERS[method]) for method, there in shown.items() if there]
    heads = list(dict.fromkeys(name for row in rows for name in row.after))
    several = max((len(row.after) for row in rows), default=0) > 1
    handles += [
        _handle(name if several else AFTER, "*", PALETTE[at % len(PALETTE)])
        for at, name in enumerate(heads[: len(heads) if several else 1])
    ]
    return [*handles, Line2D([], [], color=INK, marker="|", ls="", ms=6, label="chance")]


def _handle(name: str, marker: str, colour: str) -> Line2D:
    return Line2D([], [], color=colour, marker=marker, ls="", ms=5, label=name)
