"""Models of the transformers library as people have them on disk: a folder that `save_pretrained` wrote."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from pacl_bench.encoders.file_kinds import what_it_is
from pacl_bench.encoders.hub import hub_access
from pacl_bench.errors import UsageError, cause_of

PROCESSORS = ("preprocessor_config.json", "processor_config.json")  # where it stands how photos are shown to a model

# what a model may lack, since no token and no embedding is made with it: a sentence encoder's pooler, T5's decoder
UNUSED = ("pooler.", "decoder.", "logit_scale", "logit_bias")


@lru_cache(maxsize=1)  # the two towers of one model are asked for one after the other
def load_model(name: str, model: str) -> Any:
    """The model in a folder (never touching the network) or of the hub, in float32; no code in it is run.

    Raises:
        UsageError: there is none, or none in safetensors, or not with all its weights; `name` is what the user called
            it.
    """
    if is_folder(name, model):
        _refuse_other_files(name, Path(model))
    options = {"use_safetensors": True, "dtype": torch.float32, "output_loading_info": True}
    loaded, found = from_pretrained(name, model, "AutoModel", **options)
    missing = sorted(weight for weight in found["missing_keys"] if not any(part in weight for part in UNUSED))
    if missing:
        raise UsageError(
            f"{name}: {model} lacks {len(missing)} of the weights of a {type(loaded).__name__} ({missing[0]} ...), and "
            "transformers would draw them at random."
        )
    return loaded


def _refuse_other_files(name: str, folder: Path) -> None:
    """A UsageError for a folder whose weights are a pickle, or were never fetched."""
    weights = list(folder.glob("*.safetensors"))
    pickled = next(folder.glob("*.bin"), None)
    if pickled is not None and not weights:
        raise UsageError(f"{name}: {pickled} is a pickle; folders are read from safetensors (save_pretrained).")
    for file in weights:
        what = what_it_is(file)
        if what:
            raise UsageError(f"{name}: {file} is {what}.")


def from_pretrained(name: str, model: str, kind: str, **options: Any) -> Any:
    """What a class of transformers (AutoModel, AutoTokenizer, AutoImageProcessor) makes of a folder or hub name."""
    library = imported(name)
    local = is_folder(name, model)
    with hub_access(wanted=not local):
        try:
            loader = getattr(library, kind)
            return loader.from_pretrained(model, local_files_only=local, trust_remote_code=False, **options)
        except Exception as error:  # damaged or strange files make these readers raise anything
            if not local:
                raise UsageError(
                    f"{name}: the download of {model} failed ({cause_of(error)}). Name a local folder: "
                    "transformers:FOLDER."
                ) from None
            if "custom code" in str(error):
                raise UsageError(f"{name}: {model} needs code of its own, and no code of a folder is run.") from None
            what = {"AutoImageProcessor": PROCESSORS[0], "AutoTokenizer": "tokenizer"}.get(kind, "model")
            raise UsageError(f"{name}: {model} holds no {what} that transformers reads ({cause_of(error)}).") from None


def imported(name: str) -> Any:
    """The transformers library; a UsageError where it is not installed."""
    try:
        import transformers
    except ImportError:
        raise UsageError(f"{name} needs the transformers library: pip install 'pacl-bench[text]'") from None
    transformers.utils.logging.disable_progress_bar()
    return transformers


def is_folder(name: str, model: str) -> bool:
    """Whether a model is a local folder, not a name of the hub; a UsageError for a path that does not exist."""
    if Path(model).is_dir():
        return True
    if Path(model).is_file():
        raise UsageError(f"{name}: {model} is a file. Name the folder it lies in.")
    if model.startswith((".", "/", "~")) or model.count("/") > 1:
        raise UsageError(f"{name}: the folder {model} does not exist.")
    return False
