"""Reading other people's checkpoints, without ever running code that is in them."""

import pickle
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from zipfile import ZipFile, is_zipfile

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from pacl_bench.errors import UsageError
from pacl_bench.paths import weights_root

WEIGHTS_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".pth.tar")
WRAPPERS = ("state_dict", "model", "teacher")  # keys under which training scripts keep the weights
# what OpenAI's archives hold beside the weights
NOT_WEIGHTS = ("input_resolution", "context_length", "vocab_size")


def find_weights(name: str, file: Path | None) -> Path | None:
    """The local checkpoint for an encoder: the file named, else PACL_WEIGHTS/<name>.<suffix>, else none."""
    if file is not None:
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
    reason = str(cause).strip().splitlines()[0][:120] if str(cause).strip() else type(cause).__name__
    return missing_weights(name, f"the download of {hub_name} failed ({reason})")


def read_state_dict(file: Path) -> dict[str, Tensor]:
    """The weights in a checkpoint file: safetensors, a pickle of tensors, or OpenAI's TorchScript archive.

    Pickles are read with `weights_only`, which refuses anything but tensors and plain values. The usual wrappers
    (`{"state_dict": ...}`, `module.` of DataParallel) are taken off.
    """
    try:
        if file.suffix == ".safetensors":
            state = load_file(file)
        elif _is_torchscript(file):
            state = _read_torchscript(file)
        else:
            state = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise UsageError(
            f"{file} holds more than weights, and reading it could run foreign code. Save its state_dict() alone, "
            "as .safetensors for example."
        ) from None
    except (SafetensorError, RuntimeError, EOFError, OSError, ValueError) as error:
        raise UsageError(f"{file} is not a readable checkpoint ({str(error).splitlines()[0][:100]}).") from None
    return _unwrapped(state, file)


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
        raise UsageError(
            f"{file} does not fit this architecture: {', '.join(problems)}. Name the architecture it was saved from."
        )
    module.load_state_dict(dict(state))


def _read_torchscript(file: Path) -> dict[str, Tensor]:
    """By TorchScript's own reader, which knows tensors and no Python objects; nothing in the archive is run."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch wants archives to be made otherwise; these exist
        return dict(torch.jit.load(file, map_location="cpu").state_dict())


def _is_torchscript(file: Path) -> bool:
    if not is_zipfile(file):
        return False
    with ZipFile(file) as archive:
        return any(Path(name).name == "constants.pkl" for name in archive.namelist())


def _unwrapped(state: object, file: Path) -> dict[str, Tensor]:
    while isinstance(state, dict):
        wrapper = next((key for key in WRAPPERS if isinstance(state.get(key), dict)), None)
        if wrapper is None:
            break
        state = state[wrapper]
    if not isinstance(state, dict) or not any(isinstance(value, Tensor) for value in state.values()):
        raise UsageError(f"{file} holds no weights.")
    weights = {key: value for key, value in state.items() if isinstance(value, Tensor) and key not in NOT_WEIGHTS}
    return _without_prefix(weights, "module.")


def _without_prefix(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    if _all_start_with(weights, prefix):
        return {key.removeprefix(prefix): value for key, value in weights.items()}
    return weights


def _all_start_with(names: Iterable[str], prefix: str) -> bool:
    return all(name.startswith(prefix) for name in names)
