"""Records as the four evaluators write them, for the tests of the report."""

import hashlib
import math
from dataclasses import replace
from typing import Any

from pacl_bench.records import Key, Measurement, Record

IMAGES = {"voc20": (392, 1449), "cifar10": (1000, 10000), "caltech101": (404, 8677), "dtd": (120, 5640)}
CLASSES = {"voc20": 20, "cifar10": 10, "caltech101": 101, "dtd": 47}
DATASET, PRESENT = "dataset-miou, background=none", "present-miou, background=none"


def head(
    step: int = 400, pairs: str = "flickr8k+coco-train2017", seed: int = 0, patch_scale: float = 10.0
) -> dict[str, Any]:
    """As a record's config holds a head; `step` 0 is an untrained one."""
    sha256 = hashlib.sha256(f"{step} {pairs} {seed} {patch_scale}".encode()).hexdigest()
    train = {"pairs": pairs, "images": 1080, "captions": 5400, "seed": seed, "batch_size": 96, "lr": 2e-3, "steps": 400}
    return {"sha256": sha256, "patch_scale": patch_scale, "step": step, "train": train}


def record(
    evaluator: str,
    model: str,
    measurements: list[Measurement],
    dataset: str = "voc20",
    encoder: str = "vits14",
    text: str | None = "minilm",
    head: dict[str, Any] | None = None,
    study: str | None = None,
    variant: str = "default",
    curves: dict[str, dict[str, list[float]]] | None = None,
) -> Record:
    images, official = IMAGES.get(dataset, (30, 2000))
    config = {
        "evaluator": evaluator,
        "seed": 0,
        "settings": {"templates": "paper7", "templates_hash": "0" * 64, "size": None},
        "model": {
            "encoder": {
                "name": encoder,
                "sha256": "e" * 64,
                "block": 10,
                "tap": "post-norm",
                "preprocess": {"size": 224},
            },
            "text": {"name": text, "sha256": "t" * 64} if text else None,
            "head": head,
        },
        "dataset": {"name": dataset, "images": images, "official_images": official, "fingerprint": "d" * 64},
    }
    provenance = {
        "commit": "0123456789ab",
        "packages": {"pacl-bench": "0.1.0", "torch": "2.9.0"},
        "python": "3.11.7",
        "machine": "Linux x86_64",
        "device": "cpu",
        "seconds": 12.5,
        "created": "2026-07-01T12:00:00+00:00",
    }
    return Record(Key(study or evaluator, model, dataset, variant), measurements, config, provenance, curves or {})


def patches(model: str, accuracy: float, **given: Any) -> Record:
    """Patch accuracy `accuracy` under all-classes, higher under the easier protocols."""
    values = {"all-classes": (accuracy, 0.05), "present-classes": (accuracy**0.5, 0.61), "binary": (accuracy**0.3, 0.5)}
    rows = [
        _measured("patch_accuracy", value, protocol, 40_321, chance) for protocol, (value, chance) in values.items()
    ]
    rows += [Measurement("patch_recall", 0.3, "all-classes", 400, "cat", 0.25, 0.35)]
    rows += [Measurement("majority_class_share", 0.187, "all-classes", 40_321)]
    return record("patches", model, rows, **given)


def confusion(model: str, accuracy: float, classes: int = 3, **given: Any) -> Record:
    """With a confusion matrix of 100 patches a class; what is wrong is taken for the first class, or the second."""
    right = round(100 * accuracy)
    cells = [(label, label, right) for label in range(classes)]
    cells += [(label, int(label == 0), 100 - right) for label in range(classes)]
    axes = {axis: [float(cell[at]) for cell in cells] for at, axis in enumerate(("label", "predicted", "patches"))}
    made = patches(model, accuracy, curves={"confusion": axes}, **given)
    made.config["dataset"]["classnames"] = [f"class {label}" for label in range(classes)]
    return made


def segment(model: str, miou: float, **given: Any) -> Record:
    rows = [_measured("miou", miou, DATASET, 392, 0.024), _measured("miou", miou**0.4, PRESENT, 392, 0.41)]
    rows += [_measured("pixel_accuracy", miou**0.7, DATASET, 392, 0.05), Measurement("iou", 0.2, DATASET, 392, "cat")]
    return record("segment", model, rows, **given)


SWEPT = [f"dataset-miou, background={name}" for name in ("none", "class", "threshold=0.3")]


def protocols(model: str, miou: float, **given: Any) -> Record:
    """A record that compares ways to treat background on voc21."""
    rows = [_measured("miou", miou, protocol, 392, 0.01) for protocol in SWEPT]
    return record("segment", model, rows, **{"dataset": "voc21", "study": "protocols"} | given)


