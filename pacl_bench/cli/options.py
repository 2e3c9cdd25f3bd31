"""What several commands share: their options, and how the words in them are read."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from pacl_bench.errors import UsageError
from pacl_bench.registry import listed

Rerun = Literal["missing", "always", "never"]
Scope = Literal["across", "within", "all"]


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
    str, typer.Option(help="Encoders, comma-separated: names or \\[ALIAS=]LIBRARY:MODEL\\[@FILE]\\[?block=..].")
]
Heads = Annotated[str, typer.Option(help="Folders of trained heads, comma-separated.")]
Datasets = Annotated[str, typer.Option(help="Data sets, comma-separated, or folder:PATH; classify: twelve, wds:PATH.")]
Templates = Annotated[str, typer.Option(help="Prompts: paper7, simple, openai80, a file; classify also: own.")]
Size = Annotated[int | None, typer.Option(min=1, help="Short side of the images in pixels; default the encoder's own.")]
Purity = Annotated[float, typer.Option(min=0, max=1, help="Share of a patch's pixels that must have its label.")]
BlockOption = Annotated[
    str | None, typer.Option("--block", help="Of the encoders: a number from 0, or all for one measurement a block.")
]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps; auto takes a GPU if there is one.")]
RerunOption = Annotated[Rerun, typer.Option(help="What to measure: what has no record, everything, nothing.")]
StudyName = Annotated[
    str | None, typer.Option("--study", help="Name the records are filed under; default the command's.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def listed_pairs(text: str) -> list[str]:
    """As `listed`, but a comma within braces does not split: /data/{a,b}/00000.tar."""
    return [part.strip() for part in re.split(r",(?![^{}]*\})", text) if part.strip()]


def at_block(encoders: str, block: str | None) -> str:
    """The encoders with `?block=` set where they do not say so themselves."""
    from pacl_bench.encoders.spec import parse_spec, with_option

    if block is None:
        return encoders
    specs = listed(encoders)
    return ",".join(
        spec if "block" in parse_spec(spec).options else with_option(spec, "block", block) for spec in specs
    )


def numbers(option: str, text: str) -> list[float]:
    """Comma-separated numbers; a UsageError names the option and what is none."""
    found = []
    for part in listed(text):
        try:
            found.append(float(part))
        except ValueError:
            raise UsageError(f"{option} {text}: {part!r} is no number. Write them like 0.1,0.2.") from None
    return found


def torch_device(name: str) -> str:
    """The torch device a name stands for; a UsageError where this machine has none such."""
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError):
        raise UsageError(f"--device {name}: not on this machine. Use cpu or auto.") from None
    return name
