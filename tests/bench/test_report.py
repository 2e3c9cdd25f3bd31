"""The benchmark runs whole, on few records."""

from pacl_bench.bench.report import report_costs


def test_a_report_of_made_up_records() -> None:
    reading, tables, whole = report_costs(60)
    assert [cost.part for cost in (reading, tables, whole)] == ["reading", "tables", "the whole report"]
    assert {cost.records for cost in (reading, tables, whole)} == {60}
    assert reading.cpu_seconds < whole.cpu_seconds
    assert whole.peak_mb is not None
    assert 50 < whole.peak_mb < 2000
