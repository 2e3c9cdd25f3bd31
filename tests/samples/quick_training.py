"""A training run of a second, and what it says of itself."""

import json
from dataclasses import replace
from pathlib import Path

from pacl_bench.training.recipe import RECIPES

QUICK = replace(RECIPES["small"], batch_size=4, steps=6, warmup_steps=0)


def log_of(head: Path) -> list[dict[str, float]]:
    """The lines of a head's log."""
    return [json.loads(line) for line in (head / "log.jsonl").read_text().splitlines()]
