"""Writes results/departures.csv, what single departures from a protocol cost: `python docs/departures.py FOLDER ...`.

Each FOLDER holds the records of one study whose first measurement is the protocol itself and the others change one
thing in it: `pacl-bench run departures-world --results FOLDER`, and results/departures-photos.toml.
"""

import csv
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pacl_bench import records
from pacl_bench.records import Record

FILE = Path(__file__).parents[1] / "results" / "departures.csv"
COLUMNS = ("data set", "images", "model", "protocol", "departure", "miou", "change")


def steps_told(record: Record) -> tuple[str, dict[str, str]]:
    """ "sclip, but size=96" of a record's protocol taken apart: what is told, and the steps in it."""
    told = record.measurements[0].protocol.partition("protocol=")[2]
    parts = (part.partition("=") for part in told.partition(", but ")[2].split(", ") if part)
    return told, {name: value for name, _, value in parts}


def percent_miou(record: Record) -> float:
    """In percent, over all classes."""
    (value,) = (one.value for one in record.measurements if one.metric == "miou" and not one.class_name)
    return 100 * value


def rows(found: Sequence[Record]) -> list[dict[str, object]]:
    """One for each record of a study, first the protocol itself: the steps that most of the records have."""
    told = Counter(step for record in found for step in steps_told(record)[1].items())
    base = {name: value for (name, value), times in told.items() if times > len(found) / 2}
    model, _ = Counter(record.key.model for record in found).most_common(1)[0]
    own = next(record for record in found if record.key.model == model and steps_told(record)[1] == base)
    ordered = [own, *(record for record in found if record is not own)]
    return [row(record, base, own) for record in ordered]


def row(record: Record, base: dict[str, str], own: Record) -> dict[str, object]:
    """What a record departs in from the protocol itself, and what that costs in points."""
    told, steps = steps_told(record)
    changed = [f"{name}={value}" for name, value in steps.items() if base.get(name) != value]
    if record.key.model != own.key.model:
        changed.append(f"attention={record.config['model']['encoder'].get('attention', 'clip')}")
    miou, of_own = percent_miou(record), percent_miou(own)
    dataset, images = record.key.dataset, record.config["dataset"]["images"]
    values = (dataset, images, record.key.model, told, ", ".join(changed), f"{miou:.2f}", f"{miou - of_own:+.2f}")
    return dict(zip(COLUMNS, values, strict=True))


if __name__ == "__main__":
    with FILE.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for folder in sys.argv[1:]:
            writer.writerows(rows(list(records.read_all(Path(folder) / records.FOLDER))))
