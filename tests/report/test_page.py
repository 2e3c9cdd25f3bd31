"""The page in a browser: one file that asks for nothing, whose numbers can be pressed and lines be compared."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from report_samples import coherence, head, of_block, patches, segment, typical

from pacl_bench import records
from pacl_bench.records import Measurement, Record
from pacl_bench.report import write_report

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium here")
QUICKSTART = Path(__file__).parents[2] / "results" / "quickstart"
EVIL = "<img src=x onerror=alert(1)>"
PRESENT = "present-miou, background=none"


def page_of(folder: Path, made: list[Record]) -> Path:
    for record in made:
        records.write(folder / "records", record)
    return write_report(folder, ["html"])


def counted(folder: Path, model: str, right: np.ndarray, **given) -> None:
    """A record of one number with its counts by image."""
    made = segment(model, 0.5, **given)
    miou = Measurement("miou", float(right.mean()), PRESENT, len(right), "", 0.1, 0.9, 0.02)
    counts = {f"miou, {PRESENT}": np.stack([right, np.ones_like(right)], axis=1)[:, :, None]}
    records.write(folder / "records", replace(made, measurements=[miou]), counts)


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report on typical records, on two seeds, on another stride, and on three models with counts by image."""
    folder = tmp_path_factory.mktemp("page")
    made = [record for record in typical() if record.key.study in ("segment", "patches", "coherence")]
    made += [segment("seed1", 0.2, head=head(seed=1)), segment("pacl-vits14", 0.4, head=head(), variant="stride=4")]
    made[-1].config["settings"]["stride"] = 4
    random = np.random.default_rng(0)
    right = random.random(200)
    for at, (name, values) in enumerate(
        {"good": right, "same": right + random.normal(0, 0.02, 200), "bad": right - 0.1}.items()
    ):
        counted(folder, name, values, head=head(patch_scale=2 + at), dataset="my photos")
    return page_of(folder, made)


@pytest.fixture(scope="module")
def browser() -> Iterator:
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def page(browser, page_file: Path) -> Iterator:
    """The report at 1,000 pixels. A message of the browser, or a request beyond the file, is an error."""
    opened = browser.new_page(viewport={"width": 1000, "height": 900})
    said: list[str] = []
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.on("request", lambda request: said.append(request.url) if request.url != page_file.as_uri() else None)
    opened.goto(page_file.as_uri())
    yield opened
    opened.close()
    assert said == []


def section(page, name: str = "table2"):
    return page.locator(f"#{name}")


def show(page, view: str = "All models", protocol: str = "dataset-miou, background=none") -> None:
    section(page).get_by_role("button", name=view).click()
    section(page).get_by_label("protocol").select_option(protocol)


def shown_lines(page, name: str = "table2") -> list[str]:
    return [text.split("\n")[0].strip() for text in section(page, name).locator("tr.line:visible th").all_inner_texts()]


@needs_browser
def test_one_table_of_a_section_is_shown_and_the_protocol_changes_it(page):
    show(page)
    assert section(page).locator("table:visible").count() == 1
    before = section(page).locator("tr.line:visible td.measured button").first.inner_text()
    section(page).get_by_label("protocol").select_option(PRESENT)
    after = section(page).locator("tr.line:visible td.measured button").first.inner_text()
    assert (before, after) == ("6.2", f"{100 * 0.062**0.4:.1f}")
    assert section(page).locator("table:visible caption").inner_text() == f"all models · benchmarks · {PRESENT}"


@needs_browser
def test_a_pressed_number_tells_seeds_settings_record_and_command(page):
    show(page)
    section(page).locator("tr.line:visible", has_text="×2").locator("td.measured button").first.click()
    told = section(page).locator("tr.detail:visible").inner_text()
    for expected in (
        "17.7 [13.9, 21.5]", "20.0 [16.0, 24.0]", "records/segment/seed1/voc20.default.json",
        "templates=paper7 (00000000)",
        "voc20: 392 of 1,449 images, fingerprint dddddddddddd", "commit 0123456789ab", "12.5 s", "text encoder minilm",
        "400 steps, batch 96, lr 0.002, patch_scale 10",
        "pacl-bench segment --heads heads/pacl-vits14 --datasets voc20 --rerun always",
    ):  # fmt: skip
        assert expected in told
    page.keyboard.press("Escape")
    assert section(page).locator("tr.detail").count() == 0


@needs_browser
def test_a_published_number_tells_its_source_and_a_gap_its_command(page):
    section(page).get_by_role("button", name="The paper's layout").click()
    section(page).locator("tr.line:visible", has_text="LSeg").get_by_role("button", name="52.3").click()
    assert "PACL slides, Table 2; protocol unknown" in section(page).locator("tr.detail").inner_text()
    line = section(page).locator("tr.line:visible", has_text="PACL head").first
    line.get_by_role("button", name="not measured").first.click()
    assert re.search(
        r"pacl-bench segment --heads \S+ --datasets context59", section(page).locator("tr.detail").inner_text()
    )


