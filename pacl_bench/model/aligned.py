"""A vision encoder, a text encoder and what joins them: the model that every evaluator measures."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import interpolate, normalize

from pacl_bench.caching.texts import cached_texts
from pacl_bench.data.images import open_image
from pacl_bench.data.vocabulary import load_templates
from pacl_bench.encoders import load_encoder, load_text_encoder
from pacl_bench.encoders.base import PatchFeatures, TextEncoder, VisionEncoder, frozen, state_sha256
from pacl_bench.encoders.own_code import require_named
from pacl_bench.encoders.spec import with_alias
from pacl_bench.errors import UsageError
from pacl_bench.model.compatibility import compatibility, patch_similarity
from pacl_bench.model.head_files import FrozenPart, HeadCard, load_embedder, read_card
from pacl_bench.model.locating import located, places_of, ways
from pacl_bench.validation.configs import defaults_of, differences

Encoder = TypeVar("Encoder", VisionEncoder, TextEncoder)
Photo = Image.Image | str | Path


class Segmentation(NamedTuple):
    """One photo, segmented."""

    label_map: Int[Tensor, "height width_px"]  # the best name of each pixel, counted from 0
    scores: Float[Tensor, "label height width_px"]  # cosine similarity of each pixel with each name


@dataclass
class AlignedModel:
    """Before alignment (`head` is None) the model's own projection leads patches to the text space; after, the head."""

    name: str
    vision: VisionEncoder
    text: TextEncoder
    head: nn.Module | None = None
    patch_scale: float = 1.0
    card: HeadCard | None = None  # of the head, where it was read from a folder

    @torch.no_grad()
    def patch_embeddings(self, patch_tokens: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch dim"]:
        """Patch tokens in the text space, not normalised."""
        return self.head(patch_tokens) if self.head is not None else self.vision.project(patch_tokens)

    @torch.no_grad()
    def image_text_similarity(
        self, features: PatchFeatures, text_embeddings: Float[Tensor, "text dim"]
    ) -> Float[Tensor, "image text"]:
        """How well images fit texts: phi with a head, without one the model's own cosine of image and text.

        Models trained with a sigmoid loss are no exception: their scale and bias change no order.
        """
        if self.head is not None:
            return compatibility(self.patch_embeddings(features.patch_tokens), text_embeddings, self.patch_scale)
        return normalize(self.vision.image_embedding(features), dim=-1) @ normalize(text_embeddings, dim=-1).T

    @torch.no_grad()
    def class_embeddings(
        self, classnames: Sequence[str], templates: list[str], for_images: bool = False
    ) -> Float[Tensor, "class dim"]:
        """One vector of unit norm a class: the mean of its prompts' embeddings (CLIP's prompt ensemble).

        Args:
            for_images: whether `image_text_similarity` is given them, to compare whole images to; else patches are.
        """
        _refuse_no_list(classnames, "names")
        prompts = [template.replace("{}", name) for name in classnames for template in templates]
        text = self.text.for_images if for_images and self.head is None else self.text
        per_prompt = cached_texts(text, prompts).reshape(len(classnames), len(templates), -1)
        return normalize(per_prompt.mean(1), dim=-1).to(self.vision.device)

    def segment(
        self, image: Photo, names: Sequence[str], templates: str = "paper7", size: int | None = None
    ) -> Segmentation:
        """Which of the names is where: a photo of your own, shown whole, in its own size.

        Args:
            image: a photo of PIL, or its file.
            names: of the classes; each stands in every template of a set.
            templates: `paper7`, `simple`, `openai80`, or a file with a template a line.
            size: the short side at which the encoder is shown the photo, in pixels; None is the encoder's own.
        """
        photo = _opened(image)
        classes = self.class_embeddings(names, load_templates(templates))
        per_patch = self._similarity(photo, classes, size)
        # no clearer than patches are: the scores between their centres are interpolated
        scores = interpolate(per_patch[None], (photo.height, photo.width), mode="bilinear", align_corners=False)[0]
        return Segmentation(scores.argmax(0), scores)

    def classify(self, image: Photo, names: Sequence[str], templates: str = "paper7") -> dict[str, float]:
        """How well each name fits the photo's centre square, the best first: cosines, or phi with a head."""
        features = self._features(self.vision.preprocess(_opened(image)))
        classes = self.class_embeddings(names, load_templates(templates), for_images=True)
        scores = self.image_text_similarity(features, classes)[0]
        return dict(sorted(zip(names, scores.tolist(), strict=True), key=lambda pair: -pair[1]))

    def patch_similarity(
        self, image: Photo, texts: Sequence[str], size: int | None = None
    ) -> Float[Tensor, "text row col"]:
        """Cosine similarity of each patch of a photo, shown whole, with each text as it stands."""
        return self._similarity(_opened(image), self.embed_text(texts), size)

    def embed_text(self, texts: Sequence[str]) -> Float[Tensor, "text dim"]:
        """Text embeddings of unit norm, on the device of the model."""
        _refuse_no_list(texts, "texts")
        return self.text(list(texts), show_progress=False).to(self.vision.device)

    def _similarity(
        self, photo: Image.Image, text_embeddings: Float[Tensor, "text dim"], size: int | None
    ) -> Float[Tensor, "text row col"]:
        features = self._features(self.vision.preprocess.whole(photo, size))
        similarity = patch_similarity(self.patch_embeddings(features.patch_tokens), text_embeddings)
        return similarity[0].unflatten(-1, features.grid)

    def _features(self, pixels: Float[Tensor, "3 height width_px"]) -> PatchFeatures:
        return self.vision(pixels[None].to(self.vision.device))

    def to(self, device: str) -> "AlignedModel":
        """The model with all its parts on a device."""
        for part in (self.vision, self.text, self.head):
            if part is not None:
                part.to(device)
        return self

    def describe(self) -> dict[str, object]:
        """What a record says of the model. Nothing in it depends on the machine."""
        described = {**self.vision.describe(), "text": self.text.describe(), "head": self._describe_head()}
        if self.head is None and self.vision.pooling != VisionEncoder.pooling:
            # how tokens came to the text space, where it was not by the projection alone
            described["encoder"]["pooling"] = self.vision.pooling
        return described

    def _describe_head(self) -> dict[str, object] | None:
        if self.head is None:
            return None
        own = {"sha256": state_sha256(self.head), "patch_scale": self.patch_scale}
        return {**(self.card.describe() if self.card else {}), **own}


def _opened(image: Photo) -> Image.Image:
    return open_image(Path(image)) if isinstance(image, str | Path) else image


def _refuse_no_list(texts: Sequence[str], what: str) -> None:
    """A UsageError for no texts, and for a text in place of a list, whose letters would be taken for texts."""
    if isinstance(texts, str) or not texts:
        raise UsageError(f"A list of {what} is wanted, ['cat', 'sofa'], not {texts!r}.")


def load_before(encoder: VisionEncoder) -> AlignedModel:
    """The model before alignment: a vision encoder that has a text space of its own."""
    if encoder.projection_dim is None:
        encoder.project(torch.empty(0, encoder.width))  # says in one line that there is none
    return AlignedModel(encoder.name, encoder, load_text_encoder(with_alias(encoder.name, encoder.spec)))


def load_aligned(
    folder: Path | str, encoder: VisionEncoder | str | None = None, text: TextEncoder | str | None = None
) -> AlignedModel:
    """The model of a trained head with the frozen encoders it was trained on.

    Args:
        folder: of the head.
        encoder, text: those of the head, loaded already or by name, where they are not found by what the head's card
            says: in PACL_WEIGHTS, or by their library from the hub (see model.locating).

    Raises:
        UsageError: also where an encoder's weights or settings are not those the head was trained on, or the head's
            weights are not those its card was written for.
    """
    folder = Path(folder)
    card = read_card(folder)
    places = places_of(folder)
    vision = load_part(card.encoder, encoder, load_encoder, "encoder", places.get("encoder"))
    _verify(folder, card.encoder, vision)
    texts = load_part(card.text, text, load_text_encoder, "text", places.get("text"))
    _verify(folder, card.text, texts)
    head = frozen(load_embedder(folder, card))
    return AlignedModel(card.name, vision, texts, head, card.patch_scale, card)


def load_part(
    part: FrozenPart,
    given: Encoder | str | None,
    load: Callable[[str], Encoder],
    option: str,
    place: str | None = None,
) -> Encoder:
    """An encoder of a card, under the name it has there: records are the same wherever its weights lie.

    Args:
        given: the encoder, or the name it has here; code that the card names must be named so.
        load: what loads it by a name.
        option: `encoder` or `text`, as the command line has it.
        place: where it lay in training.
    """
    if given is None:
        require_named(part.spec, option)
    if given is None or isinstance(given, str):
        try:
            given = load(given or located(part, place))
        except UsageError as error:
            raise UsageError(f"{error} {ways(part, option)}") from None
    encoder = copy.copy(given)  # which may be another model's too
    encoder.name = part.name
    return encoder


def _verify(folder: Path, expected: FrozenPart, loaded: VisionEncoder | TextEncoder) -> None:
    option = "encoder" if isinstance(loaded, VisionEncoder) else "text"
    if loaded.fingerprint != expected.sha256:
        raise UsageError(
            f"{folder} was trained on other weights of {expected.name} (sha256 {expected.sha256[:12]}, "
            f"found {loaded.fingerprint[:12]}). {ways(expected, option)}"
        )
    base = VisionEncoder if isinstance(loaded, VisionEncoder) else TextEncoder
    differing = differences(expected.settings, loaded.settings, defaults_of(base))
    if differing:
        setting, (then, now) = next(iter(differing.items()))
        raise UsageError(
            f"{folder} was trained on {expected.name} with {setting}={then}, not {now}. "
            "Name the encoder as it was then."
        )
