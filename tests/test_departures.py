"""docs/departures.py: what single departures from a protocol cost, from the records of a study."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from report_samples import record

from pacl_bench.records import Measurement, Record

FILE = Path(__file__).parents[1] / "docs" / "departures.py"


@pytest.fixture(scope="module")
def departures() -> ModuleType:
    spec = importlib.util.spec_from_file_location("departures", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def measured(miou: float, but: str, model: str = "sclip") -> Record:
    """Under SCLIP's protocol but for some steps; with the IoU of a class, which is no mIoU."""
    protocol = f"dataset-miou, protocol=sclip{but and ', but '}{but}"
    values = [Measurement("miou", miou, protocol, 30), Measurement("miou", 0.9, protocol, 30, "cat")]
    made = record("segment", model, values, dataset="voc21")
    made.config["model"]["encoder"]["attention"] = model
    return made


def test_rows_name_what_departs_from_the_protocol_and_what_that_costs(departures: ModuleType) -> None:
    """Steps that all of a study has are its protocol: the built-in world's size."""
    study = [
        measured(0.13, "resize=pillow, size=96"),
        measured(0.1225, "size=96"),
        measured(0.12, "size=64"),
        measured(0.15, "size=96", model="naclip"),
        measured(0.1, "size=96, area=None, background=threshold=0.1"),
    ]
    rows = departures.rows(study)
    assert [(row["departure"], row["miou"], row["change"]) for row in rows] == [
        ("", "12.25", "+0.00"),
        ("resize=pillow", "13.00", "+0.75"),
        ("size=64", "12.00", "-0.25"),
        ("attention=naclip", "15.00", "+2.75"),
        ("area=None, background=threshold=0.1", "10.00", "-2.25"),
    ]
    assert {(row["data set"], row["images"]) for row in rows} == {("voc21", 30)}
    assert rows[0]["protocol"] == "sclip, but size=96"


def test_a_study_of_the_protocol_as_it_is(departures: ModuleType) -> None:
    rows = departures.rows([measured(0.2, "scale=40"), measured(0.25, ""), measured(0.3, "window=whole")])
    assert [(row["departure"], row["change"]) for row in rows] == [
        ("", "+0.00"),
        ("scale=40", "-5.00"),
        ("window=whole", "+5.00"),
    ]
