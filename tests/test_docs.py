"""What README and docs/ say is what declarations and records say."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", "CONTRIBUTING.md", *sorted(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md"))]
WORDS = 1500  # of README


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    """docs/generate.py."""
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", PAGES)
def test_tables_are_those_of_declarations_and_records(page: str, generate: ModuleType) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert generate.written(text) == text, "write it anew: python docs/generate.py"


def test_every_table_stands_in_a_page(generate: ModuleType) -> None:
    text = "".join((ROOT / page).read_text(encoding="utf-8") for page in PAGES)
    assert {found["name"] for found in generate.MARKED.finditer(text)} == set(generate.TABLES)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    targets = re.findall(r"\]\((?!http)([^)#]+)", text)
    assert [target for target in targets if not ((ROOT / page).parent / target).exists()] == []


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) <= WORDS
