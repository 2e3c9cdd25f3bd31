"""The benchmark runs whole, on a few texts."""

from pacl_bench.bench.texts import text_costs


def test_texts_run_at_their_own_length() -> None:
    captions, classes = text_costs("world-1k", sample=6)
    assert captions.texts > 795
    assert classes.texts == 80_000
    assert 5 < classes.tokens < 20
    assert classes.share > 0
