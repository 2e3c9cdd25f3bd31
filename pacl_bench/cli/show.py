"""pacl-bench show: pictures for your own image."""

from pathlib import Path
from typing import Annotated, Any

import typer

from pacl_bench.cli.app import App
from pacl_bench.cli.options import (
    DataRoot,
    Device,
    Encoders,
    HeadEncoder,
    Heads,
    HeadText,
    ResultsRoot,
    WeightsRoot,
    listed,
    torch_device,
)
from pacl_bench.errors import UsageError
from pacl_bench.evaluators.settings import Stride, Templates
from pacl_bench.files import require_writable

app = App(help="Pictures for your own image: Figures 2, 4 and 6.", no_args_is_help=True)

MOST_CLASSES = 254  # a label PNG holds one byte a pixel, and 255 is "nothing"

Photos = Annotated[list[Path], typer.Argument(help="Image files.")]
PictureOut = Annotated[Path, typer.Option(help="Where the picture goes, without ending: PNG and PDF are written.")]


@app.command("alignment")
def show_alignment(
    images: Photos,
    word: Annotated[str, typer.Option(help="What to look for: cat.")],
    encoders: Encoders = None,
    heads: Heads = None,
    encoder: HeadEncoder = None,
    text: HeadText = None,
    out: PictureOut = Path("alignment"),
    device: Device = "auto",
    weights_root: WeightsRoot = None,
) -> None:
    """Where is the word? Similarity of each patch with it, before and after alignment: Figure 2."""
    from pacl_bench.studies.pictures import alignment_rows, read_photos

    require_writable(out.parent, "--out")
    models = _models(encoders, heads, torch_device(device), encoder, text)
    _save_picture(alignment_rows(models, read_photos(images), word), out)


@app.command("similarity")
def show_similarity(
    images: Photos,
    point: Annotated[str, typer.Option(help="The marked patch in the first image: x,y as fractions.")] = "0.5,0.5",
    encoders: Encoders = None,
    out: PictureOut = Path("similarity"),
    device: Device = "auto",
    weights_root: WeightsRoot = None,
) -> None:
    """Which patches of this and other images resemble a marked one? Figure 4."""
    from pacl_bench.encoders import load_encoder
    from pacl_bench.studies.pictures import read_photos, similarity_rows

    if encoders is None:
        raise UsageError("Nothing to show: give --encoders.")
    require_writable(out.parent, "--out")
    at = _point(point)
    loaded = [load_encoder(name).to(torch_device(device)) for name in listed(encoders)]
    _save_picture(similarity_rows(loaded, read_photos(images), at), out)


@app.command("segmentation")
def show_segmentation(
    images: Photos,
    classes: Annotated[str, typer.Option(help="Class names, comma-separated: cat, sofa, lamp.")],
    encoders: Encoders = None,
    heads: Heads = None,
    encoder: HeadEncoder = None,
    text: HeadText = None,
    templates: Templates = "paper7",
    stride: Stride = None,
    out: PictureOut = Path("segmentation"),
    device: Device = "auto",
    weights_root: WeightsRoot = None,
) -> None:
    """Which of your classes is where? Overlay with legend, and label PNGs of class indices: Figure 6."""
    from pacl_bench.data.vocabulary import load_templates
    from pacl_bench.files import write_text
    from pacl_bench.studies.pictures import model_titles, overlay_rows, read_photos, segmented
    from pacl_bench.studies.predictions import write_label_map

    names, prompts, labels = _classes(classes), load_templates(templates), out.with_name(f"{out.name}-labels")
    for folder in (out.parent, labels):
        require_writable(folder, "--out")
    _refuse_twice("photos", [file.stem for file in images])
    models, photos = _models(encoders, heads, torch_device(device), encoder, text), read_photos(images, long_side=None)
    _refuse_twice("models", [model.name for model in models])
    maps = {model.name: segmented(model, photos, names, prompts, stride) for model in models}
    _save_picture(overlay_rows(photos, dict(zip(model_titles(models), maps.values(), strict=True))), out, names)
    write_text(labels / "classes.txt", "\n".join(names) + "\n")
    print(labels / "classes.txt")
    for model, of_photos in maps.items():
        for file, label_map in zip(images, of_photos, strict=True):
            write_label_map(labels / model / f"{file.stem}.png", label_map.astype("uint8"))
            print(labels / model / f"{file.stem}.png")


@app.command("gallery")
def show_gallery(
    heads: Annotated[str, typer.Option(help="Folders of trained heads, comma-separated, as they were measured.")],
    dataset: Annotated[str, typer.Option(help="The segmentation set they were measured on.")],
    encoder: HeadEncoder = None,
    text: HeadText = None,
    out: PictureOut = Path("gallery"),
    device: Device = "auto",
    data_root: DataRoot = None,
    weights_root: WeightsRoot = None,
    results: ResultsRoot = None,
) -> None:
    """The best, the median and the worst image of each head, by its record below --results, beside the label."""
    from pacl_bench.evaluators.sets import segmentation_sets
    from pacl_bench.paths import results_root
    from pacl_bench.studies.gallery import gallery_rows

    require_writable(out.parent, "--out")
    [images] = segmentation_sets([dataset])
    models = _models(None, heads, torch_device(device), encoder, text)
    _save_picture(gallery_rows(models, images, results_root()), out, list(images.classnames))


def _classes(text: str) -> list[str]:
    """The names in --classes; a UsageError where there are none to choose from."""
    names = listed(text)
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"--classes: {twice!r} is given twice.")
    if not 2 <= len(names) <= MOST_CLASSES:
        wanted = f"2 to {MOST_CLASSES} names are wanted, separated by commas: cat, sofa, lamp."
        raise UsageError(f"--classes {text!r}: {wanted}")
    return names


def _refuse_twice(what: str, names: list[str]) -> None:
    """Files are called after them."""
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"Two {what} are called {twice!r}; their label PNGs would be one file. Rename one.")


def _models(encoders: str | None, heads: str | None, device: str, encoder: str | None, text: str | None) -> list[Any]:
    from pacl_bench.encoders import load_encoder
    from pacl_bench.model.aligned import load_aligned, load_before

    if encoders is None and heads is None:
        raise UsageError("Nothing to show: give --encoders or --heads.")
    if heads is None and (encoder or text):
        raise UsageError("--encoder and --text are of --heads. What is shown as it is stands in --encoders.")
    models = [load_before(load_encoder(name)) for name in listed(encoders or "")]
    models += [load_aligned(Path(folder), encoder, text) for folder in listed(heads or "")]
    return [model.to(device) for model in models]


def _point(text: str) -> tuple[float, float]:
    try:
        x, y = (float(part) for part in text.split(","))
    except ValueError:
        x = y = -1.0
    if not (0 <= x <= 1 and 0 <= y <= 1):
        raise UsageError(f"--point {text}: two fractions of width and height are wanted, like 0.5,0.4.")
    return x, y


def _save_picture(rows: list[Any], out: Path, classnames: list[str] | None = None) -> None:
    from pacl_bench.report.figures.pictures import save_picture

    for file in save_picture(rows, out, classnames):
        print(file)
