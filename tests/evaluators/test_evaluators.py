"""EVALUATORS is open: what an evaluator of one's own costs, here and in another package, and that it runs."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import pytest
from pydantic import Field
from pydantic.dataclasses import dataclass

from pacl_bench import evaluators, records
from pacl_bench.errors import UsageError
from pacl_bench.evaluators.base import Evaluator, Result
from pacl_bench.evaluators.sets import segmentation_sets
from pacl_bench.evaluators.settings import Settings
from pacl_bench.records import Measurement
from pacl_bench.studies.experiment import load_study
from pacl_bench.studies.runner import run_study
from pacl_bench.studies.study import Study
from pacl_bench.validation.values import STRICT


# An evaluator of one's own: these lines, and its entry in the table
@dataclass(frozen=True, config=STRICT)
class BrightnessSettings(Settings):
    channel: Annotated[int, Field(ge=0, le=2, description="0 red, 1 green, 2 blue.")] = 0
    shares: Annotated[tuple[Annotated[float, Field(ge=0, le=1)], ...], Field(strict=False, description="Of it.")] = ()


def brightness(model: Any, images: Any, settings: BrightnessSettings) -> Result:
    """How bright a channel of the first image is."""
    value = float(images.image(0).resize((1, 1)).getpixel((0, 0))[settings.channel]) / 255
    return Result([Measurement("brightness", value, "first image", 1)])


BRIGHTNESS = Evaluator(BrightnessSettings, segmentation_sets, brightness, needs_text=False)


def test_one_in_the_table_runs_from_a_study_file_to_a_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(evaluators.EVALUATORS, "brightness", BRIGHTNESS)
    file = tmp_path / "mine.toml"
    text = 'evaluator = "brightness"\nencoders = ["pixels"]\ndatasets = ["world-things"]\n[settings]\nchannel = {}\n'
    file.write_text(text.format(2))
    (record,) = run_study(load_study(file), tmp_path)
    assert record.key.path == Path("mine/pixels/world-things.channel=2.json")
    assert record.config["settings"] == {"channel": 2, "shares": []}
    assert 0 < record.measurements[0].value < 1
    assert records.read(tmp_path / "records" / record.key.path) == record
    file.write_text(text.format(3))
    with pytest.raises(UsageError, match=r"mine.toml: settings.channel = 3: should be less than or equal to 2\."):
        load_study(file)
    file.write_text(text.format(2).replace("brightness", "brightnes"))
    with pytest.raises(UsageError, match="Did you mean 'brightness'"):
        load_study(file)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, declares: Callable[..., None]) -> None:
    """Another package that adds evaluators, as its metadata would."""
    module = ModuleType("bright_package")
    module.brightness, module.nothing = BRIGHTNESS, 3  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "bright_package", module)
    places = {"brightness": "bright_package:brightness", "gone": "no_such_package:x", "odd": "bright_package:nothing"}
    points = [EntryPoint(name, place, evaluators.GROUP) for name, place in places.items()]
    declares(evaluators.GROUP, points)


def test_another_package_adds_one_with_a_command(
    installed: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pacl: Callable[..., tuple[int, str, str]]
) -> None:
    assert evaluators.find_evaluator("brightness") is BRIGHTNESS
    (found,) = run_study(Study("mine", "brightness", ["pixels"], [], ["world-things"]), tmp_path / "python")
    command = ["brightness", "--encoders", "pixels", "--datasets", "world-things", "--channel", "1", "--shares", "0,1"]

    code, out, _ = pacl(*command, "--results", str(tmp_path), "--json")
    (row,) = json.loads(out)
    assert (code, row["variant"], row["metric"]) == (0, "channel=1,shares=0+1", "brightness")
    assert row["value"] != found.measurements[0].value
    assert pacl(*command, "--channel", "2")[0] == 2
    monkeypatch.setenv("COLUMNS", "200")
    code, out, _ = pacl("brightness", "--help")
    assert code == 0
    assert "How bright a channel" in out
    assert "(from 0 to 2)" in out
    assert pacl("brightness", "--encoders", "pixels")[2] == "pacl-bench: Nothing to measure on: give --datasets.\n"


def test_what_cannot_be_loaded_is_one_line_and_harms_no_other(installed: None) -> None:
    with pytest.raises(UsageError, match="no_such_package:x does not import"):
        evaluators.find_evaluator("gone")
    with pytest.raises(UsageError, match=r"^evaluator odd: bright_package:nothing is no pacl_bench\.evaluators\."):
        evaluators.find_evaluator("odd")
    assert evaluators.find_evaluator("patches") is evaluators.EVALUATORS["patches"]


def test_an_evaluator_may_stand_in_for_that_of_the_table(tmp_path: Path) -> None:
    """As `segment --save-predictions` has it: the record is that of the table's evaluator."""
    settings = evaluators.EVALUATORS["coherence"].settings
    mine = replace(BRIGHTNESS, settings=settings, evaluate=lambda *given: brightness(*given[:2], BrightnessSettings()))
    study = Study("mine", "coherence", ["pixels"], [], ["world-things"])
    (record,) = run_study(study, tmp_path, evaluator=mine)
    assert record.config["evaluator"] == "coherence"
    assert record.measurements[0].metric == "brightness"
