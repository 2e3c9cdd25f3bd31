"""Numbers that fall as images drown in noise, down to what guessing scores."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pacl_bench.data.noise import noise_of
from pacl_bench.report.figures.style import (
    CHANCE,
    COLUMN_WIDTH,
    PALETTE,
    TEXT_WIDTH,
    as_written,
    draw_line,
    draw_panels,
    label_ends,
    new_axes,
    new_figure,
)
from pacl_bench.report.runs import Number, Run, grouped
from pacl_bench.report.tables.noise import TITLES, drowned_numbers

HEIGHT = 2.1


@dataclass(frozen=True)
class NoisePanel:
    """One metric on one data set: a line for each model, over the share of noise."""

    title: str
    metric: str
    lines: dict[str, list[Number]]  # the least noise first

    def draw(self, ax: Axes | None = None) -> Axes:
        """Lines with the interval of each point, and the line of guessing."""
        ax = new_axes(COLUMN_WIDTH, HEIGHT) if ax is None else ax
        colours = {model: PALETTE[at % len(PALETTE)] for at, model in enumerate(self.lines)}
        for model, points in self.lines.items():
            draw_line(ax, [_share(one) for one in points], points, colours[model])
        ax.axhline(100 * next(iter(self.lines.values()))[-1].chance, **CHANCE)
        ax.set(xlabel="Share of noise in each pixel (%)", ylabel=f"{self.metric} (%)", title=self.title)
        ax.margins(x=0.12, y=0.1)
        low, high = ax.get_ylim()
        last = {model: points[-1] for model, points in self.lines.items()}
        ends = {model: (_share(one), 100 * one.value, colours[model]) for model, one in last.items()}
        label_ends(ax, ends, 0.08 * (high - low))
        return as_written(ax)


def noise_panels(runs: Sequence[Run]) -> list[NoisePanel]:
    """A panel for each data set and metric that was measured under two shares of noise or more."""
    sheets = grouped(drowned_numbers(runs), lambda one: (noise_of(one.run.dataset)[0], one.metric))
    panels = [
        NoisePanel(dataset, TITLES[metric], grouped(of_sheet, lambda one: one.run.model))
        for (dataset, metric), of_sheet in sheets.items()
    ]
    return [panel for panel in panels if any(len(points) > 1 for points in panel.lines.values())]


def noise_figure(panels: Sequence[NoisePanel]) -> Figure:
    """The panels below one another."""
    return draw_panels(new_figure(TEXT_WIDTH, len(panels) * HEIGHT), panels, cols=1)


def _share(number: Number) -> float:
    return 100 * noise_of(number.run.dataset)[1]
