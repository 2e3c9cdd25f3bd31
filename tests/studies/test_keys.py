"""Names that stand for two things: each keeps its records, whatever was measured first."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pacl_bench import records
from pacl_bench.partial_files import PARTIAL
from pacl_bench.records import Key, Measurement, Record
from pacl_bench.studies.keys import own_key

KEY = Key("segment", "h", "m5")


def model(head: str | None = "a", encoder: str = "e", **settings: Any) -> dict[str, Any]:
    described = {"sha256": head, "patch_scale": 1.0, "step": 4, "train": {"pairs": "cc3m", "seed": 1}} if head else None
    return {
        "encoder": {"name": "clip", "sha256": encoder, **settings},
        "text": {"name": "clip", "sha256": "t"},
        "head": described,
    }


def dataset(fingerprint: str = "f", images: int = 5, classnames_hash: str = "c") -> dict[str, Any]:
    return {"fingerprint": fingerprint, "official_images": images, "classnames_hash": classnames_hash}


def record(folder: Path, key: Key, of_model: dict[str, Any], of_dataset: dict[str, Any]) -> None:
    measured = [Measurement("miou", 0.5, "dataset-miou", 5)]
    records.write(folder, Record(key, measured, {"model": of_model, "dataset": of_dataset}, {}))


def test_a_name_is_plain_until_another_thing_has_it(tmp_path: Path) -> None:
    first, variant = model(block=2), replace(KEY, variant="size=64")
    assert own_key(tmp_path, KEY, first, dataset(), False) == KEY
    record(tmp_path, KEY, first, dataset())
    for key in (KEY, variant):
        assert own_key(tmp_path, key, first, dataset(), False) == key
        for other in (model("b", block=2), model(encoder="another", block=2), model(None, block=2), model(block=3)):
            found = own_key(tmp_path, key, other, dataset(), False)
            assert re.fullmatch("h-[0-9a-f]{8}", found.model)
            assert replace(found, model="h") == key


def test_half_of_a_record_is_not_read(tmp_path: Path) -> None:
    """Another process writes it, or was killed when it did."""
    folder = (tmp_path / KEY.path).parent
    folder.mkdir(parents=True)
    (folder / f"{PARTIAL}0123456789ab.json").touch()
    assert own_key(tmp_path, KEY, model(), dataset(), False) == KEY


def test_a_model_has_one_name_on_all_data_sets(tmp_path: Path) -> None:
    """Were a name free wherever its owner was not measured yet, a table's row would mix two heads."""
    record(tmp_path, KEY, model("a"), dataset())
    elsewhere = replace(KEY, dataset="voc20")
    assert own_key(tmp_path, elsewhere, model("b"), dataset("v"), True).model != "h"
    assert own_key(tmp_path, elsewhere, model("a"), dataset("v"), True) == elsewhere
    assert own_key(tmp_path, replace(KEY, study="patches"), model("b"), dataset(), False).model == "h"


def test_a_users_own_data_set_is_known_by_its_files(tmp_path: Path) -> None:
    record(tmp_path, replace(KEY, dataset="m5.v2"), model(), dataset("another"))
    assert own_key(tmp_path, KEY, model(), dataset(), False) == KEY
    record(tmp_path, KEY, model(), dataset())
    for other in (dataset("g"), dataset("f", classnames_hash="d")):
        key = own_key(tmp_path, KEY, model(), other, False)
        assert key.dataset.startswith("m5-")
        assert own_key(tmp_path, replace(KEY, model="x"), model("x"), other, False).dataset == key.dataset
    assert own_key(tmp_path, KEY, model(), dataset("g", images=6), True).dataset.startswith("m5-")


def test_a_set_of_our_tables_is_one_however_many_of_its_images_are_there(tmp_path: Path) -> None:
    record(tmp_path, KEY, model(), dataset("all of it"))
    assert own_key(tmp_path, KEY, model(), dataset("a part"), True) == KEY


def test_a_setting_that_was_not_recorded_yet_tells_nothing_apart(tmp_path: Path) -> None:
    record(tmp_path, KEY, model(), dataset())
    assert own_key(tmp_path, KEY, model(architecture="vit"), dataset(), False) == KEY


@pytest.mark.parametrize("name", ["a/b", "../x", "ü [1]"])
def test_names_that_are_no_file_names(tmp_path: Path, name: str) -> None:
    key = Key("s", name, name)
    record(tmp_path, key, model(), dataset())
    assert own_key(tmp_path, key, model(), dataset(), False) == key
    other = own_key(tmp_path, key, model("b"), dataset("g"), False)
    assert other.model.startswith(f"{name}-")
    assert other.dataset.startswith(f"{name}-")
    record(tmp_path, other, model("b"), dataset("g"))
    assert own_key(tmp_path, key, model("b"), dataset("g"), False) == other
    assert own_key(tmp_path, key, model(), dataset(), False) == key
