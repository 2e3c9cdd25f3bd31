import csv
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
from report_samples import coherence, confusion, head, of_block, patches, segment, typical

from pacl_bench import records
from pacl_bench.errors import UsageError
from pacl_bench.records import Record
from pacl_bench.report import sections, write_report
from pacl_bench.report.page import page
from pacl_bench.report.published import published


def written(results: Path, made: Iterable[Record]) -> str:
    """The text of the report on these records, written with all its files below `results`."""
    for record in made:
        records.write(results / "records", record)
    return write_report(results).read_text()


def reported(made: Sequence[Record]) -> str:
    """The text alone, in a moment: drawing takes seconds."""
    return page(made, list(sections(made).values()))


def rows_of(file: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(file.read_text().splitlines()))


def section(text: str, title: str) -> str:
    """What stands below the heading that starts so."""
    [found] = [part for part in text.split("\n## ") if part.startswith(title)]
    return found


def test_the_report_shows_measured_beside_published():
    text = reported([*typical(), of_block("clip-b16", 0, 0.6)])
    assert "41.2 [36.3, 46.1]" in section(text, "Table 1")
    assert "dataset-miou, background=none | PACL head | vits14" in section(text, "Table 2")
    for table in (1, 2, 3):
        for row in published(table):
            assert f"| {row['value']:g}" in section(text, f"Table {table}").replace(".0 ", " ")
    assert "No record yet" not in text


def test_chance_and_images_used_stand_beside_the_numbers():
    text = reported(typical())
    assert "all-classes (chance 5.0)" in section(text, "Table 1")
    assert "chance 2.4" in section(text, "Table 2")
    assert "Measured on voc20 (392 of 1,449 official images)." in section(text, "Table 2")
    assert "cifar10 (chance 10.0)" in section(text, "Figure 8")


def test_every_file_is_there_and_figures_are_embedded(tmp_path: Path):
    text = written(tmp_path, typical())
    assert sorted(file.name for file in (tmp_path / "report").iterdir()) == [
        "confusion.csv", "figure3.csv", "figure3.pdf", "figure3.png", "figure8.csv", "figure8.pdf", "figure8.png",
        "layers.csv", "protocols.csv", "report.html", "report.md", "table1.csv", "table2.csv", "table3.csv",
    ]  # fmt: skip
    assert "](figure3.png)" in text
    assert "](figure8.pdf)" in text
    assert len(rows_of(tmp_path / "tidy.csv")) == len(records.load(tmp_path / "records"))


def test_csv_files_hold_numbers_and_sources(tmp_path: Path):
    written(tmp_path, [segment("pacl-vits14", 0.177, head=head())])
    rows = rows_of(tmp_path / "report" / "table2.csv")
    [pacl] = [row for row in rows if row["method"] == "CLIP + PACL"]
    assert (pacl["voc20"], pacl["source"]) == ("72.3", "PACL slides, Table 2")
    assert next(row for row in rows if row["model"] == "pacl-vits14")["voc20"] == "17.7"


@pytest.mark.parametrize("exists", [True, False])
def test_without_records_the_report_is_gaps_and_published_numbers(tmp_path: Path, exists: bool):
    if exists:
        (tmp_path / "records").mkdir()
    text = written(tmp_path, [])
    assert text.count("No record yet. Run: `pacl-bench ") == 7
    assert "No record yet. Run: `pacl-bench ablate`" in section(text, "Table 3")
    assert "| 96.51 |" in section(text, "Table 1")
    assert "![" not in text
    assert "0 of 10" in text


def test_a_gap_is_told_for_its_section_only():
    text = reported([coherence("vits14", 0.7)])
    assert "No record yet" not in section(text, "Figure 3")
    assert text.count("No record yet") == 6


def test_figures_of_an_earlier_report_do_not_outlive_their_records(tmp_path: Path):
    written(tmp_path, [coherence("vits14", 0.7)])
    (tmp_path / "records" / "coherence" / "vits14" / "voc20.default.json").unlink()
    written(tmp_path, [])
    assert not (tmp_path / "report" / "figure3.png").exists()


def test_the_order_of_records_does_not_matter():
    assert reported(typical()) == reported(typical()[::-1])


def test_what_all_measured_rows_share_is_said_once():
    text = section(reported([patches("m", 0.3, head=head())]), "Table 1")
    assert "In every measured row: dataset `voc20`" in text
    assert "| dataset |" not in text


def test_columns_that_tell_rows_apart_stay():
    made = [patches("m", 0.3, head=head(seed=0)), patches("m", 0.4, head=head(seed=1), variant="size=448")]
    text = section(reported(made), "Table 1")
    assert " | seed | " in text
    assert " | variant | " in text


def test_provenance_names_models_data_code_and_machine():
    text = section(reported(typical()), "Provenance")
    assert "| vits14 | vision | eeeeeeeeeeee | block=10, tap=post-norm, size=224 |" in text
    assert "| voc20 | 392 | 1,449 | dddddddddddd |" in text
    assert f"| {head()['sha256'][:12]} | PACL head | vits14 | minilm |" in text
    assert "0123456789ab | Linux x86_64, cpu, Python 3.11.7 | pacl-bench 0.1.0, torch 2.9.0 |" in text


def test_a_damaged_record_is_named_and_nothing_is_written(tmp_path: Path):
    records.write(tmp_path / "records", segment("m", 0.3))
    (tmp_path / "records" / "segment" / "m" / "voc21.default.json").write_text("{")
    with pytest.raises(UsageError, match=r"voc21\.default\.json"):
        write_report(tmp_path)
    assert not (tmp_path / "report").exists()


def test_blocks_and_classes_have_sections_of_their_own(tmp_path: Path):
    made = [of_block("clip-b16", block, 0.6 + block / 100) for block in range(3)]
    made += [confusion("clip-b16", 0.3, encoder="clip-b16", text="clip-b16")]
    text = written(tmp_path, made)
    assert "| clip-b16 | 0.600 [0.590, 0.610] | 0.610 [0.600, 0.620] | 0.620 [0.610, 0.630] |" in section(
        text, "Coherence by block"
    )
    assert "clip-b16 block 1" not in section(text, "Figure 3")
    assert "| cat | 30.0 [25.0, 35.0] |" in section(text, "Patches by class")
    for name in ("layers", "confusion"):
        assert f"]({name}.png)" in text
        assert (tmp_path / "report" / f"{name}.pdf").stat().st_size > 1000


def test_a_copied_record_is_an_error_and_nothing_is_written(tmp_path: Path):
    file = records.write(tmp_path / "records", segment("m", 0.3))
    file.with_name("copy.json").write_text(file.read_text())
    with pytest.raises(UsageError, match="Two numbers for one cell"):
        write_report(tmp_path)
    assert not (tmp_path / "report").exists()


def test_a_pipe_in_a_name_does_not_break_a_table():
    text = section(reported([segment("a|b", 0.3), segment("c", 0.3)]), "Table 2")
    assert "| a\\|b |" in text


def test_the_report_is_written_without_torch(tmp_path: Path):
    records.write(tmp_path / "records", coherence("vits14", 0.7))
    code = (
        "import sys; from pathlib import Path; from pacl_bench.report import write_report; "
        "write_report(Path(sys.argv[1])); "
        "sys.exit(', '.join({'torch', 'timm', 'open_clip', 'matplotlib.pyplot', 'sklearn'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
