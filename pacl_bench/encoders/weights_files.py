"""Reading other people's checkpoints, without ever running code that is in them."""

import json
import re
import warnings
from argparse import Namespace
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path, PosixPath
from typing import Any
from zipfile import ZipFile, is_zipfile

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from pacl_bench.encoders.file_kinds import fault
from pacl_bench.errors import UsageError
from pacl_bench.paths import weights_root
from pacl_bench.progress import note

WEIGHTS_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".pth.tar")
WRAPPERS = ("state_dict", "model", "teacher")  # keys under which training scripts keep the weights
AVERAGE = re.compile(r"(^|_)ema(_|$)")  # of such keys: those of an average of the weights over the training
PIECE = re.compile(r"-\d{5}-of-(?!00001)\d{5}\.(safetensors|bin)$")  # of what save_pretrained has divided
# what training scripts keep beside the weights, and no harm can come of: their arguments, numbers and arrays of NumPy
_NUMBER, _ARRAY = np.float64(0).__reduce__()[0], np.empty(0).__reduce__()[0]
HARMLESS: list[Any] = [
    *(Namespace, PosixPath, set, list, defaultdict, np.dtype, np.ndarray),
    *(_NUMBER, (_NUMBER, "numpy.core.multiarray.scalar"), _ARRAY, (_ARRAY, "numpy.core.multiarray._reconstruct")),
    *(type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64)),
]
# what OpenAI's archives hold beside the weights
NOT_WEIGHTS = ("input_resolution", "context_length", "vocab_size")


def find_weights(name: str, file: Path | None) -> Path | None:
    """The local checkpoint for an encoder: the file named, else PACL_WEIGHTS/<name>.<suffix>, else none."""
    if file is not None:
        file = file.expanduser()  # a shell leaves "~" within a word as it is
        if file.is_dir():
            raise UsageError(f"{name}: {file} is a folder. Name the file of weights in it.")
        if not file.is_file():
            raise UsageError(f"{name}: the weights file {file} does not exist.")
        return file
    root = weights_root()
    candidates = [root / f"{name}{suffix}" for suffix in WEIGHTS_SUFFIXES] if root else []
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def missing_weights(name: str, elsewhere: str) -> UsageError:
    """The one line for an encoder whose weights are not on this machine; `elsewhere` says where they may be had."""
    root = weights_root()
    looked = f"{root}/{name}{{{','.join(WEIGHTS_SUFFIXES)}}}" if root else "PACL_WEIGHTS (not set)"
    return UsageError(f"{name}: no weights. Looked for {looked}; {elsewhere}. Give a local file: {name}@FILE.")


def failed_download(name: str, hub_name: str, cause: Exception) -> UsageError:
    """The one line for an encoder whose weights are neither on this machine nor to be had from the hub."""
    return missing_weights(name, f"the download of {hub_name} failed ({_first_line(cause)})")


def not_on_this_machine(name: str, what: str, cause: Exception) -> UsageError:
    """The one line for a part of an encoder, other than its weights, that is to be had from the hub alone."""
    return UsageError(
        f"{name}: {what} lies on the hub, and its download failed ({_first_line(cause)}). Load it once where there is "
        "a network, and bring the hub's cache along (HF_HOME)."
    )


def _first_line(cause: Exception) -> str:
    return str(cause).strip().splitlines()[0][:120] if str(cause).strip() else type(cause).__name__


def read_state_dict(file: Path) -> dict[str, Tensor]:
    """The weights in a checkpoint file: safetensors, a pickle of tensors, or OpenAI's TorchScript archive.

    What it is its content says, whatever it is called; an index (`model.safetensors.index.json`) stands for the files
    that it names. Pickles are read with `weights_only`, which refuses anything but tensors and plain values. The usual
    wrappers (`{"state_dict": ...}`, `module.` of DataParallel) are taken off.

    Raises:
        UsageError: says in one line what the file is, where it is no checkpoint.
    """
    if PIECE.search(file.name):
        raise UsageError(f"{file} holds a part of the weights. Name their index: model.safetensors.index.json.")
    pieces = _pieces(file)
    if pieces:
        return {name: weight for piece in pieces for name, weight in _unwrapped(_content(piece), piece).items()}
    return _unwrapped(_content(file), file)


