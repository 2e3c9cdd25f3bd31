"""What results/reliability.md says of kills and inputs."""

import runpy
from pathlib import Path

MODULE = runpy.run_path(str(Path(__file__).with_name("__main__.py")))
STATISTICS = """
tests/faults/test_fuzz_a.py::test_images:

  - during reuse phase (0.35 seconds):
    - 2 passing, 0 failing, and 0 invalid test cases
  - during generate phase (0.35 seconds):
    - 8 passing, 1 failing, and 3 invalid test cases

tests/faults/test_fuzz_a.py::test_masks[x]:

  - during generate phase (0.35 seconds):
    - 5 passing, 0 failing, and 0 invalid test cases
"""


def test_inputs_are_counted() -> None:
    counted = MODULE["counted"](STATISTICS)
    assert counted == {"faults/test_fuzz_a.py::test_images": 11, "faults/test_fuzz_a.py::test_masks": 5}


def test_the_page_names_every_fault() -> None:
    killed = {"kind": "train", "kills": {"SIGKILL": 20, "SIGINT": 10}, "cycles": 12, "faults": ["head.json\ndiffers"]}
    fuzzed = {"inputs": {"a": 4000, "b": 1000}, "faults": []}
    page = "\n".join(MODULE["page"]("the command", [killed, fuzzed]))
    assert "| train | 20 | 0 | 10 | 12 | 1 |" in page
    assert "Together 5,000 inputs." in page
    assert page.endswith("## Faults\n\n- head.json differs")
    whole = "\n".join(MODULE["page"]("the command", [{**killed, "faults": []}, fuzzed]))
    assert "None: no traceback" in whole
