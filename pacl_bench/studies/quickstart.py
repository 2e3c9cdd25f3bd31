"""Every study of the paper on the built-in world, from the shipped file quickstart.toml: all of it in one folder."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from pacl_bench.data.noise import MARK
from pacl_bench.studies.experiment import Experiment, load_experiment
from pacl_bench.studies.orchestra import Outcome, run_experiment
from pacl_bench.studies.plan import Setting


def quickstart(out: Path, seed: int = 0, smoke: bool = False, noise: Sequence[float] = ()) -> Outcome:
    """Trains, measures and draws everything below `out`; what is there already is used again.

    Args:
        seed: of the training of the heads.
        smoke: one training set and few data sets, in under a minute.
        noise: shares of noise in the images, at which patches, segmentation and classification are measured again.
    """
    experiment = load_experiment(Path("quickstart-smoke" if smoke else "quickstart")).with_seeds([seed])
    experiment = with_noise(experiment, noise) if noise else experiment
    with own_cache(out / "cache"):
        return run_experiment(experiment, Setting(out / "heads", out / "results"))


def with_noise(experiment: Experiment, shares: Sequence[float]) -> Experiment:
    """The experiment with a part "noise": the first data set of each table again, drowned to each of the shares."""
    of_tables = [experiment.measure[name][0] for name in ("table1", "table2", "figure8")]
    marks = [f"{MARK}{share:g}" if share else "" for share in dict.fromkeys(shares)]
    measure = [replace(study, datasets=[f"{study.datasets[0]}{mark}" for mark in marks]) for study in of_tables]
    return replace(experiment, measure={**experiment.measure, "noise": measure})


@contextmanager
def own_cache(folder: Path) -> Iterator[None]:
    """Patch tokens go below the quickstart's own folder: deleting it leaves nothing behind."""
    own = os.environ.get("PACL_CACHE")
    os.environ["PACL_CACHE"] = str(folder)
    try:
        yield
    finally:
        os.environ.pop("PACL_CACHE")
        if own is not None:
            os.environ["PACL_CACHE"] = own
