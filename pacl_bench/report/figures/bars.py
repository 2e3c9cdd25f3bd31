"""Figure 8: zero-shot classification as bars."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pacl_bench.records import Record
from pacl_bench.report.figures.style import (
    COLUMN_WIDTH,
    INK,
    RANDOM,
    STYLE,
    TEXT_WIDTH,
    VANILLA,
    grouped,
    new_axes,
    new_figure,
    series_colours,
    share_legend,
)
from pacl_bench.report.rows import METHODS, Row, in_percent, measured, require_one_a_cell


@dataclass(frozen=True)
class Bar:
    """A value in % with its 95 % interval."""

    value: float
    ci_low: float
    ci_high: float


@dataclass(frozen=True)
class BarPanel:
    """One encoder's top-1 accuracy: for each series (before, untrained, heads) a bar on each data set."""

    title: str
    datasets: list[str]
    series: dict[str, list[Bar | None]]  # None is a gap
    chance: list[float]  # of each data set, in %; NaN where the panel has nothing on it
    colours: Mapping[str, str]  # of each series

    def draw(self, ax: Axes | None = None) -> Axes:
        """Bars side by side for each data set, their intervals, and a tick at what guessing scores."""
        ax = new_axes(TEXT_WIDTH, 2.2) if ax is None else ax
        groups, width = np.arange(len(self.datasets)), 0.8 / len(self.series)
        for at, name in enumerate(self.series):
            self._draw_series(ax, name, groups - 0.4 + (at + 0.5) * width, width)
        ax.hlines(self.chance, groups - 0.44, groups + 0.44, color="black", lw=0.9, ls=(0, (1.5, 1)), label="chance")
        ax.set_xticks(groups, self.datasets)
        if len(groups) > 6:
            ax.set_xticks(groups, self.datasets, rotation=35, ha="right", rotation_mode="anchor")
        ax.tick_params(axis="x", length=0)
        ax.set(ylabel="Top-1 accuracy (%)", xlim=(-0.6, len(groups) - 0.4), ylim=(0, 100))
        ax.set_title(self.title, loc="left")
        return ax

    def _draw_series(self, ax: Axes, name: str, centres: np.ndarray, width: float) -> None:
        there = [(centre, bar) for centre, bar in zip(centres, self.series[name], strict=True) if bar is not None]
        at, values = [centre for centre, _ in there], [bar.value for _, bar in there]
        drawn = ax.bar(at, values, width * 0.92, color=self.colours[name], label=name, lw=0)
        if self.colours[name] == RANDOM:
            # pale and hatched: nobody takes it for a result, in print without colour either
            for patch in drawn:
                patch.set(hatch="//////", edgecolor=VANILLA)
        ax.vlines(at, [bar.ci_low for _, bar in there], [bar.ci_high for _, bar in there], color="black", lw=0.7)
        for centre in set(centres) - set(at):
            ax.text(centre, 1, "–", ha="center", va="bottom", color=INK)


def bar_panels(records: Iterable[Record]) -> list[BarPanel]:
    """Figure 8: a panel for each encoder (and study and variant); data sets in one order, the easiest first."""
    rows = in_percent(measured(records, "classify", "top1"))
    require_one_a_cell(rows, ["file"])
    rows = [{**row, "series": name} for row, name in zip(rows, _series(rows), strict=True)]
    order, colours = _easiest_first(rows), series_colours(rows)
    groups = grouped(rows, ["encoder", "study", "variant"])
    return [_bar_panel(title, group, order, colours) for title, group in groups.items()]


def bar_figure(panels: Sequence[BarPanel]) -> Figure:
    """The panels below one another on one scale, one legend above them all; as wide as the bars need."""
    bars = max(len(panel.datasets) * len(panel.series) for panel in panels)
    figure = new_figure(COLUMN_WIDTH if bars <= 12 else TEXT_WIDTH, 0.35 + 1.75 * len(panels))
    with matplotlib.rc_context(STYLE):
        axes = [panel.draw(figure.add_subplot(len(panels), 1, at)) for at, panel in enumerate(panels, start=1)]
        share_legend(figure, axes)
    bars_of_all = [bar for panel in panels for bars in panel.series.values() for bar in bars if bar is not None]
    top = np.nanmax([[bar.value, bar.ci_high] for bar in bars_of_all])
    for ax in axes:
        ax.set_ylim(0, min(100, 10 * max(1, np.ceil(top / 10))))
    return figure


def _bar_panel(title: str, rows: Sequence[Row], datasets: list[str], colours: Mapping[str, str]) -> BarPanel:
    bars = {(row["series"], row["dataset"]): Bar(row["value"], row["ci_low"], row["ci_high"]) for row in rows}
    chance = {row["dataset"]: row["chance"] for row in rows}
    return BarPanel(
        title,
        datasets,
        {
            name: [bars.get((name, dataset)) for dataset in datasets]
            for name in sorted({name for name, _ in bars}, key=_place(rows))
        },
        [chance.get(dataset, np.nan) for dataset in datasets],
        colours,
    )


def _series(rows: Sequence[Row]) -> list[str]:
    """What the legend calls each row's bar: the method, and the model too where one encoder has several of them."""

    def group(row: Row) -> tuple[str, ...]:
        return row["study"], row["variant"], row["encoder"], row["method"]

    models = Counter(key for key, _ in {(group(row), row["model"]) for row in rows})
    return [row["method"] if models[group(row)] == 1 else f"{row['method']}: {row['model']}" for row in rows]


def _place(rows: Sequence[Row]) -> Callable[[str], tuple[int, str]]:
    """Sorts series: before alignment, untrained heads, trained heads."""
    method_of = {row["series"]: row["method"] for row in rows}
    return lambda series: (METHODS.index(method_of[series]), series)


def _easiest_first(rows: Sequence[Row]) -> list[str]:
    """Data sets by the best accuracy of any model on them."""
    best: dict[str, float] = {}
    for row in rows:
        best[row["dataset"]] = max(best.get(row["dataset"], 0.0), row["value"])
    return sorted(best, key=lambda dataset: (-best[dataset], dataset))
