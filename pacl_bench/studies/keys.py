"""Under which key a measurement is filed: its plain one, as long as the names in it stand for one thing.

Two heads d1/h and d2/h are both called h, two folders a/m5 and b/m5 are both called m5. The first that a study records
has the plain name; another one gets eight digits of what it is behind it: h-1f6c02aa. What has a record keeps its name.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pacl_bench import records
from pacl_bench.files import safe_name
from pacl_bench.records import Key, Record
from pacl_bench.registry import text_hash

SAMPLE = "contents_sample"  # of a data set; records of earlier versions have none
Described = Mapping[str, Any]  # a model or data set as it stands in a record's configuration


def own_key(folder: Path, plain: Key, model: Described | None, dataset: Described, declared: bool) -> Key:
    """The key of a measurement, with digits behind the name of its model or data set where another has that name.

    Args:
        folder: of the records. plain: the key by names alone.
        model: None where it is not loaded: its name is then taken as it is.
        declared: the data set is one of our tables. Such a set is known by its name, however many of its images are
            there; a user's own is known by its files.
    """
    key = plain
    if model is not None:
        owner = _owner(folder / key.path, (folder / key.path).parent.glob(records.FILES))
        if owner is not None and not _same_model(owner.config.get("model", {}), model):
            key = replace(key, model=f"{key.model}-{_digits(_decisive(model))}")
    known_by = ("official_images",) if declared else ("fingerprint", "classnames_hash")
    for decisive in (known_by, (*known_by, SAMPLE)):  # the sample decides where all else is the same
        owner = _owner_of_dataset(folder, key)
        if owner is None or _same_dataset(owner.config.get("dataset", {}), dataset, known_by, declared):
            break
        digits = _digits([dataset.get(name) for name in decisive])
        key = replace(key, dataset=f"{plain.dataset}-{digits}")
    return key


def _owner_of_dataset(folder: Path, key: Key) -> Record | None:
    others = (folder / safe_name(key.study)).glob(f"*/{safe_name(key.dataset)}.*.json")
    return _owner(folder / key.path, others, key.dataset)


def _same_dataset(then: Described, now: Described, known_by: tuple[str, ...], declared: bool) -> bool:
    """By what it is known by; a user's own by its sample too, where both have one."""
    sampled = {SAMPLE} & then.keys() & now.keys() if not declared else set()
    return _agree(then, now, {*known_by, *sampled})


def _owner(cell: Path, others: Iterable[Path], dataset: str | None = None) -> Record | None:
    """The record in the file of a cell; where there is none, the first of the others, of the data set if one is named.

    That is asked for since the files `m5.*.json` are those of `m5.v2` too.
    """
    if cell.is_file():
        return records.read(cell)
    found = map(records.read, sorted(others))
    return next((record for record in found if dataset in (None, record.key.dataset)), None)


def _same_model(then: Described, now: Described) -> bool:
    """By what decides its numbers, as far as both say so: an earlier version did not record every setting."""
    before, after = _decisive(then), _decisive(now)
    return before.keys() == after.keys() and all(
        _agree(before[part], after[part], before[part].keys() & after[part].keys()) for part in before
    )


def _decisive(model: Described) -> dict[str, Described]:
    """The encoders and the head it has. What a head was trained on need not be told: its weights are."""
    head = model.get("head")
    kept = head and {name: head.get(name) for name in ("sha256", "patch_scale")}
    parts = {"encoder": model.get("encoder"), "text": model.get("text"), "head": kept}
    return {name: part for name, part in parts.items() if part is not None}


def _agree(then: Described, now: Described, names: Iterable[str]) -> bool:
    return all(then.get(name) == now.get(name) for name in names)


def _digits(content: Any) -> str:
    return text_hash([json.dumps(content, sort_keys=True)])[:8]
