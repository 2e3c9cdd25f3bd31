"""What all figures share: sizes, colours, fonts, labels at the end of lines, and how they are saved."""

import html
import io
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from pacl_bench.files import write_bytes
from pacl_bench.report.runs import Number, grouped
from pacl_bench.report.tabular import Cell

Drawn = TypeVar("Drawn", Axes, Figure)

FIGURES = ("svg", "pdf", "png")  # the forms of their files
COLUMN_WIDTH, TEXT_WIDTH = 3.3, 6.9  # inches, of a paper's page
# Okabe and Ito's, told apart with every common kind of colour blindness; yellow is too faint for a line
PALETTE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#333333", "#7F5F3F"]
VANILLA, RANDOM, INK = "#8C8C8C", "#C4C4C4", "#333333"  # INK takes the colour of the page's text where it is dark
LINES = ["-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1))]
CHANCE: dict[str, Any] = {"color": VANILLA, "ls": (0, (2, 2)), "lw": 0.8, "zorder": 1}
MOST_PANELS = 12  # in one figure; the table beside it has all
MOST_POINTS = 200  # of a curve that is drawn
STYLE: dict[Any, Any] = {
    "font.size": 7,
    "axes.titlesize": 7,
    "axes.titlelocation": "left",
    "axes.labelsize": 7,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "legend.fontsize": 6.5,
    "legend.title_fontsize": 6.5,
    "text.color": INK,
    "text.parse_math": False,  # names are no TeX: a dollar in them is a dollar
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.linewidth": 0.6,
    "axes.edgecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "pdf.fonttype": 42,  # TrueType: publishers refuse matplotlib's default, Type 3
    "svg.fonttype": "none",  # text stays text: small, and found by a search
    "svg.hashsalt": "pacl-bench",  # the same ids, and so the same bytes, each time
}
LEGEND: dict[str, Any] = {
    "frameon": False,
    "handlelength": 1.6,
    "borderaxespad": 0.3,
    "labelspacing": 0.3,
    "columnspacing": 1.2,
}
GROUP = re.compile(r'<g id="([^"]*)">')  # of an SVG
UNDATED: dict[str, dict[str, Any]] = {"pdf": {"CreationDate": None}, "png": {"Software": None}, "svg": {"Date": None}}


@dataclass(frozen=True)
class Drawing:
    """A figure in the forms that were asked for."""

    inches: float  # its width
    inline: str  # the SVG that stands on the page, where that was asked for
    files: dict[str, bytes]  # the content of each by its ending

    @classmethod
    def of(cls, figure: Figure, forms: Collection[str]) -> "Drawing":
        """Drawn as "html", which is inline, and in those of FIGURES that are among the forms."""
        inline = inline_svg(figure) if "html" in forms else ""
        files = {form: _file(figure, form) for form in FIGURES if form in forms}
        return cls(figure.get_figwidth(), inline, files)


def save(figure: Figure, file: Path) -> None:
    """PDF, SVG or PNG (200 dpi) by the file's ending, whole or not at all, the same bytes each time."""
    write_bytes(file, _file(figure, file.suffix[1:]))


def inline_svg(figure: Figure) -> str:
    """The figure as an `<svg>` element that takes its colours from the page, and so is seen on a dark one too.

    What carries a `gid` shows it when it is pointed at.
    """
    svg = _drawn(figure, "svg", transparent=True).decode()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    for at, colour in enumerate(PALETTE):
        svg = svg.replace(colour.lower(), f"var(--series-{at})")
    names = {str(artist.get_gid()) for artist in figure.findobj(lambda one: one.get_gid() is not None)}

    def titled(group: re.Match[str]) -> str:
        name = html.unescape(group[1])  # matplotlib writes quotation marks in other ways than `html.escape`
        return f'<g class="named"><title>{html.escape(name)}</title>' if name in names else group[0]

    return GROUP.sub(titled, svg)


def _file(figure: Figure, form: str) -> bytes:
    return _drawn(as_written(figure), form, dpi=200)


def _drawn(figure: Figure, form: str, **given: Any) -> bytes:
    """The content of a file. To lay a figure out takes longer than to draw it, so that is done once for all forms."""
    held = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(held, format=form, metadata=UNDATED[form], **given)
    figure.set_layout_engine("none")
    return held.getvalue()


def as_written(drawn: Drawn) -> Drawn:
    """Axes or a figure with all texts as they are, also in a user's axes, where STYLE does not hold: a $ is a $."""
    for text in drawn.findobj(Text):
        text.set_parse_math(False)  # type: ignore[attr-defined]
    return drawn


def draw_line(ax: Axes, x: Sequence[float], values: Sequence[Number | Cell], colour: str) -> None:
    """A line through values, in percent, with the interval or range of each."""
    ax.plot(x, [100 * one.value for one in values], "o-", ms=3, lw=1.1, color=colour)
    ax.vlines(x, [100 * one.low for one in values], [100 * one.high for one in values], colour, lw=0.9)


def thinned(number: int, most: int = MOST_POINTS) -> np.ndarray:
    """Places of at most `most` of `number` points, the first and the last among them."""
    return np.unique(np.linspace(0, number - 1, min(number, most)).round().astype(int))


def label_ends(ax: Axes, ends: Mapping[str, tuple[float, float, str]], gap: float) -> None:
    """Names to the right of where lines end, moved apart until none covers another.

    Args:
        ends: (x, y, colour) of the end of each line.
        gap: between two names, in units of the y axis.
    """
    right = max((x for x, _, _ in ends.values()), default=0)
    places = apart([y for _, y, _ in ends.values()], gap)
    for (name, (_, y, colour)), place in zip(ends.items(), places, strict=True):
        ax.annotate(
            name,
            (right, y),
            xytext=(ax.get_xlim()[1], place),
            color=colour,
            va="center",
            fontsize=6.5,
            annotation_clip=False,
        )


def apart(places: Sequence[float], gap: float) -> list[float]:
    """Places moved as little as need be until no two are closer than `gap`; their order stays."""
    order = np.argsort(places, kind="stable")
    moved = np.asarray(places, float)[order]
    for _ in range(100):  # neighbours push each other away by half of what they lack
        lack = np.maximum(0, gap - np.diff(moved)) / 2
        if not (lack > gap / 1000).any():
            break
        moved[:-1] -= lack
        moved[1:] += lack
    found = np.empty(len(moved))
    found[order] = moved
    return found.tolist()


def titled(numbers: Iterable[Number], names: Sequence[str]) -> dict[str, list[Number]]:
    """The numbers that agree in `names`, by a title of what they agree in.

    Study and variant stand in the titles only where the rest does not tell two groups apart.
    """
    groups = grouped(numbers, lambda one: tuple(_told(one, name) for name in names))
    kept = [name not in ("study", "variant") for name in names]
    short = {key: " · ".join(part for part, keep in zip(key, kept, strict=True) if keep) for key in groups}
    clashes = Counter(short.values())
    return {short[key] if clashes[short[key]] == 1 else " · ".join(key): groups[key] for key in sorted(groups)}


def legend_columns(labels: Iterable[str], width: float) -> int:
    """How many of the labels stand side by side in a legend that is `width` inches wide."""
    widest = 0.4 + 0.05 * max(map(len, labels), default=1)  # inches, about: a handle and 6.5 pt letters
    return max(1, int(width / widest))


def new_figure(width: float, height: float) -> Figure:
    """Sizes in inches. Not pyplot's: nothing is kept open, no display is needed."""
    with matplotlib.rc_context(STYLE):
        return Figure(figsize=(width, height), layout="constrained")


def new_axes(width: float, height: float) -> Axes:
    with matplotlib.rc_context(STYLE):
        return new_figure(width, height).add_subplot()


@runtime_checkable
class Panel(Protocol):
    """A part of a figure."""

    def draw(self, ax: Axes | None = None) -> Axes: ...


def draw_panels(figure: Figure, panels: Sequence[Panel], cols: int) -> Figure:
    """The figure with the panels on it, so many in a row."""
    rows = -(-len(panels) // cols)
    with matplotlib.rc_context(STYLE):
        for at, panel in enumerate(panels, start=1):
            panel.draw(figure.add_subplot(rows, cols, at))
    return figure


def _told(number: Number, name: str) -> str:
    return number.protocol if name == "protocol" else getattr(number.run, name)
