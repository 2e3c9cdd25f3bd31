"""The forms of a table: Markdown, LaTeX that compiles, csv, Parquet, and names that are no markup."""

import shutil
import subprocess
from io import BytesIO
from pathlib import Path

import pandas as pd
import pytest
from report_samples import head, segment, typical

from pacl_bench.errors import UsageError
from pacl_bench.report import all_tables, table
from pacl_bench.report.forms import to_csv, to_html, to_latex, to_markdown, to_parquet
from pacl_bench.report.lines import ALL_MODELS
from pacl_bench.report.page import Made, latex_page
from pacl_bench.report.sections import SECTIONS

NASTY = "<b>a|b_c & 100 % $x^2$ #1 {~}\\"
DOCUMENT = r"""\documentclass{{article}}
\usepackage[T1]{{fontenc}}
\usepackage[landscape,margin=1cm]{{geometry}}
\usepackage{{booktabs,multirow}}
\begin{{document}}
\footnotesize
{}
\end{{document}}
"""


def nasty() -> list:
    """A model and a data set whose names are markup everywhere."""
    made = segment(NASTY, 0.3, encoder=NASTY, dataset=NASTY)
    return [made, segment("m", 0.2, head=head(), dataset=NASTY), segment("m", 0.4, head=head(), variant="stride=4")]


def test_markdown_tells_interval_chance_and_the_best():
    made = [segment("m", 0.3, head=head()), segment("n", 0.2, head=head(patch_scale=1))]
    text = to_markdown(table("table2", made, view=ALL_MODELS))
    assert "| Model | voc20<br>chance 2.4 · n 392† |" in text
    assert "| PACL head, 1,080 images · patch\\_scale 10 | **30.0** (25.5–34.5) |" in text
    assert "| PACL head, 1,080 images · patch\\_scale 1 | 20.0 (16.0–24.0) |" in text


def test_published_numbers_are_in_italics():
    assert "| LSeg, ViT-L/16 · seen classes annotated | *52.3* | – | – | – |" in to_markdown(table("table2", []))


def test_every_line_of_a_markdown_table_has_the_same_number_of_cells():
    for one in all_tables("table2", nasty()):
        rows = to_markdown(one).strip().splitlines()
        assert {len(row.replace("\\|", "").split("|")) for row in rows} == {len(one.columns) + 3}


def test_no_name_is_markup_in_html():
    text = "".join(to_html(one) for one in all_tables("table2", nasty()))
    assert "<b>a|b" not in text
    assert "&lt;b&gt;a|b" in text


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex here")
def test_latex_compiles(tmp_path: Path):
    made = [*typical(), *nasty()]
    pages = [latex_page(Made(name, section, all_tables(name, made))) for name, section in SECTIONS.items()]
    (tmp_path / "all.tex").write_text(DOCUMENT.format("\n".join(pages)), encoding="utf-8")
    run = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout.decode("latin-1")[-2000:]
    assert (tmp_path / "all.pdf").stat().st_size > 10_000


def test_latex_says_what_leads_and_what_is_printed():
    made = [segment("m", 0.3, head=head()), segment("n", 0.2, head=head(patch_scale=1))]
    text = to_latex(table("table2", made), "A caption", "tab:x")
    assert r"\underline{30.0} {\scriptsize 25.5--34.5}" in text
    assert r"\textit{72.3}" in text
    assert r"\toprule" in text
    made += [segment("m", 0.4, head=head(), variant="stride=4")]
    assert r"\multirow[t]{2}{*}{PACL head}" in to_latex(table("table2", made), "A caption", "tab:x")


def test_csv_and_parquet_hold_the_same_numbers():
    pytest.importorskip("pyarrow")
    tables = all_tables("table2", typical())
    csv, parquet = pd.read_csv(BytesIO(to_csv(tables))), pd.read_parquet(BytesIO(to_parquet(tables)))
    assert len(csv) == len(parquet) > 50
    pd.testing.assert_series_equal(csv["value"], parquet["value"].round(6))
    [pacl] = csv[(csv.line == "CLIP + PACL") & (csv.column == "ade150")].drop_duplicates("value").to_dict("records")
    assert (pacl["value"], pacl["kind"]) == (31.4, "published")
    assert pacl["source"].startswith("PACL slides, Table 2")


def test_without_pyarrow_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r"pip install 'pacl-bench\[parquet\]'"):
        to_parquet(all_tables("table2", []))


def test_five_seeds_are_dots_on_the_bar():
    made = [segment(f"m{seed}", 0.2 + seed / 100, head=head(seed=seed)) for seed in range(5)]
    assert to_html(table("table2", made, view=ALL_MODELS)).count("<circle") == 5
    assert "<circle" not in to_html(table("table2", made[:4], view=ALL_MODELS))
