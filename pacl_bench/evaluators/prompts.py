"""What a class is called in the prompts that stand for it, and how similar patches are to these prompts.

A class goes by one name or by several (a vocabulary), and each name is put into every template of a set: "a photo of a
{}.". The text embeddings of the prompts of one name are averaged, so that a name is one vector.
"""

from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pacl_bench.data.vocabulary import load_templates, load_vocabulary, vocabulary_label
from pacl_bench.evaluators.protocol_steps import best_of_names
from pacl_bench.evaluators.steps import Names, Steps
from pacl_bench.image_sets import SegmentationImages
from pacl_bench.model.aligned import AlignedModel
from pacl_bench.model.compatibility import patch_similarity


class ClassTexts(NamedTuple):
    """The embeddings of the names of all classes: those of the first class, then those of the second, and so on."""

    embeddings: Float[Tensor, "text dim"]
    per_class: list[int]  # how many names each class has
    names: Names = "best"  # of a class's several names a patch takes the best score, or the mean of the scores

    @property
    def class_of(self) -> Int[Tensor, " text"]:
        """The class of each name."""
        return class_of_name(self.per_class)


def class_of_name(per_class: list[int]) -> Int[Tensor, " name"]:
    """The class of each name, where each class has so many and names come in the order of classes."""
    return torch.arange(len(per_class)).repeat_interleave(torch.tensor(per_class))


def prompts_suffix(steps: Steps) -> str:
    """What a protocol's name says of prompts; nothing for the paper's templates and the set's own names of classes."""
    label = vocabulary_label(steps.vocabulary)
    told = f", vocabulary={label}, names={steps.names}" if label != "plain" else ""
    return told + (f", templates={Path(steps.templates).name}" if steps.templates != "paper7" else "")


def class_texts(model: AlignedModel, images: SegmentationImages, steps: Steps) -> ClassTexts:
    """The embeddings of the names that the steps' vocabulary and templates give the classes of a data set."""
    names = load_vocabulary(steps.vocabulary, images.name, images.classnames)
    every = [name for of_class in names for name in of_class]
    embeddings = model.class_embeddings(every, load_templates(steps.templates))
    return ClassTexts(embeddings, [len(of_class) for of_class in names], steps.names)


def name_scores(
    model: AlignedModel, patch_tokens: Float[Tensor, "1 patch width"], texts: ClassTexts, grid: tuple[int, int]
) -> Float[Tensor, "text row col"]:
    """The cosine similarity of each patch of one image with each name, laid out as the image's grid of patches."""
    patch_embeddings = model.patch_embeddings(patch_tokens.to(texts.embeddings.device))
    return patch_similarity(patch_embeddings, texts.embeddings)[0].unflatten(-1, grid).cpu()


def class_scores(
    model: AlignedModel, patch_tokens: Float[Tensor, "1 patch width"], texts: ClassTexts, grid: tuple[int, int]
) -> Float[Tensor, "label row col"]:
    """As `name_scores`, for each class: the best score of its names or their mean, as `texts.names` says."""
    return best_of_names(name_scores(model, patch_tokens, texts, grid), texts.class_of, texts.names)[0]
