"""The commands that train heads: quickstart, train, ablate, run.

`train` has the options of Recipe and Loading (training/recipe.py).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from pacl_bench.cli.declared import Changes
from pacl_bench.cli.options import (
    AsJson,
    CacheRoot,
    DataRoot,
    Device,
    Devices,
    Encoders,
    Everything,
    Running,
    WeightsRoot,
    in_processes,
    listed,
    listed_pairs,
    torch_device,
)
from pacl_bench.cli.output import print_records, print_rows
from pacl_bench.errors import UsageError
from pacl_bench.training.recipe import OFTEN, Loading, Recipe, Seed, Steps, TrainConfig, Watching, make_recipe
from pacl_bench.validation.values import as_option, made

if TYPE_CHECKING:
    from pacl_bench.studies.experiment import Experiment
    from pacl_bench.studies.orchestra import Launch

PAIRS = (
    "Training pairs, comma-separated: names, csv files (filepath, caption), shards (/data/{00..99}.tar, a folder); "
    "each may have a weight: cc3m:0.2,cc12m:0.8."
)
JOBS = 2  # at once
HeadsFolder = Annotated[Path, typer.Option(help="Folder that holds a folder for each head.")]
Seeds = Annotated[int, typer.Option(min=1, max=1000, help="How many heads of each kind are trained, each of its seed.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the plan and its cost, and do nothing.")]


@dataclass(frozen=True)
class Launching:
    """Where steps are done, if it is not here."""

    launcher: Annotated[
        Literal["local", "slurm"] | None,
        typer.Option(help="Do independent steps at once: in processes here, or as jobs of a cluster (submitit)."),
    ] = None
    jobs: Annotated[
        int | None, typer.Option(min=1, max=1000, help="How many of them at once, with --launcher; default 2.")
    ] = None
    job_option: Annotated[
        list[str] | None, typer.Option(help="Of the jobs, KEY=VALUE, as submitit has it: slurm_partition=gpu.")
    ] = None

    def launch(self, logs: Path) -> "Launch | None":
        """What does steps elsewhere; None where they are done here."""
        if self.launcher is None:
            for option, given in (("--jobs", self.jobs), ("--job-option", self.job_option)):
                if given:
                    raise UsageError(f"{option} is of the jobs of --launcher.")
            return None
        from pacl_bench.studies.launch import launcher, read_options

        return launcher(self.launcher, logs, self.jobs or JOBS, read_options(self.job_option or []))


HeadKind = Annotated[str, typer.Option("--head", help="Kind of head: residual (the paper's) or linear.")]


def quickstart(
    out: Annotated[Path, typer.Option(help="Folder for heads, records, report and cache.")] = Path("quickstart"),
    seed: Seed = 0,
    smoke: Annotated[bool, typer.Option("--smoke", help="A small part of it, in under a minute.")] = False,
    noise: Annotated[
        str, typer.Option(help="Shares of noise in the images, to see the numbers fall to chance: 0,0.25,0.5,1.")
    ] = "",
    everything: Everything = False,
    as_json: AsJson = False,
) -> None:
    """Every study on the built-in world: no network, no data, minutes on a CPU; ends with a report."""
    from pacl_bench.studies.quickstart import quickstart as run

    outcome = run(out, seed, smoke, _shares(noise))
    print_records(outcome.records, out / "results", everything, as_json)
    outcome.require_success()


def _shares(text: str) -> list[float]:
    """What --noise says."""
    from pacl_bench.data.noise import MARK, noise_of

    return [noise_of(f"--noise {text}{MARK}{share}")[1] for share in listed(text)]


def train(
    *,
    encoder: Annotated[str, typer.Option(help="Frozen vision encoder.")],
    text: Annotated[str, typer.Option(help="Frozen text encoder: a CLIP or transformers:FOLDER.")],
    pairs: Annotated[str, typer.Option(help=PAIRS)],
    out: Annotated[Path | None, typer.Option(help="Folder of the head; default heads/pacl-<encoder>.")] = None,
    recipe: Annotated[
        str, typer.Option(help="paper or small; the options below change single values of it.")
    ] = "small",
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in --out.")] = False,
    changes: Annotated[dict[str, Any], Changes(Recipe)],
    head: HeadKind = "residual",
    seed: Seed = 0,
    devices: Devices = None,
    checkpoint_every: Annotated[
        str, typer.Option(help="How often to keep the state to go on from: steps, a time (30s, 10m, 1h), or both.")
    ] = OFTEN,
    loading: Loading,
    watching: Watching,
    device: Device = "auto",
    data_root: DataRoot = None,
    weights_root: WeightsRoot = None,
    cache_root: CacheRoot = None,
    as_json: AsJson = False,
) -> None:
    """Train a PACL head on image-caption pairs; both encoders stay frozen."""
    config = TrainConfig(encoder, text, "+".join(listed_pairs(pairs)), make_recipe(recipe, changes), seed, head)
    in_processes(devices)
    from pacl_bench.model.head_files import default_name
    from pacl_bench.training.loop import train as run

    out = out or Path("heads", default_name(encoder))
    card = run(config, out, resume, torch_device(device), checkpoint_every, loading, watching)
    row = {
        "head": str(out), "steps": card.step, "temperature": round(card.temperature, 4),
        **{key: card.train.get(key) for key in ("pairs", "images", "captions", "skipped")},
        "seconds": card.provenance["seconds"],
    }  # fmt: skip
    print_rows([row], "Trained head", as_json)


def run(
    *,
    study: Annotated[Path, typer.Argument(help="A study file (TOML), or the name of a shipped one: paper.")],
    only: Annotated[str, typer.Option(help="Parts of it, comma-separated: table3,figure8. Default all.")] = "",
    dry_run: DryRun = False,
    seeds: Annotated[
        int | None, typer.Option(min=1, max=1000, help="How many heads of each kind are trained, each of its seed.")
    ] = None,
    out: HeadsFolder = Path("heads"),
    launching: Launching,
    loading: Loading,
    running: Running,
) -> None:
    """Run a study file: train its heads, measure, draw, report. Stopped at any moment, the same call goes on."""
    from pacl_bench.studies.experiment import load_experiment

    experiment = load_experiment(study)
    experiment = experiment.only(listed(only)) if only else experiment
    experiment = experiment.with_seeds(list(range(seeds))) if seeds else experiment
    run_and_print(experiment, out, running, loading, dry_run, launching)


def run_and_print(
    experiment: "Experiment", heads: Path, running: Running, loading: Loading, dry_run: bool, launching: Launching
) -> None:
    """Runs an experiment and prints its records; a RunError where something failed."""
    in_processes(running.devices)
    from pacl_bench.paths import results_root
    from pacl_bench.studies.orchestra import run_experiment
    from pacl_bench.studies.plan import Setting

    setting = Setting(heads, results_root(), running.rerun, torch_device(running.device), loading)
    outcome = run_experiment(experiment, setting, dry_run, launching.launch(results_root() / "jobs"))
    print_records(outcome.records, results_root(), running.everything, running.as_json)
    outcome.require_success()


def ablate(
    *,
    encoders: Encoders = "clip-b16,clip-l14,dino-b16",
    pairs: Annotated[
        str, typer.Option(help="Training sets, comma-separated; a set may be a sum: cc12m+yfcc15m.")
    ] = "cc12m,cc12m+yfcc15m,cc3m+cc12m+yfcc15m",
    text: Annotated[
        str | None,
        typer.Option(help="Text encoders, comma-separated; default the encoder's own, clip-b16 for those without."),
    ] = None,
    recipe: Annotated[str, typer.Option(help="paper or small.")] = "paper",
    steps: Steps = None,
    grid: Annotated[
        list[str] | None,
        typer.Option(
            help="Values to try, KEY=A,B: any option of train, or head, block, tap. May be given several times."
        ),
    ] = None,
    dataset: Annotated[
        str, typer.Option(help="Segmentation sets each head is measured on, comma-separated.")
    ] = "voc20",
    head: HeadKind = "residual",
    out: HeadsFolder = Path("heads"),
    seed: Seed = 0,
    seeds: Seeds = 1,
    dry_run: DryRun = False,
    launching: Launching,
    loading: Loading,
    running: Running,
) -> None:
    """Train and measure a grid of heads: Table 3 by default. Every cell can be stopped and resumed."""
    from pacl_bench.studies.ablate import ablation, read_grid
    from pacl_bench.studies.experiment import Heads

    tried = read_grid([*([] if steps is None else [f"steps={steps}"]), *(grid or [])])
    given = {"encoders": listed(encoders or ""), "pairs": listed_pairs(pairs), "texts": listed(text or "")}
    given |= {"recipe": recipe, "grid": tried, "seeds": list(range(seed, seed + seeds)), "head": head}
    heads = made(Heads, given, as_option)
    run_and_print(ablation(heads, listed(dataset)), out, running, loading, dry_run, launching)
