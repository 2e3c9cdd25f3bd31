"""pacl-bench head: what a trained head is, its model card, and its way to the Hugging Face hub and back."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pacl_bench.cli.app import App
from pacl_bench.cli.options import AsJson, ResultsRoot, WeightsRoot
from pacl_bench.cli.output import print_rows

if TYPE_CHECKING:
    from pacl_bench.model.head_files import HeadCard

app = App(help="Trained heads: what they are, their model cards, to and from the hub.", no_args_is_help=True)

Folder = Annotated[Path, typer.Argument(help="Folder of the head.")]
Repository = Annotated[str, typer.Argument(help="NAME/HEAD on the Hugging Face hub.")]


@app.command("info")
def head_info(folder: Folder, weights_root: WeightsRoot = None, as_json: AsJson = False) -> None:
    """Say what a head is: its encoders, its size, how it was trained."""
    from pacl_bench.model.head_files import read_card

    rows = [{"what": what, "is": value} for what, value in _told(read_card(folder)).items()]
    print_rows(rows, str(folder), as_json)


@app.command("card")
def head_card(folder: Folder, results: ResultsRoot = None) -> None:
    """Write README.md beside a head: its model card, with what its records say."""
    from pacl_bench.model.readme import write_readme
    from pacl_bench.paths import results_root

    print(write_readme(folder, results_root()))


@app.command("push")
def head_push(
    folder: Folder,
    repository: Repository,
    private: Annotated[bool, typer.Option("--private", help="Make the repository for yourself alone.")] = False,
    results: ResultsRoot = None,
) -> None:
    """Upload a head with its model card to the Hugging Face hub (log in with `hf auth login`)."""
    from pacl_bench.model.sharing import push
    from pacl_bench.paths import results_root

    print(push(folder, repository, results_root(), private))


@app.command("pull")
def head_pull(
    repository: Repository,
    out: Annotated[Path | None, typer.Option(help="Folder of the head; default heads/<HEAD>.")] = None,
) -> None:
    """Download a head from the Hugging Face hub; its weights are compared with its card by sha256."""
    from pacl_bench.model.sharing import pull

    out = out or Path("heads", repository.rpartition("/")[2])
    pull(repository, out)
    print(out)


def _told(card: "HeadCard") -> dict[str, Any]:
    """What is told of a head, in the order of interest."""
    return {
        "name": card.name,
        "kind": card.kind,
        "vision encoder": card.encoder.spec,
        "its sha256": card.encoder.sha256,
        "text encoder": card.text.spec,
        "sha256 of the text encoder": card.text.sha256,
        "from width": card.width,
        "to dim": card.dim,
        "sha256 of the head": card.sha256,
        "steps": card.step,
        "pairs": card.train.get("pairs"),
        "images": card.train.get("images"),
    }
