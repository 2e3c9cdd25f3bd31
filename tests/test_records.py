"""Records: whole or not there, read back tidy, NaN refused, damage named."""

import json
import re
import subprocess
import sys
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
                "text": {"name": "clip-b16", "sha256": "ef"},
                "head": {"sha256": "cd", "patch_scale": 10.0, "step": 4, "train": {"pairs": "cc3m", "seed": 3}},
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


def test_nothing_to_load_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nothing: no such folder"):
        records.load(tmp_path / "nothing")
    with pytest.raises(UsageError, match="holds no records"):
        records.load(str(tmp_path))


def test_what_is_no_record_is_left_out(tmp_path: Path) -> None:
    """As in a quickstart's own folder: caches and cards of heads are JSON too."""
    records.write(tmp_path / "results" / "records", record())
    for name, content in (
        ("cache/tokens/ab/index.json", "[[1, 2], [3, 4]]"),
        ("cache/tokens/ab/about.json", '{"encoder": "clip-b16", "dataset": "voc20"}'),
        ("heads/h/head.json", '{"schema": 1, "name": "h", "provenance": {}}'),
        ("cache/torn.json", '{"encoder": '),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    (tmp_path / "results" / "records" / "patches" / "x.json").mkdir()  # a model may be called so
    assert len(records.load(tmp_path)) == len(records.load(tmp_path / "results")) == 2


def test_files_come_folder_by_folder(tmp_path: Path) -> None:
    """In the order of folders' names, in which "a" is before "a-b", as it is not where whole paths are compared."""
    for name in ("a-b/x.json", "a/x.json", "a/.x.json", "a.json", ".git/x.json", "a/x.txt"):
        file = tmp_path / "records" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    (tmp_path / "records" / "gone.json").symlink_to("nowhere")
    (tmp_path / "records" / "folder.json").mkdir()
    found = [str(file.relative_to(tmp_path / "records")) for file in records.files(tmp_path)]
    assert found == [".git/x.json", "a/x.json", "a-b/x.json", "a.json"]


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "null", "[" * 100_000])
def test_what_lies_where_records_do_is_damaged(tmp_path: Path, content: str) -> None:
    file = records.write(tmp_path / "records", record()).with_name("broken.json")
    file.write_text(content)
    for folder in (tmp_path, tmp_path / "records"):
        with pytest.raises(UsageError, match=r"broken\.json is not a record"):
            records.load(folder)


def test_a_record_elsewhere_is_known_by_its_keys(tmp_path: Path) -> None:
    file = records.write(tmp_path / "mine", record())
    whole = file.read_text()
    assert len(records.load(tmp_path)) == 2
    for damaged in (whole[:40], whole[:-10], whole.replace('"measurements"', '"measurement"')):
        file.write_text(damaged)
        with pytest.raises(UsageError, match=r"voc20\.default\.json is not a record"):
            records.load(tmp_path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_is_refused(tmp_path: Path, value: float) -> None:
    with pytest.raises(ValueError, match="patch_accuracy"):
        records.write(tmp_path, record(measurements=[Measurement("patch_accuracy", value, "all-classes", 1)]))
    with pytest.raises(ValueError, match="Out of range float"):
        records.write(tmp_path, record(config={"purity": value}))
    with pytest.raises(ValueError, match="the curve 'roc' has no points of 'tpr'"):
        records.write(tmp_path, record(curves={"roc": {"fpr": [0.0, 1.0]}}))
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
    whole = json.loads(file.read_text())
    file.write_text(json.dumps({**whole, "schema": 3}))
    newer = r"was written by a newer pacl-bench \(schema 3, this one reads up to 1\): update\.$"
    with pytest.raises(UsageError, match=newer):
        records.read(file)
    for none in ("1", None, 0, True):
        file.write_text(json.dumps({**whole, "schema": none}))
        with pytest.raises(UsageError, match="it has no schema number"):
            records.read(file)


@pytest.mark.parametrize(
    ("whole", "damaged", "line"),
    [
        ('"value": 0.75', '"value": "0.75"', "measurements.0.value: Input should be a valid number"),
        ('"value": 0.75', '"value": NaN', "measurements.0.value: Input should be a finite number"),
        ('"value": 0.75', '"value": 1e999', "measurements.0.value: Input should be a finite number"),
        ('"value": 0.75', '"value": 1' + 400 * "0", "a number of 401 digits"),
        ('"purity": 0.8', '"purity": NaN', "config.settings.purity"),
        ('"n": 400', '"n": true', "measurements.0.n: Input should be a valid integer"),
        ('"n": 400', '"n": 400, "n": 4', "the key 'n' stands there twice"),
        ('"ci_low": 0.7', '"ci_low": null', "an interval has two ends"),
        ('"patch_scale": 10.0', '"scale": 10.0', "config.model.head.patch_scale: Field required"),
        ('"device": "cpu"', '"device": {}', "provenance.device: Input should be a valid string"),
        ('"sha256": "ab"', '"sha256": "\\ud800"', "surrogates not allowed"),
        ('"curves": {}', '"curves": {"roc": {"fpr": [0]}}', "the curve 'roc' has no points of 'tpr'"),
        ('"curves": {}', '"curves": {"x": {"a": [0], "b": []}}', "axes of the curve 'x' have different numbers"),
        ('"seed": 3', '"seed": ' + '[' * 900 + ']' * 900, "config.model.head.train.seed"),
        ('"seed": 3', '"seed": 3, "x": ' + '[' * 900 + ']' * 900, "config.model.head.train"),
        ('"config"', '"configuration"', "config: Field required"),
    ],
)  # fmt: skip
def test_what_is_wrong_within_is_told_in_one_line(tmp_path: Path, whole: str, damaged: str, line: str) -> None:
    file = records.write(tmp_path, record())
    assert whole in file.read_text()
    file.write_text(file.read_text().replace(whole, damaged, 1))
    with pytest.raises(UsageError, match=re.escape(line)) as told:
        records.read(file)
    assert str(told.value).startswith(f"{file} is not a record (")
    assert "\n" not in str(told.value)


def test_whole_numbers_are_read_as_fractions(tmp_path: Path) -> None:
    """Where another program wrote 1 for 1.0, as jq does."""
    file = records.write(tmp_path, record(measurements=[Measurement("top1", 1.0, "zero-shot", 4, "", 1.0, 1.0, 1.0)]))
    file.write_text(file.read_text().replace("1.0", "1"))
    (found,) = records.read(file).measurements
    assert isinstance(found.value, float)
    assert found.ci_low == 1


def test_a_byte_order_mark_and_accents_are_read(tmp_path: Path) -> None:
    file = records.write(tmp_path, record(key=Key("café", "模型 🦓", "voc20")))
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert records.read(file).key.model == "模型 🦓"
    file.write_bytes(file.read_bytes().decode().encode("utf-16"))
    with pytest.raises(UsageError, match="is not a record"):
        records.read(file)
    with pytest.raises(UsageError, match="is not a record"):
        records.read(file.parent)


def test_they_start_without_what_checks_them() -> None:
    """pydantic takes longer to import than everything else here; cards and recipes start without torch."""
    code = "import sys, pacl_bench.records; sys.exit('pydantic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    code = "import sys, pacl_bench.validation.schema, pacl_bench.training.recipe; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_committed_record_is_read() -> None:
    results = Path(__file__).parents[1] / "results"
    if not results.is_dir():
        pytest.skip("results/ is in the repository alone")
    assert len(list(records.read_all(results))) > 200


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
