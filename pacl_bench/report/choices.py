"""What was chosen for a number, by name: of a record's, of a printed one, of somebody else's protocol.

A choice is told in words, and two are the same where their words are. One that is not known is missing.
"""

from collections.abc import Mapping
from typing import Any

from pacl_bench.report.details import describe_data
from pacl_bench.report.published import Published
from pacl_bench.report.runs import Number, Run

Choices = dict[str, str]
ENCODER, TEXT, HEAD, TRAINED, DATASET, IMAGES = (
    "vision encoder", "text encoder", "head", "trained on", "data set", "images",
)  # fmt: skip
AVERAGE, BACKGROUND, TEMPLATES, VOCABULARY, NAMES = "average", "background", "templates", "vocabulary", "names"
MODEL = (ENCODER, TEXT, HEAD, TRAINED, "recipe", "attention of the last block", "block")
# choices of which one has no meaning without the other, or that change as a whole
TOGETHER = (MODEL, ("window", "overlap", "fusion"), (BACKGROUND, "scale", "area"))
WHOLE = "the whole image"
# what the evaluator of segmentation does where a setting does not say otherwise, in the words of a protocol's steps
OWN_STEPS = {
    "resize": "patch-multiple", "long_side": "none", "remainder": "none", "fusion": "scores", "upsampled": "once",
    "refinement": "none", "merged": "patches", "softmax": "classes", "area": "none", "window": "none", "stride": "none",
}  # fmt: skip
UNTOLD = {"candidate", "threshold", "thresholds", "entropy", "entropies", "boundary"}  # the background tells these
ONLY_WITH = {"overlap": "window", "fusion": "window"}  # of no meaning without
ONLY_WITH_BACKGROUND = ("scale", "area")


def of_number(number: Number) -> Choices:
    """Everything that a record says of how one of its numbers came about."""
    run = number.run
    steps = _steps_of(run)
    found = {DATASET: run.dataset, IMAGES: describe_data(run).partition(": ")[2], "evaluator": run.evaluator}
    return _meaningful(found | _model(run) | steps | _protocol(number, steps))


def of_preset(name: str, dataset: str) -> Choices:
    """The steps of somebody else's evaluation code on a data set, and how it runs its encoder."""
    from pacl_bench.evaluators.presets import PRESETS  # brings torch

    preset = PRESETS[name]
    steps, setup = vars(preset.steps_on(dataset)), preset.setup
    found = {key: _told(value) for key, value in steps.items() if key not in UNTOLD}
    found[BACKGROUND] = _background(steps) if "background" in _names_of(dataset) else "none"
    ran = {"attention of the last block": setup.attention, "positions": setup.pos, "activation": setup.activation}
    return _meaningful({"evaluator": "segment", DATASET: dataset, AVERAGE: "dataset-miou", **found,
                        **{key: value for key, value in ran.items() if value}})  # fmt: skip


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
        "attention of the last block": run.vision.get("attention") or "clip",
        "block": _told(run.vision.get("block")),
    }
    return {name: value for name, value in found.items() if value not in ("", "none")}


def _steps_of(run: Run) -> Choices:
    """The settings; where a number is left to the encoder, what the encoder has."""
    settings = run.record.config.get("settings", {})
    pixels = run.vision.get("preprocess", {})
    found = {name: _told(value) for name, value in settings.items() if not name.endswith("_hash")}
    if run.evaluator == "segment" and run.vision:
        named = settings.get("protocol")
        found = (of_preset(named, run.dataset) if named else OWN_STEPS) | found
    if "size" in settings:
        found["size"] = _told(settings["size"] or pixels.get("image_size") or pixels.get("size"))
    return {name: value for name, value in found.items() if name not in UNTOLD}


def _protocol(number: Number, steps: Mapping[str, str]) -> Choices:
    """What the name of the protocol says: average, background, and names and prompts where there are several."""
    if number.run.evaluator != "segment":
        return {"metric": number.metric, "protocol": number.protocol}
    average, *parts = number.protocol.split(", ")
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


def _background(steps: Mapping[str, Any]) -> str:
    """In the words of this program's protocols."""
    rule = f"threshold={steps['threshold']:g}" if steps["threshold"] is not None else ""
    rule = rule or (f"entropy={steps['entropy']:g},scale={steps['scale']:g}" if steps["entropy"] is not None else "")
    if not steps["candidate"]:
        return rule or "none"
    return f"class and {rule}" if rule else "class"


def _names_of(dataset: str) -> list[str]:
    """The classes of a declared set; none of one that nobody knows."""
    from pacl_bench.data.segmentation import SEGMENTATION_SETS
    from pacl_bench.data.vocabulary import shipped_names

    return shipped_names(dataset) if dataset in SEGMENTATION_SETS else []


def _told(value: Any) -> str:
    if value is None:
        return "none"
    return "+".join(map(str, value)) if isinstance(value, list | tuple) else str(value).replace(",", "+")


def _digest(part: Mapping[str, Any]) -> str:
    return (part.get("sha256") or "unknown")[:8]
