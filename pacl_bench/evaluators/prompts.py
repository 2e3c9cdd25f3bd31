"""What a class is called in the prompts that stand for it, and how similar patches are to these prompts.

A class goes by one name or by several (a vocabulary), and each name is put into every template of a set: "a photo of a
{}.". The text embeddings of the prompts of one name are averaged, so that a name is one vector.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from pacl_bench.data.vocabulary import load_templates, load_vocabulary, vocabulary_label
from pacl_bench.evaluators.settings import Names
from pacl_bench.image_sets import SegmentationImages
from pacl_bench.model.aligned import AlignedModel
from pacl_bench.model.compatibility import patch_similarity
from pacl_bench.registry import listed


@dataclass(frozen=True)
class PromptSet:
    """One way to put classes into words: a vocabulary of names, and the set of templates that names are put into."""

    templates: str = "paper7"
    vocabulary: str = "plain"
    names: Names = "best"

    @property
    def suffix(self) -> str:
        """What a protocol's name says of it; nothing for the paper's templates and the set's own names of classes."""
        label = vocabulary_label(self.vocabulary)
        told = f", vocabulary={label}, names={self.names}" if label != "plain" else ""
        return told + (f", templates={Path(self.templates).name}" if self.templates != "paper7" else "")


class ClassTexts(NamedTuple):
    """The embeddings of the names of all classes: those of the first class, then those of the second, and so on."""

    embeddings: Float[Tensor, "text dim"]
    per_class: list[int]  # how many names each class has
    names: Names = "best"  # of a class's several names a patch takes the best score, or the mean of the scores


def prompt_sets(templates: str, vocabularies: str, names: Names) -> list[PromptSet]:
    """Every vocabulary combined with every set of templates; both are given as texts with commas between the names."""
    return [PromptSet(one, vocabulary, names) for vocabulary in listed(vocabularies) for one in listed(templates)]


def class_texts(model: AlignedModel, images: SegmentationImages, prompt_set: PromptSet) -> ClassTexts:
    """The embeddings of the names that a prompt set gives the classes of a data set."""
    names = load_vocabulary(prompt_set.vocabulary, images.name, images.classnames)
    every = [name for of_class in names for name in of_class]
    embeddings = model.class_embeddings(every, load_templates(prompt_set.templates))
    return ClassTexts(embeddings, [len(of_class) for of_class in names], prompt_set.names)


def class_scores(
    model: AlignedModel, patch_tokens: Float[Tensor, "1 patch width"], texts: ClassTexts, grid: tuple[int, int]
) -> Float[Tensor, "label row col"]:
    """The cosine similarity of each patch of one image with each class, laid out as the image's grid of patches.

    Where a class has several names, the patch's similarities with them become one, as `texts.names` says.
    """
    patch_embeddings = model.patch_embeddings(patch_tokens.to(texts.embeddings.device))
    per_name = patch_similarity(patch_embeddings, texts.embeddings)[0]
    if max(texts.per_class) > 1:
        of_class = per_name.split(texts.per_class)
        per_name = torch.stack([rows.amax(0) if texts.names == "best" else rows.mean(0) for rows in of_class])
    return per_name.unflatten(-1, grid).cpu()
