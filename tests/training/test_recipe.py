"""Recipes: bounds, single changes, and what heads' cards hold of them."""

import json
from dataclasses import asdict, fields, replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from pacl_bench.errors import UsageError
from pacl_bench.training.recipe import OFTEN, RECIPES, Loading, Recipe, TrainConfig, checkpoint_interval, make_recipe
from pacl_bench.validation.values import as_option, made

FROZEN = Path(__file__).parents[1] / "frozen"


def test_a_recipe_is_changed_in_single_values() -> None:
    assert make_recipe("small", {"lr": 0.1, "steps": None}) == replace(RECIPES["small"], lr=0.1)
    assert make_recipe("paper", {"steps": 3}) == replace(RECIPES["paper"], steps=3, epochs=None)
    assert make_recipe("small", {"epochs": 3}) == replace(RECIPES["small"], steps=None, epochs=3)
    assert make_recipe("small", {"betas": (0.5, 0.6)}).betas == (0.5, 0.6)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"batch_size": 1}, "--batch-size 1: should be greater than or equal to 2."),
        ({"lr": float("nan")}, "--lr nan: should be a finite number."),
        ({"betas": (0.9, 1.0)}, "--betas 1.0: should be less than 1."),
        ({"temperature": 0}, "--temperature 0: should be greater than or equal to 0.0001."),
        ({"patch_scale": -1}, "--patch-scale -1: should be greater than or equal to 0."),
        ({"steps": 1.5}, "--steps 1.5: should be a valid integer."),
        ({"learn_temperature": "yes"}, "--learn-temperature 'yes': should be a valid boolean."),
        ({"wieght_decay": 1}, "Did you mean 'weight_decay'?"),
        ({"steps": 1, "epochs": 1}, "Give one."),
    ],
)
def test_what_no_recipe_takes_is_one_line(changes: dict, line: str) -> None:
    with pytest.raises(UsageError) as raised:
        make_recipe("small", changes)
    assert line in str(raised.value)


def test_bounds_hold_in_python_too() -> None:
    for wrong in ({"noun_share": 2}, {"eps": -1}, {"warmup_steps": -1}):
        with pytest.raises(ValidationError):
            replace(RECIPES["small"], **wrong)
    for seed in (-1, 2**63, 1.0):
        with pytest.raises(ValidationError):
            TrainConfig("a", "b", "c", RECIPES["small"], seed)  # type: ignore[arg-type]
    for loading in ({"workers": -1}, {"max_skipped": 1.1}):
        with pytest.raises(ValidationError):
            Loading(**loading)


def test_every_setting_says_what_it_is() -> None:
    for declared in (Recipe, Loading):
        for name, field in declared.__pydantic_fields__.items():  # type: ignore[attr-defined]
            assert field.description, name


def test_a_recipe_is_made_again_from_a_heads_card() -> None:
    cards = list(FROZEN.glob("v*/heads/*/head.json"))
    assert cards
    for card in cards:
        train = json.loads(card.read_text(encoding="utf-8"))["train"]
        known = [field.name for field in fields(Recipe)]  # type: ignore[arg-type]
        held = {name: train[name] for name in known if name in train}
        recipe = made(Recipe, held, as_option)
        assert {name: recipe.describe()[name] for name in held} == held
        assert json.dumps(list(asdict(recipe))[: len(held)]) == json.dumps(list(held))


@pytest.mark.parametrize(
    ("text", "expected"),
    [("100", (100, None)), ("30s", (None, 30)), ("10m", (None, 600)), ("2h,5", (5, 7200)), (OFTEN, (100, 600))],
)
def test_how_often_a_checkpoint_is_kept(text: str, expected: tuple[int | None, int | None]) -> None:
    interval = checkpoint_interval(text)
    assert (interval.steps, interval.seconds) == expected


def test_a_checkpoint_is_due_after_the_first_of_steps_and_seconds() -> None:
    both = checkpoint_interval("5,10s")
    assert [both.is_over(4, 9.9), both.is_over(5, 0.0), both.is_over(0, 10.0)] == [False, True, True]


@pytest.mark.parametrize("text", ["0", "0m", "-1", "10x", "1.5h", "10,20", "1m,2h", "ten", "m"])
def test_what_says_no_interval_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=f"--checkpoint-every {text}: steps, a time, or both are wanted"):
        checkpoint_interval(text)
