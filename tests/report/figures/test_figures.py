from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from report_samples import classify, coherence, head, of_block, typical, with_pr

from pacl_bench.errors import UsageError
from pacl_bench.report.figures.bars import bar_figure, bar_panels
from pacl_bench.report.figures.layers import layers_figure, layers_panels
from pacl_bench.report.figures.roc import roc_figure, roc_panels
from pacl_bench.report.figures.style import PALETTE, RANDOM, VANILLA, new_axes, save


def heights(ax) -> dict[str, list[float]]:
    """Of the bars, by their label in the legend."""
    return {
        bars.get_label(): [bar.get_height() for bar in bars if isinstance(bar, Rectangle)] for bars in ax.containers
    }


def points(line: Line2D) -> np.ndarray:
    return np.stack([np.asarray(line.get_xdata()), np.asarray(line.get_ydata())], axis=1)


def test_roc_draws_the_recorded_points_the_best_curve_first():
    [panel] = roc_panels([coherence("dino-b16", 0.70), coherence("clip-b16", 0.75)])
    ax = panel.draw()
    best, second, diagonal = ax.get_lines()
    assert best.get_label() == "clip-b16  0.750 [0.740, 0.760]"
    assert second.get_label() == "dino-b16  0.700 [0.690, 0.710]"
    np.testing.assert_allclose(points(best), [(x, x ** (1 / 0.75 - 1)) for x in np.linspace(0, 1, 41)])
    np.testing.assert_array_equal(points(diagonal), [(0, 0), (1, 1)])


def test_roc_has_a_panel_for_each_kind_of_pairs_and_one_colour_for_a_model():
    made = [coherence(model, auroc) for model, auroc in (("a", 0.7), ("b", 0.6))]
    made += [
        coherence(model, auroc, scope="within", variant="scope=within") for model, auroc in (("a", 0.8), ("b", 0.9))
    ]
    across, within = roc_panels(made)
    assert (across.title, within.title) == ("voc20 · pairs-across", "voc20 · pairs-within")
    assert [curve.model for curve in within.curves] == ["b", "a"]
    assert {c.model: c.colour for c in across.curves} == {c.model: c.colour for c in within.curves}
    assert len(roc_figure([across, within]).axes) == 2


def test_precision_and_recall_stand_beside_the_roc():
    panels = roc_panels([with_pr(coherence("a", 0.7), 0.3), with_pr(coherence("b", 0.6), 0.4)])
    figure = roc_figure(panels)
    roc, pr = figure.axes
    assert len(roc.collections) == len(pr.collections) == 2  # bands
    best, second, chance = pr.get_lines()
    assert [str(line.get_label()).split()[:2] for line in (best, second)] == [["a", "0.300"], ["b", "0.400"]]
    assert [line.get_color() for line in (best, second)] == [line.get_color() for line in roc.get_lines()[:2]]
    assert chance.get_label() == "chance  0.100"
    np.testing.assert_allclose(points(best)[0], (0.05, 0.95))


def test_the_legends_leave_the_plot_where_a_curve_runs_through_their_corner():
    low, high = with_pr(coherence("a", 0.7), 0.3), with_pr(coherence("a", 0.7), 0.3)
    low.curves["pr"]["precision_high"] = [0.5] * 20
    assert [roc_panels([made])[0].fits_inside for made in (low, high)] == [True, False]


def test_records_without_precision_are_drawn_beside_those_with():
    [panel] = roc_panels([with_pr(coherence("new", 0.7), 0.3), coherence("old", 0.6)])
    assert [curve.model for curve in panel.curves] == ["new", "old"]
    assert [curve.model for curve in panel.pr_curves] == ["new"]
    assert panel.curves[1].band is None


def test_of_an_encoder_measured_block_by_block_one_is_drawn_as_it_comes_else_the_last():
    made = [of_block("clip", block, 0.6 + block / 100) for block in range(4)]
    [panel] = roc_panels([*made, coherence("dino", 0.5)])
    assert [curve.model for curve in panel.curves] == ["clip block 3", "dino"]
    [panel] = roc_panels([*made, coherence("clip", 0.55)])
    assert [curve.model for curve in panel.curves] == ["clip"]
    panels = roc_panels([*made, coherence("clip", 0.55, study="another")])
    assert sorted(curve.model for panel in panels for curve in panel.curves) == ["clip", "clip block 3"]


def test_layers_are_a_line_an_encoder_in_the_order_of_blocks():
    made = [of_block(name, block, 0.6 + block / 100) for name in ("clip", "dino") for block in (0, 10, 2, 1)]
    [panel] = layers_panels([*made, coherence("other", 0.5)])
    clip, dino, chance = panel.draw().get_lines()
    assert (clip.get_label(), dino.get_label(), chance.get_label()) == ("clip", "dino", "chance")
    np.testing.assert_allclose(points(clip), [(0, 0.6), (1, 0.61), (2, 0.62), (10, 0.7)])
    assert clip.get_color() != dino.get_color()
    assert len(layers_figure([panel, panel]).axes) == 2
    assert layers_panels([coherence("other", 0.5)]) == []


def test_studies_are_named_only_where_the_rest_does_not_tell_panels_apart():
    made = [coherence("a", 0.7), coherence("a", 0.7, study="mine")]
    assert [panel.title for panel in roc_panels(made)] == [
        "voc20 · pairs-across · coherence · default",
        "voc20 · pairs-across · mine · default",
    ]


def test_a_panel_draws_into_the_axes_it_is_given():
    ax = Figure().add_subplot()
    assert roc_panels([coherence("a", 0.7)])[0].draw(ax) is ax


