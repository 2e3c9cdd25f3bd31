"""The paper's Figures 3 and 8. Computing, holding and drawing are three steps; `ax` may be given to the last.

Sizes are in inches and made for a paper: 3.3 is a column, 6.9 the width of the text.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, MultipleLocator

from pacl_bench.records import Record
from pacl_bench.report.measured import (
    AFTER,
    BEFORE,
    METHODS,
    UNTRAINED,
    Row,
    every_block,
    in_percent,
    measured,
    require_one_a_cell,
    without_inner_blocks,
)

COLUMN_WIDTH, TEXT_WIDTH = 3.3, 6.9
LAYERS_HEIGHT = 2.4
# Okabe and Ito's, told apart with every common kind of colour blindness; yellow is too faint for a line
PALETTE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
VANILLA, RANDOM, INK = "#8C8C8C", "#D9D9D9", "#333333"
LINES = ["-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1))]  # a second round of colours is told apart by dashes
STYLE: dict[Any, Any] = {
    "font.size": 7,
    "axes.titlesize": 7,
    "axes.labelsize": 7,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "legend.fontsize": 6.5,
    "legend.title_fontsize": 6.5,
    "axes.linewidth": 0.6,
    "axes.edgecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "pdf.fonttype": 42,  # TrueType: publishers refuse matplotlib's default, Type 3
}
LEGEND: dict[str, Any] = {
    "frameon": False,
    "handlelength": 1.6,
    "borderaxespad": 0.3,
    "labelspacing": 0.3,
    "columnspacing": 1.2,
}


FIRST_RECALL = 0.01  # before it precision is that of few pairs: a spike that says nothing


@dataclass(frozen=True)
class Curve:
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

    def beyond(self, least: float) -> "Curve":
        """From x = least on."""
        kept = [at for at, x in enumerate(self.x) if x >= least]
        x, y, *band = ([values[at] for at in kept] for values in (self.x, self.y, *(self.band or ())))
        return replace(self, x=x, y=y, band=(band[0], band[1]) if band else None)


@dataclass(frozen=True)
class RocPanel:
    """The curves of one data set and kind of pairs, the best first."""

    title: str
    curves: list[Curve]
    pr_curves: list[Curve]  # of the same models, in the same order; those recorded
    same_class_share: float  # of the pairs: the precision of guessing; NaN where unknown

    def draw(self, ax: Axes | None = None) -> Axes:
        """The ROC curves, the diagonal of guessing, and AUROC in the legend."""
        ax = _axes(COLUMN_WIDTH, self.height) if ax is None else ax
        self._draw_curves(ax, self.curves)
        ax.plot([0, 1], [0, 1], color=VANILLA, ls=(0, (2, 2)), lw=0.8, label="chance  0.500", zorder=1)
        ax.set(xlabel="False positive rate (pairs of two classes)", ylabel="True positive rate (pairs of one class)")
        self._draw_legend(ax, "AUROC [95 % interval]", "lower right")
        return ax

    def draw_pr(self, ax: Axes | None = None) -> Axes:
        """The precision-recall curves, the precision of guessing, and average precision in the legend."""
        ax = _axes(COLUMN_WIDTH, self.height) if ax is None else ax
        self._draw_curves(ax, [curve.beyond(FIRST_RECALL) for curve in self.pr_curves])
        if not np.isnan(self.same_class_share):
            label = f"chance  {self.same_class_share:.3f}"
            ax.axhline(self.same_class_share, color=VANILLA, ls=(0, (2, 2)), lw=0.8, label=label, zorder=1)
        ax.set(xlabel="Recall (pairs of one class found)", ylabel="Precision (of those found, of one class)")
        self._draw_legend(ax, "Average precision [95 % interval]", "upper right")
        return ax

    def _draw_curves(self, ax: Axes, curves: Sequence[Curve]) -> None:
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


@dataclass(frozen=True)
class BlockLine:
    """AUROC of one encoder at each of its blocks, the first first."""

    encoder: str
    blocks: list[int]
    auroc: list[float]
    ci: list[tuple[float, float]]  # 95 %; NaN where unknown


@dataclass(frozen=True)
class LayersPanel:
    """Coherence block by block: the encoders of one data set and kind of pairs."""

    title: str
    lines: list[BlockLine]
    colours: Mapping[str, str]  # of each encoder

    def draw(self, ax: Axes | None = None) -> Axes:
        """A line an encoder, its 95 % band, and the line of guessing."""
        ax = _axes(COLUMN_WIDTH, LAYERS_HEIGHT) if ax is None else ax
        for at, line in enumerate(self.lines):
            style = {"color": self.colours[line.encoder], "ls": LINES[at % len(LINES)]}
            ax.plot(line.blocks, line.auroc, marker="os^D"[at % 4], ms=2.8, lw=1.1, label=line.encoder, **style)
            low, high = np.array(line.ci).T
            ax.fill_between(line.blocks, low, high, color=style["color"], alpha=0.15, lw=0)
        ax.axhline(0.5, color=VANILLA, ls=(0, (2, 2)), lw=0.8, label="chance", zorder=1)
        ax.set(xlabel="Block (0 is the first)", ylabel="Coherence (AUROC)", title=self.title)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.legend(loc="best", **LEGEND)
        return ax


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
        ax = _axes(TEXT_WIDTH, 2.2) if ax is None else ax
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
    groups = _grouped(rows, ["dataset", "protocol", "study", "variant"])
    return [_roc_panel(title, group, precision, points, styles) for title, group in groups.items()]


def layers_panels(records: Sequence[Record]) -> list[LayersPanel]:
    """Coherence block by block: a panel for each study, variant, data set and kind of pairs."""
    blocks = every_block(records)
    rows = [row for row in measured(records, "coherence", "auroc") if row["file"] in blocks]
    rows = [{**row, "of": blocks[row["file"]][0], "block": blocks[row["file"]][1]} for row in rows]
    colours = {encoder: PALETTE[at % len(PALETTE)] for at, encoder in enumerate(sorted({row["of"] for row in rows}))}
    groups = _grouped(rows, ["dataset", "protocol", "study", "variant"])
    return [LayersPanel(title, _block_lines(group), colours) for title, group in groups.items()]


def _block_lines(rows: Sequence[Row]) -> list[BlockLine]:
    lines = []
    for encoder in sorted({row["of"] for row in rows}):
        its = sorted((row for row in rows if row["of"] == encoder), key=lambda row: row["block"])
        intervals = [(row["ci_low"], row["ci_high"]) for row in its]
        lines.append(BlockLine(encoder, [row["block"] for row in its], [row["value"] for row in its], intervals))
    return lines


def layers_figure(panels: Sequence[LayersPanel]) -> Figure:
    """The panels two in a row; a single one is a column wide."""
    cols = min(2, len(panels))
    rows = -(-len(panels) // cols)
    figure = _figure(COLUMN_WIDTH if cols == 1 else TEXT_WIDTH, rows * LAYERS_HEIGHT)
    with matplotlib.rc_context(STYLE):
        for at, panel in enumerate(panels, start=1):
            panel.draw(figure.add_subplot(rows, cols, at))
    return figure


def bar_panels(records: Iterable[Record]) -> list[BarPanel]:
    """Figure 8: a panel for each encoder (and study and variant); data sets in one order, the easiest first."""
    rows = in_percent(measured(records, "classify", "top1"))
    require_one_a_cell(rows, ["file"])
    rows = [{**row, "series": name} for row, name in zip(rows, _series(rows), strict=True)]
    order, colours = _easiest_first(rows), series_colours(rows)
    groups = _grouped(rows, ["encoder", "study", "variant"])
    return [_bar_panel(title, group, order, colours) for title, group in groups.items()]


def roc_figure(panels: Sequence[RocPanel]) -> Figure:
    """ROC and precision-recall side by side, two panels in a row; a single one is a column wide."""
    draws = [(panel, draw) for panel in panels for draw in panel.draws]
    cols = min(2, len(draws))
    heights = [max(panel.height for panel, _ in draws[at : at + cols]) for at in range(0, len(draws), cols)]
    figure = _figure(COLUMN_WIDTH if cols == 1 else TEXT_WIDTH, sum(heights))
    with matplotlib.rc_context(STYLE):
        places = figure.add_gridspec(len(heights), cols, height_ratios=heights)
        for at, (_, draw) in enumerate(draws):
            draw(figure.add_subplot(places[divmod(at, cols)]))
    return figure


def bar_figure(panels: Sequence[BarPanel]) -> Figure:
    """The panels below one another on one scale, one legend above them all; as wide as the bars need."""
    bars = max(len(panel.datasets) * len(panel.series) for panel in panels)
    figure = _figure(COLUMN_WIDTH if bars <= 12 else TEXT_WIDTH, 0.35 + 1.75 * len(panels))
    with matplotlib.rc_context(STYLE):
        axes = [panel.draw(figure.add_subplot(len(panels), 1, at)) for at, panel in enumerate(panels, start=1)]
        _share_legend(figure, axes)
    bars_of_all = [bar for panel in panels for bars in panel.series.values() for bar in bars if bar is not None]
    top = np.nanmax([[bar.value, bar.ci_high] for bar in bars_of_all])
    for ax in axes:
        ax.set_ylim(0, min(100, 10 * max(1, np.ceil(top / 10))))
    return figure


def save(figure: Figure, file: Path) -> None:
    """PDF or PNG (200 dpi) by the file's ending, whole or not at all, the same bytes each time."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.{os.getpid()}.partial")
    undated: dict[str, Any] = {"CreationDate": None} if file.suffix == ".pdf" else {"Software": None}
    with matplotlib.rc_context(STYLE):
        figure.savefig(temporary, format=file.suffix[1:], dpi=200, metadata=undated)
    temporary.replace(file)


