"""Every study of the paper on the built-in world, from the shipped file quickstart.toml: all of it in one folder."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pacl_bench.studies.experiment import load_experiment
from pacl_bench.studies.orchestra import Outcome, run_experiment
from pacl_bench.studies.plan import Setting


def quickstart(out: Path, seed: int = 0, smoke: bool = False) -> Outcome:
    """Trains, measures and draws everything below `out`; what is there already is used again.

    Args:
        seed: of the training of the heads.
        smoke: one training set and few data sets, in under a minute.
    """
    experiment = load_experiment(Path("quickstart-smoke" if smoke else "quickstart")).with_seeds([seed])
    with _own_cache(out / "cache"):
        return run_experiment(experiment, Setting(out / "heads", out / "results"))


@contextmanager
def _own_cache(folder: Path) -> Iterator[None]:
    """Patch tokens go below the quickstart's own folder: deleting it leaves nothing behind."""
    own = os.environ.get("PACL_CACHE")
    os.environ["PACL_CACHE"] = str(folder)
    try:
        yield
    finally:
        os.environ.pop("PACL_CACHE")
        if own is not None:
            os.environ["PACL_CACHE"] = own
