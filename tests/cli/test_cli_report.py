"""The command `report`: forms, sections, folder, and the check."""

import subprocess
import sys
from pathlib import Path

import pytest
from report_samples import head, segment

from pacl_bench import records


def report(results: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pacl_bench.cli", "report", "--results", str(results), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    records.write(tmp_path / "records", segment("m", 0.3, head=head()))
    return tmp_path


def test_it_says_where_the_page_is_and_checks_it(results: Path):
    done = report(results)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{results / 'report' / 'report.html'}\n", "")
    assert report(results, "--check").returncode == 0
    records.write(results / "records", segment("m", 0.4, head=head()))
    done = report(results, "--check")
    assert done.returncode == 1
    assert "report.html differs from what its records give" in done.stderr
    assert done.stderr.count("\n") == 1


def test_forms_and_sections_go_where_they_are_wanted(results: Path, tmp_path: Path):
    done = report(results, "--format", "latex,csv", "--only", "table2", "--out", str(tmp_path / "paper"))
    assert done.stdout == f"{tmp_path / 'paper'}\n"
    assert sorted(file.name for file in (tmp_path / "paper").iterdir()) == ["table2.csv", "table2.tex"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--format", "htlm"], "--format: Unknown form 'htlm'. Did you mean 'html'?"),
        (["--only", "tabel2"], "Unknown section 'tabel2'. Did you mean 'table2'?"),
    ],
)
def test_a_wrong_word_is_one_line(results: Path, words: list[str], said: str):
    done = report(results, *words)
    assert (done.returncode, done.stderr) == (2, f"pacl-bench: {said}\n")
    assert not (results / "report").exists()
    assert report(results / "nothing", *words).stderr == done.stderr  # before records are looked for


def test_a_wrong_form_of_a_comparison_is_told_before_its_sides_are_looked_for(tmp_path: Path):
    done = report(tmp_path, "--compare", "a", "b", "--format", "htlm")
    assert (done.returncode, done.stderr) == (2, "pacl-bench: --format: Unknown form 'htlm'. Did you mean 'html'?\n")


def test_without_records_it_says_what_is_missing(tmp_path: Path):
    done = report(tmp_path)
    assert done.returncode == 2
    assert "holds no records/" in done.stderr
