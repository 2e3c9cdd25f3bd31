"""What decides the trained weights, as a checkpoint keeps it: a run is only gone on with, and a head only used for a
cell of an ablation, where all of it is the same."""

from typing import Any

from pacl_bench.encoders.base import TextEncoder, VisionEncoder
from pacl_bench.model.head_files import RESIDUAL, FrozenPart, HeadCard
from pacl_bench.training.recipe import Recipe, TrainConfig
from pacl_bench.validation.configs import defaults_of, differences, without_defaults

OF_THE_PAIRS = ("pairs", "images", "captions", "skipped", "skipped_by_cause", "batch_size_used")  # decide nothing
CONTENTS = "pairs_contents"  # what the pairs' files hold; heads and checkpoints of earlier versions do not say
Identity = dict[str, Any]


def encoder_identity(encoder: VisionEncoder | TextEncoder) -> Identity:
    """Of a frozen encoder."""
    return {"sha256": encoder.fingerprint, **encoder.settings}


def run_identity(config: TrainConfig, encoder: Identity, text: Identity, pairs: Identity) -> Identity:
    """Of a run that is about to start or to go on."""
    return {
        "encoder": encoder,
        "text": text,
        "pairs": pairs["pairs_fingerprint"],
        **{name: value for name, value in pairs.items() if name == CONTENTS},
        **config.recipe.describe(),
        "seed": config.seed,
        **without_defaults({"head": config.head}, {"head": RESIDUAL}),
    }


def head_identity(card: HeadCard) -> Identity:
    """Of the run that made a head."""
    recipe = {name: value for name, value in card.train.items() if name not in OF_THE_PAIRS}
    pairs = recipe.pop("pairs_fingerprint", None)
    return {"encoder": _of(card.encoder), "text": _of(card.text), "pairs": pairs, **recipe, "head": card.kind}


def _of(part: FrozenPart) -> dict[str, Any]:
    return {"sha256": part.sha256, **part.settings}


def without_contents(identity: Identity) -> Identity:
    """The identity as earlier versions wrote it, which did not look into the files of the pairs."""
    return {name: value for name, value in identity.items() if name != CONTENTS}


def changed(then: Identity, now: Identity, recipe: Recipe) -> list[str]:
    """The names of what differs; what an earlier version did not know yet had the default of today's recipe.

    What the files of the pairs hold is compared where both sides say it.
    """
    if CONTENTS not in then or CONTENTS not in now:
        then, now = without_contents(then), without_contents(now)
    defaults = {**defaults_of(type(recipe)), "head": RESIDUAL}
    encoders = {"encoder": defaults_of(VisionEncoder), "text": defaults_of(TextEncoder)}
    return list(differences(then, now, {**defaults, **encoders}))
