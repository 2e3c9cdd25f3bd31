"""Records: whole or not there, read back tidy, NaN refused, damage named."""

import json
from pathlib import Path

import pytest

from pacl_bench import records
from pacl_bench.errors import UsageError
from pacl_bench.records import COLUMNS, Key, Measurement, Record


def record(**changes) -> Record:
    made = {
        "key": Key("patches", "pacl-clip-b16", "voc20"),
        "measurements": [
            Measurement("patch_accuracy", 0.75, "all-classes", 400, "", 0.7, 0.8, 0.05),
            Measurement("patch_recall", 0.5, "all-classes", 20, "cat"),
        ],
        "config": {
            "seed": 0,
            "settings": {"purity": 0.8},
            "model": {
                "encoder": {"name": "clip-b16", "sha256": "ab"},
                "text": {"name": "clip-b16"},
                "head": {"sha256": "cd", "train": {"seed": 3}},
            },
        },
        "provenance": {"device": "cpu", "seconds": 1.5, "commit": "abc", "created": "2026-11-23T00:00:00+00:00"},
    }
    return Record(**{**made, **changes})


def test_what_is_written_is_read(tmp_path: Path) -> None:
    file = records.write(tmp_path, record())
    assert file == tmp_path / "patches" / "pacl-clip-b16" / "voc20.default.json"
    assert records.read(file) == record()
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_tidy_rows(tmp_path: Path) -> None:
    records.write(tmp_path, record())
    table = records.load(tmp_path)
    assert list(table.columns) == COLUMNS
    row = table.iloc[0]
    assert (row.study, row.model, row.dataset, row.variant) == ("patches", "pacl-clip-b16", "voc20", "default")
    assert (row.protocol, row.metric, row.value, row.ci_low, row.ci_high) == (
        "all-classes",
        "patch_accuracy",
        0.75,
        0.7,
        0.8,
    )
    assert (row.n, row.chance, row.class_name, row.encoder, row["head"]) == (400, 0.05, "", "clip-b16", "cd")
    assert row.seed == 3  # of the training; an untrained model has the bootstrap's
    assert table.iloc[1].class_name == "cat"


def test_an_empty_folder_is_an_empty_table(tmp_path: Path) -> None:
    assert records.load(tmp_path / "nothing").empty


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_is_refused(tmp_path: Path, value: float) -> None:
    with pytest.raises(ValueError, match="patch_accuracy"):
        records.write(tmp_path, record(measurements=[Measurement("patch_accuracy", value, "all-classes", 1)]))
    with pytest.raises(ValueError, match="Out of range float"):
        records.write(tmp_path, record(config={"purity": value}))
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == []


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"schema": 1}', '{"schema": 1, "key": {"studdy": "x"}}', "\xff"])
def test_damage_is_named(tmp_path: Path, content: str) -> None:
    file = tmp_path / "study" / "broken.json"
    file.parent.mkdir()
    file.write_bytes(content.encode("latin-1"))
    with pytest.raises(UsageError, match=r"broken\.json is not a record"):
        records.load(tmp_path)


def test_another_schema_is_named(tmp_path: Path) -> None:
    file = records.write(tmp_path, record())
    file.write_text(json.dumps({**json.loads(file.read_text()), "schema": 99}))
    with pytest.raises(UsageError, match="another version"):
        records.read(file)


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("timm:vit@/a/b.pt?block=3", "timm-vit@-a-b.pt-block=3"),
        ("../../etc", "-.-..-etc"),
        (".hidden", "-hidden"),
        ("clip-b16", "clip-b16"),
    ],
)
def test_names_become_safe_paths(name: str, safe: str, tmp_path: Path) -> None:
    path = Key("s", name, "d").path
    assert path.parts[1] == safe.replace("@", "-")
    assert (tmp_path / path).resolve().is_relative_to(tmp_path.resolve())
