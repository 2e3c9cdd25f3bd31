"""Writing a report: which files, what they say, and that a written one is still true."""

import csv
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from report_samples import coherence, confusion, head, of_block, patches, segment, typical

from pacl_bench import records
from pacl_bench.errors import RunError, UsageError
from pacl_bench.records import Record
from pacl_bench.report import SECTIONS, beside, check_report, write, write_report
from pacl_bench.report.published import published
from pacl_bench.report.write import FORMS

OF_PAPER = [name for name, section in SECTIONS.items() if section.of_paper]
WITH_TABLES = [name for name, section in SECTIONS.items() if not section.picture]


def written(results: Path, made: Iterable[Record], *forms: str, **given) -> Path:
    """The folder of a report on these records."""
    for record in made:
        records.write(results / "records", record)
    write_report(results, forms or ("md",), **given)
    return given.get("out", results / "report")


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def section(text: str, title: str) -> str:
    """What stands below the heading that starts so."""
    [found] = [part for part in text.split("\n## ") if part.startswith(title)]
    return found


def test_the_default_report_is_a_page_markdown_csv_and_figures(tmp_path: Path):
    for record in typical():
        records.write(tmp_path / "records", record)
    assert write_report(tmp_path) == tmp_path / "report" / "report.html"
    drawn = {"figure3.svg", "figure8.svg", "table3.svg"}
    tables = {f"{name}.csv" for name in WITH_TABLES} - {"layers.csv", "noise.csv", "training.csv"}
    assert set(names(tmp_path / "report")) == drawn | tables | {"report.html", "report.md"}
    rows = list(csv.DictReader((tmp_path / "tidy.csv").read_text().splitlines()))
    tidy = records.load(tmp_path / "records")
    assert len(rows) == len(tidy)
    assert [row["value"] for row in rows] == [str(value) for value in tidy["value"]]
    assert list(rows[0]) == list(tidy.columns)


@pytest.mark.parametrize("form", ["latex", "csv", "parquet", "svg", "pdf", "png"])
def test_each_form_writes_its_files_of_the_sections_chosen(tmp_path: Path, form: str):
    if form == "parquet":
        pytest.importorskip("pyarrow")
    folder = written(tmp_path, typical(), form, only=["table2", "figure3"], out=tmp_path / "paper")
    ending = {"latex": "tex"}.get(form, form)
    tables, figures = ["table2", "figure3"], ["figure3"]
    of_form = figures if form in ("svg", "pdf", "png") else tables
    assert names(folder) == sorted(f"{name}.{ending}" for name in of_form)
    assert not (tmp_path / "tidy.csv").exists()


