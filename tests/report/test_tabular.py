"""Cells and tables: intervals, ranking, heads, and the DataFrames made of them. Answers known by hand."""

import math

import numpy as np
import pytest
from report_samples import head, patches, segment

from pacl_bench.records import Measurement, Record
from pacl_bench.report.lines import model_lines
from pacl_bench.report.reading import runs_of
from pacl_bench.report.runs import Number, numbers
from pacl_bench.report.tabular import Cell, Column, Group, Line, Table, spread


def measured(made: list[Record]) -> list[Number]:
    return [one for one in numbers(runs_of(made), "segment", "miou") if one.protocol.startswith("dataset")]


def of_seeds(*values: float) -> list[Number]:
    return measured([segment(f"m{at}", value, head=head(seed=at)) for at, value in enumerate(values)])


def table_of(*made: Record, **given) -> Table:
    return Table({"protocol": "p"}, [Column("voc20")], [Group("g", model_lines(measured(list(made))))], **given)


def test_one_seed_has_its_interval_few_their_range_five_a_t_interval():
    [one] = of_seeds(0.3)
    assert spread([one]) == (one.low, one.high)
    assert spread(of_seeds(0.3, 0.2, 0.4)) == (0.2, 0.4)
    low, high = spread(of_seeds(0.1, 0.2, 0.3, 0.4, 0.5))
    # mean 0.3, standard deviation 0.158114, t of 4 degrees of freedom 2.776445
    assert (low, high) == pytest.approx(
        (0.3 - 2.776445 * 0.158114 / 5**0.5, 0.3 + 2.776445 * 0.158114 / 5**0.5), abs=1e-6
    )


def test_of_many_draws_of_five_seeds_95_percent_of_the_intervals_hold_the_mean():
    run = of_seeds(0.3)[0].run
    drawn = np.random.default_rng(0).normal(0.3, 0.02, (2000, 5))
    rows = [[Number(run, Measurement("miou", float(value), "p", 392)) for value in seeds] for seeds in drawn]
    held = np.mean([low <= 0.3 <= high for low, high in map(spread, rows)])
    assert held == pytest.approx(0.95, abs=0.015)


def test_values_are_rounded_once():
    # each rounded they are 12.3, 12.3 and 12.4, whose mean is 12.3
    assert table_of().show_cell(Cell.of(of_seeds(0.1234, 0.1234, 0.1238))) == "12.4"


def test_the_best_is_marked_and_controls_are_not_ranked():
    trained, weak = segment("a", 0.3, head=head()), segment("b", 0.2, head=head(patch_scale=1))
    untrained = segment("c", 0.9, head=head(step=0))
    found = table_of(trained, weak, untrained)
    assert [one.value for one in found.best] == [0.3]
    assert not table_of(trained, untrained).best  # one alone leads nobody


def test_nothing_is_ranked_across_what_was_asked():
    made = [segment(f"m{at}", 0.2 + at / 10, head=head(patch_scale=at)) for at in (1, 2, 3)]
    made[2].config["settings"]["size"] = 448
    assert [one.value for one in table_of(*made).best] == [pytest.approx(0.4)]


def test_heads_tell_chance_and_what_was_counted():
    found = table_of(segment("a", 0.3, head=head()))
    assert found.head(found.columns[0]) == "chance 2.4 · n 392†"
    assert found.mark(found.columns[0], next(found.cells)) == ""  # the head says it for all


def test_a_dagger_where_only_some_are_of_a_part():
    whole = segment("a", 0.3, head=head(patch_scale=1))
    whole.config["dataset"]["official_images"] = 392
    found = table_of(whole, segment("b", 0.2, head=head()))
    assert found.head(found.columns[0]) == "chance 2.4 · n 392"
    assert sorted(found.mark(found.columns[0], cell) for cell in found.cells) == ["", "†"]


def test_what_all_heads_say_stands_once():
    columns = [Column(name) for name in ("voc20", "voc21", "ade150")]
    made = [segment("a", 0.3, head=head(), dataset=column.name) for column in columns]
    for one in made:
        one.config["dataset"]["images"] = one.config["dataset"]["official_images"] = 392
    found = Table({}, columns, [Group("", model_lines(measured(made)))])
    assert found.shared_head == "chance 2.4 · n 392"
    assert [found.head(column) for column in columns] == ["", "", ""]


def test_a_published_number_keeps_the_digits_it_was_printed_with():
    found = table_of()
    assert [found.show_cell(Cell.printed(value, "x")) for value in (52.49, 4.0, 72.3, 25.06)] == [
        "52.49",
        "4.0",
        "72.3",
        "25.06",
    ]


def test_frame_looks_like_the_table_in_percent():
    made = [segment(f"m{seed}", 0.2 + seed / 10, head=head(seed=seed)) for seed in (0, 1)]
    frame = table_of(*made).frame()
    assert list(frame.index) == [("g", "PACL head", "1,080 images")]
    row = frame["voc20"].iloc[0]
    assert [round(row[part], 6) for part in ("value", "low", "high", "chance", "n")] == [25, 20, 30, 2.4, 392]
    assert row["seeds"] == "0 1"


def test_tidy_has_a_row_a_number_with_its_records():
    [row] = table_of(segment("a", 0.3, head=head())).tidy().to_dict("records")
    assert (row["protocol"], row["line"], row["column"], row["kind"]) == ("p", "PACL head", "voc20", "measured")
    assert row["value"] == pytest.approx(30)
    assert row["records"] == "segment/a/voc20.default.json"


def test_a_gap_is_nan():
    lines = [*model_lines(measured([segment("a", 0.3)])), Line("nothing")]
    frame = Table({}, [Column("voc20")], [Group("", lines)]).frame()
    assert math.isnan(frame["voc20", "value"].iloc[1])


def test_a_difference_is_formed_of_comparable_numbers_only():
    [low], [high] = (
        [one for one in numbers(runs_of([patches("m", value)]), "patches") if one.protocol == "all-classes"][:1]
        for value in (0.2, 0.5)
    )
    difference = Cell.difference(Cell.of([high]), Cell.of([low]))
    assert difference is not None
    assert (difference.value, math.isnan(difference.low)) == (pytest.approx(0.3), True)
    other = patches("m", 0.2)
    other.config["settings"]["size"] = 448
    [sized, *_] = numbers(runs_of([other]), "patches")
    assert Cell.difference(Cell.of([high]), Cell.of([sized])) is None


def test_a_long_table_keeps_its_best_groups_and_what_papers_print():
    def group(title: str, *values: float) -> Group:
        made = [segment(f"{title}{at}", value, head=head(seed=at)) for at, value in enumerate(values)]
        return Group(title, [Line(title, "", {"voc20": Cell.of([one])}) for one in measured(made)])

    printed = Group("printed", [Line(str(at), "", {"voc20": Cell.printed(50.0, "x")}) for at in range(5)])
    found = Table({}, [Column("voc20")], [group("weak", 0.1, 0.1), printed, group("good", 0.3, 0.2, 0.9)])
    short = found.shortened(4)
    assert [(one.title, len(one.lines)) for one in short.groups] == [("weak", 1), ("printed", 5), ("good", 3)]
    assert (short.omitted, found.shortened(10) is found) == (1, True)
