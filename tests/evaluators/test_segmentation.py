import numpy as np
import pytest
import sklearn.metrics
import torch
from torch.nn.functional import interpolate

from pacl_bench.data.segmentation import IGNORE_LABEL, load_segmentation
from pacl_bench.data.vocabulary import load_templates, vocabulary_label
from pacl_bench.encoders import load_encoder
from pacl_bench.evaluators import segmentation
from pacl_bench.evaluators.iou_counts import chance_miou
from pacl_bench.evaluators.segmentation import SegmentationSettings
from pacl_bench.model.aligned import AlignedModel, load_before
from pacl_bench.records import Measurement

DATASET, PRESENT = "dataset-miou, background=none", "present-miou, background=none"


def evaluate_segmentation(model, images, settings) -> list[Measurement]:
    return segmentation.evaluate_segmentation(model, images, settings).measurements


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
    assert chance_miou(np.bincount(labels), 4) == pytest.approx(expected, abs=2e-3)


def slow_reference(model: AlignedModel, images, names: list[list[str]], at: float, nats: float, stride: int | None):
    """The protocols one by one, straight from the definitions, in float64; {(protocol, metric): value}."""
    background, number = images.classnames.index("background"), len(images.classnames)
    templates = load_templates("paper7")
    embeddings = [model.class_embeddings(of_class, templates).double() for of_class in names]
    everything: dict[str, list] = {}
    per_image: dict[str, list[float]] = {}
    for index in range(len(images)):
        label_map = images.label_map(index).astype(int)
        inner = far(label_map, 5)
        height, width = label_map.shape
        features = model.vision(model.vision.preprocess.whole(images.image(index))[None], stride)
        tokens = model.vision.project(features.patch_tokens.half().float())[0].double()
        tokens = tokens / tokens.norm(dim=-1, keepdim=True)
        of_patches = torch.stack([(tokens @ of_class.T).amax(1) for of_class in embeddings])
        scores = by_hand(of_patches.reshape(number, *features.grid), height, width, model.vision.patch_size, stride)
        foreground = [label for label in range(number) if label != background]
        present = [int(label) for label in np.unique(label_map) if label != IGNORE_LABEL]
        softmax = torch.from_numpy(scores[foreground] * 40).softmax(0).numpy()
        entropy = -(softmax * np.log(softmax)).sum(0)
        best = np.array(foreground)[scores[foreground].argmax(0)]
        present_foreground = [label for label in present if label != background]
        among = np.array(present_foreground)[scores[present_foreground].argmax(0)]
        no_background = np.full(best.shape, False)
        predictions = {
            "background=none": (best, among, no_background),
            "background=class": (scores.argmax(0), np.array(present)[scores[present].argmax(0)], no_background),
            f"background=threshold={at:g}": (best, among, softmax.max(0) < at),
            f"background=entropy={nats:g},scale=40": (best, among, entropy > nats),
        }
        for name, (every, of_image, falls) in predictions.items():
            counted = (label_map != IGNORE_LABEL) & ((label_map != background) | (name != "background=none"))
            with_background = background in present
            every = np.where(falls, background, every)
            of_image = np.where(falls & with_background, background, of_image)
            everything.setdefault(name, []).append((label_map[counted], every[counted], inner[counted]))
            seen = np.union1d(label_map[counted], of_image[counted])
            per_image.setdefault(name, []).append(
                sklearn.metrics.jaccard_score(
                    label_map[counted], of_image[counted], labels=seen, average="macro", zero_division=0
                )
            )
    found = {}
    for name, parts in everything.items():
        labels, predicted, inner = (np.concatenate(part) for part in zip(*parts, strict=True))
        for metric, kept in (("miou", slice(None)), ("boundary_blind_miou", inner)):
            seen = np.union1d(labels[kept], predicted[kept])
            found["dataset-miou, " + name, metric] = sklearn.metrics.jaccard_score(
                labels[kept], predicted[kept], labels=seen, average="macro", zero_division=0
            )
        found["dataset-miou, " + name, "pixel_accuracy"] = (labels == predicted).mean()
        found["dataset-miou, " + name, "mean_accuracy"] = np.mean(
            [(predicted[labels == label] == label).mean() for label in np.unique(labels)]
        )
        found["present-miou, " + name, "miou"] = np.mean(per_image[name])
    return found


def by_hand(scores: torch.Tensor, height: int, width: int, patch: int, stride: int | None) -> np.ndarray:
    """Bilinear, pixel by pixel: numpy's own piecewise linear interpolation between the patches' centres."""
    step, (rows, cols) = stride or patch, scores.shape[1:]
    sides = [(number - 1) * step + patch for number in (rows, cols)]
    at_rows = (np.arange(height) + 0.5) / height * sides[0]
    at_cols = (np.arange(width) + 0.5) / width * sides[1]
    centres = [np.arange(number) * step + patch / 2 for number in (rows, cols)]
    result = np.empty((len(scores), height, width))
    for label, of_class in enumerate(scores.numpy()):
        wide = np.stack([np.interp(at_cols, centres[1], row) for row in of_class])
        result[label] = np.stack([np.interp(at_rows, centres[0], column) for column in wide.T], axis=1)
    return result


