"""What several commands share: their options, and how the words in them are read."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from pacl_bench import processes
from pacl_bench.errors import UsageError
from pacl_bench.progress import console
from pacl_bench.registry import listed
from pacl_bench.studies.study import Rerun

DEVICES = r"auto|cpu|mps|(cuda|xpu)(:\d+)?"


def _sets(variable: str) -> Callable[[Path | None], Path | None]:
    """An option that stands for a variable of the environment."""

    def keep(value: Path | None) -> Path | None:
        if value is not None:
            os.environ[variable] = str(value)
        return value

    return keep


def _folder_option(name: str, variable: str, what: str) -> Any:
    return typer.Option(
        name, callback=_sets(variable), help=f"{what} [dim](or {variable})[/dim]", rich_help_panel="Folders"
    )


DataRoot = Annotated[Path | None, _folder_option("--data-root", "PACL_DATA", "Data sets, under their official names.")]
WeightsRoot = Annotated[Path | None, _folder_option("--weights-root", "PACL_WEIGHTS", "<encoder name>.safetensors ...")]
ResultsRoot = Annotated[Path | None, _folder_option("--results", "PACL_RESULTS", "Where records and report go.")]
CacheRoot = Annotated[Path | None, _folder_option("--cache-root", "PACL_CACHE", "Patch tokens, encoded once.")]
Encoders = Annotated[
    str | None, typer.Option(help="Encoders, comma-separated: names or \\[ALIAS=]LIBRARY:MODEL\\[@FILE]\\[?block=..].")
]
Heads = Annotated[str | None, typer.Option(help="Folders of trained heads, comma-separated.")]
HeadEncoder = Annotated[
    str | None, typer.Option("--encoder", help="Vision encoder of the --heads, where PACL_WEIGHTS does not hold it.")
]
HeadText = Annotated[str | None, typer.Option("--text", help="Text encoder of the --heads, likewise.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps, xpu; auto takes a GPU if there is one.")]
Devices = Annotated[
    int | None,
    typer.Option(min=1, help="Processes on this machine that share the work, a GPU each. More machines: torchrun."),
]
RerunOption = Annotated[Rerun, typer.Option(help="What to measure: what has no record, everything, nothing.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Everything = Annotated[bool, typer.Option("--all", help="Print every number, not only those that come first.")]


@dataclass(frozen=True)
class Cells:
    """What is measured on what, and under which name."""

    encoders: Encoders = None
    heads: Heads = None
    encoder: HeadEncoder = None
    text: HeadText = None
    datasets: Annotated[
        str | None, typer.Option(help="Data sets, comma-separated, or folder:PATH; classify: twelve, wds:PATH.")
    ] = "voc20"
    block: Annotated[
        str | None,
        typer.Option(help="Of the encoders: a number from 0, or all for one measurement a block."),
    ] = None
    study: Annotated[str | None, typer.Option(help="Name the records are filed under; default the command's.")] = None

    def content(self) -> dict[str, Any]:
        """What a study says of them."""
        return {**self.listed(), "encoder": self.encoder, "text": self.text}

    def listed(self) -> dict[str, list[str]]:
        """Encoders, heads and data sets, as a study lists them."""
        if self.block is not None and self.encoders is None:
            raise UsageError(f"--block {self.block} is of --encoders: a head has the block that it was trained on.")
        encoders = listed(self.encoders or "")
        return {
            "encoders": encoders if self.block is None else [at_block(one, self.block) for one in encoders],
            "heads": listed(self.heads or ""),
            "datasets": listed(self.datasets or ""),
        }


@dataclass(frozen=True)
class Running:
    """How a study is run, and where things live."""

    rerun: RerunOption = "missing"
    device: Device = "auto"
    devices: Devices = None
    data_root: DataRoot = None
    weights_root: WeightsRoot = None
    results: ResultsRoot = None
    cache_root: CacheRoot = None
    everything: Everything = False
    as_json: AsJson = False


def listed_pairs(text: str) -> list[str]:
    """As `listed`, but a comma within braces does not split: /data/{a,b}/00000.tar."""
    return [part.strip() for part in re.split(r",(?![^{}]*\})", text) if part.strip()]


def at_block(encoder: str, block: str) -> str:
    """The encoder with `?block=` set where it does not say so itself."""
    from pacl_bench.encoders.spec import parse_spec, with_option

    if not re.fullmatch(r"all|-?\d+", block):
        raise UsageError(f"--block {block}: a number or all is wanted.")
    return encoder if "block" in parse_spec(encoder).options else with_option(encoder, "block", block)


def in_processes(devices: int | None) -> None:
    """Runs the command in so many processes and ends; in a process that was started so, does nothing."""
    if devices is not None and devices > 1 and not processes.are_several():
        raise typer.Exit(processes.start(devices))
    if processes.are_several() and processes.own_rank() > 0:
        console.quiet = True


def torch_device(name: str) -> str:
    """The torch device a name stands for; a UsageError where this machine has none such."""
    if not re.fullmatch(DEVICES, name):
        raise UsageError(f"--device {name}: auto, cpu, cuda, cuda:1, mps or xpu is wanted.")
    import torch

    if name in ("auto", "cuda") and torch.cuda.is_available():
        # of several processes each has its own, as far as there are so many
        return f"cuda:{processes.local_rank() % torch.cuda.device_count()}" if processes.are_several() else "cuda"
    if name == "auto":
        return "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError):
        raise UsageError(f"--device {name}: not on this machine. Use cpu or auto.") from None
    return name