def test_markdown_brings_its_figures_along(tmp_path: Path):
    folder = written(tmp_path, [coherence("m", 0.7)])
    assert names(folder) == ["figure3.svg", "report.md"]
    assert "](figure3.svg)" in (folder / "report.md").read_text()


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The Markdown of a report on typical records."""
    return (written(tmp_path_factory.mktemp("typical"), typical()) / "report.md").read_text()


def test_the_report_shows_measured_beside_published(text: str):
    assert "41.2 (36.3–46.1)" in section(text, "Table 1")
    assert "| PACL head, vits14 · 1,080 images | 17.7 (13.9–21.5) |" in section(text, "Table 2")
    for table in (1, 2, 3):
        for row in published(table):
            assert f"*{row.value:g}" in section(text, f"Table {table}").replace(".0*", "*")
    assert "Measured on voc20 (392 of 1,449 official images)." in section(text, "Table 1")


def test_what_was_measured_is_counted_in_a_line(tmp_path: Path):
    assert (
        "\n1 record of 1 model on 1 data set (1 segment)."
        in (written(tmp_path, [segment("m", 0.3)]) / "report.md").read_text()
    )
    more = written(tmp_path, [segment("n", 0.3), segment("n", 0.3, dataset="voc21")]) / "report.md"
    assert "3 records of 2 models on 2 data sets (3 segment)." in more.read_text()


def test_headlines_are_made_from_records(text: str):
    text = text.partition("\n## ")[0]
    assert (
        "Patch accuracy of clip-b16 on voc20, all-classes: 12.3 % before, 41.2 % after alignment (36.3–46.1; " in text
    )
    assert "Highest mIoU on voc20: " in text
    assert "Highest AUROC on voc20: clip-b16, 0.743 (0.733–0.753; chance 0.500)." in text


def test_two_protocols_that_disagree_are_told(tmp_path: Path):
    made = [segment("a", 0.3, head=head(patch_scale=1)), segment("b", 0.2, head=head())]
    made[1].measurements[1] = made[0].measurements[1].__class__("miou", 0.9, "present-miou, background=none", 392)
    text = section((written(tmp_path, made) / "report.md").read_text(), "Table 2")
    assert "Which model is best depends on the protocol. On voc20: PACL head" in text
    assert "patch\\_scale 1 under dataset-miou, background=none; PACL head" in text


@pytest.mark.parametrize("exists", [True, False])
def test_without_records_the_report_is_gaps_and_published_numbers(tmp_path: Path, exists: bool):
    if exists:
        (tmp_path / "records").mkdir()
    text = (written(tmp_path, []) / "report.md").read_text()
    for name in OF_PAPER:
        assert f"`{SECTIONS[name].command}`" in section(text, "What is missing")
    assert "| *96.51* |" in section(text, "Table 1")
    assert "![" not in text
    assert "No record yet." in text


def test_a_gap_is_told_for_its_section_only(tmp_path: Path):
    text = (written(tmp_path, [coherence("vits14", 0.7)]) / "report.md").read_text()
    assert "No record yet" not in section(text, "Figure 3")
    assert text.count("No record yet. Run:") == 3  # Tables 1 to 3, where published numbers stand
    assert SECTIONS["figure8"].command in section(text, "What is missing")
    assert SECTIONS["figure3"].command not in section(text, "What is missing")


def test_figures_of_an_earlier_report_do_not_outlive_their_records(tmp_path: Path):
    folder = written(tmp_path, [coherence("vits14", 0.7)], "png")
    assert (folder / "figure3.png").exists()
    (tmp_path / "records" / "coherence" / "vits14" / "voc20.default.json").unlink()
    written(tmp_path, [], "md")
    assert not (folder / "figure3.png").exists()


def test_the_order_of_records_does_not_matter(tmp_path: Path):
    made = [record for record in typical() if record.key.study != "classify"]
    one = written(tmp_path / "one", made, "html") / "report.html"
    other = written(tmp_path / "other", made[::-1], "html") / "report.html"
    assert one.read_text() == other.read_text()


def test_of_many_records_a_second_process_makes_the_same_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def contents() -> dict[str, bytes]:
        return {file.name: file.read_bytes() for file in [tmp_path / "tidy.csv", *(tmp_path / "report").iterdir()]}

    written(tmp_path, typical(), "html", "csv", "svg")
    alone = contents()
    monkeypatch.setattr(beside, "MANY", 1)
    write_report(tmp_path, ["html", "csv", "svg"])
    assert contents() == alone
    assert {"tidy.csv", "table2.csv", "figure3.svg"} < set(alone)
    shutil.rmtree(tmp_path / "report")
    (tmp_path / "tidy.csv").unlink()
    records.files(tmp_path)[-1].write_text("{")
    told = r"voc20\.default\.json is not a record"
    with pytest.raises(UsageError, match=told):
        write_report(tmp_path, ["csv"])
    monkeypatch.setattr(write, "read_runs", lambda folder, files: [])  # then only the second process meets the damage
    with pytest.raises(UsageError, match=told):
        write_report(tmp_path, ["csv"])
    assert names(tmp_path) == ["records"]


def test_provenance_names_models_data_code_and_machine(text: str):
    text = section(text, "Provenance")
    assert "| vits14 | vision | eeeeeeeeeeee | block=10, tap=post-norm, size=224 |" in text
    assert "| voc20 | 392 | 1,449 | dddddddddddd |" in text
    assert f"| {head()['sha256'][:12]} | PACL head | vits14 | minilm |" in text
    assert "0123456789ab | Linux x86\\_64, cpu, Python 3.11.7 | pacl-bench 0.1.0, torch 2.9.0 |" in text


def test_a_damaged_record_is_named_and_nothing_is_written(tmp_path: Path):
    records.write(tmp_path / "records", segment("m", 0.3))
    (tmp_path / "records" / "segment" / "m" / "voc21.default.json").write_text("{")
    with pytest.raises(UsageError, match=r"voc21\.default\.json"):
        write_report(tmp_path)
    assert names(tmp_path) == ["records"]


def test_a_copied_record_is_an_error_and_nothing_is_written(tmp_path: Path):
    file = records.write(tmp_path / "records", segment("m", 0.3))
    file.with_name("copy.json").write_text(file.read_text())
    with pytest.raises(UsageError, match=r"Two numbers for one cell .*copy\.json and .*voc20\.default\.json"):
        write_report(tmp_path)
    assert names(tmp_path) == ["records"]


def test_unknown_forms_and_sections_are_named(tmp_path: Path):
    with pytest.raises(UsageError, match="--format: Unknown form 'htlm'"):
        write_report(tmp_path, ["htlm"])
    with pytest.raises(UsageError, match="Did you mean 'table2'"):
        write_report(tmp_path, only=["tabel2"])


def test_blocks_and_classes_have_sections_of_their_own(tmp_path: Path):
    made = [of_block("clip-b16", block, 0.6 + block / 100) for block in range(3)]
    made += [confusion("clip-b16", 0.3, encoder="clip-b16", text="clip-b16")]
    folder = written(tmp_path, made, "md", "pdf")
    text = (folder / "report.md").read_text()
    assert "| clip-b16 | 0.600 (0.590–0.610) | 0.610 (0.600–0.620) | 0.620 (0.610–0.630) |" in section(
        text, "Coherence by block"
    )
    assert "clip-b16 block 1" not in section(text, "Figure 3")
    assert "| cat | 30.0 (25.0–35.0) |" in section(text, "Patches by class")
    for name in ("layers", "confusion"):
        assert f"]({name}.svg)" in text
        assert (folder / f"{name}.pdf").stat().st_size > 1000


def test_what_is_no_part_of_the_paper_is_not_missed(tmp_path: Path):
    text = (written(tmp_path, []) / "report.md").read_text()
    assert "Coherence by block" not in text


def test_a_true_report_passes_and_a_changed_one_is_named(tmp_path: Path):
    folder = written(tmp_path, [segment("m", 0.3, head=head())], "html", "md", "csv")
    check_report(tmp_path)
    records.write(tmp_path / "records", segment("m", 0.4, head=head()))
    with pytest.raises(RunError, match=r"report\.html differs from what its records give"):
        check_report(tmp_path)
    written(tmp_path, [], "html", "md", "csv")
    (folder / "table2.csv").write_text((folder / "table2.csv").read_text().replace("40.0", "50.0"))
    with pytest.raises(RunError, match=r"table2\.csv differs"):
        check_report(tmp_path)


def test_tidy_is_checked_with_the_tables(tmp_path: Path):
    written(tmp_path, [segment("m", 0.3, head=head())], "csv")
    tidy = tmp_path / "tidy.csv"
    tidy.write_text(tidy.read_text().replace("0.3", "0.4", 1))
    with pytest.raises(RunError, match=r"tidy\.csv differs"):
        check_report(tmp_path)


def test_a_report_is_checked_in_the_forms_it_was_written_in(tmp_path: Path):
    written(tmp_path, [segment("m", 0.3, head=head())], "html")
    check_report(tmp_path)


def test_drawings_of_another_matplotlib_are_no_change(tmp_path: Path):
    page = written(tmp_path, [coherence("m", 0.7)], "html", "md", "csv") / "report.html"
    page.write_text(page.read_text().replace("<path d=", "<path class='other' d="))
    check_report(tmp_path)


def test_no_report_and_a_stale_file_are_told(tmp_path: Path):
    with pytest.raises(RunError, match="holds no report to check"):
        check_report(tmp_path)
    folder = written(tmp_path, [segment("m", 0.3)], "html", "md", "csv")
    (folder / "table9.csv").write_text("x")
    with pytest.raises(RunError, match=r"table9\.csv is of no section that its records fill"):
        check_report(tmp_path)


def test_the_report_is_written_without_torch(tmp_path: Path):
    records.write(tmp_path / "records", coherence("vits14", 0.7))
    code = (
        "import sys; from pathlib import Path; from pacl_bench.report import write_report; "
        "write_report(Path(sys.argv[1])); "
        "sys.exit(', '.join({'torch', 'timm', 'open_clip', 'matplotlib.pyplot', 'sklearn'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_form_is_told_by_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "pacl_bench.cli", "report", "--help"], capture_output=True, text=True, check=True
    )
    assert all(form in done.stdout for form in FORMS)


def test_patches_of_a_copied_study_do_not_double(tmp_path: Path):
    made = [patches("m", 0.3, head=head()), patches("m", 0.3, head=head(), study="again")]
    text = section((written(tmp_path, made) / "report.md").read_text(), "Table 1")
    assert "1,080 images · study again" in text
