"""OpenMP is set up before torch is there, and never against the user."""

import os
import subprocess
import sys

from pacl_bench.cli.threads import set_up_threads


def test_what_the_user_has_set_stands() -> None:
    environment = {"PATH": "/bin"}
    set_up_threads(environment)
    assert environment == {"PATH": "/bin", "GOMP_SPINCOUNT": "1000"}
    for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_CPU_AFFINITY", "GOMP_SPINCOUNT"):
        environment = {name: "2"}
        set_up_threads(environment)
        assert environment == {name: "2"}


def test_openmp_is_told_before_torch_is_imported() -> None:
    """It says itself, when it starts, how it was set up."""
    code = (
        "import os, sys; sys.argv = ['pacl-bench', 'cache', 'info']\nfrom pacl_bench import cli\n"
        "try:\n    cli.main()\nexcept SystemExit:\n    pass\n"
        "assert 'torch' not in sys.modules\nos.environ['OMP_DISPLAY_ENV'] = 'verbose'\nimport torch"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert ran.returncode == 0, ran.stderr
    assert "GOMP_SPINCOUNT = '1000'" in ran.stderr
