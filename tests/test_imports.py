"""Arrows go one way, and what starts without torch stays so."""

import subprocess
import sys

import pytest

WITHOUT_TORCH = [
    "pacl_bench",
    "pacl_bench.cli",
    "pacl_bench.records",
    "pacl_bench.report",
    "pacl_bench.cli.catalog",
    "pacl_bench.caching.disk",
]
FORBIDDEN = {
    "pacl_bench.metrics": ("pacl_bench.evaluators", "pacl_bench.encoders", "pacl_bench.data", "open_clip", "timm"),
    "pacl_bench.model": ("pacl_bench.evaluators", "pacl_bench.studies", "pacl_bench.training", "pacl_bench.report"),
    "pacl_bench.evaluators": ("pacl_bench.studies", "pacl_bench.training", "pacl_bench.report", "pacl_bench.cli"),
    "pacl_bench.encoders": (
        *("pacl_bench.model", "pacl_bench.evaluators", "pacl_bench.data", "pacl_bench.world"),
        *("open_clip", "timm", "transformers"),
    ),
}


def imported_by(module: str) -> set[str]:
    code = f"import sys, {module}; print(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


@pytest.mark.parametrize("module", WITHOUT_TORCH)
def test_these_start_without_torch(module: str) -> None:
    assert "torch" not in imported_by(module)


@pytest.mark.parametrize("module", FORBIDDEN)
def test_arrows_go_one_way(module: str) -> None:
    loaded = imported_by(module)
    assert [other for other in FORBIDDEN[module] if other in loaded] == []


def test_every_public_name_is_there() -> None:
    import pacl_bench

    assert sorted(pacl_bench._HOMES) == sorted(pacl_bench.__all__)
    for name in pacl_bench.__all__:
        assert getattr(pacl_bench, name).__name__ == name
