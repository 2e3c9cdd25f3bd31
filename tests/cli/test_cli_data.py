"""pacl-bench data: tables, JSON, exit codes, one line an error."""

import json
from functools import partial
from pathlib import Path

import pytest

from pacl_bench.cli import catalog as listing
from pacl_bench.data.tools.downloads import DOWNLOADS


@pytest.fixture
def pacl(pacl):
    """The commands of `pacl-bench data`."""
    return partial(pacl, "data")


def test_check_says_what_is_wrong_and_exits_with_1(pacl, voc: Path) -> None:
    code, out, err = pacl("check", "voc20,voc21")
    assert (code, err) == (0, "")
    assert "officially 1,449" in out
    file = sorted((voc / "JPEGImages").iterdir())[0]
    file.write_bytes(b"")
    code, out, err = pacl("check", "voc20")
    assert (code, err) == (1, "pacl-bench: Not whole: voc20.\n")
    assert f"images: {file}" in out
    assert "Fetch or unpack these files again" in out
    code, out, _ = pacl("check", "voc20", "--json")
    rows = {row["check"]: row for row in json.loads(out)}
    assert (code, rows["images"]["result"], rows["count"]["result"]) == (1, "FAILED", "warning")
    assert set(rows["images"]) == {"name", "check", "result", "detail", "examples", "way_out"}


def test_one_that_is_not_there_does_not_stop_the_others(pacl, voc: Path) -> None:
    code, out, err = pacl("check", "dtd,voc20")
    assert (code, "label maps" in out) == (2, True)
    assert err.startswith("pacl-bench: dtd: ")
    assert err.count("\n") == 1
    code, out, err = pacl("check", "voc20,vok20")
    assert (code, out) == (2, "")
    assert "Did you mean 'voc20'?" in err


def test_nothing_to_check(pacl) -> None:
    assert pacl("check", " ,")[0] == 2


def test_names_are_printed_as_they_are(pacl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rich makes a smiley of :ok: where it is let."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ok").mkdir()
    code, out, _ = pacl("check", "folder:ok")
    assert code == 1
    assert "folder:ok:" in out


def test_where_names_folders_and_steps(pacl, voc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, _ = pacl("where")
    assert code == 0
    assert "PACL_CACHE" in out
    code, out, _ = pacl("where", "--json")
    rows = {row["name"]: row for row in json.loads(out)}
    assert (rows["voc20"]["found"], rows["voc20"]["folder"]) == ("yes", str(voc))
    assert rows["voc20"]["space"].endswith("kB")
    assert rows["dtd"]["found"] == "no"
    monkeypatch.delitem(DOWNLOADS, "dtd")  # as if its owners asked for a signature
    code, where, _ = pacl("where", "dtd")
    assert code == 0
    code, fetched, err = pacl("fetch", "dtd")
    assert code == 2
    assert err.count("\n") == 1
    assert "1. Get it from robots.ox.ac.uk/~vgg/data/dtd" in fetched
    assert fetched in where  # the same steps
    code, out, _ = pacl("where", "dtd", "--json")
    assert json.loads(out)[0]["steps"][0].startswith("Get it from")


def test_fetch_leaves_alone_what_is_there(pacl, voc: Path) -> None:
    code, out, _ = pacl("fetch", "voc20")
    assert code == 0
    assert f"{voc} was there already" in out


@pytest.mark.parametrize("command", ["check", "fetch", "where"])
def test_unknown_names(pacl, command: str) -> None:
    code, out, err = pacl(command, "flickr8")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "Did you mean 'flickr8k'?" in err


def test_a_file_in_place_of_the_data_root(pacl, tmp_path: Path) -> None:
    file = tmp_path / "data"
    file.write_text("")
    code, _, err = pacl("fetch", "dtd", "--data-root", str(file))
    assert (code, err.count("\n")) == (1, 1)
    assert str(file) in err
    code, _, err = pacl("check", "dtd", "--data-root", str(file))
    assert (code, err.count("\n")) == (2, 1)


def test_readme_table_has_a_row_a_set() -> None:
    header, _, *rows = listing.data_table().splitlines()
    assert header.startswith("| set | for |")
    assert len({row.split("|")[1] for row in rows}) == len(rows)
    assert all(row.count("|") == header.count("|") for row in rows)
    assert "| `voc20` | segmentation | 1,449 | 20 | `pacl-bench data fetch voc20` | 2 GB |" in listing.data_table()
