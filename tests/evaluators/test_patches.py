import numpy as np
import pytest
import torch
from PIL import Image

from pacl_bench.data.segmentation import IGNORE_LABEL
from pacl_bench.evaluators.base import Result
from pacl_bench.evaluators.patches import (
    PROTOCOLS,
    PatchSettings,
    count_correct,
    count_majority,
    evaluate_patches,
    patch_labels,
)


def headline(found: Result) -> dict:
    return {m.protocol: m for m in found.measurements if m.metric == "patch_accuracy"}


def test_a_perfect_model_scores_one(perfect, coloured) -> None:
    found = headline(evaluate_patches(perfect, coloured, PatchSettings()))
    assert tuple(found) == PROTOCOLS
    several = sum(len(np.unique(coloured.label_map(index))) > 1 for index in range(10))
    for protocol, measurement in found.items():
        assert (measurement.value, measurement.ci_high) == (1.0, 1.0)
        assert 0.5 < (measurement.ci_low or 0) < 1  # no image was missed, which few images can only say so well
        assert measurement.n == 64 * (several if "2+" in protocol else 10)


def test_an_image_of_one_class_leaves_no_choice(perfect, coloured) -> None:
    """It counts where all patches do, and not where images of two or more classes do: 64 patches fewer."""
    for file in (coloured.files[0], coloured.label_files[0]):
        pixels = np.asarray(Image.open(file)).copy()
        pixels[:] = pixels[0, 0]
        Image.fromarray(pixels).save(file, format="png")
    found = headline(evaluate_patches(perfect, coloured, PatchSettings()))
    assert found["present-classes"].n == 64 * 10
    assert found["present-classes, images of 2+ classes"].n == 64 * 9


def test_a_constant_model_scores_one_in_twenty(constant, coloured) -> None:
    found = headline(evaluate_patches(constant, coloured, PatchSettings()))
    assert found["all-classes"].value == pytest.approx(1 / 20)
    assert found["all-classes"].chance == pytest.approx(1 / 20)
    assert found["binary"].chance == 0.5


def test_chance_among_present_classes(perfect, coloured) -> None:
    numbers = [len(np.unique(coloured.label_map(index))) for index in range(10)]
    found = headline(evaluate_patches(perfect, coloured, PatchSettings()))
    assert found["present-classes"].chance == pytest.approx(np.mean([1 / number for number in numbers]))


def test_the_majority_class_stands_beside_each_reading(perfect, coloured) -> None:
    rows = evaluate_patches(perfect, coloured, PatchSettings()).measurements
    majority = {m.protocol: m.value for m in rows if m.metric == "majority_class_share"}
    assert tuple(majority) == PROTOCOLS
    assert majority["all-classes"] == pytest.approx(1 / 20)  # every class is as frequent
    assert majority["binary"] == pytest.approx(0.5)


def test_the_most_frequent_candidate() -> None:
    """Class 0 is the most frequent, then 1; the second image has 1 and 2, so 1 is answered there."""
    patches = np.array([[6.0, 0, 0], [0, 3, 1]])
    right = count_majority(patches)
    assert right[:, 0].tolist() == [6, 0]
    assert right[:, 1].tolist() == [6, 3]
    assert right[:, 2].tolist() == [6, 1.5]  # of two classes: 0 always wins, 1 once in two, 2 never


def test_recall_has_an_interval_where_a_class_is_in_several_images(perfect, coloured) -> None:
    rows = evaluate_patches(perfect, coloured, PatchSettings()).measurements
    recalls = [m for m in rows if m.metric == "patch_recall" and m.protocol == "all-classes"]
    assert [m.class_name for m in recalls] == coloured.classnames
    images = [sum(label in coloured.label_map(index) for index in range(10)) for label in range(20)]
    assert [m.ci_low is not None for m in recalls] == [count > 1 for count in images]


def test_the_confusion_matrix_says_what_was_taken_for_what(perfect, constant, coloured) -> None:
    every = [float(label) for label in range(20)]
    cells = evaluate_patches(perfect, coloured, PatchSettings()).curves["confusion"]
    assert cells == {"label": every, "predicted": every, "patches": [32.0] * 20}
    cells = evaluate_patches(constant, coloured, PatchSettings()).curves["confusion"]
    assert cells == {"label": every, "predicted": [0.0] * 20, "patches": [32.0] * 20}


def test_patch_labels_are_the_majority_with_its_share() -> None:
    label_map = np.full((8, 12), 3, np.uint8)
    label_map[:4, :4] = [[1, 1, 1, 2]] * 4  # 3/4 of the first patch
    label_map[:4, 4:8] = IGNORE_LABEL
    label_map[4:, :4] = [[5, 5, IGNORE_LABEL, 6]] * 4  # half, the ignored count in the share
    labels, purity = patch_labels(label_map, (2, 3), 20)
    assert labels.tolist() == [1, IGNORE_LABEL, 3, 5, 3, 3]
    assert purity.tolist() == [0.75, 1.0, 1.0, 0.5, 1.0, 1.0]


@pytest.mark.parametrize(("shape", "grid"), [((37, 53), (3, 4)), ((500, 37), (35, 3)), ((5, 5), (7, 7))])
def test_every_pixel_counts_for_the_patch_it_lies_in(shape: tuple[int, int], grid: tuple[int, int]) -> None:
    label_map = np.random.default_rng(0).integers(0, 4, shape).astype(np.uint8)
    labels, purity = patch_labels(label_map, grid, 4)
    expected: dict[int, list[int]] = {}
    for row in range(shape[0]):
        for col in range(shape[1]):
            at = (2 * row + 1) * grid[0] // (2 * shape[0]), (2 * col + 1) * grid[1] // (2 * shape[1])
            expected.setdefault(at[0] * grid[1] + at[1], []).append(int(label_map[row, col]))
    for patch in range(grid[0] * grid[1]):
        counts = np.bincount(expected.get(patch, []), minlength=4)
        assert labels[patch] == (counts.argmax() if counts.any() else IGNORE_LABEL)
        assert purity[patch] == pytest.approx(counts.max() / max(1, counts.sum()))


def test_the_three_readings_of_one_prediction() -> None:
    """Class 2 wins over all; among the present (0, 1) the true 0 wins; 0 beats one of the two others."""
    similarity = torch.tensor([[0.5, 0.1, 0.9], [0.2, 0.8, 0.1]])
    counts = count_correct(similarity, torch.tensor([0, 1]), 3)
    assert counts[0].tolist() == [1, 0, 1, 0.5, 0.5]
    assert counts[1].tolist() == [1, 1, 1, 1, 0.5]


def test_guessing_scores_half_in_binary() -> None:
    generator = torch.Generator().manual_seed(0)
    similarity = torch.rand(20_000, 5, generator=generator)
    labels = torch.randint(5, (20_000,), generator=generator)
    counts = count_correct(similarity, labels, 5).sum(0)
    assert counts[3] / counts[0] == pytest.approx(0.5, abs=0.01)


def test_purity_leaves_mixed_patches_out(perfect, coloured) -> None:
    """5 x 5 patches over 2 x 2 fields: the middle row and column are mixed, unless neighbours are of one class."""
    counted = {
        purity: headline(evaluate_patches(perfect, coloured, PatchSettings(size=40, purity=purity)))["all-classes"].n
        for purity in (0.2, 0.8, 1.0)
    }
    assert counted[0.2] == 10 * 25
    assert 10 * 16 <= counted[1.0] == counted[0.8] < 10 * 25
