"""Figure 3: ROC and precision-recall curves of semantic coherence, and AUROC as a list."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from pacl_bench.report.figures.style import (
    CHANCE,
    COLUMN_WIDTH,
    MOST_PANELS,
    PALETTE,
    RANDOM,
    STYLE,
    TEXT_WIDTH,
    as_written,
    new_axes,
    new_figure,
    thinned,
    titled,
)
from pacl_bench.report.runs import UNTRAINED, Number, Run, grouped, numbers, require_one_a_seed, without_inner_blocks

FIRST_RECALL = 0.01  # before it precision is that of few pairs: a spike that says nothing
NAMED_CURVES = 8  # drawn in colour and labelled; the others are grey until pointed at
MOST_CURVES = 40  # drawn at all
SIDE = 1.75  # inches, of the square of a curve's axes where three parts stand side by side
ANCHOR, LABELS = 0.3, 0.53  # where on the axis of x a label points to its curve, and where it stands
HIGHEST, APART = 0.46, 0.058  # of the labels, on the axis of y: right of LABELS all of it lies below the diagonal
ROW = 0.13  # inches, of the list


@dataclass(frozen=True)
class DrawnCurve:
    """One model's ROC curve (fpr, tpr) or precision-recall curve (recall, precision)."""

    model: str
    x: Float[np.ndarray, " point"]
    y: Float[np.ndarray, " point"]
    area: float  # AUROC or average precision
    ci: tuple[float, float]  # of the area, 95 %; NaN where unknown
    band: tuple[Float[np.ndarray, " point"], Float[np.ndarray, " point"]] | None  # of the curve, pointwise
    colour: str

    @property
    def is_named(self) -> bool:
        """In colour, with a label."""
        return self.colour != RANDOM


@dataclass(frozen=True)
class RocPanel:
    """The curves of one data set and kind of pairs, the best first."""

    title: str
    curves: list[DrawnCurve]
    pr_curves: list[DrawnCurve]  # of the same models, in the same order; those recorded
    same_class_share: float  # of the pairs: the precision of guessing; NaN where unknown

    def draw(self, ax: Axes | None = None) -> Axes:
        """The ROC curves, labelled, and the diagonal of guessing."""
        ax = new_axes(COLUMN_WIDTH, COLUMN_WIDTH) if ax is None else ax
        self._draw_curves(ax, self.curves)
        ax.plot([0, 1], [0, 1], **CHANCE)
        ax.set(xlabel="False positives (pairs of two classes)", ylabel="True positives (pairs of one class)")
        label_curves(ax, [curve for curve in self.curves if curve.is_named])
        return as_written(ax)

    def draw_pr(self, ax: Axes | None = None) -> Axes:
        """The precision-recall curves, in the same colours, and the precision of guessing."""
        ax = new_axes(COLUMN_WIDTH, COLUMN_WIDTH) if ax is None else ax
        self._draw_curves(ax, self.pr_curves)
        if not np.isnan(self.same_class_share):
            ax.axhline(self.same_class_share, **CHANCE)
        ax.set(xlabel="Recall (pairs of one class)", ylabel="Precision", title="")
        return as_written(ax)

    def draw_list(self, ax: Axes | None = None) -> Axes:
        """AUROC of each model as a dot with its interval, the best on top, beside a line at chance."""
        ax = new_axes(COLUMN_WIDTH, self.list_height) if ax is None else ax
        for at, curve in enumerate(self.curves):
            ax.plot([curve.ci[0], curve.ci[1]], [at, at], color=curve.colour, lw=1.2)
            ax.plot(curve.area, at, "o", ms=3.2, color=curve.colour)
        ax.axvline(0.5, **CHANCE)
        ax.set_yticks(range(len(self.curves)), [f"{curve.model}  {curve.area:.3f}" for curve in self.curves])
        rows = max(len(self.curves), SIDE / ROW / 1.3)  # a short list keeps to the top
        ax.set(xlabel="AUROC (95 % interval)", ylim=(rows - 0.5, -0.5))
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
        return as_written(ax)

    def _draw_curves(self, ax: Axes, curves: Sequence[DrawnCurve]) -> None:
        for curve in reversed(curves):  # the best on top
            [line] = ax.plot(curve.x, curve.y, color=curve.colour, lw=1.2 if curve.is_named else 0.7)
            line.set_gid(curve.model)
            if curve.band is not None and curve.is_named:
                ax.fill_between(curve.x, *curve.band, color=curve.colour, alpha=0.15, lw=0)
        ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", anchor="N", title=self.title)
        ax.xaxis.set_major_locator(MultipleLocator(0.2))
        ax.yaxis.set_major_locator(MultipleLocator(0.2))

    @property
    def list_height(self) -> float:
        """In inches, of the list of all models."""
        return 0.5 + ROW * len(self.curves)

    @property
    def height(self) -> float:
        """In inches, of the panel in the figure."""
        return max(SIDE + 0.45 + (0 if self.pr_curves else 0.5), self.list_height)

    @property
    def draws(self) -> list[Callable[[Axes], Axes]]:
        """What draws its parts from left to right."""
        return [self.draw, *([self.draw_pr] if self.pr_curves else []), self.draw_list]


