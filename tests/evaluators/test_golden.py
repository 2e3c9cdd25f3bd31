"""Other people's protocols, held to what their own code gives, pixel by pixel."""

import hashlib

import numpy as np
import pytest
import torch
from golden_vectors import HERE, SHARED, Preset, golden_encoder, presets

from pacl_bench import confusion_matrix, miou, predict_map
from pacl_bench.encoders.base import VisionEncoder
from pacl_bench.encoders.resizing import opencv_bilinear, pillow_bicubic
from pacl_bench.evaluators.presets import PRESETS

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
    view = PRESETS[protocol].steps_on(dataset).view
    for picture in preset.pictures:
        image = preset.image(picture)
        shape = view.shape(encoder, (image.height, image.width))
        assert list(shape) == picture["resized_input"]
        pixels = opencv_bilinear(image, shape) if view.resize == "mmseg" else pillow_bicubic(image, shape)
        assert hashlib.sha256(pixels.tobytes()).hexdigest() == picture["resized_sha256"]


@here
def test_label_maps_are_theirs(encoder: VisionEncoder, preset: Preset) -> None:
    for picture in preset.pictures:
        predicted(encoder, preset, picture)


@here
def test_resized_pixels_are_theirs_to_the_byte(encoder: VisionEncoder, preset: Preset) -> None:
    resized_bytes(preset, encoder)


@shared
def test_every_picture_and_miou_of_the_full_set(encoder: VisionEncoder, preset: Preset) -> None:
    pictures = [picture for picture in preset.pictures if preset.name not in SLOW or "3.png" not in picture["image"]]
    maps = [(predicted(encoder, preset, picture), preset.label_map(picture)) for picture in pictures]
    num_classes = max(preset.texts()[1]) + 1
    counts = sum(confusion_matrix(*map(torch.tensor, pair), num_classes) for pair in maps)
    if len(pictures) == len(preset.pictures):
        assert miou(counts) == pytest.approx(preset.result["miou"], abs=EQUAL_MIOU)
    resized_bytes(preset, encoder)


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_one_sequence_of_12800_tokens(encoder: VisionEncoder, name: str) -> None:
    preset = Preset(SHARED, name)
    predicted(encoder, preset, preset.pictures[3])
