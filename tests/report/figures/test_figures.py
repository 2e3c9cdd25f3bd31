from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from report_samples import classify, coherence, head, of_block, segment, typical, with_pr

from pacl_bench import records
from pacl_bench.errors import UsageError
from pacl_bench.files import write_json
from pacl_bench.records import Record
from pacl_bench.report.figures.dots import DotsPanel, dots_figure, dots_panels
from pacl_bench.report.figures.layers import layers_figure, layers_panels
from pacl_bench.report.figures.roc import NAMED_CURVES, RocPanel, roc_figure, roc_panels
from pacl_bench.report.figures.sizes import sizes_figure, sizes_panels
from pacl_bench.report.figures.style import MOST_POINTS, PALETTE, RANDOM, apart, inline_svg, save, thinned
from pacl_bench.report.figures.training import training_figure, training_panels
from pacl_bench.report.reading import runs_of
from pacl_bench.report.runs import BEFORE, UNTRAINED


def rocs(made: list[Record]) -> list[RocPanel]:
    return roc_panels(runs_of(made))


def points(line: Line2D) -> np.ndarray:
    return np.stack([np.asarray(line.get_xdata()), np.asarray(line.get_ydata())], axis=1)


def named(ax: Axes) -> dict[str, Line2D]:
    """The lines that say their name when they are pointed at."""
    return {str(line.get_gid()): line for line in ax.get_lines() if line.get_gid() is not None}


def test_roc_draws_the_recorded_points_the_best_curve_on_top():
    [panel] = rocs([coherence("dino-b16", 0.70), coherence("clip-b16", 0.75)])
    ax = panel.draw()
    assert list(named(ax)) == ["dino-b16", "clip-b16"]
    expected = [(x, x ** (1 / 0.75 - 1)) for x in np.linspace(0, 1, 41)]
    np.testing.assert_allclose(points(named(ax)["clip-b16"]), expected)
    np.testing.assert_array_equal(points(ax.get_lines()[-1]), [(0, 0), (1, 1)])


def test_a_name_with_quotation_marks_is_shown_when_it_is_pointed_at():
    name = """it's a "<b>" & co"""
    [panel] = rocs([coherence("dino-b16", 0.70), coherence(name, 0.75)])
    svg = inline_svg(roc_figure([panel]))
    root = ElementTree.fromstring(svg)
    assert {title.text for title in root.iter("{http://www.w3.org/2000/svg}title")} == {"dino-b16", name}


def test_every_curve_carries_its_name_and_the_list_its_area():
    [panel] = rocs([coherence("dino-b16", 0.70), coherence("clip-b16", 0.75)])
    assert [text.get_text() for text in panel.draw().texts] == ["clip-b16", "dino-b16"]
    ax = panel.draw_list()
    assert [label.get_text() for label in ax.get_yticklabels()] == ["clip-b16  0.750", "dino-b16  0.700"]
    whiskers = [points(line) for line in ax.get_lines() if len(line.get_xdata()) == 2][:2]
    np.testing.assert_allclose(whiskers[0], [(0.74, 0), (0.76, 0)])


def test_of_many_curves_eight_are_in_colour_and_the_others_grey():
    [panel] = rocs([coherence(f"encoder-{at}", 0.5 + at / 50) for at in range(1, 12)])
    colours = [curve.colour for curve in panel.curves]
    assert colours == [*PALETTE[:NAMED_CURVES], RANDOM, RANDOM, RANDOM]
    ax = panel.draw()
    assert len(ax.texts) == NAMED_CURVES
    assert len(named(ax)) == 11  # what is grey says its name too


def test_roc_has_a_panel_for_each_kind_of_pairs_and_one_colour_for_a_model():
    made = [coherence(model, auroc) for model, auroc in (("a", 0.7), ("b", 0.6))]
    made += [
        coherence(model, auroc, scope="within", variant="scope=within") for model, auroc in (("a", 0.8), ("b", 0.9))
    ]
    across, within = rocs(made)
    assert (across.title, within.title) == ("voc20 · pairs-across", "voc20 · pairs-within")
    assert [curve.model for curve in within.curves] == ["b", "a"]
    assert {c.model: c.colour for c in across.curves} == {c.model: c.colour for c in within.curves}
    assert len(roc_figure([across, within]).axes) == 4


