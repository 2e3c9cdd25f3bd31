"""The texts that stand for classes: which names, in which templates, and how well patches fit them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from pacl_bench.data.vocabulary import load_templates, load_vocabulary, vocabulary_label
from pacl_bench.errors import UsageError
from pacl_bench.image_sets import SegmentationImages
from pacl_bench.model.aligned import AlignedModel
from pacl_bench.model.compatibility import patch_similarity
from pacl_bench.registry import listed

Names = Literal["best", "mean"]  # of a class's several names a patch takes the best score, or the mean


@dataclass(frozen=True)
class PromptSet:
    """The texts of the classes: their names and the templates these are put into."""

    templates: str = "paper7"
    vocabulary: str = "plain"
    names: Names = "best"

    @property
    def suffix(self) -> str:
        """What it adds to a protocol's name: nothing for the paper's templates and the set's own names."""
        label = vocabulary_label(self.vocabulary)
        told = f", vocabulary={label}, names={self.names}" if label != "plain" else ""
        return told + (f", templates={Path(self.templates).name}" if self.templates != "paper7" else "")


class ClassTexts(NamedTuple):
    """The embeddings of all names of all classes."""

    embeddings: Float[Tensor, "text dim"]
    per_class: list[int]  # how many names each class has; they follow one another
    names: Names = "best"


def prompt_sets(templates: str, vocabularies: str, names: Names) -> list[PromptSet]:
    """Every vocabulary with every set of templates, both comma-separated; a UsageError for none, or two of one name."""
    for option, text in (("--vocabulary", vocabularies), ("--templates", templates)):
        if not listed(text):
            raise UsageError(f"{option} {text!r}: at least one is wanted.")
    made = [PromptSet(one, vocabulary, names) for vocabulary in listed(vocabularies) for one in listed(templates)]
    told = [prompt_set.suffix for prompt_set in made]
    if len(set(told)) < len(told):
        raise UsageError(f"--vocabulary {vocabularies} --templates {templates}: one of them stands there twice.")
    return made


def class_texts(model: AlignedModel, images: SegmentationImages, prompt_set: PromptSet) -> ClassTexts:
    """The embeddings of the classes of a set under a prompt_set."""
    names = load_vocabulary(prompt_set.vocabulary, images.name, images.classnames)
    every = [name for of_class in names for name in of_class]
    embeddings = model.class_embeddings(every, load_templates(prompt_set.templates))
    return ClassTexts(embeddings, [len(of_class) for of_class in names], prompt_set.names)


def class_scores(
    model: AlignedModel, patch_tokens: Float[Tensor, "1 patch width"], texts: ClassTexts, grid: tuple[int, int]
) -> Float[Tensor, "label row col"]:
    """Cosine similarity of each patch of one image with each class, laid out as the grid."""
    patch_embeddings = model.patch_embeddings(patch_tokens.to(texts.embeddings.device))
    per_name = patch_similarity(patch_embeddings, texts.embeddings)[0]
    if max(texts.per_class) > 1:
        of_class = per_name.split(texts.per_class)
        per_name = torch.stack([rows.amax(0) if texts.names == "best" else rows.mean(0) for rows in of_class])
    return per_name.unflatten(-1, grid).cpu()