def series_colours(rows: Iterable[Row]) -> dict[str, str]:
    """Grey for what was not trained here, one colour of the palette for each head."""
    method_of = {row["series"]: row["method"] for row in rows}
    heads = [series for series, method in method_of.items() if method == AFTER]
    grey = {series: VANILLA if method == BEFORE else RANDOM for series, method in method_of.items()}
    return grey | {series: PALETTE[at % len(PALETTE)] for at, series in enumerate(heads)}


def _share_legend(figure: Figure, axes: Sequence[Axes]) -> None:
    """One legend above all panels: each label once, in the order of METHODS, chance last."""
    handles = {}
    for ax in axes:
        handles |= {label: handle for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    place = {method: at for at, method in enumerate(METHODS)}
    labels = sorted(handles, key=lambda label: (place.get(label.split(":")[0], len(METHODS)), label))
    widest = 0.4 + 0.05 * max(map(len, labels))  # inches, about: a handle and 6.5 pt letters
    cols = max(1, min(len(labels), int(figure.get_figwidth() / widest)))
    figure.legend([handles[label] for label in labels], labels, loc="outside upper center", ncols=cols, **LEGEND)


def _upper_edge(curve: Curve) -> Iterable[tuple[float, float]]:
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


def _curve(row: Row, points: Mapping[str, list[float]], x: str, y: str, styles: Mapping[str, tuple[str, Any]]) -> Curve:
    label = f"{row['model']} (untrained head)" if row["method"] == UNTRAINED else row["model"]
    band = (points[f"{y}_low"], points[f"{y}_high"]) if f"{y}_low" in points else None
    return Curve(
        label, points[x], points[y], row["value"], (row["ci_low"], row["ci_high"]), band, *styles[row["model"]]
    )


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


def _grouped(rows: Iterable[Row], names: Sequence[str]) -> dict[str, list[Row]]:
    """The rows that agree in `names`, by a title of what they agree in.

    Study and variant stand in the titles only where the rest does not tell two groups apart.
    """
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in names), []).append(row)
    told = [name not in ("study", "variant") for name in names]
    short = {key: " · ".join(part for part, kept in zip(key, told, strict=True) if kept) for key in groups}
    clashes = Counter(short.values())
    return {short[key] if clashes[short[key]] == 1 else " · ".join(key): groups[key] for key in sorted(groups)}


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


def _figure(width: float, height: float) -> Figure:
    """Sizes in inches. Not pyplot's: nothing is kept open, no display is needed."""
    with matplotlib.rc_context(STYLE):
        return Figure(figsize=(width, height), layout="constrained")


def _axes(width: float, height: float) -> Axes:
    return _figure(width, height).add_subplot()
