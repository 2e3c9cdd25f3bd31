from pathlib import Path

import numpy as np
import pytest
from full_disk import full_disk

from pacl_bench import image_counts, records
from pacl_bench.errors import UsageError
from pacl_bench.files import WriteError
from pacl_bench.image_counts import counts_file, packed, read_counts
from pacl_bench.records import Key, Measurement, Record

COUNTS = {"miou, a": np.arange(12).reshape(3, 2, 2), "miou, b": np.full((3, 2, 1), 0.25)}


def record(value: float = 0.5) -> Record:
    return Record(Key("s", "m", "d"), [Measurement("miou", value, "a", 3)], {}, {})


def test_they_are_read_back_with_their_record(tmp_path):
    file = records.write(tmp_path, record(), COUNTS)
    found = records.counts_of(records.read(file), file)
    assert {name: array.tolist() for name, array in found.items()} == {n: a.tolist() for n, a in COUNTS.items()}
    assert sorted(path.name for path in file.parent.iterdir()) == ["d.default.json", "d.default.npz"]


def test_the_record_knows_its_own(tmp_path):
    file = records.write(tmp_path, record(), COUNTS)
    other = records.write(tmp_path / "other", record(), {"miou, a": COUNTS["miou, a"] + 1})
    counts_file(other).replace(counts_file(file))
    with pytest.raises(UsageError, match=r"d\.default\.npz holds no counts of the record beside it"):
        records.counts_of(records.read(file), file)


def test_a_record_without_counts_leaves_no_others_beside_it(tmp_path):
    file = records.write(tmp_path, record(), COUNTS)
    records.write(tmp_path, record(0.6))
    assert not counts_file(file).exists()
    assert records.counts_of(records.read(file), file) == {}


def test_on_a_full_disk_the_old_record_stays_with_its_counts(tmp_path):
    file = records.write(tmp_path, record(), COUNTS)
    expected = image_counts.read_counts(counts_file(file), records.read(file).provenance["counts_sha256"])
    with full_disk(500), pytest.raises(WriteError):  # the record has room, its counts have none
        records.write(tmp_path, record(0.6), {"miou, a": np.random.default_rng(0).integers(0, 9, (300, 2, 1))})
    kept = records.read(file)
    assert kept.measurements[0].value == 0.5
    assert records.counts_of(kept, file).keys() == expected.keys()
    assert sorted(path.name for path in file.parent.iterdir()) == ["d.default.json", "d.default.npz"]


@pytest.mark.parametrize("is_there", [False, True])
@pytest.mark.parametrize("renames", [0, 1])
def test_killed_on_the_way_a_record_is_never_there_without_its_counts(tmp_path, monkeypatch, renames, is_there):
    """A process that is killed after none or one of the two files took its name."""
    if is_there:
        records.write(tmp_path, record(), COUNTS)
    rename, done = Path.replace, []

    def killed(path, target):
        if len(done) == renames:
            raise KeyboardInterrupt
        done.append(target)
        return rename(path, target)

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        records.write(tmp_path, record(0.6), {"miou, a": COUNTS["miou, a"] + 1})
    assert list(tmp_path.rglob("*.json")) == []  # measured again by the next run


def test_the_same_counts_are_the_same_bytes():
    assert packed(COUNTS) == packed(
        {name: array.astype(np.int64 if "a" in name else float) for name, array in COUNTS.items()}
    )


def test_the_file_is_bounded_and_what_matters_least_is_left_out(tmp_path, monkeypatch):
    random = np.random.default_rng(0).integers(0, 1 << 16, (3, 1000, 2, 10))
    counts = {name: random[at] for at, name in enumerate(["first", "second", "third"])}
    monkeypatch.setattr(image_counts, "MOST_BYTES", 100_000)
    content = packed(counts)
    assert len(content) < 100_000
    (tmp_path / "x.npz").write_bytes(content)
    assert list(read_counts(tmp_path / "x.npz", image_counts.digest(content))) == ["first", "second"]