def test_precision_and_recall_stand_beside_the_roc():
    [panel] = rocs([with_pr(coherence("a", 0.7), 0.3), with_pr(coherence("b", 0.6), 0.4)])
    roc, pr, areas = roc_figure([panel]).axes
    assert len(roc.collections) == len(pr.collections) == 2  # bands
    assert [line.get_color() for line in named(pr).values()] == [line.get_color() for line in named(roc).values()]
    assert np.asarray(pr.get_lines()[-1].get_ydata()) == pytest.approx(0.1)  # chance
    np.testing.assert_allclose(points(named(pr)["a"])[0], (0.05, 0.95))
    assert len(areas.get_yticklabels()) == 2


def test_records_without_precision_are_drawn_beside_those_with():
    [panel] = rocs([with_pr(coherence("new", 0.7), 0.3), coherence("old", 0.6)])
    assert [curve.model for curve in panel.curves] == ["new", "old"]
    assert [curve.model for curve in panel.pr_curves] == ["new"]
    assert panel.curves[1].band is None


def test_curves_are_thinned_to_what_is_seen():
    [panel] = rocs([coherence("a", 0.7, points=5001)])
    [curve] = panel.curves
    assert len(curve.x) == MOST_POINTS
    assert (curve.x[0], curve.x[-1]) == (0, 1)
    assert thinned(3).tolist() == [0, 1, 2]


def test_of_an_encoder_measured_block_by_block_one_is_drawn_as_it_comes_else_the_last():
    made = [of_block("clip", block, 0.6 + block / 100) for block in range(4)]
    [panel] = rocs([*made, coherence("dino", 0.5)])
    assert [curve.model for curve in panel.curves] == ["clip block 3", "dino"]
    [panel] = rocs([*made, coherence("clip", 0.55)])
    assert [curve.model for curve in panel.curves] == ["clip"]
    panels = rocs([*made, coherence("clip", 0.55, study="another")])
    assert sorted(curve.model for panel in panels for curve in panel.curves) == ["clip", "clip block 3"]


def test_layers_are_a_line_an_encoder_named_at_its_end():
    made = [of_block(name, block, 0.6 + block / 100) for name in ("clip", "dino") for block in (0, 10, 2, 1)]
    [panel] = layers_panels(runs_of([*made, coherence("other", 0.5)]))
    ax = panel.draw()
    assert list(named(ax)) == ["clip", "dino"]
    np.testing.assert_allclose(points(named(ax)["clip"]), [(0, 0.6), (1, 0.61), (2, 0.62), (10, 0.7)])
    assert [text.get_text() for text in ax.texts] == ["clip", "dino"]
    assert len(layers_figure([panel, panel]).axes) == 2
    assert layers_panels(runs_of([coherence("other", 0.5)])) == []


def test_labels_move_apart_and_keep_their_order():
    assert apart([0.5, 0.5, 0.9], 0.1) == pytest.approx([0.45, 0.55, 0.9], abs=1e-3)
    assert apart([0.9, 0.1], 0.1) == [0.9, 0.1]


def test_studies_are_named_only_where_the_rest_does_not_tell_panels_apart():
    made = [coherence("a", 0.7), coherence("a", 0.7, study="mine")]
    assert [panel.title for panel in rocs(made)] == [
        "voc20 · pairs-across · coherence · default",
        "voc20 · pairs-across · mine · default",
    ]


def test_an_untrained_head_is_named_so():
    [panel] = rocs([coherence("head", 0.55, encoder="vits14", head=head(step=0))])
    assert panel.curves[0].model == "head (untrained head)"


def panels_of(made: list[Record]) -> list[DotsPanel]:
    return dots_panels(runs_of(made))


def test_dots_are_a_row_a_data_set_the_largest_gain_on_top():
    clip, vits14 = panels_of(typical())
    assert (clip.title, vits14.title) == ("clip-b16", "vits14")
    # before 88, 68, 48; after 83, 68, 53
    assert [row.dataset for row in clip.rows] == ["dtd", "caltech101", "cifar10"]
    assert [round(100 * row.gain) for row in clip.rows] == [5, 0, -5]
    ax = clip.draw()
    assert [label.get_text() for label in ax.get_yticklabels()] == ["dtd", "caltech101", "cifar10"]


def marks(ax: Axes, marker: str) -> list[tuple[float, float]]:
    return [tuple(points(line)[0].round(3)) for line in ax.get_lines() if line.get_marker() == marker]


