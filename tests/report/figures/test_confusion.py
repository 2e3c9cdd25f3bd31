import numpy as np
import pytest
from report_samples import confusion, head, patches

from pacl_bench.records import Record
from pacl_bench.report.figures.confusion import MOST_CLASSES, ConfusionPanel, confusion_figure, confusion_panels
from pacl_bench.report.figures.style import COLUMN_WIDTH
from pacl_bench.report.reading import runs_of


def panels_of(made: list[Record]) -> list[ConfusionPanel]:
    return confusion_panels(runs_of(made))


def test_before_and_the_best_head_side_by_side_by_shares_of_each_class():
    made = [confusion("clip", 0.3, encoder="clip", text="clip")]
    made += [
        confusion(name, accuracy, encoder="clip", text="clip", head=head(seed=seed))
        for seed, (name, accuracy) in enumerate([("weak", 0.5), ("strong", 0.9)])
    ]
    made += [confusion("untrained", 0.1, encoder="clip", text="clip", head=head(step=0))]
    [before, after] = panels_of(made)
    assert before.title == "voc20 · clip\nbefore alignment: 30.0 %"
    assert after.title == "voc20 · clip\nPACL head, 1,080 images: 90.0 %"
    np.testing.assert_allclose(after.shares, [[0.9, 0.1, 0], [0.1, 0.9, 0], [0.1, 0, 0.9]])


def test_without_a_text_space_the_untrained_head_stands_before():
    [before, after] = panels_of([confusion("none", 0.1, head=head(step=0)), confusion("pacl", 0.6, head=head())])
    assert [panel.title.split("\n")[1] for panel in (before, after)] == [
        "untrained head: 10.0 %",
        "PACL head, 1,080 images: 60.0 %",
    ]


def test_older_records_have_no_matrix():
    assert panels_of([patches("clip", 0.3, encoder="clip", text="clip")]) == []


def test_of_many_classes_the_most_confused_are_shown_in_both():
    made = [confusion("clip", 0.3, 171, encoder="clip", text="clip")]
    made += [confusion("pacl", 0.9, 171, encoder="clip", text="clip", head=head())]
    [before, after] = panels_of(made)
    assert before.shares.shape == after.shares.shape == (MOST_CLASSES, MOST_CLASSES)
    assert before.classnames == after.classnames


def test_a_model_alone_has_no_empty_place_beside_it():
    figure = confusion_figure(panels_of([confusion("clip", 0.3, encoder="clip", text="clip")]))
    assert len(figure.axes) == 2  # the matrix and the scale of colours
    assert figure.get_figwidth() == COLUMN_WIDTH


def test_models_alone_share_a_row_and_the_last_stands_in_the_middle():
    pair = [confusion("clip", 0.3, encoder="clip", text="clip")]
    pair += [confusion("pacl", 0.9, encoder="clip", text="clip", head=head())]
    alone = [confusion(name, 0.2, encoder=name, head=head(step=0)) for name in ("dino", "mae", "sam")]
    figure = confusion_figure(panels_of([*pair, *alone]))
    figure.draw_without_rendering()
    matrices = figure.axes[:-1]
    before, after, dino, mae, sam = [
        np.mean(ax.get_position().get_points(), axis=0) for ax in matrices
    ]  # their middles
    assert [ax.get_title(loc="left").split("\n")[0] for ax in matrices[2:]] == [
        "voc20 · dino",
        "voc20 · mae",
        "voc20 · sam",
    ]
    np.testing.assert_allclose([before[1], dino[1]], [after[1], mae[1]])
    assert before[1] > dino[1] > sam[1]
    np.testing.assert_allclose([before[0], after[0]], [dino[0], mae[0]], atol=0.01)
    assert dino[0] < sam[0] < mae[0]


def test_the_figure_shows_every_class_and_nothing_is_cut_off():
    made = [confusion("clip", 0.3, 20, encoder="clip", text="clip")]
    made += [confusion("pacl", 0.9, 20, encoder="clip", text="clip", head=head())]
    made += [confusion("other", 0.2, 20, encoder="dino", head=head(step=0))]
    figure = confusion_figure(panels_of(made))
    figure.draw_without_rendering()
    before, after, *_ = figure.axes
    for ax in (before, after):
        assert [label.get_text() for label in ax.get_yticklabels()] == [f"class {number}" for number in range(20)]
        drawn = ax.collections[0].get_array()
        assert drawn is not None
        assert drawn.max() == pytest.approx(0.7 if ax is before else 0.9)
    box = figure.get_tightbbox()
    assert box.x0 >= 0
    assert box.y0 >= 0
    assert box.x1 <= figure.get_figwidth() + 1e-6
    assert box.y1 <= figure.get_figheight() + 1e-6
