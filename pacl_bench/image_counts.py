"""Counts by image: what each image adds to a record's numbers, in a file beside it. No torch here.

With them two models are compared on the same images, and the images that moved most are found, without measuring again.
The file has the record's name and ends in .npz. An array in it is called "<metric>, <protocol>" and is "image 2 label":
for each image, in the order of the set, what was found and what there was to find of each class. The number of the
record is the mean, over the classes of which there is anything, of sum(found) / sum(there):

- `miou` of dataset-miou: pixels of intersection and union.
- `pixel_accuracy`, `patch_accuracy`, `top1`: right ones and all, as a single class; `patch_recall` and
  `mean_per_class_recall`: by class.
- a mean over images, as `miou` of present-miou: the image's own value and 1; an image that does not count has 0 and 0.
- `auroc` and the like, which are of pairs of images: not images but 20 groups of them, image k being in group k mod 20,
  each with its pseudovalue (Efron and Tibshirani 1993, chapter 11) and 1.
"""

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pacl_bench.errors import UsageError

if TYPE_CHECKING:  # the command line starts without numpy
    import numpy as np

SUFFIX = ".npz"
DIGEST = "counts_sha256"  # the entry of a record's provenance that says which file belongs to it
MOST_BYTES = 8 << 20  # of a file
MOST_ENTRIES = 1 << 24  # of an array: readers hold it as numbers of 8 bytes

Counts = Mapping[str, "np.ndarray"]


def counts_name(metric: str, protocol: str) -> str:
    """What the array of a number is called."""
    return f"{metric}, {protocol}"


def counts_file(record: Path) -> Path:
    """The file of counts that belongs to the file of a record."""
    return record.with_suffix(SUFFIX)


def packed(counts: Counts) -> bytes:
    """The content of a file of counts. Arrays that would make it larger than MOST_BYTES are left out, the last first.

    The order of `counts` is that of importance. The same counts give the same bytes.
    """
    import numpy as np

    kept: dict[str, Any] = {}
    size = 0
    for name, array in counts.items():
        alone = io.BytesIO()
        small = _smallest(array)
        np.savez_compressed(alone, small)
        size += alone.tell()
        if size > MOST_BYTES:
            break
        if array.size <= MOST_ENTRIES:
            kept[name] = small
    whole = io.BytesIO()
    np.savez_compressed(whole, **kept)
    return whole.getvalue()


def digest(content: bytes) -> str:
    """The sha256 by which a record knows its counts."""
    return hashlib.sha256(content).hexdigest()


def read_counts(file: Path, expected: str, only: str | None = None) -> "dict[str, np.ndarray]":
    """The arrays of a file of counts, by name.

    Args:
        expected: the sha256 that the record beside it holds.
        only: the name of an array; the others are not unpacked.

    Raises:
        UsageError: the file is damaged, or of another record.
    """
    import numpy as np

    content = file.read_bytes()
    if digest(content) != expected:
        raise UsageError(f"{file} holds no counts of the record beside it. Measure it again, or remove the file.")
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files if only in (None, name)}


def _smallest(array: "np.ndarray") -> "np.ndarray":
    """Whole numbers in the narrowest type that holds them, others in 32 bits."""
    import numpy as np

    if (array >= 0).all() and (array == array.round()).all():
        return array.astype(np.min_scalar_type(int(array.max(initial=0))))
    return array.astype(np.float32)
