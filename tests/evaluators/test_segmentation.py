import numpy as np
import pytest
import sklearn.metrics
import torch
from torch.nn.functional import interpolate

from pacl_bench.data.segmentation import IGNORE_LABEL
from pacl_bench.evaluators.segmentation import (
    Placing,
    SegmentationSettings,
    chance_miou,
    evaluate_segmentation,
    interpolation_weights,
    predict,
)

DATASET, PRESENT = "dataset-miou, background=none", "present-miou, background=none"


def headline(measurements) -> dict[tuple[str, str], object]:
    return {(m.metric, m.protocol): m for m in measurements if not m.class_name}


def test_a_perfect_model_scores_one(perfect, coloured) -> None:
    """But for single pixels where four fields meet, and two neighbours of one class outvote the field itself."""
    rows = evaluate_segmentation(perfect, coloured, SegmentationSettings())
    found = headline(rows)
    for key in (("miou", DATASET), ("pixel_accuracy", DATASET), ("miou", PRESENT)):
        assert 0.999 < found[key].value <= 1.0
    assert len([m for m in rows if m.metric == "iou"]) == 20
    assert found["miou", DATASET].n == 10


def test_a_constant_model(constant, coloured) -> None:
    found = headline(evaluate_segmentation(constant, coloured, SegmentationSettings()))
    assert found["pixel_accuracy", DATASET].value == pytest.approx(1 / 20)
    assert found["miou", DATASET].value == pytest.approx(1 / 20 / 20)  # one class of 20 has IoU 1/20, the others 0


def test_it_equals_scikit_learn_on_real_predictions(voc, clip_spec) -> None:
    """With a random CLIP: predictions made here one by one, upsampled by torch, scored by scikit-learn."""
    from pacl_bench.data.segmentation import load_segmentation
    from pacl_bench.data.vocabulary import load_templates
    from pacl_bench.encoders import load_encoder
    from pacl_bench.model.aligned import load_before

    model, images = load_before(load_encoder(clip_spec)), load_segmentation("voc21")
    classes = model.class_embeddings(images.classnames, load_templates("paper7"))
    labels, predictions, per_image = [], [], []
    for index in range(len(images)):
        pixels = model.vision.preprocess.whole(images.image(index))[None]
        features = model.vision(pixels)
        tokens = torch.nn.functional.normalize(model.vision.project(features.patch_tokens.half().float()), dim=-1)
        label_map = images.label_map(index)
        scores = (tokens[0] @ classes.T).T.reshape(21, *features.grid)
        upsampled = interpolate(scores[None], label_map.shape, mode="bilinear", align_corners=False)[0]
        kept = label_map != IGNORE_LABEL
        present = np.unique(label_map[kept])
        among = present[upsampled.numpy()[present].argmax(0)]
        labels.append(label_map[kept])
        predictions.append(upsampled.argmax(0).numpy()[kept])
        per_image.append(sklearn.metrics.jaccard_score(label_map[kept], among[kept], labels=present, average="macro"))
    seen = np.union1d(np.concatenate(labels), np.concatenate(predictions))
    expected = sklearn.metrics.jaccard_score(
        np.concatenate(labels), np.concatenate(predictions), labels=seen, average="macro", zero_division=0
    )
    found = headline(evaluate_segmentation(model, images, SegmentationSettings()))
    of_class = {key: row.value for key, row in found.items()}
    # ties between patches aside
    assert of_class["miou", "dataset-miou, background=class"] == pytest.approx(expected, abs=2e-3)
    assert of_class["miou", "present-miou, background=class"] == pytest.approx(np.mean(per_image), abs=2e-3)


@pytest.mark.parametrize(
    ("grid", "shape"), [((4, 7), (64, 112)), ((3, 5), (50, 37)), ((1, 6), (20, 300)), ((2, 2), (3, 2))]
)
def test_without_overlap_it_is_torchs_bilinear(grid: tuple[int, int], shape: tuple[int, int]) -> None:
    scores = torch.randn(5, *grid)
    placing = Placing(16, 16, grid)
    rows, cols = (interpolation_weights(shape[axis], placing.centres(axis)) for axis in (0, 1))
    expected = interpolate(scores[None], shape, mode="bilinear", align_corners=False)[0]
    torch.testing.assert_close(torch.einsum("lrc,hr,wc->lhw", scores, rows, cols), expected, rtol=1e-4, atol=1e-5)
    assert (predict(scores, shape, placing) == expected.argmax(0)).float().mean() > 0.999


def test_overlapping_patches_fall_where_they_were_seen() -> None:
    """Stride 4 of patch 16: centres from 8 to 56 of 64 pixels, not from 2.5 to 61.5."""
    placing = Placing(16, 4, (13, 13))
    assert (placing.centres(0) * 64).tolist() == pytest.approx([8 + 4 * number for number in range(13)])
    weights = interpolation_weights(64, placing.centres(0))
    assert weights[:8, 0].tolist() == [1.0] * 8
    torch.testing.assert_close(weights.sum(1), torch.ones(64))
    torch.testing.assert_close(weights @ (placing.centres(0) * 64), (torch.arange(64) + 0.5).clamp(8, 56))


def test_a_stride_of_the_patch_size_changes_nothing(perfect, coloured) -> None:
    assert evaluate_segmentation(perfect, coloured, SegmentationSettings(stride=8)) == evaluate_segmentation(
        perfect, coloured, SegmentationSettings()
    )


def test_the_stride_trick_sharpens_the_edges(perfect, coloured) -> None:
    """Fields of 32 pixels shown as 36: edges lie inside patches of 8, and denser patches find them better."""
    coarse, fine = (
        headline(evaluate_segmentation(perfect, coloured, SegmentationSettings(size=72, stride=stride)))[
            "miou", DATASET
        ]
        for stride in (8, 2)
    )
    assert coarse.value < fine.value


def test_chance_is_what_guessing_scores() -> None:
    random = np.random.default_rng(0)
    labels = random.choice(4, size=400_000, p=[0.7, 0.1, 0.1, 0.1])
    guesses = random.integers(0, 4, size=400_000)
    expected = sklearn.metrics.jaccard_score(labels, guesses, average="macro")
    assert chance_miou(torch.from_numpy(np.bincount(labels))) == pytest.approx(expected, abs=2e-3)
