"""How the heads that were measured were trained: loss and held-out loss by step."""

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
    STYLE,
    TEXT_WIDTH,
    as_written,
    draw_panels,
    label_ends,
    new_axes,
    new_figure,
)
from pacl_bench.report.lines import tell_apart
from pacl_bench.report.runs import Run, grouped
from pacl_bench.training.curves import TrainingCurves, read_curves

HEIGHT = 2.1
LEGEND_HEIGHT = 0.25
HELD_OUT = "--"
MOST_HEADS = len(PALETTE)  # in one panel
TITLES = {"-": "pairs trained on", HELD_OUT: "pairs held out"}


@dataclass(frozen=True)
class TrainingPanel:
    """The heads of two encoders: a line for each seed, in one colour for heads that differ in the seed alone."""

    title: str
    heads: dict[str, list[TrainingCurves]]  # the curves of every seed

    def draw(self, ax: Axes | None = None) -> Axes:
        """The loss of the pairs trained on, and of those held out dashed, each head named where its line ends."""
        ax = new_axes(COLUMN_WIDTH, HEIGHT) if ax is None else ax
        ends = {}
        for (name, seeds), colour in zip(self.heads.items(), PALETTE, strict=False):
            for curves in seeds:
                ax.plot(curves.loss.steps, curves.loss.losses, "-", color=colour, lw=0.9, alpha=0.65)
                ax.plot(curves.held_out.steps, curves.held_out.losses, HELD_OUT, color=colour, lw=1.2)
            ends[name] = (float(seeds[0].loss.steps[-1]), seeds[0].loss.losses[-1], colour)
        ax.set(xlabel="Step", ylabel="Loss (nats)", title=self.title)
        ax.set_xlim(left=0)
        low, high = ax.get_ylim()
        label_ends(ax, ends, 0.075 * (high - low))
        return as_written(ax)

    @property
    def has_held_out(self) -> bool:
        """Whether a loss of pairs that were not trained on is known of any head."""
        return any(curves.held_out.steps for seeds in self.heads.values() for curves in seeds)


def training_panels(runs: Sequence[Run]) -> list[TrainingPanel]:
    """A panel for each pair of encoders whose heads' curves lie in the folder of results."""
    trained = {run.training: run for run in runs if run.training}.values()
    towers = grouped(trained, lambda run: f"{run.encoder} × {run.text}")
    return [_panel(title, of_towers) for title, of_towers in list(towers.items())[:MOST_PANELS]]


def training_figure(panels: Sequence[TrainingPanel]) -> Figure:
    """The panels below one another, below one legend where some pairs were held out."""
    legend = LEGEND_HEIGHT if any(panel.has_held_out for panel in panels) else 0
    figure = draw_panels(new_figure(TEXT_WIDTH, len(panels) * HEIGHT + legend), panels, cols=1)
    if legend:
        handles = [Line2D([], [], color=INK, ls=ls, lw=1.1, label=title) for ls, title in TITLES.items()]
        with matplotlib.rc_context(STYLE):
            figure.legend(handles=handles, loc="outside upper left", ncols=len(handles), **LEGEND)
    return figure


def _panel(title: str, runs: Sequence[Run]) -> TrainingPanel:
    """The smallest training set first."""
    alike = sorted(grouped(runs, lambda run: run.made_of).values(), key=lambda seeds: seeds[0].train.get("images") or 0)
    shown = alike[:MOST_HEADS]
    names = tell_apart([seeds[0] for seeds in shown], [""] * len(shown))
    curves = [[read_curves(run.training) for run in seeds if run.training] for seeds in shown]
    return TrainingPanel(title, dict(zip(names, curves, strict=True)))
