"""Runs an experiment: what it needs is looked for, a plan is shown, what is not done yet is done, stage after stage.

A step that fails is told, and the others go on. Stopped at any moment, the same call goes on from there: heads from
their last checkpoints, measurements from the last record.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from pacl_bench import processes, progress
from pacl_bench.errors import RunError
from pacl_bench.files import place_of, require_writable
from pacl_bench.progress import console
from pacl_bench.records import Key, Record
from pacl_bench.studies.experiment import Experiment
from pacl_bench.studies.plan import Plan, Setting, Stage, make_plan
from pacl_bench.studies.plan_tree import plan_tree
from pacl_bench.studies.steps import Done, MeasureStep, Step, TrainStep, told
from pacl_bench.studies.survey import Work, survey

WIDE = 200  # characters of a line in a pipe or log file
SHOWN = 3  # failures that the last line names; all were told when they happened
Launch = Callable[[Sequence[Step]], Iterator[Done]]  # does steps that do not need one another, in any order


@dataclass
class Outcome:
    """What came of an experiment."""

    records: list[Record] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def require_success(self) -> None:
        """A RunError that names what failed, where something did."""
        if self.failures:
            raise RunError(summary(self.failures))


def run_experiment(
    experiment: Experiment, setting: Setting, dry_run: bool = False, launch: Launch | None = None
) -> Outcome:
    """Does what is not done yet of an experiment.

    Args:
        dry_run: the plan is shown, and that is all.
        launch: does the steps of a stage elsewhere; without it they are done here, one after the other.

    Returns:
        All records there are of it, and what failed. The next call tries that again, and nothing else.

    Raises:
        UsageError: before anything is done, where a name, file or setting is wrong or the disk has no room or cannot be
            written to.
    """
    with processes.joined():
        return _run_experiment(experiment, setting, dry_run, launch)


def _run_experiment(experiment: Experiment, setting: Setting, dry_run: bool, launch: Launch | None) -> Outcome:
    for folder, option in ((setting.heads, "--out"), (setting.results, "--results")):
        place_of(folder, option)
        if not (folder.exists() or dry_run) and processes.is_first():
            require_writable(folder, option)  # nothing is done, so it will be written to: told before the plan is made
    plan = make_plan(experiment, setting)
    works = survey(plan, setting)
    console.print(plan_tree(plan, works), width=None if console.is_terminal else WIDE)
    outcome = Outcome([record for of_stage in works.values() for work in of_stage for record in work.records])
    if dry_run:
        return outcome
    left = _to_do(plan, works)
    if processes.is_first():
        _require_writable(left, setting)
    return _run(left, outcome, launch)


def _require_writable(plan: Plan, setting: Setting) -> None:
    """Before the first step: a WriteError for a folder that a step to come could not write to."""
    if any(isinstance(step, TrainStep) for step in plan.steps):
        require_writable(setting.heads, "--out")
    if any(plan.steps):
        require_writable(setting.results, "--results")


def _to_do(plan: Plan, works: dict[str, list[Work]]) -> Plan:
    """The plan without what is done. A report is written anew in any case."""

    def is_done(step: Step, work: Work) -> bool:
        return step.is_done() or (isinstance(step, MeasureStep) and not work.measurements)

    stages = []
    for stage in plan.stages:
        pairs = zip(stage.steps, works[stage.title], strict=True)
        left = [(step, work.seconds) for step, work in pairs if not is_done(step, work)]
        stages.append(Stage(stage.title, [step for step, _ in left], [seconds for _, seconds in left]))
    return replace(plan, stages=stages)


def _run(plan: Plan, outcome: Outcome, launch: Launch | None) -> Outcome:
    found: dict[Key, Record] = {record.key: record for record in outcome.records}
    for number, stage in enumerate(plan.stages, 1):
        title = f"{number} of {len(plan.stages)}: {stage.title}"
        elsewhere = launch is not None and len(stage.steps) > 1
        for done in _launched(stage, title, launch) if launch and elsewhere else _in_turn(stage, title):
            _complain(done)
            found |= {record.key: record for record in done.records}
            outcome.failures += done.failures
    return Outcome(list(found.values()), outcome.failures)


def _in_turn(stage: Stage, title: str) -> Iterator[Done]:
    """The steps here, one after the other; a line says which one begins, and bars say it again while it lasts."""
    started = time.monotonic()
    for number, step in enumerate(stage.steps):
        where = f", {number + 1} of {len(stage.steps)}" if len(stage.steps) > 1 else ""
        left = seconds_left(stage.seconds, number, time.monotonic() - started)
        line = f"{title}{where}, {step.title}{left and f', {left}'}"
        _say(line)
        with progress.stage(line):
            done = attempt(step)
        yield done


def seconds_left(expected: Sequence[float | None], done: int, passed: float) -> str:
    """ "1:10 left" of the steps of a stage: what they were expected to take, at the pace of those that are done.

    Args:
        expected: seconds of each step; None where the survey could not tell, and then nothing is said.
        done: how many of them. passed: seconds that these took.
    """
    known = [seconds or 0.0 for seconds in expected]
    if None in expected or not sum(known[done:]):
        return ""
    pace = passed / sum(known[:done]) if sum(known[:done]) else 1.0
    minutes, seconds = divmod(round(pace * sum(known[done:])), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02} left" if minutes >= 60 else f"{minutes}:{seconds:02} left"


def _launched(stage: Stage, title: str, launch: Launch) -> Iterator[Done]:
    _say(f"{title}, {len(stage.steps)} steps at once")
    for number, done in enumerate(launch(stage.steps), 1):
        _say(f"{title}, {number} of {len(stage.steps)} are done")
        yield done


def attempt(step: Step) -> Done:
    """Does a step; whatever makes it fail becomes a line, since no other step depends on why it failed."""
    try:
        return step.run()
    except Exception as error:
        if processes.world_size() > 1:  # what fails in one process alone ends all: they wait for one another
            raise
        return Done(failures=[f"{step.title}: {told(error)}"])


def _complain(done: Done) -> None:
    """Tells of what failed, at once."""
    for failure in done.failures:
        console.print(f"failed: {failure}", style="red", markup=False, highlight=False, soft_wrap=True)


def _say(line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def summary(failures: Iterable[str]) -> str:
    """The line that a run ends with where something failed."""
    lines = list(dict.fromkeys(failures))
    more = f"; and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
    failed = f"{len(lines)} failed: {'; '.join(line.rstrip('.') for line in lines[:SHOWN])}{more}."
    return f"{failed} All else is done; the same command tries these again."
