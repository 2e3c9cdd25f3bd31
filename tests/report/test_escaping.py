"""Names in records are text in the page, whatever they hold; asked without a browser, see test_page.py for one."""

import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

from report_samples import classify, coherence, of_block, patches, segment

from pacl_bench import records
from pacl_bench.report import write_report

EVIL = [
    "e<img src=x onerror=alert(1)>",
    "e</script><script>alert(1)</script>",
    "e</title><b>",
    "e</svg><iframe>",
    'e" onmouseover="alert(1)',
    "e' onmouseover='alert(1)",
    "e<!--<script>",
]


class Tags(HTMLParser):
    """Counts the elements of a page, and the attributes that run a script."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found[tag] += 1
        self.found.update(name for name, _ in attrs if name.startswith("on"))


def tags(folder: Path, names: list[str]) -> Counter[str]:
    """Of the page of models, encoders, text encoders and data sets that are called so."""
    for name in names:
        clip = {"encoder": name, "text": name}
        made = [
            segment(name, 0.3, dataset=name, **clip),
            patches(name, 0.3, **clip),
            coherence(name, 0.7, encoder=name),
        ]
        for record in [*made, classify(name, 0.5), *(of_block(name, block, 0.6) for block in range(2))]:
            records.write(folder / "records", record)
    parsed = Tags()
    parsed.feed(write_report(folder, ["html"]).read_text(encoding="utf-8"))
    del parsed.found["title"]  # of the lines of a drawing; a name with quotes has none
    return parsed.found


def test_no_name_makes_an_element_or_a_script(tmp_path: Path) -> None:
    tame = [re.sub(r"[^\w ]", "e", evil) for evil in EVIL]
    assert tags(tmp_path / "evil", EVIL) == tags(tmp_path / "tame", tame)
