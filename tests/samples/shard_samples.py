"""Webdataset shards as img2dataset leaves them, for the tests of shards and of training."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import webdataset
from PIL import Image


def jpeg(number: int = 0, size: tuple[int, int] = (24, 20), kind: str = "JPEG") -> bytes:
    pixels = np.random.default_rng(number).integers(0, 256, size=(size[1], size[0], 3), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, kind)
    return content.getvalue()


def write_tar(file: Path, samples: list[dict]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    with webdataset.TarWriter(str(file)) as tar:
        for number, sample in enumerate(samples):
            tar.write({"__key__": f"{file.stem}{number:04}", **sample})
    return file


def write_shards(folder: Path, sizes: list[int], stats: bool = True) -> Path:
    """As img2dataset leaves them; every caption is of its own."""
    for shard, size in enumerate(sizes):
        samples = [
            {"jpg": jpeg(number), "txt": f"{folder.name} {shard} {number}", "json": b'{"caption": "not this one"}'}
            for number in range(size)
        ]
        write_tar(folder / f"{shard:05}.tar", samples)
        if stats:
            content = {"count": size + 2, "successes": size, "failed_to_download": 2}
            (folder / f"{shard:05}_stats.json").write_text(json.dumps(content))
    return folder


def tar_of(members: list[tuple[str, bytes]], format: int = tarfile.USTAR_FORMAT) -> bytes:
    """A tar of files with the names given, in this order, as they are."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()
