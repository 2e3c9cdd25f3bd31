"""The whole paper in small, offline, from files as their owners ship them; killed at random moments and gone on with.

More kills: `python tests/samples/small_paper.py FOLDER --kills 10` (with tests/samples on PYTHONPATH).
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SAMPLES = Path(__file__).parents[1] / "samples"


@pytest.mark.slow
def test_a_paper_that_is_killed_ends_with_the_records_of_one_that_is_not(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    command = [sys.executable, str(SAMPLES / "small_paper.py"), str(folder), "--kills", "3"]
    ran = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path()})
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "the same records" in ran.stdout
    whole, heads = folder / "whole", folder / "whole" / "heads"
    assert len(list(heads.glob("*/head.json"))) == 9
    assert len(list((whole / "results" / "records").rglob("*.json"))) == 3 + 4 + 2 * 4 + 2 + 9 + 3 * 2
    page = (whole / "results" / "report" / "report.html").read_text()
    assert "No record yet" not in page
    assert "No picture yet" not in page


def path() -> str:
    return os.pathsep.join([str(SAMPLES), *filter(None, [os.environ.get("PYTHONPATH")])])
