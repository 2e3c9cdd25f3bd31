"""The command that measures a record again, made from what the record says. No torch here."""

import shlex
from typing import Any

from pacl_bench.encoders.table import ENCODERS
from pacl_bench.report.runs import ELSEWHERE, Run, blocks


def measure_again(run: Run) -> str:
    """The command line that makes the run's record. Where weights lie only the user knows: FILE stands for them, and
    heads/NAME for the folder of a head.
    """
    return f"{measure_like(run)}{shlex.quote(run.dataset)} --rerun always"


def measure_like(run: Run) -> str:
    """The same up to the name of the data set, which may be another one."""
    words = ["pacl-bench", run.evaluator, *_model_words(run), *_setting_words(run)]
    words += ["--study", run.study] if run.study != run.evaluator else []
    return " ".join(map(shlex.quote, words)) + " --datasets "


def _model_words(run: Run) -> list[str]:
    if run.method == ELSEWHERE:
        return ["--predictions", "FOLDER", "--name", run.model]
    if run.head is not None:
        return ["--heads", f"heads/{run.model}"]
    return ["--encoders", _encoder_spec(run)]


def _encoder_spec(run: Run) -> str:
    """The encoder's short name, or `NAME=LIBRARY:MODEL@FILE?options` for one that has none."""
    base, block = blocks([run]).get(run.file, (run.encoder, None))
    if base in ENCODERS:
        return base if block is None else f"{base}?block=all"
    options = {} if block is None else {"block": "all"}
    options |= {
        name: run.vision[name] for name in ("block", "attention") if run.vision.get(name) and name not in options
    }
    told = "&".join(f"{name}={value}" for name, value in options.items())
    architecture = run.vision.get("architecture", base)
    file = "@FILE" if architecture.startswith(("open_clip:", "timm:")) else ""
    return f"{base}={architecture.removeprefix('built-in:')}{file}" + (f"?{told}" if told else "")


def _setting_words(run: Run) -> list[str]:
    """The settings that differ from their defaults: those that the variant's name tells."""
    settings = run.record.config.get("settings", {})
    changed = [part.partition("=")[0] for part in run.variant.split(",")]
    return [word for name in changed if settings.get(name) is not None for word in _option(name, settings[name])]


def _option(name: str, value: Any) -> list[str]:
    option = f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        return [option] if value else []
    return [option, ",".join(map(str, value)) if isinstance(value, list) else str(value)]
