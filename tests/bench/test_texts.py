"""The benchmark runs whole, on a few texts."""

from pacl_bench.bench.texts import text_costs


def test_texts_at_their_own_length_cost_a_part() -> None:
    captions, classes = text_costs("world-1k", sample=6)
    assert captions.texts > 795
    assert classes.texts == 80_000
    assert 5 < classes.tokens < 20
    assert classes.share < 0.6  # 0.2 on quiet cores
