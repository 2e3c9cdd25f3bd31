"""What all figures share: sizes, colours, fonts, legends, and how they are saved."""

import io
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from pacl_bench.files import write_bytes
from pacl_bench.report.rows import (
    AFTER,
    BEFORE,
    METHODS,
    Row,
)

COLUMN_WIDTH, TEXT_WIDTH = 3.3, 6.9
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
    "text.parse_math": False,  # a name may hold $, which is no mathematics
}
LEGEND: dict[str, Any] = {
    "frameon": False,
    "handlelength": 1.6,
    "borderaxespad": 0.3,
    "labelspacing": 0.3,
    "columnspacing": 1.2,
}


def save(figure: Figure, file: Path) -> None:
    """PDF or PNG (200 dpi) by the file's ending, whole or not at all, the same bytes each time."""
    for text in figure.findobj(Text):
        text.set_parse_math(STYLE["text.parse_math"])  # type: ignore[attr-defined]  # made before this style applied
    undated: dict[str, Any] = {"CreationDate": None} if file.suffix == ".pdf" else {"Software": None}
    in_memory = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(in_memory, format=file.suffix[1:], dpi=200, metadata=undated)
    write_bytes(file, in_memory.getvalue())


def series_colours(rows: Iterable[Row]) -> dict[str, str]:
    """Grey for what was not trained here, one colour of the palette for each head."""
    method_of = {row["series"]: row["method"] for row in rows}
    heads = [series for series, method in method_of.items() if method == AFTER]
    grey = {series: VANILLA if method == BEFORE else RANDOM for series, method in method_of.items()}
    return grey | {series: PALETTE[at % len(PALETTE)] for at, series in enumerate(heads)}


def share_legend(figure: Figure, axes: Sequence[Axes]) -> None:
    """One legend above all panels: each label once, in the order of METHODS, chance last."""
    handles = {}
    for ax in axes:
        handles |= {label: handle for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    place = {method: at for at, method in enumerate(METHODS)}
    labels = sorted(handles, key=lambda label: (place.get(label.split(":")[0], len(METHODS)), label))
    widest = 0.4 + 0.05 * max(map(len, labels))  # inches, about: a handle and 6.5 pt letters
    cols = max(1, min(len(labels), int(figure.get_figwidth() / widest)))
    figure.legend([handles[label] for label in labels], labels, loc="outside upper center", ncols=cols, **LEGEND)


def grouped(rows: Iterable[Row], names: Sequence[str]) -> dict[str, list[Row]]:
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


def new_figure(width: float, height: float) -> Figure:
    """Sizes in inches. Not pyplot's: nothing is kept open, no display is needed."""
    with matplotlib.rc_context(STYLE):
        return Figure(figsize=(width, height), layout="constrained")


def new_axes(width: float, height: float) -> Axes:
    return new_figure(width, height).add_subplot()
