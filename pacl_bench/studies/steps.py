"""The steps that an experiment is divided into. Each can be done alone, and knows whether it is done already.

A step that is stopped on the way goes on from there when it is done again: a head from its last checkpoint, a
measurement from its last record, whatever encodes from what is in the cache.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

from pacl_bench import processes
from pacl_bench.encoders.spec import parse_spec
from pacl_bench.errors import RunError, UsageError, cause_of, out_of_memory
from pacl_bench.model.head_files import CARD
from pacl_bench.progress import note
from pacl_bench.records import Key, Record
from pacl_bench.report import write_report
from pacl_bench.studies.experiment import Picture
from pacl_bench.studies.figures import draw_picture, is_drawn
from pacl_bench.studies.heads import Cell
from pacl_bench.studies.runner import run_study
from pacl_bench.studies.study import Rerun, Study
from pacl_bench.training.recipe import Loading
from pacl_bench.training.side_by_side import train_many


@dataclass
class Done:
    """What came of a step."""

    records: list[Record] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)  # one line each


@dataclass(frozen=True)
class TrainStep:
    """A head is trained, or gone on with; or several, from one pass over the pairs that they share."""

    cells: tuple[Cell, ...]
    device: str = "cpu"
    loading: Loading | None = None

    @property
    def title(self) -> str:
        first = self.cells[0]
        if len(self.cells) == 1:
            return first.wanted.title
        return f"{len(self.cells)} heads of {parse_spec(first.config.encoder).name} side by side"

    @property
    def to_train(self) -> list[Cell]:
        """The heads that are not there yet."""
        return [cell for cell in self.cells if not cell.is_trained]

    def is_done(self) -> bool:
        return not self.to_train

    def run(self) -> Done:
        left = self.to_train
        try:
            train_many(
                [cell.config for cell in left], [cell.folder for cell in left], self.device, loading=self.loading
            )
        except Exception as error:
            if isinstance(error.__context__, KeyboardInterrupt):  # it was asked to stop, and did so between two steps
                raise KeyboardInterrupt from None
            if len(left) == 1 or processes.world_size() > 1:  # several processes stop together, or not at all
                raise
            note(f"{self.title}: {told(error)} They go on one by one.")
            return self._one_by_one()
        return Done()

    def _one_by_one(self) -> Done:
        """Each head alone: one that cannot be trained does not keep the others from it."""
        done = Done()
        for cell in self.to_train:
            alone = replace(self, cells=(cell,))
            try:
                alone.run()
            except Exception as error:
                done.failures.append(f"{alone.title}: {told(error)}")
        return done


@dataclass(frozen=True)
class MeasureStep:
    """A study is measured: of its cells, those without a record."""

    part: str
    study: Study
    trained: tuple[Path, ...]  # heads of this experiment that are measured too
    encoder_of: dict[Path, str]  # of each of them, the encoder it is trained on
    results: Path
    rerun: Rerun = "missing"
    device: str = "cpu"

    @property
    def title(self) -> str:
        settings = "".join(f" {name}={value}" for name, value in self.study.settings.items())
        return f"{self.part}, {self.study.evaluator}{settings} on {', '.join(self.study.datasets)}"

    def is_done(self) -> bool:
        """Unknown until its models are loaded."""
        return False

    @property
    def encoders_to_come(self) -> list[str]:
        """Of the heads that are not trained yet."""
        return [self.encoder_of[folder] for folder in self.trained if not _is_head(folder)]

    @property
    def ready_study(self) -> Study:
        """The study with the heads there are."""
        ready = [str(folder) for folder in self.trained if _is_head(folder)]
        return replace(self.study, heads=list(dict.fromkeys([*self.study.heads, *ready])), trained=[])

    def run(self) -> Done:
        missing = [folder.name for folder in self.trained if not _is_head(folder)]
        done = Done(failures=[f"{self.part}: {name} is not trained" for name in missing if self.rerun != "never"])

        def failed(key: Key, error: Exception) -> None:
            done.failures.append(f"{key.path.with_suffix('')}: {told(error)}")

        study = self.ready_study
        if study.encoders or study.heads:
            done.records = run_study(study, self.results, self.rerun, self.device, failed=failed)
        return done


@dataclass(frozen=True)
class DrawStep:
    """A picture is drawn."""

    part: str
    picture: Picture
    trained: tuple[Path, ...]
    report: Path  # the folder that gets it
    device: str = "cpu"

    @property
    def title(self) -> str:
        return f"{self.part}, {self.picture.kind} on {', '.join(self.picture.datasets)}"

    def is_done(self) -> bool:
        return all(map(_is_head, self.trained)) and is_drawn(self.picture, list(self.trained), self.report / self.part)

    def run(self) -> Done:
        missing = [folder.name for folder in self.trained if not _is_head(folder)]
        if missing:
            return Done(failures=[f"{self.part}: {name} is not trained" for name in missing])
        draw_picture(self.picture, list(self.trained), self.report / self.part, self.device)
        return Done()


@dataclass(frozen=True)
class ReportStep:
    """The report is written from the records there are."""

    results: Path
    title: str = "the tables and figures of all records"

    def is_done(self) -> bool:
        return False

    def run(self) -> Done:
        write_report(self.results)
        return Done()


Step = TrainStep | MeasureStep | DrawStep | ReportStep


def told(error: Exception) -> str:
    """A failure in one line."""
    return str(error) if isinstance(error, UsageError | RunError) else out_of_memory(error) or cause_of(error)


def _is_head(folder: Path) -> bool:
    return (folder / CARD).is_file()