@needs_browser
def test_two_lines_with_counts_are_compared_by_a_paired_interval(page):
    section(page).get_by_role("button", name="All models").click()
    section(page).locator("select[data-choice=data]").select_option("own data sets")
    good, same, bad = (
        section(page).locator("tr.line:visible", has_text=f"patch_scale {scale}").locator("input")
        for scale in (2, 3, 4)
    )
    good.check()
    bad.check()
    told = page.locator("#compare").inner_text()
    assert "patch_scale 2) less PACL head" in told
    assert "my photos +10.0 [+10.0, +10.0] paired over images" in told
    same.check()  # of three, the two last
    assert (
        "patch_scale 4) less PACL head (vits14 1,080 images · patch_scale 3)" in page.locator("#compare").inner_text()
    )
    bad.uncheck()
    good.check()
    assert "the images cannot tell them apart" in page.locator("#compare").inner_text()
    page.locator("#compare button").click()
    assert not page.locator("#compare").is_visible()


@needs_browser
def test_without_counts_the_difference_says_so_and_other_settings_refuse_it(page):
    show(page)
    section(page).get_by_role("button", name="All variants").click()
    lines = section(page).locator("tr.line:visible")
    lines.filter(has_text="×2").locator("input").check()
    lines.filter(has_text="before alignment").locator("input").check()
    assert "no interval: no counts by image" in page.locator("#compare").inner_text()
    lines.filter(has_text="stride=4").locator("input").check()
    lines.filter(has_text="before alignment").locator("input").uncheck()
    assert "voc20 not comparable: another stride" in page.locator("#compare").inner_text()


@needs_browser
def test_lines_are_ordered_by_a_column_and_filtered(page):
    show(page)
    head = section(page).locator("thead:visible th", has_text="voc20")
    section(page).get_by_role("button", name="voc20").click()
    values = [
        float(text)
        for text in section(page).locator("tr.line:visible td.measured:nth-child(2) button").all_inner_texts()
    ]
    assert values == sorted(values, reverse=True)
    assert len(values) > 2
    assert head.get_attribute("aria-sort") == "descending"
    section(page).get_by_role("button", name="voc20").click()
    assert head.get_attribute("aria-sort") == "ascending"
    section(page).get_by_label("filter").fill("before")
    assert shown_lines(page) == ["before alignment"]
    section(page).get_by_label("filter").fill("")
    section(page).get_by_label("controls").uncheck()
    assert "before alignment" not in shown_lines(page)


@needs_browser
def test_variants_fold_below_their_line(page):
    show(page)
    folded = len(shown_lines(page))
    section(page).get_by_role("button", name="1 variant").click()
    assert len(shown_lines(page)) == folded + 1
    assert section(page).get_by_role("button", name="1 variant").get_attribute("aria-expanded") == "true"


@needs_browser
def test_the_address_brings_the_same_view_back(page, browser, page_file: Path):
    show(page, protocol=PRESENT)
    section(page).get_by_role("button", name="voc20").click()
    section(page).get_by_label("filter").fill("pacl")
    section(page).locator("tr.line:visible td.measured button").first.click()
    again = browser.new_page(viewport={"width": 1000, "height": 900})
    again.goto(page.url)
    assert again.url != page_file.as_uri()
    for name in ("thead:visible", "tr.line:visible", "tr.detail:visible"):
        assert again.locator(f"#table2 {name}").all_inner_texts() == section(page).locator(name).all_inner_texts()
    assert again.locator("#table2").evaluate("element => Math.abs(element.getBoundingClientRect().top) < 300")
    again.close()


@needs_browser
def test_the_keyboard_reaches_and_presses_a_number(page):
    show(page)
    button = section(page).locator("tr.line:visible td.measured button").first
    button.focus()
    page.keyboard.press("Enter")
    assert section(page).locator("tr.detail:visible").count() == 1
    assert page.evaluate("document.activeElement.getAttribute('aria-expanded')") == "true"


@needs_browser
def test_the_screen_reader_is_told_what_stands_where(page):
    assert page.locator("table:not(.plain) thead th:not([scope=col])").count() == 0
    assert page.locator("tr.line > th:not([scope=row])").count() == 0
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map((one) => one.id)")
    assert len(ids) == len(set(ids))
    for target in page.evaluate("[...document.querySelectorAll('nav a')].map((one) => one.hash.slice(1))"):
        assert target in ids


