"""Figure 3: ROC and precision-recall curves of semantic coherence."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from pacl_bench.records import Record
from pacl_bench.report.figures.style import (
    COLUMN_WIDTH,
    LEGEND,
    LINES,
    PALETTE,
    STYLE,
    TEXT_WIDTH,
    VANILLA,
    grouped,
    new_axes,
    new_figure,
)
from pacl_bench.report.rows import UNTRAINED, Row, measured, require_one_a_cell, without_inner_blocks

FIRST_RECALL = 0.01  # before it precision is that of few pairs: a spike that says nothing


@dataclass(frozen=True)
class DrawnCurve:
    """One model's ROC curve (fpr, tpr) or precision-recall curve (recall, precision)."""

    model: str
    x: Sequence[float]
    y: Sequence[float]
    area: float  # AUROC or average precision
    ci: tuple[float, float]  # of the area, 95 %; NaN where unknown
    band: tuple[Sequence[float], Sequence[float]] | None = None  # of the curve, pointwise
    colour: str = PALETTE[0]
    line: Any = LINES[0]

    @property
    def label(self) -> str:
        """As it stands in the legend."""
        interval = "" if np.isnan(self.ci[0]) else f" [{self.ci[0]:.3f}, {self.ci[1]:.3f}]"
        return f"{self.model}  {self.area:.3f}{interval}"

    def beyond(self, least: float) -> "DrawnCurve":
        """From x = least on."""
        kept = [at for at, x in enumerate(self.x) if x >= least]
        x, y, *band = ([values[at] for at in kept] for values in (self.x, self.y, *(self.band or ())))
        return replace(self, x=x, y=y, band=(band[0], band[1]) if band else None)


@dataclass(frozen=True)
class RocPanel:
    """The curves of one data set and kind of pairs, the best first."""

    title: str
    curves: list[DrawnCurve]
    pr_curves: list[DrawnCurve]  # of the same models, in the same order; those recorded
    same_class_share: float  # of the pairs: the precision of guessing; NaN where unknown

    def draw(self, ax: Axes | None = None) -> Axes:
        """The ROC curves, the diagonal of guessing, and AUROC in the legend."""
        ax = new_axes(COLUMN_WIDTH, self.height) if ax is None else ax
        self._draw_curves(ax, self.curves)
        ax.plot([0, 1], [0, 1], color=VANILLA, ls=(0, (2, 2)), lw=0.8, label="chance  0.500", zorder=1)
        ax.set(xlabel="False positive rate (pairs of two classes)", ylabel="True positive rate (pairs of one class)")
        self._draw_legend(ax, "AUROC [95 % interval]", "lower right")
        return ax

    def draw_pr(self, ax: Axes | None = None) -> Axes:
        """The precision-recall curves, the precision of guessing, and average precision in the legend."""
        ax = new_axes(COLUMN_WIDTH, self.height) if ax is None else ax
        self._draw_curves(ax, [curve.beyond(FIRST_RECALL) for curve in self.pr_curves])
        if not np.isnan(self.same_class_share):
            label = f"chance  {self.same_class_share:.3f}"
            ax.axhline(self.same_class_share, color=VANILLA, ls=(0, (2, 2)), lw=0.8, label=label, zorder=1)
        ax.set(xlabel="Recall (pairs of one class found)", ylabel="Precision (of those found, of one class)")
        self._draw_legend(ax, "Average precision [95 % interval]", "upper right")
        return ax

    def _draw_curves(self, ax: Axes, curves: Sequence[DrawnCurve]) -> None:
        for curve in curves:
            ax.plot(curve.x, curve.y, color=curve.colour, ls=curve.line, lw=1.2, label=curve.label)
            if curve.band is not None:
                ax.fill_between(curve.x, *curve.band, color=curve.colour, alpha=0.15, lw=0)
        ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", anchor="N", title=self.title)
        ax.xaxis.set_major_locator(MultipleLocator(0.2))
        ax.yaxis.set_major_locator(MultipleLocator(0.2))

    def _draw_legend(self, ax: Axes, title: str, corner: str) -> None:
        below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.14)}
        ax.legend(title=title, **({"loc": corner} if self.fits_inside else below), **LEGEND)

    @property
    def draws(self) -> list[Callable[[Axes], Axes]]:
        """What draws the ROC and, where it is recorded, the precision-recall panel."""
        return [self.draw, self.draw_pr] if self.pr_curves else [self.draw]

    @property
    def fits_inside(self) -> bool:
        """Whether the legends fit into the empty corners: below the ROC and above the precision-recall curves."""
        in_corner = any(x > 0.2 and y > 0.65 for curve in self.pr_curves for x, y in _upper_edge(curve))
        return len(self.curves) <= 5 and max(len(curve.label) for curve in self.curves) <= 40 and not in_corner

    @property
    def height(self) -> float:
        """In inches, at the width of a column."""
        return COLUMN_WIDTH + (0 if self.fits_inside else 0.4 + 0.125 * (len(self.curves) + 2))


