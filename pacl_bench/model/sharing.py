"""Heads to and from the Hugging Face hub, by its own library: a head is a folder of three small files."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import huggingface_hub
import huggingface_hub.constants as hub
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from pacl_bench.encoders.hub import hub_access
from pacl_bench.errors import RunError, UsageError
from pacl_bench.files import require_writable
from pacl_bench.model.head_files import CARD, WEIGHTS, load_embedder, read_card
from pacl_bench.model.readme import README, write_readme

FILES = (CARD, WEIGHTS, README)


def push(folder: Path, repository: str, results: Path, private: bool = False) -> str:
    """Uploads a head with its model card, made from the records below `results` where there is none yet.

    Args:
        repository: `NAME/HEAD` on the hub; it is made where it does not exist.

    Returns:
        Where it can be seen.

    Raises:
        UsageError: the folder holds no head, or weights its card was not written for. RunError: the hub refuses.
    """
    load_embedder(folder, read_card(folder))
    if not (folder / README).is_file():
        write_readme(folder, results)
    with _told(repository):
        api = huggingface_hub.HfApi(endpoint=hub.ENDPOINT)
        api.create_repo(repository, private=private, exist_ok=True)
        api.upload_folder(
            repo_id=repository,
            folder_path=folder,
            allow_patterns=list(FILES),
            commit_message="A head of pacl-bench",
        )
    return f"{hub.ENDPOINT}/{repository}"


def pull(repository: str, out: Path) -> None:
    """Downloads a head to the folder `out`, whole and checked, or not at all.

    Raises:
        UsageError: something is there already, or the repository holds no head. RunError: the hub cannot be read.
    """
    if out.exists():
        raise UsageError(f"{out} is there already; give another folder: --out.")
    require_writable(out.parent, "--out")
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as temporary:
        folder = Path(temporary, out.name)
        with _told(repository):
            for name in FILES:
                _download(repository, name, folder)
        load_embedder(folder, read_card(folder))
        folder.rename(out)


def _download(repository: str, name: str, folder: Path) -> None:
    """One file; a head without a model card is one, a repository without a head's card is none."""
    try:
        file = huggingface_hub.hf_hub_download(repository, name, endpoint=hub.ENDPOINT)
    except LocalEntryNotFoundError:  # a kind of EntryNotFoundError, and of OSError: the hub was not reached
        raise
    except EntryNotFoundError:
        if name == README:
            return
        raise UsageError(f"{repository} on the hub holds no head of pacl-bench ({name} not found).") from None
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(Path(file).read_bytes())


@contextmanager
def _told(repository: str) -> Iterator[None]:
    """What the hub refuses is told in one line."""
    try:
        with hub_access():
            yield
    except HFValidationError:
        raise UsageError(f"{repository!r} is no name on the hub: NAME/HEAD is wanted.") from None
    except (HfHubHTTPError, OSError) as error:
        reason = " ".join(str(error).split())[:160]
        raise RunError(
            f"{repository}: the hub at {hub.ENDPOINT} refused or cannot be reached ({reason}). To push, log in first: "
            "hf auth login."
        ) from None
