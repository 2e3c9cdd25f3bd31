"""Configurations of two versions: what came later had its default before."""

from dataclasses import dataclass
from typing import Annotated

import pydantic
from pydantic import Field

from pacl_bench.validation.configs import NOT_GIVEN, defaults_of, differences, without_defaults


@dataclass(frozen=True)
class Settings:
    lr: float
    betas: tuple[float, float] = (0.9, 0.98)
    size: int | None = None


@pydantic.dataclasses.dataclass(frozen=True)
class Checked:
    purity: Annotated[float, Field(ge=0)] = 0.8
    scope: str = Field(default="across", description="of pairs")


class Encoder:
    name: str
    attention: str = "clip"


class Other(Encoder):
    pool: str = "mean"


def test_defaults_are_those_a_class_declares() -> None:
    assert defaults_of(Settings) == {"betas": [0.9, 0.98], "size": None}
    assert defaults_of(Checked) == {"purity": 0.8, "scope": "across"}
    assert defaults_of(Other) == {"attention": "clip", "pool": "mean"}


def test_a_setting_that_is_missing_had_its_default() -> None:
    defaults = {"size": None, "model": {"attention": "clip"}}
    then = {"lr": 0.1, "model": {"block": 3}}
    assert differences(then, {"lr": 0.1, "size": None, "model": {"block": 3, "attention": "clip"}}, defaults) == {}
    assert differences({"lr": 0.1, "size": None}, {"lr": 0.1}, defaults) == {}
    assert differences({"lr": 0.1, "model": {}}, {"lr": 0.1}, defaults) == {}
    found = differences(then, {"lr": 0.1, "size": 4, "model": {"block": 2, "attention": "sclip"}}, defaults)
    assert found == {"model.block": (3, 2), "model.attention": ("clip", "sclip"), "size": (None, 4)}


def test_a_setting_nobody_knows_is_a_difference() -> None:
    assert differences({"lr": 0.1, "rounds": 3}, {"lr": 0.1}, {"size": None}) == {"rounds": (3, NOT_GIVEN)}
    assert differences({}, {"lr": 0.1}, {}) == {"lr": (NOT_GIVEN, 0.1)}
    assert differences({"text": None}, {"text": {"name": "x"}}, {}) == {"text": (None, {"name": "x"})}


def test_what_stands_at_its_default_may_be_left_out() -> None:
    assert without_defaults({"lr": 0.1, "size": None, "kind": "linear"}, {"size": None, "kind": "x"}) == {
        "lr": 0.1,
        "kind": "linear",
    }
