"""How fast pairs of patches are counted, beside scikit-learn ranking them one by one, in one run."""

import time
from dataclasses import dataclass, replace

import torch
from torch.nn.functional import normalize

from pacl_bench.bench.memory import peak_memory, wait_for
from pacl_bench.metrics.coherence import pairwise_coherence
from pacl_bench.provenance import peak_memory_mb

RANKED = "scikit-learn"
CLASSES = 20
PATCHES_AN_IMAGE = 100
BLOCK = 2048  # patches a side of the products that are made at once


@dataclass(frozen=True)
class CoherenceRate:
    """One way of computing AUROC over all pairs."""

    method: str
    patches: int
    pairs: int
    seconds: float
    pairs_per_second: float
    auroc: float | None
    megabytes: int | None = None  # held at once beyond the features; None where the system does not tell
    process_megabytes: int | None = None  # of main memory held at once in all: libraries, features, and what is beyond


def coherence_rates(patches: int, width: int, subset: int, device: str) -> tuple[list[CoherenceRate], float]:
    """Counting all pairs of `patches`, and scikit-learn over all pairs of the first `subset` of them.

    Features are random vectors around a centre for each class. Both times hold all that leads from features to numbers:
    similarities too, and for counting also average precision, the classes and all intervals.

    Returns:
        Both rates and the floor, which is the time of the products of all pairs alone; and the difference of AUROC
        between the two ways on the subset.
    """
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(CLASSES, (patches,), generator=generator)
    features = torch.randn(CLASSES, width, generator=generator)[labels].div_(4)
    features += torch.randn(patches, width, generator=generator)
    image_ids = torch.arange(patches) // PATCHES_AN_IMAGE
    features = features.to(device)
    pairwise_coherence(features[:1000], labels[:1000], "all", image_ids[:1000])  # warms up
    found: list[CoherenceRate] = []
    memory = peak_memory(lambda: found.append(_counted(features, labels, image_ids)), device)
    megabytes = None if memory is None else memory // 10**6
    counted = replace(found[0], megabytes=megabytes, process_megabytes=peak_memory_mb())
    ranked = _ranked(features[:subset], labels[:subset])
    check = _counted(features[:subset], labels[:subset], image_ids[:subset])
    assert check.auroc is not None
    assert ranked.auroc is not None
    return [counted, ranked, _floor(features)], check.auroc - ranked.auroc


def _floor(features: torch.Tensor) -> CoherenceRate:
    """The products of all pairs, block by block into the same memory."""
    blocks = features.split(BLOCK)
    place = torch.empty(BLOCK * BLOCK, device=features.device)
    start = time.perf_counter()
    for number, rows in enumerate(blocks):
        for cols in blocks[number:]:
            torch.mm(rows, cols.T, out=place[: len(rows) * len(cols)].view(len(rows), len(cols)))
    wait_for(str(features.device))
    seconds = time.perf_counter() - start
    pairs = len(features) * (len(features) - 1) // 2
    return CoherenceRate("the products alone", len(features), pairs, seconds, pairs / seconds, None)


def _counted(features: torch.Tensor, labels: torch.Tensor, image_ids: torch.Tensor) -> CoherenceRate:
    start = time.perf_counter()
    found = pairwise_coherence(features, labels, "all", image_ids).auroc
    seconds = time.perf_counter() - start
    return CoherenceRate("pacl-bench", len(labels), found.num_pairs, seconds, found.num_pairs / seconds, found.value)


def _ranked(features: torch.Tensor, labels: torch.Tensor) -> CoherenceRate:
    from sklearn.metrics import roc_auc_score  # not before the memory of counting was measured

    start = time.perf_counter()
    unit = normalize(features, dim=-1)
    first, second = torch.triu_indices(len(labels), len(labels), offset=1, device=features.device)
    scores = (unit @ unit.T)[first, second].cpu().numpy()
    same = (labels[first.cpu()] == labels[second.cpu()]).numpy()
    auroc = float(roc_auc_score(same, scores))
    seconds = time.perf_counter() - start
    return CoherenceRate(RANKED, len(labels), len(same), seconds, len(same) / seconds, auroc)
