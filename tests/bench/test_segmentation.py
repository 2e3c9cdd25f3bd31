"""The benchmark runs whole, on a small case."""

from pacl_bench.bench.segmentation import Case, bench_segmentation, peak_mb


def test_every_part_is_measured() -> None:
    rows = bench_segmentation(Case(classes=8, height=48, width=64, size=32), repeats=1)
    parts = [row["part"] for row in rows]
    assert parts[:2] == ["encoder", "all after it"]
    assert parts[-1].startswith("the naive way")
    assert rows[0]["of the encoder's time"] == "100.0%"
    assert all(row["ms"] > 0 for row in rows)


def test_memory_is_that_of_the_call() -> None:
    held = peak_mb(lambda: bytearray(b"x") * (64 << 20))
    assert held is None or 60 <= held <= 80