def classify(model: str, top1: float, dataset: str = "cifar10", **given: Any) -> Record:
    chance = 1 / CLASSES[dataset]
    images = IMAGES[dataset][0]
    rows = [_measured("top1", top1, "zero-shot", images, chance)]
    rows += [_measured("mean_per_class_recall", top1 * 0.97, "zero-shot", images, chance)]
    rows += [Measurement("recall", 0.5, "zero-shot", 100, "dog")]
    return record("classify", model, rows, dataset=dataset, **given)


def coherence(model: str, auroc: float, points: int = 41, scope: str = "across", **given: Any) -> Record:
    """With the ROC curve tpr = fpr ** k, whose area is 1 / (1 + k)."""
    fpr = [at / (points - 1) for at in range(points)]
    curves = {"roc": {"fpr": fpr, "tpr": [x ** (1 / auroc - 1) for x in fpr]}}
    rows = [
        replace(
            _measured("auroc", auroc, f"pairs-{scope}", 790_123_456, 0.5), ci_low=auroc - 0.01, ci_high=auroc + 0.01
        )
    ]
    return record("coherence", model, rows, curves=curves, **{"encoder": model, "text": None, **given})


def with_pr(made: Record, average_precision: float, share: float = 0.1, reach: float = 0.02) -> Record:
    """The record of coherence with all that newer ones hold: a falling precision-recall curve, and bands."""
    recall = [at / 20 for at in range(1, 21)]
    precision = [max(share, 1 - x) for x in recall]
    curves = {"roc": dict(made.curves["roc"]), "pr": {"recall": recall, "precision": precision}}
    for curve, axis in (("roc", "tpr"), ("pr", "precision")):
        for bound, sign in (("low", -1), ("high", 1)):
            curves[curve][f"{axis}_{bound}"] = [min(1.0, max(0.0, y + sign * reach)) for y in curves[curve][axis]]
    protocol = made.measurements[0].protocol
    rows = [
        *made.measurements,
        _measured("mean_per_class_auroc", made.measurements[0].value - 0.05, protocol, 790_123_456, 0.5),
        _measured("average_precision", average_precision, protocol, 790_123_456, share),
        Measurement("auroc", 0.9, protocol, 1000, "cat", 0.8, 1.0, 0.5),
    ]
    return replace(made, measurements=rows, curves=curves)


def of_block(encoder: str, block: int, auroc: float, **given: Any) -> Record:
    """Coherence of one block of an encoder that was measured block by block."""
    made = coherence(f"{encoder} block {block}", auroc, **given)
    made.config["model"]["encoder"]["block"] = block
    return made


def typical() -> list[Record]:
    """Two encoders, one of them without a text space of its own; before, untrained and after; three sets of images."""
    clip = {"encoder": "clip-b16", "text": "clip-b16"}
    trained, untrained = head(), head(step=0)
    return [
        patches("clip-b16", 0.123, **clip),
        patches("untrained-clip-b16", 0.048, **clip, head=untrained),
        patches("pacl-clip-b16", 0.412, **clip, head=trained),
        patches("untrained-vits14", 0.046, head=untrained),
        patches("pacl-vits14", 0.351, head=trained),
        segment("clip-b16", 0.062, **clip),
        segment("pacl-clip-b16", 0.213, **clip, head=trained),
        segment("pacl-vits14", 0.177, head=trained),
        protocols("pacl-vits14", 0.07, head=trained),
        *(segment(f"pacl-{pairs}", 0.1 + at / 50, head=head(pairs=pairs), study="ablate")
          for at, pairs in enumerate(["flickr8k", "flickr8k+coco-train2017"])),
        coherence("clip-b16", 0.743), coherence("dino-b16", 0.702), coherence("vits14", 0.688),
        *(record for at, dataset in enumerate(["cifar10", "caltech101", "dtd"]) for record in _classified(dataset, at)),
    ]  # fmt: skip


def _classified(dataset: str, at: int) -> list[Record]:
    clip = {"encoder": "clip-b16", "text": "clip-b16"}
    return [
        classify("clip-b16", 0.88 - at * 0.2, dataset, **clip),
        classify("pacl-clip-b16", 0.83 - at * 0.15, dataset, **clip, head=head()),
        classify("untrained-vits14", 0.11 / (at + 1), dataset, head=head(step=0)),
        *([classify("pacl-vits14", 0.61 - at * 0.2, dataset, head=head())] if dataset != "dtd" else []),
    ]


def _measured(metric: str, value: float, protocol: str, n: int, chance: float) -> Measurement:
    error = 1.96 * math.sqrt(value * (1 - value) / 392)
    return Measurement(metric, value, protocol, n, "", max(0.0, value - error), min(1.0, value + error), chance)
