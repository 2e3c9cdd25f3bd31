"""A grid of heads that are trained and measured, in one call: Table 3, and what any setting of a recipe matters."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from pacl_bench.errors import UsageError
from pacl_bench.registry import listed
from pacl_bench.studies.experiment import Experiment, Heads, require_recipes
from pacl_bench.studies.study import Study

NAME = "ablate"  # of the study its records are filed under, which fills Table 3
WORDS = {"true": True, "false": False, "none": None}


def ablation(heads: Heads, datasets: Sequence[str]) -> Experiment:
    """The experiment that trains these heads and measures their segmentation; a UsageError where there is none."""
    if not heads.encoders or not heads.pairs:
        raise UsageError("Nothing to train: give --encoders and --pairs.")
    require_recipes(heads, "--")
    study = Study(NAME, "segment", datasets=list(datasets), trained=["heads"])
    return Experiment(NAME, {"heads": heads}, {"table3": [study]}, report=False)


def read_grid(texts: Sequence[str]) -> dict[str, list[Any]]:
    """What --grid says, each KEY=A,B: {"patch_scale": [1, 10]}. Of betas the two are joined by "+": 0.9+0.98."""
    grid: dict[str, list[Any]] = {}
    for text in texts:
        key, equals, values = text.partition("=")
        key = key.strip().replace("-", "_")
        if not equals or not listed(values):
            raise UsageError(f"--grid {text}: write KEY=A,B with the values to try, as patch_scale=1,10,100.")
        if key in grid:
            raise UsageError(f"--grid {text}: {key} is given twice.")
        grid[key] = [_value(value) for value in listed(values)]
    return grid


def _value(text: str) -> Any:
    if "+" in text.strip("+"):
        return [_value(part) for part in text.split("+")]
    if text.lower() in WORDS:
        return WORDS[text.lower()]
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return text