def roc_panels(records: Sequence[Record]) -> list[RocPanel]:
    """Figure 3: a panel for each study, variant, data set and kind of pairs."""
    points = {str(record.key.path): record.curves for record in records if "roc" in record.curves}
    rows = [row for row in measured(records, "coherence", "auroc") if row["file"] in points]
    rows = without_inner_blocks(records, rows)
    precision = {row["file"]: row for row in measured(records, "coherence", "average_precision")}
    require_one_a_cell(rows, ["file", "protocol"])
    # one colour for a model in all panels; a second round of colours is dashed
    models = list(dict.fromkeys(row["model"] for row in sorted(rows, key=lambda row: -row["value"])))
    styles = {
        model: (PALETTE[at % len(PALETTE)], LINES[at // len(PALETTE) % len(LINES)]) for at, model in enumerate(models)
    }
    groups = grouped(rows, ["dataset", "protocol", "study", "variant"])
    return [_roc_panel(title, group, precision, points, styles) for title, group in groups.items()]


def roc_figure(panels: Sequence[RocPanel]) -> Figure:
    """ROC and precision-recall side by side, two panels in a row; a single one is a column wide."""
    draws = [(panel, draw) for panel in panels for draw in panel.draws]
    cols = min(2, len(draws))
    heights = [max(panel.height for panel, _ in draws[at : at + cols]) for at in range(0, len(draws), cols)]
    figure = new_figure(COLUMN_WIDTH if cols == 1 else TEXT_WIDTH, sum(heights))
    with matplotlib.rc_context(STYLE):
        places = figure.add_gridspec(len(heights), cols, height_ratios=heights)
        for at, (_, draw) in enumerate(draws):
            draw(figure.add_subplot(places[divmod(at, cols)]))
    return figure


def _upper_edge(curve: DrawnCurve) -> Iterable[tuple[float, float]]:
    """The points of the curve, or of the upper bound of its band."""
    return zip(curve.x, curve.y if curve.band is None else curve.band[1], strict=True)


def _roc_panel(
    title: str,
    rows: Sequence[Row],
    precision: Mapping[str, Row],
    points: Mapping[str, dict[str, dict[str, list[float]]]],
    styles: Mapping[str, tuple[str, Any]],
) -> RocPanel:
    rows = sorted(rows, key=lambda row: -row["value"])
    with_pr = [row for row in rows if "pr" in points[row["file"]] and row["file"] in precision]
    shares = {precision[row["file"]]["chance"] for row in with_pr}
    return RocPanel(
        title,
        [_curve(row, points[row["file"]]["roc"], "fpr", "tpr", styles) for row in rows],
        [_curve(precision[row["file"]], points[row["file"]]["pr"], "recall", "precision", styles) for row in with_pr],
        # encoders with patches of different sizes count different pairs: the least share stands for all
        min(shares, default=np.nan),
    )


def _curve(
    row: Row, points: Mapping[str, list[float]], x: str, y: str, styles: Mapping[str, tuple[str, Any]]
) -> DrawnCurve:
    label = f"{row['model']} (untrained head)" if row["method"] == UNTRAINED else row["model"]
    band = (points[f"{y}_low"], points[f"{y}_high"]) if f"{y}_low" in points else None
    return DrawnCurve(
        label, points[x], points[y], row["value"], (row["ci_low"], row["ci_high"]), band, *styles[row["model"]]
    )
