"""Figures 2, 4 and 6 for a user's own image: what is computed, and what is drawn."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pacl_bench import cli
from pacl_bench.encoders import load_encoder
from pacl_bench.errors import UsageError
from pacl_bench.model.aligned import load_before
from pacl_bench.model.embedder import VisionEmbedder
from pacl_bench.model.head_files import FrozenPart, HeadCard
from pacl_bench.report.figures.pictures import PhotoPanel, class_colours, classes_used, picture_figure, save_picture
from pacl_bench.studies.pictures import (
    alignment_rows,
    model_titles,
    overlay_rows,
    read_photos,
    segmentation_rows,
    similarity_rows,
)


@pytest.fixture
def photos() -> list[Image.Image]:
    random = np.random.default_rng(0)
    return [Image.fromarray(random.integers(0, 256, (*shape, 3), dtype=np.uint8)) for shape in ((90, 130), (70, 70))]


def test_the_marked_patch_is_most_like_itself(clip_spec: str, photos) -> None:
    ((marked, here, there),) = similarity_rows([load_encoder(clip_spec)], photos, (0.9, 0.1))
    assert marked.marker == here.marker == (0.9, 0.1)
    assert there.marker is None
    assert here.heat is not None
    assert there.heat is not None
    assert here.heat.shape == (90, 130)
    assert there.heat.shape == (70, 70)
    row, col = np.unravel_index(here.heat.argmax(), here.heat.shape)
    assert row < 30  # the top right patch, of 64 x 96 pixels in patches of 16
    assert col > 100
    assert here.heat.max() == pytest.approx(1.0, abs=1e-5)


def test_models_are_called_what_tables_call_them(clip_spec: str, photos) -> None:
    before = load_before(load_encoder(clip_spec))
    part, head = FrozenPart("small-clip", "", "0" * 64, {}), VisionEmbedder(before.vision.width, before.text.dim)
    trained = {
        images: HeadCard(
            f"heads.{images}", part, part, 1, 1, 10.0, 0.07, 5, "1" * 64, {"pairs": "p", "images": images}, {}
        )
        for images in (10, 2000)
    }
    models = [before, *(replace(before, name=card.name, head=head, card=card) for card in trained.values())]
    titles = ["small-clip\nbefore alignment", "small-clip\nPACL head, 10 images", "small-clip\nPACL head, 2,000 images"]
    assert model_titles(models) == titles
    [first, _] = segmentation_rows(models, photos, ["cat", "sofa"], ["a {}."])
    assert [panel.title for panel in first] == ["image", *titles]
    [first, _] = alignment_rows(models, photos, "cat")
    assert [panel.title.rpartition("\n")[0] for panel in first] == ["", *titles]


def test_alignment_is_the_cosine_with_the_word(clip_spec: str, photos) -> None:
    model = load_before(load_encoder(clip_spec))
    rows = alignment_rows([model], photos, "cat")
    assert [len(row) for row in rows] == [2, 2]
    heat = rows[1][1].heat
    features = model.vision(model.vision.preprocess.whole(photos[1])[None])
    tokens = torch.nn.functional.normalize(model.vision.project(features.patch_tokens[0]), dim=-1)
    scores = (tokens @ model.text(["a photo of a cat."])[0]).numpy()
    assert heat is not None
    assert scores.min() - 1e-5 <= heat.min() <= heat.max() <= scores.max() + 1e-5
    assert heat[0, 0] == pytest.approx(scores[0], abs=1e-5)
    assert heat[-1, -1] == pytest.approx(scores[-1], abs=1e-5)


def test_segmentation_covers_the_photo_with_its_classes(clip_spec: str, photos) -> None:
    model = load_before(load_encoder(clip_spec))
    rows = segmentation_rows([model], photos, ["cat", "sofa", "lamp"], ["a {}."], stride=8)
    for row, photo in zip(rows, photos, strict=True):
        assert row[1].predicted_map is not None
        assert row[1].predicted_map.shape == (photo.height, photo.width)
        assert set(np.unique(row[1].predicted_map)) <= {0, 1, 2}


def test_large_photos_are_made_smaller_and_broken_ones_named(tmp_path: Path) -> None:
    Image.new("RGB", (4000, 1000)).save(tmp_path / "large.png")
    assert read_photos([tmp_path / "large.png"])[0].size == (480, 120)
    (tmp_path / "broken.jpg").write_text("no photo")
    with pytest.raises(UsageError, match=r"broken\.jpg: cannot identify"):
        read_photos([tmp_path / "large.png", tmp_path / "broken.jpg"])


def test_what_is_drawn(tmp_path: Path) -> None:
    image = np.full((4, 6, 3), 200, np.uint8)
    heat = np.linspace(0, 1, 24).reshape(4, 6)
    labels = np.array([[0, 1, 1, 1, 1, 255]] * 4)
    rows = [
        [PhotoPanel(image, "photo", marker=(0.5, 0.5)), PhotoPanel(image, "heat", heat, (0.25, 0.75))],
        [PhotoPanel(image), PhotoPanel(image, predicted_map=labels)],
    ]
    figure = picture_figure(rows, ["cat", "dog", "bird"])
    photo, heated, plain, segmented, scale = figure.axes
    assert photo.get_title() == "photo"
    assert photo.lines[0].get_xydata().tolist() == [[2.5, 1.5]]
    assert heated.images[1].get_clim() == (0.25, 0.75)
    assert scale.get_ylabel() == "cosine similarity"
    assert len(plain.images) == 1
    painted = segmented.images[1].get_array()
    assert painted[0, 1, :3].tolist() == class_colours(3)[1].tolist()
    assert painted[0, 5, 3] == 0  # nothing predicted, nothing painted
    assert classes_used(rows, 3) == [0, 1]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["cat", "dog"]
    files = save_picture(rows, tmp_path / "figure", ["cat", "dog", "bird"])
    assert [file.name for file in files] == ["figure.png", "figure.pdf"]
    assert all(file.stat().st_size > 1000 for file in files)


def test_long_names_of_models_are_not_cut_off() -> None:
    image = np.full((4, 6, 3), 200, np.uint8)
    name = "pacl-tiny-clip.world-1k+world-4k+world-5k.seed2-and-more"
    figure = picture_figure(
        [[PhotoPanel(image, "photo"), PhotoPanel(image), PhotoPanel(image, f"{name}\ncos 0.02 to 0.43")]]
    )
    figure.draw_without_rendering()
    last = figure.axes[2]
    assert last.get_title().replace("\n", "") == f"{name}cos 0.02 to 0.43"
    assert last.title.get_window_extent().x1 <= figure.bbox.x1


def test_many_classes_have_different_colours() -> None:
    colours = class_colours(171)
    assert len({tuple(colour) for colour in colours.round(4)}) == 171


def test_segmentation_from_the_command_line(
    clip_spec: str, photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Overlay, legend and label PNGs in each photo's own size; two encoders side by side."""
    for number, photo in enumerate(photos):
        photo.resize((photo.width * 7, photo.height * 7)).save(tmp_path / f"{number}.png")
    files = [str(tmp_path / f"{number}.png") for number in range(2)]
    other = clip_spec.replace("small-clip=", "other=") + "?block=0"
    command = ["show", "segmentation", *files, "--out", str(tmp_path / "mine"), "--encoders", f"{clip_spec},{other}"]

    def run(*more: str) -> int:
        monkeypatch.setattr("sys.argv", ["pacl-bench", *command, *more])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return int(ended.value.code or 0)

    assert run("--classes", "cat, sofa, lamp") == 0
    printed = [Path(line) for line in capsys.readouterr().out.splitlines()]
    labels = tmp_path / "mine-labels"
    assert printed == [
        tmp_path / "mine.png", tmp_path / "mine.pdf", labels / "classes.txt",
        *(labels / model / f"{number}.png" for model in ("small-clip", "other") for number in range(2)),
    ]  # fmt: skip
    assert (labels / "classes.txt").read_text().split() == ["cat", "sofa", "lamp"]
    with Image.open(labels / "other" / "0.png") as label_map:
        assert label_map.size == (130 * 7, 90 * 7)
        assert set(np.unique(np.asarray(label_map))) <= {0, 1, 2}
    for classes, line in (
        ("cat", "2 to 254 names are wanted"),
        (",", "--classes ',' says nothing"),
        ("cat, dog, cat", "'cat' is given twice"),
    ):
        assert run("--classes", classes) == 2
        err = capsys.readouterr().err
        assert line in err
        assert err.count("\n") == 1


def test_large_photos_are_drawn_smaller_under_their_maps() -> None:
    photo = Image.new("RGB", (1000, 500))
    label_map = np.repeat([[0], [1]], 250, 0).repeat(1000, 1)
    ((plain, overlay),) = overlay_rows([photo], {"mine": [label_map]})
    assert plain.image.shape == (240, 480, 3)
    assert overlay.predicted_map is not None
    assert overlay.predicted_map[:120].max() == 0
    assert overlay.predicted_map[120:].min() == 1
