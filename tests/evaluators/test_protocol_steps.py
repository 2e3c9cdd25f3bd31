"""Each step against its words written out slowly, or against an answer that is known."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image
from torch.nn.functional import interpolate

from pacl_bench import load_encoder, predict_map
from pacl_bench.encoders.view import View
from pacl_bench.encoders.windows import window_starts
from pacl_bench.errors import UsageError
from pacl_bench.evaluators.predict import class_map
from pacl_bench.evaluators.presets import EVERY_SET, PRESETS, described
from pacl_bench.evaluators.protocol_steps import (
    axis_of,
    best_of_names,
    large_classes,
    mean_probabilities,
    refined,
    stretched,
)
from pacl_bench.evaluators.score_field import DenseField
from pacl_bench.evaluators.steps import Steps

PATCH = 16
VIEWS = [
    View(True, window=224, remainder="drop"),
    View(True, window=224, overlap=0.0, remainder="pad-around"),
    View(True, window=200, overlap=0.25, remainder="stretch"),
    View(True, remainder="pad"),
    View(True, remainder="pad-around"),
]


def scores_of(view: View, shape: tuple[int, int], names: int = 5) -> torch.Tensor:
    axes = [axis_of(pixels, view, PATCH) for pixels in shape]
    rows, cols = (len(axis.starts) * axis.window.shape[1] for axis in axes)
    return torch.randn(names, rows, cols, generator=torch.Generator().manual_seed(0))


def at_input(scores: torch.Tensor, view: View, shape: tuple[int, int], softmax: bool) -> torch.Tensor:
    """The mean over windows at the resized image's pixels, window by window as mmsegmentation does it."""
    height, width = shape
    total, count = torch.zeros(len(scores), height, width), torch.zeros(height, width)
    tops, lefts = (window_starts(side, view.window, view.overlap) for side in shape)
    rows, cols = scores.shape[1] // len(tops), scores.shape[2] // len(lefts)
    for i, top in enumerate(tops):
        for j, left in enumerate(lefts):
            tall, wide = (min(side, view.window or side) for side in shape)
            window = scores[:, i * rows : (i + 1) * rows, j * cols : (j + 1) * cols]
            padded = (rows * PATCH, cols * PATCH) if view.remainder == "pad-around" else (tall, wide)
            pixels = interpolate(window[None], size=padded, mode="bilinear", align_corners=False)[0]
            above, before = (padded[0] - tall) // 2, (padded[1] - wide) // 2
            pixels = pixels[:, above : above + tall, before : before + wide]
            here = (slice(top, top + tall), slice(left, left + wide))
            total[:, *here] += pixels.softmax(0) if softmax else pixels
            count[here] += 1
    return total / count


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: f"{view.window}-{view.remainder}")
@pytest.mark.parametrize("shape", [(336, 505), (164, 2048)])
def test_a_matrix_an_axis_is_all_of_upsampling(view: View, shape: tuple[int, int]) -> None:
    scores, label_size = scores_of(view, shape), (75, 122)
    down, across = (axis_of(pixels, view, PATCH) for pixels in shape)
    slow = at_input(scores, view, shape, softmax=False)
    torch.testing.assert_close(down.fused() @ scores @ across.fused().T, slow, rtol=1e-4, atol=1e-5)
    slow = interpolate(slow[None], size=label_size, mode="bilinear", align_corners=False)[0]
    rows, cols = (stretched(axis.fused(), pixels) for axis, pixels in zip((down, across), label_size, strict=True))
    torch.testing.assert_close(rows @ scores @ cols.T, slow, rtol=1e-4, atol=1e-5)
    slow = at_input(scores, view, shape, softmax=True)
    torch.testing.assert_close(mean_probabilities(scores, down, across).permute(2, 0, 1), slow, rtol=1e-4, atol=1e-5)


def test_refinement_goes_to_the_neighbours_that_look_alike() -> None:
    """Two areas of one colour each: scores are mixed within them and never across; a pixel alone is taken along."""
    guide = torch.zeros(3, 60, 80)
    guide[:, :, 40:] = 1
    scores = torch.stack([1 - guide[0], guide[0]])
    scores[:, 30, 10] = torch.tensor([0.0, 1.0])
    found = refined(scores.clone(), guide)
    assert torch.equal(found.argmax(0)[:, :40], torch.zeros(60, 40, dtype=torch.long))
    assert torch.equal(found.argmax(0)[:, 40:], torch.ones(60, 40, dtype=torch.long))
    torch.testing.assert_close(found.sum(0), torch.ones(60, 80))
    even = torch.randn(2, 60, 80, generator=torch.Generator().manual_seed(0))
    once = torch.stack([slow_mean(one) for one in even])
    for _ in range(9):
        once = torch.stack([slow_mean(one) for one in once])
    torch.testing.assert_close(refined(even.clone(), torch.zeros(3, 60, 80)), once, rtol=1e-4, atol=1e-5)


