"""The simulated large sets, and what a right and a wrong interval give."""

from itertools import islice

import numpy as np
import pytest

from pacl_bench.bench import coverage as module
from pacl_bench.bench.coverage import coverage, draw_world


def test_a_world_has_rare_classes_and_counts_that_fit(monkeypatch) -> None:
    monkeypatch.setattr(module, "POPULATION", 2000)
    world = draw_world(10, 0.05)
    found, labelled, predicted = world.counts.swapaxes(0, 1)
    assert (found <= np.minimum(labelled, predicted)).all()
    np.testing.assert_array_equal(labelled.sum(1), predicted.sum(1))
    assert world.share_with(9) < world.share_with(0) / 5


@pytest.mark.slow
def test_intervals_cover_where_classes_are_common(monkeypatch) -> None:
    """Of 20 sets a right interval holds the truth in 17 or more (of all draws of 20: in 98 %); one half as wide, which
    holds it in 67 %, does not."""
    monkeypatch.setattr(module, "POPULATION", 3000)
    monkeypatch.setattr(module, "SETS", ((5, 1.0, 80),))
    rows = {row.number: row for row in coverage(20)}
    assert len(rows) == 7
    assert all(row.covered >= 0.85 for row in rows.values())
    monkeypatch.setattr("pacl_bench.metrics.intervals.NORMAL", 0.98)
    narrow = list(islice(coverage(20), len(module.NUMBERS)))
    assert all(row.covered < 0.85 for row in narrow)
