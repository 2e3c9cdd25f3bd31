"""Records by the thousand: the same as read one by one, and what they say alike is one object."""

import json
from pathlib import Path

import pytest
from report_samples import coherence, confusion, head, segment, typical

from pacl_bench import records
from pacl_bench.errors import UsageError
from pacl_bench.validation.many_records import ManyRecords, read_quickly

FROZEN = Path(__file__).parents[1] / "frozen" / "v1" / "records"


def test_what_this_program_writes_is_read_by_its_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [*typical(), confusion("m", 0.5)]
    files = [records.write(tmp_path, record) for record in made]
    alone = list(map(records.read, files))
    monkeypatch.setattr(records, "read", lambda file: pytest.fail(f"{file} was read the slow way"))
    assert list(map(ManyRecords().read, files)) == alone


def test_records_of_earlier_versions_are_read(tmp_path: Path) -> None:
    files = records.files(FROZEN)
    assert list(map(ManyRecords().read, files)) == list(map(records.read, files))
    old = json.loads(records.write(tmp_path, segment("m", 0.3)).read_text())
    del old["curves"], old["measurements"][0]["chance"]
    [file] = records.files(tmp_path)
    file.write_text(json.dumps(old, separators=(" , ", " : ")))
    assert ManyRecords().read(file) == records.read(file)


def test_what_two_records_say_alike_is_one_object(tmp_path: Path) -> None:
    one, other = (segment("m", 0.3, dataset=name, head=head()) for name in ("voc20", "voc21"))
    many = ManyRecords()
    first, second = (many.read(records.write(tmp_path, record)) for record in (one, other))
    assert first.config["model"] is second.config["model"]
    assert first.config["dataset"] is not second.config["dataset"]


def test_only_the_measurements_that_are_wanted_are_kept(tmp_path: Path) -> None:
    file = records.write(tmp_path, coherence("m", 0.7))
    old = tmp_path / "old.json"
    old.write_text(file.read_text().replace('"n":', '"n" :'))  # is read the slow way
    for one in (file, old):
        kept = ManyRecords(keeps=lambda row: row.metric == "auroc").read(one).measurements
        assert [row.metric for row in kept] == ["auroc"]


@pytest.mark.parametrize(
    ("whole", "damaged", "line"),
    [
        ('"n": 392', '"n": 392, "n": 4', "the key 'n' stands there twice"),
        ('"seed": 0', '"seed": 0, "seed": 1', "the key 'seed' stands there twice"),
        ('"study":', '"variant": "x", "study":', "the key 'variant' stands there twice"),
        ('"value": 0.3', '"value": NaN', "measurements.0.value: Input should be a finite number"),
        ('"ci_high": null', '"ci_high": 0.4', "an interval has two ends"),
        ('"schema": 1', '"schema": 2', "written by a newer pacl-bench"),
    ],
)
def test_what_is_wrong_is_told_as_for_one(tmp_path: Path, whole: str, damaged: str, line: str) -> None:
    file = records.write(tmp_path, segment("m", 0.3, head=head()))
    assert whole in file.read_text()
    file.write_text(file.read_text().replace(whole, damaged, 1))
    with pytest.raises(UsageError, match=line):
        ManyRecords().read(file)


def test_only_what_the_quick_way_refuses_is_left_to_the_slow_one(tmp_path: Path) -> None:
    long, odd = tmp_path / "long.json", tmp_path / "odd.json"
    long.write_bytes(b"[" + b"1,\n" * (1 << 20) + b"1]")
    odd.write_bytes(b"{")
    for file, told in (
        (long, 1),
        (odd, "odd.json"),
        (tmp_path / "missing.json", "missing.json"),
        (tmp_path, tmp_path.name),
    ):
        assert read_quickly(file, lambda content: json.loads(content)[-1], lambda file: file.name) == told
