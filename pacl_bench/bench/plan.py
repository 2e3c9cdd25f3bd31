"""What a plan says that a study will take, beside what it then takes: three small studies, each from nothing."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

from pacl_bench.bench.training import write_shards
from pacl_bench.errors import RunError
from pacl_bench.progress import stages
from pacl_bench.studies.experiment import Experiment, Heads
from pacl_bench.studies.plan import Setting, make_plan
from pacl_bench.studies.quickstart import own_cache
from pacl_bench.studies.study import Study
from pacl_bench.studies.survey import survey

ENCODER = "tiny-clip"
PAIRS, DATASET = "world-4k", "world-things"


@dataclass(frozen=True)
class Prediction:
    """A study, what its plan says and what passed."""

    study: str
    predicted: float  # seconds, by the plan
    measured: float  # seconds from the first step of the plan to the end of the last
    ratio: float  # predicted over measured


def predictions(device: str, pairs: str = PAIRS, steps: int = 300, shown: int = 3200) -> Iterator[Prediction]:
    """Heads trained from memory, a head trained from shards, and segmentation with coherence, by the built-in encoders.

    Args:
        pairs: in memory. steps: of each of the two heads that are trained on them.
        shown: how many pairs of shards the third head is shown.
    """
    with TemporaryDirectory() as folder:
        shards = Path(folder) / "shards"
        write_shards(shards, max(64, shown // 2))
        experiments = [
            _training("heads in memory", pairs, {"batch_size": 96, "steps": steps}, [0, 1]),
            _training("a head from shards", str(shards), {"batch_size": 32, "steps": max(1, shown // 32)}, [0]),
            _measuring("segmentation and coherence"),
        ]
        for number, experiment in enumerate(stages(experiments, "study", lambda one: one.name)):
            yield _prediction(experiment, Path(folder) / str(number), device)


def _prediction(experiment: Experiment, folder: Path, device: str) -> Prediction:
    setting = Setting(folder / "heads", folder / "results", device=device)
    with own_cache(folder / "cache"):
        plan = make_plan(experiment, setting)
        works = chain.from_iterable(survey(plan, setting).values())
        predicted = sum(work.seconds or 0.0 for work in works)
        started = time.monotonic()
        failures = [failure for step in plan.steps for failure in step.run().failures]
        measured = time.monotonic() - started
    if failures:
        raise RunError(f"{experiment.name}: {failures[0]}")
    return Prediction(experiment.name, predicted, measured, predicted / measured)


def _training(name: str, pairs: str, change: dict[str, int], seeds: list[int]) -> Experiment:
    heads = Heads(encoders=[ENCODER], texts=[ENCODER], pairs=[pairs], recipe="small", change=change, seeds=seeds)
    return Experiment(name, train={"heads": heads}, report=False)


def _measuring(name: str) -> Experiment:
    studies = [Study(one, one, encoders=[ENCODER], datasets=[DATASET]) for one in ("segment", "coherence")]
    return Experiment(name, measure={study.name: [study] for study in studies}, report=False)
