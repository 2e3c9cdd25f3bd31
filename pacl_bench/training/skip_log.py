"""The pairs that could not be used: listed, counted, and too many of them an error."""

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pacl_bench import processes
from pacl_bench.data.shards import Skipped
from pacl_bench.errors import RunError
from pacl_bench.files import append_lines, write_text
from pacl_bench.progress import console

ENOUGH_TO_JUDGE = 100  # pairs seen before a share of failures means anything


class SkipLog:
    """The pairs that could not be used: each is listed once, as it is met, and counted by cause.

    Args:
        file: gets a line of JSON for each.
        max_share: of all pairs seen; above it training stops, once enough pairs were seen to judge by.
        state: of an earlier run, to go on from; what it had not seen is taken back from the file.
    """

    def __init__(self, file: Path, max_share: float, state: dict[str, int]):
        self.file, self.max_share = file, max_share
        self.seen, self.failed = state.get("seen", 0), state.get("failed", 0)
        lines = _whole_lines(file) if state and file.is_file() else []
        self.listed = dict.fromkeys(lines[: state.get("listed", 0)])
        if processes.is_first():
            write_text(file, "".join(f"{line}\n" for line in self.listed))

    @property
    def state(self) -> dict[str, int]:
        return {"seen": self.seen, "failed": self.failed, "listed": len(self.listed)}

    def add(self, seen: int, skipped: list[Skipped]) -> None:
        """Counts pairs that were read and lists those of them that failed.

        Raises:
            RunError: too large a share has failed.
        """
        self.seen += seen
        self.failed += len(skipped)
        new = [line for line in (json.dumps(asdict(skip)) for skip in skipped) if line not in self.listed]
        if new:
            self.listed |= dict.fromkeys(new)
            if processes.is_first():
                append_lines(self.file, new)
        if self.seen >= ENOUGH_TO_JUDGE and self.failed > self.max_share * self.seen:
            raise RunError(
                f"{self.failed:,} of {self.seen:,} pairs could not be used ({self.failed / self.seen:.0%}, more than "
                f"--max-skipped {self.max_share:g}): {self.summary()}. All are in {self.file}."
            )

    @property
    def causes(self) -> dict[str, int]:
        """How many pairs were listed for each cause, the commonest first."""
        return dict(Counter(json.loads(line)["cause"] for line in self.listed).most_common())

    def summary(self) -> str:
        """ "3 broken image, 1 empty caption (first broken image: 00000.tar/17)"."""
        causes = self.causes
        if not causes:
            return "nothing"
        commonest = next(iter(causes))
        skips = (json.loads(line) for line in self.listed)
        first = next(skip["where"] for skip in skips if skip["cause"] == commonest)
        return f"{', '.join(f'{n:,} {cause}' for cause, n in causes.items())} (first {commonest}: {first})"

    def describe(self) -> dict[str, Any]:
        """As it stands in a head's card."""
        return {"skipped": len(self.listed), "skipped_by_cause": self.causes}

    def report(self, pairs: str) -> None:
        """Says on the console what was skipped beside so many pairs, if anything was."""
        if self.listed:
            console.print(f"{pairs}; skipped {self.summary()}; all in {self.file}", markup=False)


def _whole_lines(file: Path) -> list[str]:
    """The lines that say why a pair was skipped, without those that are torn or damaged."""
    return [line for line in file.read_text(encoding="utf-8", errors="replace").split("\n") if _is_whole(line)]


def _is_whole(line: str) -> bool:
    try:
        return {"cause", "where"} <= json.loads(line).keys()
    except (ValueError, AttributeError, RecursionError):
        return False
