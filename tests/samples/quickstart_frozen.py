"""What the quickstart writes, in short: `python tests/samples/quickstart_frozen.py OUT`."""

import json
import sys
from pathlib import Path
from typing import Any

from pacl_bench import records
from pacl_bench.model.head_files import read_card
from pacl_bench.records import Record


def in_short(out: Path) -> dict[str, Any]:
    """The records of a quickstart by path, and how each head was trained; weights, whose last digits differ
    between machines, are left out."""
    found = records.read_all(out / "results")
    heads = {card.parent.name: read_card(card.parent) for card in sorted((out / "heads").glob("*/head.json"))}
    return {
        "records": {str(record.key.path): _record(record) for record in found},
        "heads": {name: {"step": card.step, "train": card.train} for name, card in heads.items()},
    }


def _record(record: Record) -> dict[str, Any]:
    rows = {f"{row.metric}, {row.protocol}": [row.value, row.n] for row in record.measurements if not row.class_name}
    return {"settings": record.config["settings"], "rows": len(record.measurements), "numbers": rows}


if __name__ == "__main__":
    print(json.dumps(in_short(Path(sys.argv[1])), indent=1))
