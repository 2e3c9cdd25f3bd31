"""published.csv against the slides: every printed number, with its source."""

import math

import pytest

from pacl_bench.report.published import UNKNOWN_PROTOCOL, published

PRINTED = {
    1: [52.49, 96.51, 27.91, 95.33],
    2: [15.6, 4.0, 8.7, 17.7, 7.7, 9.6, 52.3, 72.2, 48.2, 28.6, 34.4, 16.3, 16.4, 52.3, 22.4, 24.3, 8.4, 2.3, 2.6, 1.3]
    + [72.3, 50.1, 38.8, 31.4],
    3: [64.1, 62.7, 55.4, 69.2, 68.4, 62.6, 72.3, 71.7, 64.8],
}


@pytest.mark.parametrize("table", PRINTED)
def test_every_number_of_the_slides_is_there_once(table: int):
    assert [row["value"] for row in published(table)] == PRINTED[table]


@pytest.mark.parametrize("table", PRINTED)
def test_every_number_has_a_source_and_no_interval(table: int):
    for row in published(table):
        assert row["source"].startswith(f"PACL slides, Table {table}")
        assert row["protocol"] == UNKNOWN_PROTOCOL
        assert math.isnan(row["ci_low"])
        assert math.isnan(row["chance"])
