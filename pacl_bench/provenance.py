"""Where a number comes from: code, packages, machine, time. No torch here."""

import platform
import resource
import subprocess
import sys
import time
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("pacl-bench", "torch", "torchvision", "open_clip_torch", "timm", "transformers", "scikit-learn", "numpy")


class Stopwatch:
    """Started when made; gives the provenance of what was done since."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        commit()  # of the code that is about to run, not of what the checkout holds when it is done

    def provenance(self, device: str) -> dict[str, Any]:
        """What a record or head says of its making."""
        return {
            "commit": commit(),
            "packages": packages(),
            "python": platform.python_version(),
            "machine": f"{platform.system()} {platform.machine()}",
            "device": device,
            "seconds": round(time.monotonic() - self.started, 2),
            "peak_memory_mb": peak_memory_mb(),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        }


def peak_memory_mb() -> int:
    """The most memory this process has held, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // (1024 * 1024 if sys.platform == "darwin" else 1024)


@cache
def commit() -> str | None:
    """The commit of the checkout this runs from, "-dirty" behind it if files differ; None for an installed wheel."""
    root = Path(__file__).parent.parent
    if not (root / ".git").exists():
        return None
    try:
        described = subprocess.run(
            # a measurement must not lock the user's index, or leave it locked where it is killed
            ["git", "--no-optional-locks", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=root,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return described.stdout.strip()


@cache
def packages() -> dict[str, str]:
    """Versions of the packages a number depends on."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