def test_marks_whiskers_and_chance_stand_where_they_are():
    made = [classify("clip", 0.8, encoder="clip", text="clip"), classify("pacl", 0.6, encoder="clip", head=head())]
    made += [classify("none", 0.1, encoder="clip", head=head(step=0))]
    [panel] = panels_of(made)
    ax = panel.draw()
    assert (marks(ax, "o"), marks(ax, "*"), marks(ax, "x")) == ([(80, 0)], [(60, 0)], [(10, 0)])
    chance = ax.get_lines()[-1]
    np.testing.assert_allclose(points(chance), [(10, -0.3), (10, 0.3)])
    row = panel.rows[0]
    assert row.before is not None
    whiskers = [
        points(line)[:, 0] for line in ax.get_lines() if line.get_color() == "#8C8C8C" and len(line.get_xdata()) == 2
    ]
    np.testing.assert_allclose(whiskers[0], [100 * row.before.low, 100 * row.before.high])


def test_what_was_not_measured_has_no_mark():
    _, vits14 = panels_of(typical())
    assert [row.dataset for row in vits14.rows if not row.after] == ["dtd"]
    assert len(marks(vits14.draw(), "*")) == 2


def test_seeds_are_one_mark():
    made = [classify(f"pacl{seed}", 0.5 + seed / 10, head=head(seed=seed)) for seed in range(3)]
    [panel] = panels_of(made)
    [cell] = panel.rows[0].after.values()
    assert (cell.value, cell.low, cell.high) == (pytest.approx(0.6), 0.5, 0.7)


def test_the_legend_names_methods_and_several_heads():
    made = [classify("vits14", 0.4), classify("random", 0.1, head=head(step=0))]
    made += [classify(f"scale{scale}", 0.6, head=head(patch_scale=scale)) for scale in (1, 10)]
    [legend] = dots_figure(panels_of(made)).legends
    assert [text.get_text() for text in legend.get_texts()] == [
        BEFORE, UNTRAINED,
        "PACL head, 1,080 images · patch_scale 1", "PACL head, 1,080 images · patch_scale 10", "chance",
    ]  # fmt: skip


def sized(images: int, miou: float, seed: int = 0, patch_scale: float = 10) -> Record:
    trained = head(pairs=f"set{images}", seed=seed, patch_scale=patch_scale)
    made = segment(f"m{images}-{seed}-{patch_scale}", miou, head=trained, study="ablate")
    made.config["model"]["head"]["train"] |= {"images": images, "captions": 5 * images}
    return made


def test_table3_is_drawn_against_the_pairs_beside_the_papers_numbers():
    made = [sized(100, 0.1), sized(1000, 0.3), sized(1000, 0.5, seed=1)]
    ours, _, printed = sizes_panels(runs_of(made))
    assert ours.title == "voc20 · dataset-miou, background=none"
    [(small, low), (large, high)] = ours.lines["vits14 × minilm"]
    assert (small, low.value, large, high.value) == (500, 0.1, 5000, pytest.approx(0.4))
    assert (high.low, high.high) == (0.3, 0.5)
    assert [round(size / 1e6) for size, _ in printed.lines["CLIP B/16 × B/16"]] == [12, 27, 30]
    assert len(sizes_figure([ours, printed]).axes) == 2


def test_one_training_set_is_no_line():
    assert sizes_panels(runs_of([sized(100, 0.1)])) == []


def test_lines_of_several_recipes_tell_what_they_differ_in():
    """What was trained on one training set only, as most settings of an ablation are, has no line."""
    made = [
        sized(images, miou + scale / 100, patch_scale=scale)
        for scale in (1, 10)
        for images, miou in ((100, 0.1), (1000, 0.3))
    ]
    made.append(sized(100, 0.2, patch_scale=100))
    ours, _, printed = sizes_panels(runs_of(made))
    assert list(ours.lines) == ["vits14 × minilm, patch_scale 1", "vits14 × minilm, patch_scale 10"]
    figure = sizes_figure([ours, printed])
    figure.draw_without_rendering()
    above, below = (ax.get_tightbbox() for ax in figure.axes)
    assert above.y0 > below.y1  # names of this length leave no room for two in a row


