"""What every declared data set says of itself, whatever it is used for."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pacl_bench.errors import UsageError
from pacl_bench.paths import data_root

Kind = Literal["segmentation", "classification", "pairs"]


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """A data set in its official layout."""

    name: str
    title: str
    folders: tuple[str, ...]  # its official folder names; the first that exists under the data root holds it
    num_images: int  # officially
    space: str  # on disk, unpacked: "2 GB"
    source: str  # where its owners offer it
    licence: str
    steps: str = ""  # what is to be done by hand, where an agreement must be signed or files be moved
    read_here: bool = False  # whether its reader was run on real files in development, not only on small trees

    def found(self) -> Path | None:
        """The folder that holds it; None where there is none under the data root."""
        return next((root for root in self.candidates() if root.is_dir()), None)

    def root(self) -> Path:
        """The folder that holds it; a UsageError that says what was looked for and where to get it."""
        root = self.found()
        if root is None:
            raise UsageError(
                f"{self.name}: {' or '.join(map(str, self.candidates()))} not found. {self.how_to_get}, "
                "or say where it lies with --data-root or PACL_DATA."
            )
        return root

    @property
    def how_to_get(self) -> str:
        """The way to a set that is not there, as the beginning of a sentence."""
        return f"Get it with `pacl-bench data fetch {self.name}`"

    def candidates(self) -> list[Path]:
        return [data_root() / folder for folder in self.folders]
