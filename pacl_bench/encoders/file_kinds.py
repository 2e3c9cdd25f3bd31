"""What a file is that was given for a checkpoint and is none: a web page, a pointer of git-lfs, a pickle of code."""

import re
from pathlib import Path
from zipfile import ZipFile, is_zipfile

FILE_KINDS = {  # by their first bytes
    b"version https://git-lfs": "a pointer of git-lfs, not the weights: fetch them with `git lfs pull`",
    b"\x1f\x8b": "compressed by gzip: unpack it first",
    b"BZh": "compressed by bzip2: unpack it first",
    b"\xfd7zXZ": "compressed by xz: unpack it first",
    b"\x28\xb5\x2f\xfd": "compressed by zstd: unpack it first",
    b"\x89HDF": "an HDF5 file, no checkpoint of torch",
    b"GGUF": "a GGUF file, no checkpoint of torch",
    b"\x93NUMPY": "an array of NumPy, no checkpoint",
}


def fault(file: Path, error: Exception) -> str:
    """What is wrong with a file that torch or safetensors could not read, as "FILE ..." goes on."""
    unsafe = re.search(r"GLOBAL (\S+) was not an allowed global", str(error))
    if unsafe:
        return (
            f"is a pickle of more than weights (of {unsafe[1]}), and nothing of that kind is loaded. Save its "
            "state_dict() alone, as .safetensors for example."
        )
    what = what_it_is(file)
    if what:
        return f"is {what}."
    if "WeightsUnpickler" in str(error):
        return "is a pickle of another kind than torch makes of weights. Save the state_dict() alone."
    said = " ".join(str(error).split())
    return f"is damaged, or no checkpoint: {said[:100] or type(error).__name__}."


def what_it_is(file: Path) -> str:
    """What a file is that is no checkpoint, by its first bytes; empty where they do not tell."""
    with file.open("rb") as handle:
        start = handle.read(600)
    if not start:
        return "empty"
    known = next((what for mark, what in FILE_KINDS.items() if start.startswith(mark)), "")
    if known:
        return known
    if start.startswith(b"PK\x03\x04"):
        return _what_archive(file)
    if start[257:262] == b"ustar":
        return "a tar archive: unpack it first"
    if start.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page, no checkpoint: what the download gave in its place"
    if all(byte >= 32 or byte in b"\t\n\r" for byte in start):
        return f"a text file ({start[:30].decode(errors='replace').strip()!r} ...), no checkpoint"
    return ""


def _what_archive(file: Path) -> str:
    """What a zip archive is that torch did not write, or whose end did not arrive; empty for one of torch."""
    if not is_zipfile(file):
        return "incomplete: its end is missing. Fetch it again"
    with ZipFile(file) as archive:
        of_torch = any(Path(name).name == "data.pkl" for name in archive.namelist())
    return "" if of_torch else "a zip archive of something else"