def far(label_map: np.ndarray, distance: int) -> np.ndarray:
    """Pixel by pixel: no other label within so many rows and columns."""
    result = np.empty(label_map.shape, bool)
    for row, col in np.ndindex(label_map.shape):
        near = label_map[max(0, row - distance) : row + distance + 1, max(0, col - distance) : col + distance + 1]
        result[row, col] = (near == label_map[row, col]).all()
    return result


@pytest.mark.parametrize("stride", [None, 8])
def test_every_protocol_equals_a_slow_reference(voc, clip_spec: str, stride: int | None, tmp_path) -> None:
    listed = voc / "ImageSets/Segmentation/val.txt"
    listed.write_text("\n".join(listed.read_text().split()[:3]))
    model, images = load_before(load_encoder(clip_spec)), load_segmentation("voc21")
    file = tmp_path / "names.txt"
    several = [[name, f"{name} in the rain", f"some {name}"] if name < "d" else [name] for name in images.classnames]
    file.write_text("\n".join(", ".join(of_class) for of_class in several))
    settings = SegmentationSettings(
        stride=stride, thresholds=(0.07, 0.2, 0.09), entropies=(2.9, 2.5), vocabulary=f"plain,{file}"
    )
    found = {(row.protocol, row.metric): row.value for row in evaluate_segmentation(model, images, settings)}
    plain = [[name] for name in images.classnames]
    for names, suffix in ((plain, ""), (several, f", vocabulary={vocabulary_label(str(file))}, names=best")):
        for at, nats in ((0.07, 2.9), (0.09, 2.5)):
            for (protocol, metric), value in slow_reference(model, images, names, at, nats, stride).items():
                assert found[protocol + suffix, metric] == pytest.approx(value, abs=1e-6), (protocol, metric)
    spread = {found[f"dataset-miou, background=threshold={at}", "pixel_accuracy"] for at in ("0.07", "0.09", "0.2")}
    assert len(spread) == 3  # the rule does decide something


def test_names_may_be_averaged(perfect, coloured, tmp_path) -> None:
    """A second name of another class's meaning draws a class's mean down, not its best."""
    file = tmp_path / "mine.txt"
    names = [*coloured.classnames]
    file.write_text("\n".join([f"{names[0]}, {names[1]} too", *names[1:]]))
    best, mean = (
        headline(evaluate_segmentation(perfect, coloured, SegmentationSettings(vocabulary=str(file), names=how)))
        for how in ("best", "mean")
    )
    suffix = f", vocabulary={vocabulary_label(str(file))}, names="
    # under `best` class 0 takes class 1's fields as well, of equal scores the first
    assert best["pixel_accuracy", DATASET + suffix + "best"].value == pytest.approx(0.95, abs=2e-3)
    assert mean["pixel_accuracy", DATASET + suffix + "mean"].value > 0.98


def test_a_set_without_background_has_one_rule(perfect, coloured, capsys: pytest.CaptureFixture) -> None:
    rows = evaluate_segmentation(perfect, coloured, SegmentationSettings(thresholds=(0.5,), entropies=(1.5,)))
    assert {row.protocol for row in rows} == {DATASET, PRESENT}
    assert capsys.readouterr().err.count("voc20 has no background class") == 1


def test_one_window_over_the_image_changes_nothing(voc, clip_spec: str) -> None:
    """Nor does any overlap, where there is nothing to overlap with: equal in every digit."""
    model, images = load_before(load_encoder(clip_spec)), load_segmentation("voc21")
    plain, window, wide = (
        evaluate_segmentation(model, images, SegmentationSettings(thresholds=(0.07,), **given))
        for given in ({}, {"window": 1600, "overlap": 0.0}, {"window": 1600, "overlap": 0.5})
    )
    assert plain == window == wide
    tiled = evaluate_segmentation(model, images, SegmentationSettings(thresholds=(0.07,), window=32, overlap=0.5))
    assert plain != tiled


def test_a_stride_of_the_patch_size_changes_nothing_for_a_real_encoder(voc, clip_spec: str) -> None:
    model, images = load_before(load_encoder(clip_spec)), load_segmentation("voc21")
    settings = [SegmentationSettings(stride=stride, entropies=(2.9,)) for stride in (None, 16)]
    assert evaluate_segmentation(model, images, settings[0]) == evaluate_segmentation(model, images, settings[1])


def test_windows_and_nearest_on_a_known_answer(perfect, coloured) -> None:
    for given in ({"window": 32, "overlap": 0.0}, {"window": 32, "overlap": 0.5}, {"upsampling": "nearest"}):
        found = headline(evaluate_segmentation(perfect, coloured, SegmentationSettings(**given)))
        assert found["miou", DATASET].value > 0.99


def test_what_a_pass_costs_and_keeps(perfect, coloured) -> None:
    kept = {}
    cost = [
        segmentation.evaluate_segmentation(perfect, coloured, SegmentationSettings(), kept.__setitem__).cost
        for _ in range(2)
    ]
    assert [of["tokens_from"] for of in cost] == ["encoder", "cache"]
    assert cost[0]["tokens_per_image"] == 64  # 8 x 8 patches
    assert cost[0]["ms_per_image"] > 0
    assert sorted(kept) == list(range(10))
    right = [(kept[index] == coloured.label_map(index)).mean() for index in kept]
    assert min(right) > 0.99
