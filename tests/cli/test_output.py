"""What a command prints in the end: a summary that fits 80 columns, or everything."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from report_samples import coherence, head, segment

from pacl_bench.cli.output import WIDTH, print_records, print_rows, summary_lines
from pacl_bench.records import Record


@pytest.fixture
def found() -> list[Record]:
    long = "pacl-clip-b16.cc12m+yfcc15m.temperature=0.1.learn_temperature=False.seed1"
    return [segment("clip-b16", 0.1), segment(long, 0.3, head=head()), coherence("dino-b16", 0.7)]


def test_the_headline_numbers_with_interval_and_chance(found: list[Record]):
    lines = "\n".join(summary_lines(found)).split("\n")
    assert max(map(len, lines)) <= WIDTH
    assert lines[0].startswith("voc20 · miou · dataset-miou, background=none")
    assert "clip-b16 10.0 % 7.0 % to 13.0 % 2.4 %" in [" ".join(line.split()) for line in lines]
    assert any("0.700    0.690 to 0.710    0.500" in line for line in lines)
    assert lines[-1] == "4 numbers more: --all, or --json"


def test_records_of_another_study_stand_apart(found: list[Record]):
    other = replace(found[0], key=replace(found[0].key, study="ablate"))
    heads = [line for line in summary_lines([found[0], other]) if "miou" in line]
    assert [head.partition(" ·")[0] for head in heads] == ["voc20", "ablate"]


def test_it_says_where_record_and_report_are(found: list[Record], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    print_records(found[:1], tmp_path)
    printed = capsys.readouterr().out
    assert f"Records: {tmp_path}/records/segment/clip-b16/voc20.default.json\n" in printed
    assert f"Report:  pacl-bench report --results {tmp_path}\n" in printed
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "report.html").touch()
    print_records(found, tmp_path)
    printed = capsys.readouterr().out
    assert f"Records: {tmp_path}/records (3 files)\n" in printed
    assert f"Report:  {tmp_path}/report/report.html\n" in printed


def test_all_numbers_on_request(found: list[Record], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    print_records(found[:1], tmp_path, everything=True)
    assert "pixel_accuracy" in capsys.readouterr().out
    print_records(found[:1], tmp_path, as_json=True)
    assert len(json.loads(capsys.readouterr().out)) == 4


def test_of_many_lines_the_rest_is_counted(tmp_path: Path):
    lines = summary_lines([segment(f"m{at}", 0.3) for at in range(100)])
    assert "... and 42 lines more: --all" in lines


ROWS = [
    {"name": "sclip", "size": 1336, "scale": None, "steps": "resize=mmseg, window=224, remainder=drop, softmax=names"},
    {"name": "naclip:ok:", "size": 448, "scale": 50, "steps": "resize=mmseg"},
]


def printed_in_a_terminal(columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> list[str]:
    for variable, value in {"FORCE_COLOR": "1", "NO_COLOR": "1", "TERM": "xterm", "COLUMNS": str(columns)}.items():
        monkeypatch.setenv(variable, value)
    print_rows(ROWS, "protocols", as_json=False)
    return [re.sub(r"\x1b.*?m", "", line).rstrip() for line in capsys.readouterr().out.splitlines()]


def test_rows_are_a_table_where_no_word_is_torn(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    lines = printed_in_a_terminal(72, monkeypatch, capsys)
    assert lines[1].split() == ["name", "size", "scale", "steps"]
    assert lines[2].split() == ["sclip", "1,336", "resize=mmseg,", "window=224,", "remainder=drop,"]


def test_where_words_would_be_torn_rows_stand_below_each_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    assert printed_in_a_terminal(36, monkeypatch, capsys) == [
        "protocols",
        "",
        "sclip",
        "  size: 1,336",
        "  steps: resize=mmseg, window=224,",
        "  remainder=drop, softmax=names",
        "",
        "naclip:ok:",
        "  size: 448 · scale: 50 · steps:",
        "  resize=mmseg",
    ]