def test_nothing_drawn_is_cut_off():
    blocks = layers_panels(runs_of([of_block("clip", block, 0.6) for block in range(12)]))
    pairs = rocs([with_pr(coherence(f"encoder-{at}", 0.5 + at / 50), 0.3) for at in range(9)])
    figures = [dots_figure(panels_of(typical())), roc_figure(rocs(typical())), roc_figure(pairs), layers_figure(blocks)]
    figures += [sizes_figure(sizes_panels(runs_of([sized(100, 0.1), sized(1000, 0.3)])))]
    for figure in figures:
        figure.draw_without_rendering()
        box = figure.get_tightbbox()
        assert box.x0 >= -0.01
        assert box.y0 >= -0.01
        assert box.x1 <= figure.get_figwidth() + 0.01
        assert box.y1 <= figure.get_figheight() + 0.01


def test_two_records_for_one_dot_or_curve_are_an_error():
    with pytest.raises(UsageError, match="Two numbers for one cell"):
        panels_of([classify("m", 0.5), classify("m", 0.6)])
    with pytest.raises(UsageError, match="Two numbers for one cell"):
        rocs([coherence("m", 0.6), coherence("m", 0.6)])


def test_a_dollar_in_a_name_is_a_dollar():
    name = "$\\frac{$ cost"
    made = [coherence(name, 0.7, encoder=name), *(of_block(name, block, 0.6) for block in range(2))]
    made += [classify(name, 0.5, encoder=name)]
    figures = [roc_figure(rocs(made)), layers_figure(layers_panels(runs_of(made))), dots_figure(panels_of(made))]
    for figure in figures:
        assert "$\\frac{$ cost" in inline_svg(figure)
    ax = rocs(made)[0].draw(Figure().add_subplot())  # the user's own axes, made without our style
    ax.figure.draw_without_rendering()


def test_an_inline_figure_takes_the_pages_colour_and_names_are_no_markup():
    svg = inline_svg(roc_figure(rocs([coherence("<b>bold</b>", 0.7)])))
    assert svg.startswith("<svg")
    assert "currentColor" in svg
    assert "var(--series-0)" in svg
    assert "<b>" not in svg
    assert "<title>&lt;b&gt;bold&lt;/b&gt;</title>" in svg


@pytest.mark.parametrize("ending", ["png", "pdf", "svg"])
def test_a_figure_is_saved_with_the_same_bytes_each_time(tmp_path: Path, ending: str):
    for name in ("one", "two"):
        save(roc_figure(rocs([coherence("a", 0.7)])), tmp_path / f"{name}.{ending}")
    assert (tmp_path / f"one.{ending}").read_bytes() == (tmp_path / f"two.{ending}").read_bytes()
    assert sorted(file.name for file in tmp_path.iterdir()) == [f"one.{ending}", f"two.{ending}"]


def test_loss_by_step_of_every_seed_and_of_pairs_held_out(tmp_path: Path):
    for seed, images in ((0, 1080), (1, 1080), (0, 500)):
        trained = head(seed=seed)
        trained["train"]["images"], trained["sha256"] = images, f"{seed}{images:04}" + 59 * "0"
        made = segment(f"pacl{images}-{seed}", 0.3, head=trained)
        records.write(tmp_path / "records", made)
        held_out = {"steps": [2], "losses": [3.5]} if seed == 0 else {"steps": [], "losses": []}
        curves = {"loss": {"steps": [1, 2], "losses": [4.0, 3.0 + seed]}, "held_out": held_out}
        told = {"schema": 1, "head": "m", "sha256": trained["sha256"], "pairs_per_second": 9.0, **curves}
        write_json(tmp_path / "training" / f"m.{trained['sha256'][:12]}.json", told)
    records.write(tmp_path / "records", segment("other", 0.1, head=head(seed=7)))
    [panel] = training_panels(runs_of(tmp_path / "records"))
    assert {name: len(seeds) for name, seeds in panel.heads.items()} == {"500 images": 1, "1,080 images": 2}
    ax = panel.draw()
    drawn = [points(line).tolist() for line in ax.get_lines()]
    assert [[1, 4], [2, 4]] in drawn
    assert drawn.count([[2, 3.5]]) == 2
    assert {text.get_text() for text in ax.texts} == {"500 images", "1,080 images"}
    [legend] = training_figure([panel]).legends
    assert [text.get_text() for text in legend.texts] == ["pairs trained on", "pairs held out"]
    assert training_panels(runs_of([segment("m", 0.3, head=head())])) == []