def test_an_untrained_head_is_named_so_in_the_legend():
    [panel] = roc_panels([coherence("head", 0.55, encoder="vits14", head=head(step=0))])
    assert panel.curves[0].model == "head (untrained head)"


def test_the_legend_of_many_curves_leaves_the_plot():
    panels = roc_panels([coherence(f"encoder-{at}", 0.5 + at / 50) for at in range(1, 10)])
    figure = roc_figure(panels)
    figure.draw_without_rendering()
    [ax] = figure.axes
    legend = ax.get_legend()
    assert legend is not None
    assert legend.get_window_extent().y1 < ax.get_window_extent().y0
    assert legend.get_window_extent().y0 >= 0


def test_a_dollar_in_a_name_is_no_mathematics(tmp_path: Path):
    ax = new_axes(3.0, 3.0)
    ax.set_title(r"$\frac{$ cost")
    ax.set_xticks([0, 1], [r"$\frac{$", "b"])
    ax.plot([0, 1], label=r"$\sqrt$")
    ax.legend()
    for ending in ("png", "pdf"):
        save(ax.get_figure(root=True), tmp_path / f"figure.{ending}")
        assert (tmp_path / f"figure.{ending}").stat().st_size > 1000


def test_bars_are_the_accuracies_in_percent_easiest_data_set_first():
    clip, vits14 = bar_panels(typical())
    assert (clip.title, vits14.title) == ("clip-b16", "vits14")
    assert clip.datasets == vits14.datasets == ["cifar10", "caltech101", "dtd"]
    drawn = heights(clip.draw())
    assert list(drawn) == ["before alignment", "PACL head"]
    np.testing.assert_allclose(drawn["before alignment"], [88, 68, 48])
    np.testing.assert_allclose(drawn["PACL head"], [83, 68, 53])


def test_a_gap_is_a_dash_not_a_bar():
    _, vits14 = bar_panels(typical())
    ax = vits14.draw()
    assert len(heights(ax)["PACL head"]) == 2
    assert len(heights(ax)["untrained head"]) == 3
    [dash] = [text for text in ax.texts if text.get_text() == "–"]
    assert dash.get_position()[0] == pytest.approx(2.2)  # the second bar of the third group


def test_intervals_and_chance_are_drawn_where_they_are():
    [panel] = bar_panels([classify("clip-b16", 0.8, encoder="clip-b16", text="clip-b16")])
    interval, chance = panel.draw().collections
    (x, low), (_, high) = np.asarray(interval.get_paths()[0].vertices)
    bar = panel.series["before alignment"][0]
    assert bar is not None
    assert (x, low, high) == pytest.approx((0, bar.ci_low, bar.ci_high))
    (left, level), (right, _) = np.asarray(chance.get_paths()[0].vertices)
    assert (left, level, right) == pytest.approx((-0.44, 10, 0.44))


def test_grey_is_what_was_not_trained_here_and_several_heads_are_named():
    made = [classify("vits14", 0.4), classify("random", 0.1, head=head(step=0))]
    made += [classify(f"scale{scale}", 0.6, head=head(patch_scale=scale)) for scale in (1, 10)]
    [panel] = bar_panels(made)
    assert {name: panel.colours[name] for name in panel.series} == {
        "before alignment": VANILLA,
        "untrained head": RANDOM,
        "PACL head: scale1": PALETTE[0],
        "PACL head: scale10": PALETTE[1],
    }


def test_panels_share_one_scale_and_one_legend():
    figure = bar_figure(bar_panels(typical()))
    assert [ax.get_ylim() for ax in figure.axes] == [(0, 100), (0, 100)]
    [legend] = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "before alignment", "untrained head", "PACL head", "chance",
    ]  # fmt: skip


def test_nothing_drawn_is_cut_off():
    blocks = layers_panels([of_block("clip", block, 0.6) for block in range(12)])
    pairs = roc_panels([with_pr(coherence(f"encoder-{at}", 0.5 + at / 50), 0.3) for at in range(9)])
    figures = [bar_figure(bar_panels(typical())), roc_figure(roc_panels(typical()))]
    for figure in (*figures, roc_figure(pairs), layers_figure(blocks)):
        figure.draw_without_rendering()
        box = figure.get_tightbbox()
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= figure.get_figwidth()
        assert box.y1 <= figure.get_figheight()


def test_a_row_of_curves_is_as_high_as_its_own_legend_needs():
    few = [with_pr(coherence("one", 0.6), 0.3)]
    many = [with_pr(coherence(f"encoder-{at}", 0.5 + at / 50, study="many"), 0.3) for at in range(9)]
    panels = roc_panels([*few, *many])
    assert roc_figure(panels).get_figheight() == pytest.approx(sum(panel.height for panel in panels))
    assert panels[0].height != panels[1].height


def test_two_records_for_one_bar_or_curve_are_an_error():
    with pytest.raises(UsageError, match="Two numbers for one cell"):
        bar_panels([classify("m", 0.5), classify("m", 0.6)])
    with pytest.raises(UsageError, match="Two numbers for one cell"):
        roc_panels([coherence("m", 0.6), coherence("m", 0.6)])


def test_a_figure_is_saved_with_the_same_bytes_each_time(tmp_path: Path):
    for name in ("one", "two"):
        figure = roc_figure(roc_panels([coherence("a", 0.7)]))
        save(figure, tmp_path / f"{name}.png")
        save(figure, tmp_path / f"{name}.pdf")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    assert (tmp_path / "one.pdf").read_bytes() == (tmp_path / "two.pdf").read_bytes()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["one.pdf", "one.png", "two.pdf", "two.png"]
