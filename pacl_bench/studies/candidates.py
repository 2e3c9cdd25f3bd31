"""The models of a study: each is loaded when it is first needed, and what several of them share is loaded once."""

from collections.abc import Callable, Iterator
from functools import cache, partial
from itertools import chain
from pathlib import Path
from typing import Any

from pacl_bench.encoders import load_encoder, load_every_block, load_text_encoder
from pacl_bench.encoders.base import VisionEncoder
from pacl_bench.encoders.spec import parse_spec
from pacl_bench.errors import NoTextSpace, UsageError
from pacl_bench.model.aligned import AlignedModel, load_aligned, load_before, load_part
from pacl_bench.model.head_files import HeadCard, read_card
from pacl_bench.model.locating import places_of
from pacl_bench.progress import console
from pacl_bench.studies.study import Study

Model = VisionEncoder | AlignedModel


class Candidate:
    """A model of a study, loaded when it is first needed. What a head is its card says before that."""

    def __init__(self, name: str, load: Callable[[], Model], card: HeadCard | None = None):
        self.name, self.card = name, card
        self.model = cache(lambda: _finite(load()))

    def describe(self, model: Model | None) -> dict[str, Any] | None:
        """What a record says of it; None for an encoder that is not loaded."""
        if model is not None:
            return model.describe()
        return self.card.describe_model() if self.card is not None else None


class Candidates:
    """The models of a study, encoders before heads.

    Args:
        needs_text: whether encoders are measured in their own text space.
    """

    def __init__(self, study: Study, needs_text: bool, device: str):
        self.study, self.needs_text, self.device = study, needs_text, device
        self._encoder = cache(lambda spec: load_encoder(spec).to(device))
        self._text_encoder = cache(lambda spec: load_text_encoder(spec).to(device))

    def __iter__(self) -> Iterator[Candidate]:
        for spec in self.study.encoders:
            yield from self._of_encoder(spec)
        for folder in map(Path, self.study.heads):
            card = read_card(folder)
            yield Candidate(card.name, partial(self._aligned, folder, card), card)

    def load(self, candidate: Candidate) -> Model | None:
        """The model; None for an encoder that has no text space, where heads are measured beside it."""
        try:
            return candidate.model()
        except NoTextSpace as error:
            if not self.study.heads:
                raise
            console.print(f"{error} It is measured through --heads alone.", style="dim", markup=False)
            return None

    def _of_encoder(self, spec: str) -> Iterator[Candidate]:
        """One candidate, or one a block."""
        if _is_every_block(spec):
            for block in load_every_block(spec):
                yield Candidate(block.name, lambda block=block: self._before(block.to(self.device)))
        else:
            yield Candidate(parse_spec(spec).name, lambda: self._before(self._encoder(spec)))

    def _before(self, encoder: VisionEncoder) -> Model:
        """An encoder as it is measured before alignment."""
        return load_before(encoder).to(self.device) if self.needs_text else encoder

    def _aligned(self, folder: Path, card: HeadCard) -> AlignedModel:
        asked, places = self.study.encoder or self._asked_for.get(card.encoder.name), places_of(folder)
        vision = load_part(card.encoder, asked, self._encoder, "encoder", places.get("encoder"))
        text = load_part(card.text, self.study.text, self._text_encoder, "text", places.get("text"))
        return load_aligned(folder, vision, text).to(self.device)

    @property
    def _asked_for(self) -> dict[str, str]:
        """Of each name that only one of the study's encoders has, how that one is asked for."""
        names = [parse_spec(spec).name for spec in self.study.encoders]
        named = zip(names, self.study.encoders, strict=True)
        return {name: spec for name, spec in named if names.count(name) == 1 and not _is_every_block(spec)}


def _is_every_block(spec: str) -> bool:
    return parse_spec(spec).options.get("block") == "all"


def _finite(model: Model) -> Model:
    """The model; a UsageError where weights of it are NaN: what they say would be recorded as a number."""
    parts = (model.vision, model.text, model.head) if isinstance(model, AlignedModel) else (model,)
    for name, weight in chain.from_iterable(part.named_parameters() for part in parts if part is not None):
        if not bool(weight.isfinite().all()):
            raise UsageError(f"{model.name}: {name} holds NaN or infinite weights. Nothing is measured with them.")
    return model