def slow_mean(values: torch.Tensor) -> torch.Tensor:
    """Of the 16 neighbours at distances of 8 and 16 pixels, the pixels of the rim going on beyond it."""
    height, width = values.shape
    moved = []
    for distance in (8, 16):
        for down in (-distance, 0, distance):
            for right in (-distance, 0, distance):
                if down or right:
                    rows = (torch.arange(height) + down).clamp(0, height - 1)
                    moved.append(values[rows][:, (torch.arange(width) + right).clamp(0, width - 1)])
    return torch.stack(moved).mean(0)


def test_names_probabilities_and_entropy_of_a_pixel() -> None:
    scores, classes = torch.tensor([[0.1], [0.4], [0.2], [0.4]]), torch.tensor([0, 0, 2, 2])
    best, there = best_of_names(scores, classes)
    assert there.tolist() == [0, 2]
    torch.testing.assert_close(best, torch.tensor([[0.4], [0.4]]))
    mean, _ = best_of_names(scores, classes, "mean")
    torch.testing.assert_close(mean, torch.tensor([[0.25], [0.3]]))
    every = torch.arange(4)
    field = DenseField(scores[..., None], classes)
    assert field.best(every).tolist() == [[1]]  # of equal scores the first
    assert field.best(torch.tensor([0, 2])).tolist() == [[2]]
    assert field.best(every, torch.tensor([[True]])).tolist() == [[1]]
    odds = np.exp(10 * np.array([0.1, 0.4, 0.2, 0.4]))
    shares = odds / odds.sum()
    found = field.certainty(every, field.best(every), 10.0, over_names=True, entropy=True)
    assert found.probability.item() == pytest.approx(shares[1])
    assert found.entropy is not None
    assert found.entropy.item() == pytest.approx(-(shares * np.log(shares)).sum())
    assert field.certainty(every, field.best(every), 10.0, over_names=False).probability.item() == pytest.approx(0.5)
    without = field.certainty(torch.tensor([0, 1, 2]), torch.tensor([[2]]), 10.0, over_names=True)
    assert without.probability.item() == pytest.approx(odds[2] / odds[:3].sum())


def test_the_share_of_foreground_is_what_a_class_needs() -> None:
    label_map = torch.tensor([[0] * 100, [1] * 89 + [2] * 11, [1] * 90 + [3] * 10])
    kept = large_classes(label_map, num_classes=5, area=0.05)
    assert kept.tolist() == [True, True, True, False, False]  # 11 and 10 of 200: more than a twentieth, and no more


def test_background_below_a_threshold_and_where_an_entropy_is_high() -> None:
    scores = torch.zeros(3, 1, 4)
    scores[1, 0] = torch.tensor([1.0, 0.02, 1.0, 0.0])
    scores[0, 0, 2] = 2.0
    classes, shown = torch.arange(3), torch.zeros(3, PATCH, 4 * PATCH)

    def found(**steps) -> list[int]:
        chosen = Steps(scale=10.0, **steps)
        return class_map(scores, classes, chosen, shown, PATCH, (1, 4))[0].tolist()

    assert found() == [1, 1, 0, 0]
    assert found(background="candidate+threshold=0.5") == [1, 0, 0, 0]
    assert found(background="threshold=0") == [1, 1, 1, 1]
    assert found(background="threshold=0.52") == [1, 1, 1, 0]
    assert found(background="entropy=0.69") == [1, 1, 1, 0]  # ln 2 = 0.693: nothing is known


def test_names_count_at_patches_or_at_pixels() -> None:
    """Between two patches, each for another name of class 1, class 0 wins where names are upsampled by themselves."""
    scores = torch.tensor([[0.7, 0.7], [1.0, 0.0], [0.0, 1.0]])[:, None]
    classes, shown = torch.tensor([0, 1, 1]), torch.zeros(3, PATCH, 2 * PATCH)
    for merged, expected in (("patches", [1] * 8), ("pixels", [1, 1, 1, 0, 0, 1, 1, 1])):
        for softmax in ("names", "classes"):
            steps = Steps(merged=merged, softmax=softmax, background="candidate+threshold=0.01")
            assert class_map(scores, classes, steps, shown, PATCH, (1, 8))[0].tolist() == expected


@pytest.mark.parametrize("protocol", PRESETS)
def test_a_name_of_two_classes_goes_to_the_first(protocol: str) -> None:
    encoder = load_encoder("tiny-clip")
    photo = Image.fromarray(np.random.default_rng(1).integers(0, 256, (24, 31, 3), dtype=np.uint8))
    texts = torch.randn(4, encoder.projection_dim or 0, generator=torch.Generator().manual_seed(0))
    found = predict_map(encoder, photo, texts[[0, 1, 2, 3, 3]], [4, 0, 1, 3, 2], protocol, "voc21", (12, 15))
    assert found.shape == (12, 15)
    assert 3 not in found


