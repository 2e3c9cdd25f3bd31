"""What was chosen for a number, by name: of a record's, of a printed one, of somebody else's protocol.

A choice is told in words, and two are the same where their words are. One that is not known is missing.
"""

from collections.abc import Mapping
from typing import Any

from pacl_bench.data.segmentation import SEGMENTATION_SETS
from pacl_bench.data.vocabulary import shipped_names
from pacl_bench.evaluators.presets import PRESETS
from pacl_bench.evaluators.steps import Steps
from pacl_bench.report.details import describe_data
from pacl_bench.report.published import Published
from pacl_bench.report.runs import Number, Run

Choices = dict[str, str]
ENCODER, TEXT, HEAD, TRAINED, DATASET, IMAGES = (
    "vision encoder", "text encoder", "head", "trained on", "data set", "images",
)  # fmt: skip
AVERAGE, BACKGROUND, TEMPLATES, VOCABULARY, NAMES = "average", "background", "templates", "vocabulary", "names"
ATTENTION, NONE = "attention of the last block", "none"
MODEL = (ENCODER, TEXT, HEAD, TRAINED, "recipe", ATTENTION, "block")
# choices of which one has no meaning without the other, or that change as a whole
TOGETHER = (MODEL, ("window", "overlap", "fusion"), (BACKGROUND, "scale", "area"))
WHOLE = "the whole image"
UNTOLD = {"thresholds", "entropies", "boundary", "protocol", "steps", "encoder"}  # told by others
ONLY_WITH = {"overlap": "window", "fusion": "window"}  # of no meaning without
ONLY_WITH_BACKGROUND = ("scale", "area")


def of_number(number: Number) -> Choices:
    """Everything that a record says of how one of its numbers came about."""
    run = number.run
    steps = _steps_of(number)
    found = {DATASET: run.dataset, IMAGES: describe_data(run).partition(": ")[2], "evaluator": run.evaluator}
    return _meaningful(found | _model(run) | steps | _protocol(number, steps))


def of_preset(name: str, dataset: str) -> Choices:
    """The steps of somebody else's evaluation code on a data set, and how it runs its encoder."""
    preset = PRESETS[name]
    found = {"evaluator": "segment", DATASET: dataset, AVERAGE: "dataset-miou"}
    found |= _in_words(vars(preset.steps_on(dataset)), dataset)
    return _meaningful(found | ({ATTENTION: preset.setup.attention} if preset.setup.attention else {}))


def of_published(row: Published) -> Choices:
    """What is printed beside a number, and the steps of the protocol that it is known to follow."""
    preset = of_preset(row.preset, row.dataset_name) if row.preset else {}
    average, _, background = row.protocol.partition(", ")
    known = {} if "unknown" in row.protocol else {AVERAGE: average}
    known |= {BACKGROUND: background.removeprefix("background=")} if background.startswith("background=") else {}
    printed = {
        ENCODER: row.encoder_name or row.encoder, TEXT: row.text_name or row.text_encoder,
        TRAINED: row.training_name or row.training_set, DATASET: row.dataset_name,
        "masks upstream": {"yes": "yes", "no": "no"}.get(row.mask, ""),
    }  # fmt: skip
    return {**preset, **known, **{name: value for name, value in printed.items() if value}}


def _model(run: Run) -> Choices:
    text = run.record.config.get("model", {}).get("text")
    found = {
        ENCODER: f"{run.encoder} ({_digest(run.vision)})" if run.vision else "",
        TEXT: f"{run.text} ({_digest(text)})" if text else "",
        HEAD: f"{run.method} ({_digest(run.head)})" if run.head else run.method,
        TRAINED: run.train.get("pairs", ""),
        "recipe": run.recipe if run.train else "",
        ATTENTION: run.vision.get("attention") or "clip",
        "block": _told(run.vision.get("block")),
    }
    return {name: value for name, value in found.items() if value not in ("", "none")}


def _steps_of(number: Number) -> Choices:
    """The settings; of a segmentation every step; where one is left to the encoder, what the encoder has."""
    run = number.run
    settings, pixels = run.record.config.get("settings", {}), run.vision.get("preprocess", {})
    told = number.protocol.partition("protocol=")[2]  # somebody's protocol, by the name that the record has for it
    given = {**settings, **settings.get("steps", {}).get(told, {})}
    if run.evaluator == "segment" and run.vision:
        given = vars(Steps()) | given
    found = _in_words(given, run.dataset)
    if found.get("size") == NONE:
        found["size"] = _told(pixels.get("image_size") or pixels.get("size"))
    return found


def _in_words(steps: Mapping[str, Any], dataset: str) -> Choices:
    found = {name: _told(value) for name, value in steps.items() if name not in UNTOLD and not name.endswith("_hash")}
    if BACKGROUND in steps:
        has_background = dataset in SEGMENTATION_SETS and "background" in shipped_names(dataset)
        found[BACKGROUND] = _background(steps[BACKGROUND], steps["scale"]) if has_background else "none"
    return found


def _background(rule: str, scale: float) -> str:
    """A rule of `Steps` in the words of the protocols of one pass."""
    rule = rule.replace("candidate", "class")
    return f"{rule},scale={scale:g}" if rule.startswith("entropy") else rule


def _protocol(number: Number, steps: Mapping[str, str]) -> Choices:
    """What the name of the protocol says: average, background, and names and prompts where there are several."""
    if number.run.evaluator != "segment":
        return {"metric": number.metric, "protocol": number.protocol}
    average, *parts = number.protocol.partition(", protocol=")[0].split(", ")
    told = dict(part.split("=", 1) for part in parts if "=" in part)
    first = {name: steps[name].split("+")[0] for name in (TEMPLATES, VOCABULARY) if name in steps}
    return {"metric": number.metric, AVERAGE: average, **first, **told}


def _meaningful(choices: Choices) -> Choices:
    """Without what means nothing beside the other choices; what is the whole image says so."""
    whole = choices.get("window") in (None, "none")
    found = {name: value for name, value in choices.items() if not (whole and ONLY_WITH.get(name) == "window")}
    if choices.get(BACKGROUND, "none").partition("=")[0] in ("none", "class"):
        found = {name: value for name, value in found.items() if name not in ONLY_WITH_BACKGROUND}
    return found | ({"window": WHOLE} if whole and "window" in choices else {})


def _told(value: Any) -> str:
    if value is None:
        return NONE
    return "+".join(map(str, value)) if isinstance(value, list | tuple) else str(value).replace(",", "+")


def _digest(part: Mapping[str, Any]) -> str:
    return (part.get("sha256") or "unknown")[:8]