def _pieces(index: Path) -> list[Path]:
    """The files that an index names; none where the file is no index."""
    if not index.name.endswith(".index.json"):
        return []
    try:
        names = sorted(set(json.loads(index.read_bytes())["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError):
        return []
    missing = next((name for name in names if not index.with_name(name).is_file()), None)
    if missing is not None:
        raise UsageError(f"{index} names {missing}, which is not beside it.")
    return [index.with_name(name) for name in names]


def _content(file: Path) -> object:
    try:
        if _is_safetensors(file):
            return load_file(file)
        if _is_torchscript(file):
            return _read_torchscript(file)
        with torch.serialization.safe_globals(HARMLESS), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickles of another protocol than torch's own
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files make these readers raise anything
        raise UsageError(f"{file} {fault(file, error)}") from None


def load_strictly(module: torch.nn.Module, state: Mapping[str, Tensor], file: Path | str) -> None:
    """Loads the weights; a file that does not fit exactly is refused in one line, never half loaded."""
    own = module.state_dict()
    missing, unexpected = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    misfits = [key for key in own.keys() & state.keys() if own[key].shape != state[key].shape]
    problems = [
        f"{len(keys)} {what} (first: {keys[0]})"
        for what, keys in (("missing", missing), ("unexpected", unexpected), ("of another shape", sorted(misfits)))
        if keys
    ]
    if problems:
        raise UsageError(f"{file} does not fit this architecture: {', '.join(problems)}. {other_names(Path(file))}")
    module.load_state_dict(dict(state))


def other_names(file: Path) -> str:
    """What to name in place of an architecture that a file does not fit, as the end of the one line."""
    if (file.parent / "config.json").is_file():
        return f"It may be of transformers, whose folders have a config.json: transformers:{file.parent}."
    return "Name the architecture it was saved from."


def _read_torchscript(file: Path) -> dict[str, Tensor]:
    """By TorchScript's own reader, which knows tensors and no Python objects; nothing in the archive is run."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch wants archives to be made otherwise; these exist
        return dict(torch.jit.load(file, map_location="cpu").state_dict())


def _is_safetensors(file: Path) -> bool:
    """By its first bytes: the length of a header in JSON, and that header."""
    with file.open("rb") as handle:
        length, start = int.from_bytes(handle.read(8), "little"), handle.read(1)
    return start == b"{" and length <= file.stat().st_size - 8


def _is_torchscript(file: Path) -> bool:
    if not is_zipfile(file):
        return False
    with ZipFile(file) as archive:
        return any(Path(name).name == "constants.pkl" for name in archive.namelist())


def _unwrapped(state: object, file: Path) -> dict[str, Tensor]:
    while isinstance(state, dict) and (wrapper := _wrapper(state, file)) is not None:
        state = state[wrapper]
    if not isinstance(state, dict) or not any(isinstance(value, Tensor) for value in state.values()):
        raise UsageError(f"{file} holds no weights.")
    weights = {key: value for key, value in state.items() if isinstance(value, Tensor) and key not in NOT_WEIGHTS}
    return _without_prefix(weights, "module.")


def _wrapper(state: dict[Any, Any], file: Path) -> str | None:
    """The key under which a training script has kept the weights; None where they lie no deeper."""
    known = next((key for key in WRAPPERS if isinstance(state.get(key), dict)), None)
    if known is not None:
        averaged = next((key for key in state if AVERAGE.search(str(key)) and isinstance(state[key], dict)), None)
        if averaged is not None:
            note(f"{file}: the weights are those of {known!r}, not their average {averaged!r}")
        return known
    if any(isinstance(value, Tensor) for value in state.values()):
        return None
    holders = [key for key, value in state.items() if "optim" not in str(key) and _holds_weights(value)]
    if len(holders) > 1:
        raise UsageError(f"{file} holds several sets of weights, {', '.join(holders)}: save the one that is meant.")
    if holders:
        note(f"{file}: the weights are those of {holders[0]!r}")
    return holders[0] if holders else None


def _holds_weights(value: object) -> bool:
    """Whether there are tensors with names below; an optimizer's have numbers."""
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        return False
    return any(isinstance(below, Tensor) or _holds_weights(below) for below in value.values())


def _without_prefix(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    if _all_start_with(weights, prefix):
        return {key.removeprefix(prefix): value for key, value in weights.items()}
    return weights


def _all_start_with(names: Iterable[str], prefix: str) -> bool:
    return all(name.startswith(prefix) for name in names)