def test_images_of_every_kind_and_texts_of_any_length() -> None:
    encoder = load_encoder("tiny-clip")
    photo = Image.fromarray(np.random.default_rng(1).integers(0, 256, (40, 51), dtype=np.uint8))  # grey
    texts = torch.randn(3, encoder.projection_dim or 0, generator=torch.Generator().manual_seed(0))
    expected = predict_map(encoder, photo.convert("RGBA"), texts, [0, 1, 2], "sclip", "voc20")
    assert expected.shape == (40, 51)
    assert np.array_equal(predict_map(encoder, photo, 7 * texts.double(), [0, 1, 2], "sclip", "voc20"), expected)


def test_an_image_is_read_as_their_reader_of_files_does() -> None:
    """mmcv's, which is OpenCV's: upright by the EXIF orientation, 16 bits as 8, what is transparent in its colour."""
    encoder = load_encoder("tiny-clip")
    texts = torch.randn(9, encoder.projection_dim or 0, generator=torch.Generator().manual_seed(0))
    grey = Image.fromarray(np.random.default_rng(1).integers(17, 256, (40, 51), dtype=np.uint8))

    def found(image: Image.Image) -> np.ndarray:
        return predict_map(encoder, image, texts, range(9), "sclip", "voc20")

    expected = found(grey)
    lying = grey.transpose(Image.Transpose.ROTATE_90)
    lying.getexif()[ExifTags.Base.Orientation] = 6  # to be turned by 90 degrees clockwise
    palette = grey.convert("P")
    palette.info["transparency"] = bytes(range(256))
    for same in (lying, palette, Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)):
        assert np.array_equal(found(same), expected)
    assert len(np.unique(expected)) > 3


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"protocol": "sclop"}, "Unknown protocol 'sclop'. Did you mean 'sclip'?"),
        ({"dataset": "voc12"}, "Unknown data set of a protocol 'voc12'. Did you mean 'voc21'?"),
        ({"class_of_name": [0, 1]}, "class_of_name: 2 classes for 3 text_embeddings"),
        ({"class_of_name": [0, 1, 255]}, "class_of_name: classes from 0 to 254"),
        ({"class_of_name": [1, 2, 3]}, "sclip on voc21: class 0 is its background, and no name has it"),
        ({"class_of_name": [0, 0, 0], "protocol": "pacl-paper-guess"}, "and no name has another class"),
        ({"text_embeddings": torch.ones(3, 7)}, "text_embeddings: 7 numbers each; tiny-clip has 64"),
        ({"image": Image.new("RGB", (9000, 9))}, "smaller than one patch of tiny-clip"),
        ({"image": Image.new("F", (20, 20))}, "image: grey of 32 bits, of which no one knows what number is white"),
    ],
)
def test_what_is_wrong_is_named(given: dict, line: str) -> None:
    fine = {
        "encoder": load_encoder("tiny-clip"),
        "image": Image.new("RGB", (20, 20)),
        "text_embeddings": torch.ones(3, 64),
        "class_of_name": [0, 1, 2],
    }
    with pytest.raises(UsageError) as error:
        predict_map(**(fine | given))
    assert line in str(error.value)


def test_a_preset_with_one_thing_changed_is_called_so() -> None:
    steps = PRESETS["sclip"].steps_on("voc21")
    assert described("sclip", "voc21", steps) == "sclip"
    assert described("sclip", "voc21", replace(steps, size=448)) == "sclip, but size=448"
    assert described("sclip", "voc21", replace(steps, window=None, area=None)) == "sclip, but window=whole, area=None"


def test_presets_say_what_their_code_has_and_no_more() -> None:
    for preset in PRESETS.values():
        assert set(preset.on) | set(preset.datasets) <= set(EVERY_SET)
        for dataset in (*EVERY_SET, "mine"):
            preset.steps_on(dataset)  # every step fits the others
    assert PRESETS["maskclip"].steps_on("ade150").vocabulary == "maskclip"
    assert PRESETS["maskclip"].steps_on("voc21").vocabulary == "plain"
    assert PRESETS["tipsv2"].steps_on("mine").vocabulary == "plain"
    sources = [preset.source for preset in PRESETS.values()]
    assert all("@" in source and ":" in source for source in sources if "arXiv" not in source)


@pytest.mark.parametrize(
    ("steps", "line"),
    [
        ({"fusion": "probabilities"}, "--fusion probabilities: is of the pixels of the resized image"),
        (
            {"fusion": "probabilities", "upsampled": "twice", "background": "candidate+threshold=0.1"},
            "knows no thresholds",
        ),
        ({"area": 0.1, "background": "threshold=0.5"}, "--area: wants background to be a candidate"),
    ],
)
def test_steps_that_do_not_go_together(steps: dict, line: str) -> None:
    with pytest.raises(UsageError, match=line):
        Steps(**steps)