def roc_panels(runs: Sequence[Run]) -> list[RocPanel]:
    """Figure 3: a panel for each study, variant, data set and kind of pairs."""
    shown = [one for one in numbers(runs, "coherence", "auroc") if "roc" in one.run.curves]
    shown = without_inner_blocks(shown)
    precision = {one.run.file: one for one in numbers(runs, "coherence", "average_precision")}
    colours = _colours(shown)
    panels = []
    for title, group in titled(shown, ["dataset", "protocol", "study", "variant"]).items():
        for of_model in grouped(group, lambda one: one.run.model).values():
            require_one_a_seed(of_model)
        panels.append(_roc_panel(title, group, precision, colours))
    return panels[:MOST_PANELS]


def roc_figure(panels: Sequence[RocPanel]) -> Figure:
    """A row for each panel: ROC, precision-recall where it is recorded, and the list of AUROC."""
    figure = new_figure(TEXT_WIDTH, sum(panel.height for panel in panels))
    with matplotlib.rc_context(STYLE):
        rows = figure.add_gridspec(len(panels), 1, height_ratios=[panel.height for panel in panels])
        for at, panel in enumerate(panels):
            places = rows[at].subgridspec(1, len(panel.draws))
            for col, draw in enumerate(panel.draws):
                draw(figure.add_subplot(places[0, col]))
    return figure


def label_curves(ax: Axes, curves: Sequence[DrawnCurve]) -> None:
    """Names below the diagonal, where a ROC is empty, each with a thin line to its own curve."""
    heights = [float(np.interp(ANCHOR, curve.x, curve.y)) for curve in curves]
    highest_first = sorted(zip(heights, curves, strict=True), key=lambda one: -one[0])
    for at, (height, curve) in enumerate(highest_first):
        ax.annotate(
            curve.model,
            (ANCHOR, height),
            xytext=(LABELS, HIGHEST - at * APART),
            color=curve.colour,
            fontsize=6,
            va="center",
            arrowprops={"arrowstyle": "-", "color": curve.colour, "lw": 0.4, "shrinkA": 1, "shrinkB": 0},
        )


def _colours(shown: Sequence[Number]) -> dict[str, str]:
    """One colour for a model in all panels: the best are named, the others grey."""
    models = list(dict.fromkeys(one.run.model for one in sorted(shown, key=lambda one: -one.value)))
    return {model: PALETTE[at] if at < NAMED_CURVES else RANDOM for at, model in enumerate(models)}


def _roc_panel(title: str, group: Sequence[Number], precision: dict[str, Number], colours: dict[str, str]) -> RocPanel:
    best = sorted(group, key=lambda one: -one.value)[:MOST_CURVES]
    with_pr = [one for one in best if "pr" in one.run.curves and one.run.file in precision]
    shares = [precision[one.run.file].chance for one in with_pr]
    return RocPanel(
        title,
        [_curve(one, "roc", "fpr", "tpr", colours) for one in best],
        [_curve(precision[one.run.file], "pr", "recall", "precision", colours, FIRST_RECALL) for one in with_pr],
        # encoders with patches of different sizes count different pairs: the least share stands for all
        min(shares, default=np.nan),
    )


def _curve(
    number: Number, curve: str, x_axis: str, y_axis: str, colours: dict[str, str], least: float = 0.0
) -> DrawnCurve:
    """The recorded curve from x = least on, with no more points than are seen."""
    points = number.run.curves[curve]
    x = np.asarray(points[x_axis], float)
    kept = np.flatnonzero(x >= least)
    kept = kept[thinned(len(kept))]
    y, *band = (
        np.asarray(points[axis], float)[kept] for axis in (y_axis, f"{y_axis}_low", f"{y_axis}_high") if axis in points
    )
    run = number.run
    name = f"{run.model} (untrained head)" if run.method == UNTRAINED else run.model
    interval = (number.low, number.high)
    return DrawnCurve(
        name, x[kept], y, number.value, interval, (band[0], band[1]) if band else None, colours[run.model]
    )
