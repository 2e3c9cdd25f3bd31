"""Zero-shot image classification (PACL, Fig. 8): the class whose prompts the image fits best."""

import numpy as np
import torch
from jaxtyping import Bool, Int

from pacl_bench import processes
from pacl_bench.caching.encoded_set import EncodedSet
from pacl_bench.data.vocabulary import templates_for
from pacl_bench.encoders.view import View
from pacl_bench.evaluators.base import Result
from pacl_bench.evaluators.settings import ClassificationSettings
from pacl_bench.image_counts import Counts, counts_name
from pacl_bench.image_sets import LabelledImages
from pacl_bench.metrics.classification import mean_per_class_recall, recall_per_class, top1
from pacl_bench.metrics.intervals import ends, jackknife_interval
from pacl_bench.model.aligned import AlignedModel
from pacl_bench.records import Measurement

PROTOCOL = "zero-shot"


def evaluate_classification(model: AlignedModel, images: LabelledImages, settings: ClassificationSettings) -> Result:
    """Top-1 accuracy, mean per-class recall, and the recall of each class."""
    templates = templates_for(images, settings.templates)
    classes = model.class_embeddings(images.classnames, templates, for_images=True)
    scores = [
        model.image_text_similarity(features.to(classes.device), classes).cpu()
        for _, features in EncodedSet(model.vision, images, View(whole=False)).features()
    ]
    predicted, labels = torch.cat(processes.gathered(scores)).argmax(1), torch.tensor(images.labels)
    return Result(
        _measurements(predicted, labels, images.classnames),
        counts=_counts((predicted == labels).numpy(), labels.numpy(), len(images.classnames)),
    )


def _counts(right: Bool[np.ndarray, " image"], labels: Int[np.ndarray, " image"], num_classes: int) -> Counts:
    """By image what top-1 accuracy and, where it is small enough to keep, mean per-class recall are made of."""
    of_class = labels[:, None] == np.arange(num_classes)
    by_class = np.stack([of_class & right[:, None], of_class], axis=1)
    return {
        counts_name("top1", PROTOCOL): np.stack([right, np.ones_like(right)], axis=1)[:, :, None],
        counts_name("mean_per_class_recall", PROTOCOL): by_class,
    }


def _measurements(predicted: torch.Tensor, labels: torch.Tensor, classnames: list[str]) -> list[Measurement]:
    num_classes = len(classnames)
    # per image: is it right, and which class is it of
    of_class = np.eye(num_classes)[labels.numpy()]
    right = of_class * (predicted == labels).numpy()[:, None]
    bounds = jackknife_interval(np.concatenate([right, of_class], axis=1), _summaries)
    recall = recall_per_class(predicted, labels, num_classes)
    values = {
        "top1": top1(predicted, labels),
        "mean_per_class_recall": mean_per_class_recall(predicted, labels, num_classes),
    }
    return [
        *(
            Measurement(metric, value, PROTOCOL, len(labels), "", *ends(bounds, at), 1 / num_classes)
            for at, (metric, value) in enumerate(values.items())
        ),
        *(
            Measurement("recall", float(recall[label]), PROTOCOL, int((labels == label).sum()), name)
            for label, name in enumerate(_told_apart(classnames))
            if not recall[label].isnan()
        ),
    ]


def _told_apart(classnames: list[str]) -> list[str]:
    """Names for the rows of a record: OpenAI calls two pairs of ImageNet's classes alike."""
    return [
        name if name not in classnames[:label] else f"{name} ({classnames[:label].count(name) + 1})"
        for label, name in enumerate(classnames)
    ]


def _summaries(sums: np.ndarray) -> np.ndarray:
    """(top-1, mean per-class recall) of each set of images."""
    right, of_class = np.split(sums, 2, axis=1)
    return np.stack([right.sum(1) / of_class.sum(1), np.nanmean(right / of_class, axis=1)], axis=1)
