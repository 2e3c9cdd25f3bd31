"""published.csv against the slides and PEERS.md: every printed number once, with its source."""

import pytest

from pacl_bench.report.published import TODAY, UNKNOWN_PROTOCOL, published

PRINTED = {
    1: [52.49, 96.51, 27.91, 95.33],
    2: [15.6, 4.0, 8.7, 17.7, 7.7, 9.6, 52.3, 72.2, 48.2, 28.6, 34.4, 16.3, 16.4, 52.3, 22.4, 24.3, 8.4, 2.3, 2.6, 1.3]
    + [72.3, 50.1, 38.8, 31.4],
    3: [64.1, 62.7, 55.4, 69.2, 68.4, 62.6, 72.3, 71.7, 64.8],
}
TODAYS = {
    "CorrCLIP-B": [75.8, 89.9, 45.9, 50.8, 45.4, 32.6, 28.6, 53.7],
    "CorrCLIPv2-B": [82.2, 93.6, 50.8, 56.3, 54.6, 38.5, 33.2, 58.7],
    "CorrCLIPv2-L": [82.3, 93.2, 51.1, 56.8, 58.0, 39.1, 36.5, 59.2],
    "TIPSv2-L, one pass": [25.06],
    "dino.txt": [36.7, 24.1, 25.1, 41.0],
    "DINOv3.txt": [24.7, 36.9],
    "Talk2DINO": [65.8, 42.4, 30.2, 38.1],
}


@pytest.mark.parametrize("table", PRINTED)
def test_every_number_of_the_slides_is_there_once(table: int):
    assert [row.value for row in published(table)] == PRINTED[table]


@pytest.mark.parametrize("table", PRINTED)
def test_every_number_of_the_slides_has_a_source_and_an_unknown_protocol(table: int):
    for row in published(table):
        assert row.source.startswith(f"PACL slides, Table {table}")
        assert row.protocol == UNKNOWN_PROTOCOL
        assert row.cell.numbers == ()


@pytest.mark.parametrize("method", TODAYS)
def test_every_number_of_other_papers_is_there_once(method: str):
    rows = [row for row in published(TODAY) if row.method == method]
    assert [row.value for row in rows] == TODAYS[method]
    assert all(row.source and row.protocol.startswith("dataset-miou") for row in rows)
    assert {row.mask for row in rows} == {"yes" if method.startswith("CorrCLIP") else "no"}


def test_presets_are_named_where_they_are_known():
    presets = {row.method: row.preset for row in published(TODAY)}
    assert (presets["dino.txt"], presets["TIPSv2-L, one pass"], presets["CorrCLIP-B"]) == ("dinotxt", "tipsv2", "")
    assert "preset dinotxt" in next(row for row in published(TODAY) if row.method == "dino.txt").cell.source
