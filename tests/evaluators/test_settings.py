"""Settings: bounds, what they stand for on a data set, and that every one says what it is."""

from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import pytest
from pydantic import ValidationError

from pacl_bench.data.vocabulary import shipped_templates
from pacl_bench.errors import UsageError
from pacl_bench.evaluators import EVALUATORS
from pacl_bench.evaluators.settings import (
    ClassificationSettings,
    CoherenceSettings,
    PatchSettings,
    SegmentationSettings,
    Settings,
)
from pacl_bench.registry import text_hash
from pacl_bench.validation.values import as_option, made

PETS = SimpleNamespace(name="pets", classnames=["cat", "dog"], templates=[])


@pytest.mark.parametrize("evaluator", EVALUATORS)
def test_every_setting_has_a_default_and_a_meaning(evaluator: str) -> None:
    declared = EVALUATORS[evaluator].settings
    assert declared()  # all have defaults
    for name, field in declared.__pydantic_fields__.items():  # type: ignore[attr-defined]
        assert field.description, name


@pytest.mark.parametrize(
    ("declared", "given", "line"),
    [
        (PatchSettings, {"purity": -3}, "--purity -3: should be greater than or equal to 0."),
        (PatchSettings, {"size": 0}, "--size 0: should be greater than or equal to 1."),
        (PatchSettings, {"templates": "papr7"}, "--templates 'papr7': Unknown set of templates 'papr7'. Did you mean"),
        (PatchSettings, {"templates": "paper7,simple"}, "--templates 'paper7,simple': one is wanted."),
        (CoherenceSettings, {"scope": "foo"}, "--scope 'foo': should be 'across', 'within' or 'all'."),
        (CoherenceSettings, {"grid": 0}, "--grid 0: should be greater than or equal to 1."),
        (CoherenceSettings, {"keep_background": 1}, "--keep-background 1: should be a valid boolean."),
        (ClassificationSettings, {"templates": ""}, "--templates '': one is wanted."),
        (SegmentationSettings, {"thresholds": (1.2,)}, "--thresholds 1.2: should be less than or equal to 1."),
        (SegmentationSettings, {"thresholds": (0.1, 0.1000001)}, "two of them are one in the six digits"),
        (SegmentationSettings, {"thresholds": (0.5, 0.1, 0.5)}, "one of them stands there twice."),
        (SegmentationSettings, {"entropies": (1.0, 1.0)}, "one of them stands there twice."),
        (SegmentationSettings, {"thresholds": (float("nan"),)}, "--thresholds nan: should be a finite number."),
        (SegmentationSettings, {"entropies": (-1.0,)}, "--entropies -1.0: should be greater than or equal to 0."),
        (SegmentationSettings, {"overlap": 1.0}, "--overlap 1.0: should be less than 1."),
        (SegmentationSettings, {"scale": 0.0}, "--scale 0.0: should be greater than 0."),
        (SegmentationSettings, {"boundary": -1}, "--boundary -1: should be greater than or equal to 0."),
        (SegmentationSettings, {"vocabulary": "plian"}, "--vocabulary 'plian': Unknown vocabulary 'plian'. Did you"),
        (SegmentationSettings, {"vocabulary": " , "}, "--vocabulary ' , ': at least one is wanted."),
        (SegmentationSettings, {"templates": "a/x.txt,b/x.txt"}, "one of them stands there twice."),
    ],
)
def test_a_value_out_of_bounds_is_refused_wherever_it_comes_from(
    declared: type[Settings], given: dict, line: str
) -> None:
    with pytest.raises(UsageError) as raised:
        made(declared, given, as_option)
    assert line in str(raised.value)
    with pytest.raises(ValidationError):
        declared(**given)


def test_settings_say_what_their_names_stand_for_on_a_data_set(tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("cat, tabby\ndog\n")
    assert CoherenceSettings().resolve(PETS) == {}
    assert PatchSettings().resolve(PETS) == {"templates_hash": text_hash(shipped_templates("paper7"))}
    found = SegmentationSettings(templates="paper7,simple", vocabulary=f"plain,{names}").resolve(PETS)
    assert found == {
        "templates_hash": text_hash(shipped_templates("paper7") + shipped_templates("simple")),
        "vocabulary_hash": text_hash(["cat", "dog", "cat, tabby", "dog"]),
    }
    names.write_text("cat\ndog\n")
    assert SegmentationSettings(vocabulary=str(names)).resolve(PETS) != found
    own = SimpleNamespace(**{**vars(PETS), "templates": ["my {}."]})
    assert ClassificationSettings("own").resolve(own) == {"templates_hash": text_hash(["my {}."])}
    with pytest.raises(UsageError, match="pets has no templates of its own"):
        ClassificationSettings("own").resolve(PETS)


def test_the_order_of_settings_is_that_of_the_names_of_records() -> None:
    """ "purity=0.5,size=448": a field that moves renames records, so new ones come last."""
    found = {name: [field.name for field in fields(entry.settings)] for name, entry in EVALUATORS.items()}  # type: ignore[arg-type]
    order = {
        "patches": ["purity", "templates", "size"],
        "coherence": ["scope", "purity", "keep_background", "size", "grid"],
        "segment": [
            "templates", "vocabulary", "names", "thresholds", "entropies", "scale", "boundary", "size", "stride",
            "window", "overlap", "upsampling",
        ],
        "classify": ["templates"],
    }  # fmt: skip
    assert {name: found[name][: len(names)] for name, names in order.items()} == order
