"""Models of open_clip with their weights: of a file, of PACL_WEIGHTS, or of the hub."""

import json
import logging
import warnings
from functools import lru_cache
from pathlib import Path
from typing import Any

import open_clip
from open_clip.convert import convert_state_dict
from open_clip.model import convert_to_custom_text_state_dict
from open_clip.transformer import QuickGELU
from torch import nn

from pacl_bench.encoders.hub import hub_access
from pacl_bench.encoders.request import EncoderRequest
from pacl_bench.encoders.weight_names import below_prefix, clip_weights
from pacl_bench.encoders.weights_files import (
    failed_download,
    find_weights,
    load_strictly,
    not_on_this_machine,
    read_state_dict,
)
from pacl_bench.errors import UsageError
from pacl_bench.files import read_text
from pacl_bench.progress import note
from pacl_bench.registry import lookup, unknown_name


def clip_of(request: EncoderRequest) -> Any:
    """The model that a request names; the two towers of one model are one object."""
    name, entry = request.weights_name, request.entry
    return load_clip(name, entry.model, entry.tag, find_weights(name, request.spec.file))


@lru_cache(maxsize=1)  # the two towers of one model are asked for one after the other
def load_clip(name: str, arch: str, tag: str | None, weights: Path | None) -> Any:
    """An open_clip model with its weights; in float32, as all that is measured here."""
    if ":" in arch:  # open_clip's hf-hub:ORG/MODEL and local-dir:FOLDER
        raise UsageError(
            f"{name}: name the architecture in place of {arch}: open_clip:ARCH/TAG or open_clip:ARCH@FILE."
        )
    if open_clip.get_model_config(arch) is None:
        raise UsageError(f"{name}: {unknown_name(arch, open_clip.list_models(), 'open_clip architecture')}")
    return _from_file(name, arch, tag, weights) if weights else _from_hub(name, arch, tag)


def _from_file(name: str, arch: str, tag: str | None, weights: Path) -> Any:
    clip = _made_for_file(name, arch, tag, weights)
    anchor = next(name for name in clip.state_dict() if name.startswith("visual."))
    state = read_state_dict(weights)
    renamed = clip_weights(state, weights)
    if renamed is not state:
        _refuse_other_activation(clip, arch, weights)
    state = convert_state_dict(clip, below_prefix(renamed, anchor, weights))
    if "positional_embedding" in state and not hasattr(clip, "positional_embedding"):
        state = convert_to_custom_text_state_dict(state)
    for scalar in ("logit_scale", "logit_bias"):  # saved with one axis by some versions and none by others
        if scalar in state and getattr(clip, scalar) is not None:
            state[scalar] = state[scalar].reshape(getattr(clip, scalar).shape)
    load_strictly(clip, state, weights)
    return clip


def _made_for_file(name: str, arch: str, tag: str | None, weights: Path) -> Any:
    """The architecture, which some models have on the hub in part: that of a text tower of transformers."""
    text_tower = (open_clip.get_model_config(arch) or {})["text_cfg"].get("hf_model_name")
    with hub_access(wanted=text_tower is not None):
        try:
            return untrained_clip(
                arch,
                pretrained_text=False,
                force_quick_gelu=_quick_gelu(arch, tag),
                force_preprocess_cfg=_trained_with(arch, tag, weights),
            )
        except OSError as error:
            raise not_on_this_machine(name, f"the configuration of its text tower, {text_tower},", error) from None


def _refuse_other_activation(clip: Any, arch: str, weights: Path) -> None:
    """What Hugging Face's config.json beside the weights says of it must be so."""
    config = weights.with_name("config.json")
    if not config.is_file():
        return
    theirs = json.loads(read_text(config)).get("vision_config", {}).get("hidden_act", "quick_gelu")  # CLIP's default
    if (theirs == "quick_gelu") != (activation(clip) == "QuickGELU"):
        raise UsageError(
            f"{weights}: {config} says {theirs}, and open_clip:{arch} runs {activation(clip)}. Name the architecture "
            "that runs it (open_clip has -quickgelu ones), or the tag its training began with (/openai)."
        )


def _trained_with(arch: str, tag: str | None, weights: Path) -> dict[str, Any]:
    """How photos were shown in training: a file keeps the preprocessing of its tag, as what the hub sends does."""
    configs = {one: open_clip.get_pretrained_cfg(arch, one) for one in open_clip.list_pretrained_tags_by_model(arch)}
    if tag is not None:
        return lookup(configs, tag, f"pretrained tag of {arch}")
    if configs and all(config.get("mean") not in (None, open_clip.OPENAI_DATASET_MEAN) for config in configs.values()):
        note(
            f"{weights}: pixels are scaled as for OpenAI's CLIP, unlike for the released {arch}. If its training began "
            f"with released weights, name their tag: open_clip:{arch}/{next(iter(configs))}@{weights}."
        )
    return {}


def untrained_clip(arch: str, **options: Any) -> Any:
    """An open_clip model with random weights, without open_clip's warning that it has none: they are loaded next."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        return open_clip.create_model(arch, load_weights=False, **options)
    finally:
        logging.disable(level)


def _from_hub(name: str, arch: str, tag: str | None) -> Any:
    if tag is None:
        raise UsageError(f"{name}: no weights. Give open_clip:{arch}/TAG or open_clip:{arch}@FILE.")
    lookup(dict.fromkeys(open_clip.list_pretrained_tags_by_model(arch)), tag, f"pretrained tag of {arch}")
    with hub_access(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return open_clip.create_model(arch, pretrained=tag, force_quick_gelu=_quick_gelu(arch, tag))
        except (RuntimeError, OSError) as error:
            raise failed_download(name, f"{arch}/{tag}", error) from None


def _quick_gelu(arch: str, tag: str | None) -> bool:
    """Whether the weights were trained with QuickGELU: OpenAI's were, and run without it they are subtly wrong."""
    config = open_clip.get_pretrained_cfg(arch, tag) if tag else {}
    return bool(config.get("quick_gelu", False))


def activation(model: nn.Module) -> str:
    """Two models of the same weights differ by it."""
    return "QuickGELU" if any(isinstance(module, QuickGELU) for module in model.modules()) else "GELU"
