"""Other people's protocols, held to what their own code gives, pixel by pixel."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from golden_vectors import HERE, SHARED, SIBLINGS, GoldenImages, GoldenTexts, Preset, golden_encoder, presets

from pacl_bench import predict_map
from pacl_bench.encoders.base import VisionEncoder
from pacl_bench.encoders.resizing import opencv_bilinear, pillow_bicubic
from pacl_bench.encoders.setup import Setup
from pacl_bench.evaluators.predict import view_of
from pacl_bench.evaluators.presets import PRESETS
from pacl_bench.evaluators.segmentation import evaluate_segmentation
from pacl_bench.evaluators.settings import SegmentationSettings
from pacl_bench.model.aligned import AlignedModel

EQUAL_PIXELS = 0.9995  # of a picture: single pixels lie at ties or at a threshold
EQUAL_MIOU = 0.0002
SLOW = ("tipsv2_whole", "dinotxt_whole")  # picture 3, 5,600 and 6,400 pixels long, is one sequence of 12,800 tokens

here = pytest.mark.parametrize("preset", presets(HERE), ids=lambda preset: preset.name)
shared = pytest.mark.parametrize(
    "preset",
    [pytest.param(preset, marks=pytest.mark.shared, id=preset.name) for preset in presets(SHARED)]
    or [pytest.param(None, marks=pytest.mark.shared, id="none")],
)


@pytest.fixture(scope="module")
def encoder() -> VisionEncoder:
    return golden_encoder(HERE)


def predicted(encoder: VisionEncoder, preset: Preset, picture: dict) -> np.ndarray:
    """Our map of a picture, which must be theirs at nearly every pixel."""
    protocol, dataset = preset.protocol
    found = predict_map(
        encoder, preset.image(picture), *preset.texts(), protocol, dataset, tuple(picture["label_size"])
    )
    assert found.dtype == np.uint8
    assert (found == preset.predicted_map(picture)).mean() >= EQUAL_PIXELS
    return found


def resized_bytes(preset: Preset, encoder: VisionEncoder) -> None:
    """The resized input of every picture, which must be theirs to the byte."""
    protocol, dataset = preset.protocol
    view = view_of(PRESETS[protocol].steps_on(dataset))
    for picture in preset.pictures:
        image = preset.image(picture)
        shape = view.shape(encoder, (image.height, image.width))
        assert list(shape) == picture["resized_input"]
        pixels = opencv_bilinear(image, shape) if view.resize == "mmseg" else pillow_bicubic(image, shape)
        assert hashlib.sha256(pixels.tobytes()).hexdigest() == picture["resized_sha256"]


def measured(encoder: VisionEncoder, images: GoldenImages, folder: Path) -> dict[str, float]:
    """The numbers that `segment --protocol` records, by metric, and that it keeps the maps of predict_map."""
    protocol, _ = images.preset.protocol
    theirs = encoder.set_up(Setup(attention=PRESETS[protocol].setup.attention))
    model, file = AlignedModel("golden", theirs, GoldenTexts(images.preset)), images.write_names(folder / "names.txt")
    kept: dict[int, np.ndarray] = {}
    settings = SegmentationSettings(protocol=protocol, vocabulary=str(file))
    found = evaluate_segmentation(model, images, settings, kept.__setitem__).measurements
    assert {row.protocol.partition("#")[0] for row in found} == {
        f"dataset-miou, protocol={protocol}, but vocabulary=names.txt"
    }
    for index, picture in enumerate(images.pictures):
        assert (kept[index] == images.preset.predicted_map(picture)).mean() >= EQUAL_PIXELS
    return {row.metric: row.value for row in found if not row.class_name}


@here
def test_label_maps_are_theirs(encoder: VisionEncoder, preset: Preset) -> None:
    for picture in preset.pictures:
        predicted(encoder, preset, picture)


@here
def test_resized_pixels_are_theirs_to_the_byte(encoder: VisionEncoder, preset: Preset) -> None:
    resized_bytes(preset, encoder)


@pytest.mark.parametrize("preset", presets(SIBLINGS), ids=lambda preset: preset.name)
def test_patches_of_14_and_pictures_in_rgba_grey_and_palette(preset: Preset) -> None:
    encoder = golden_encoder(SIBLINGS)
    resized_bytes(preset, encoder)
    for picture in preset.pictures:
        predicted(encoder, preset, picture)


@here
def test_the_evaluator_gives_their_label_maps(encoder: VisionEncoder, preset: Preset, tmp_path: Path) -> None:
    """Their maps taken for the truth, so that what is right is what is theirs."""
    images = GoldenImages(preset, preset.pictures, theirs=True)
    assert measured(encoder, images, tmp_path)["pixel_accuracy"] >= EQUAL_PIXELS


@shared
def test_the_evaluator_gives_every_picture_and_miou_of_the_full_set(
    encoder: VisionEncoder, preset: Preset, tmp_path: Path
) -> None:
    if preset.name in SLOW:
        images = GoldenImages(preset, [one for one in preset.pictures if "3.png" not in one["image"]], theirs=True)
        assert measured(encoder, images, tmp_path)["pixel_accuracy"] >= EQUAL_PIXELS
    else:
        found = measured(encoder, GoldenImages(preset, preset.pictures), tmp_path)
        assert found["miou"] == pytest.approx(preset.result["miou"], abs=EQUAL_MIOU)


@shared
def test_resized_pixels_of_the_full_set_are_theirs_to_the_byte(encoder: VisionEncoder, preset: Preset) -> None:
    resized_bytes(preset, encoder)


@pytest.mark.shared
@pytest.mark.slow
def test_one_sequence_of_12800_tokens(encoder: VisionEncoder) -> None:
    preset = Preset(SHARED, "tipsv2_whole")
    predicted(encoder, preset, preset.pictures[3])