@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1000, 1500])
def test_nothing_is_wider_than_the_window_and_the_first_number_is_in_sight(
    browser, page_file: Path, width: int, scheme: str
):
    opened = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    opened.goto(page_file.as_uri())
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    box = opened.locator("#table2 td:visible button[data-cell]").first.bounding_box()
    assert box["x"] + box["width"] <= width
    ink, paper = opened.evaluate(
        "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
    )
    assert (_light(ink), _light(paper)) == ((False, True) if scheme == "light" else (True, False))
    switches = opened.locator("#table2 .switches .row")
    assert switches.is_visible() == (width > 720)
    opened.close()


@needs_browser
def test_on_a_phone_before_and_after_alignment_are_in_sight(browser):
    opened = browser.new_page(viewport={"width": 400, "height": 900})
    opened.goto((QUICKSTART / "report" / "report.html").as_uri())
    table = opened.locator("#table1 .scroll:visible")
    box = table.get_by_role("columnheader", name="after").first.bounding_box()
    assert box["x"] + box["width"] <= table.evaluate("table => table.getBoundingClientRect().right")
    opened.close()


def _light(colour: str) -> bool:
    return sum(map(int, re.findall(r"\d+", colour)[:3])) > 380


@needs_browser
def test_in_print_everything_is_unfolded(page):
    show(page)
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert section(page).locator("tr.variant:visible").count() == 1
    assert page.locator("#how-to-read li").first.is_visible()
    assert not page.locator("nav").is_visible()


@needs_browser
def test_without_scripts_every_table_is_there(browser, page_file: Path):
    context = browser.new_context(java_script_enabled=False)
    opened = context.new_page()
    opened.goto(page_file.as_uri())
    assert opened.locator("#table2 table:visible").count() == opened.locator("#table2 table").count() > 3
    context.close()


@needs_browser
def test_names_are_text_wherever_they_stand(browser, tmp_path: Path):
    clip = {"encoder": EVIL, "text": EVIL}
    made = [segment(EVIL, 0.3, dataset=EVIL, **clip), coherence(EVIL, 0.7, encoder=EVIL), patches(EVIL, 0.3, **clip)]
    made += [of_block(EVIL, block, 0.6) for block in range(2)] + [
        segment("m", 0.2, head=head(pairs=EVIL), dataset=EVIL)
    ]
    file = page_of(tmp_path, made)
    assert EVIL not in file.read_text()
    opened = browser.new_page()
    alerts: list[str] = []
    opened.on("dialog", lambda dialog: alerts.append(dialog.message))
    opened.goto(file.as_uri())
    for button in opened.locator("#table2 td.measured button:visible").all():
        button.click()
    assert EVIL in opened.locator("#table2 tr.detail").inner_text()
    assert opened.locator("img").count() == 0
    assert alerts == []
    opened.close()


def test_the_quickstarts_page_is_one_small_file(tmp_path: Path):
    shutil.copytree(QUICKSTART / "records", tmp_path / "records")
    (tmp_path / "report").mkdir()
    for name in ("figure2", "figure4", "figure6"):
        shutil.copy(QUICKSTART / "report" / f"{name}.png", tmp_path / "report")
    text = write_report(tmp_path, ["html"]).read_text()
    assert len(text.encode()) < 1_500_000
    assert re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', text) == []
    assert text.count("data:image/webp;base64,") == 3


def test_a_picture_stands_whole_in_the_page(tmp_path: Path):
    (tmp_path / "report").mkdir()
    Image.new("RGB", (8, 8), "red").save(tmp_path / "report" / "figure2.png")
    text = page_of(tmp_path, [segment("m", 0.3)]).read_text()
    assert 'src="data:image/webp;base64,' in text
    assert "Figure 4" in text.partition('id="gaps"')[2]


@needs_browser
@pytest.mark.parametrize("width", [400, 1000, 1500])
def test_a_pressed_number_and_a_comparison_are_no_wider_than_the_window(browser, page_file: Path, width: int):
    opened = browser.new_page(viewport={"width": width, "height": 900})
    opened.goto(page_file.as_uri())
    if width < 720:
        section(opened).get_by_role("button", name="Views, protocol, filter").click()
    section(opened).get_by_role("button", name="All models").click()
    section(opened).locator("tr.line:visible td.measured button").first.click()
    for at in (0, 1):
        section(opened).locator("tr.line:visible th input").nth(at).check()
    assert opened.locator("#compare").is_visible()
    assert section(opened).locator("tr.detail").count() == 1
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    opened.close()


@needs_browser
def test_two_lines_are_compared_and_left_by_the_keyboard(page):
    show(page)
    boxes = section(page).locator("tr.line:visible th input")
    for at in (0, 1):
        boxes.nth(at).focus()
        page.keyboard.press("Space")
    assert page.locator("#compare").is_visible()
    page.keyboard.press("Escape")
    assert not page.locator("#compare").is_visible()
    assert boxes.nth(0).is_checked() is False
