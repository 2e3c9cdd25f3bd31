from pathlib import Path

import pytest
from PIL import Image

from pacl_bench.data.class_folders import ClassFolders
from pacl_bench.evaluators.classification import ClassificationSettings, evaluate_classification

from .conftest import CLASSNAMES, COLOURS


@pytest.fixture
def folders(tmp_path: Path) -> ClassFolders:
    """One image of the first class, three of each other."""
    for label, name in enumerate(CLASSNAMES):
        (tmp_path / name).mkdir()
        for number in range(3 if label else 1):
            colour = tuple(int(value) for value in COLOURS[label])
            Image.new("RGB", (40 + number, 30), colour).save(tmp_path / name / f"{number}.png")
    return ClassFolders("coloured", tmp_path, {name: name for name in CLASSNAMES}, 58)


def test_a_perfect_model_scores_one(perfect, folders) -> None:
    rows = evaluate_classification(perfect, folders, ClassificationSettings()).measurements
    assert {m.metric: m.value for m in rows if not m.class_name} == {"top1": 1.0, "mean_per_class_recall": 1.0}
    assert [m.value for m in rows if m.metric == "recall"] == [1.0] * 20
    assert rows[0].n == 58
    assert rows[0].chance == pytest.approx(1 / 20)


def test_a_constant_model(constant, folders) -> None:
    rows = evaluate_classification(constant, folders, ClassificationSettings()).measurements
    found = {row.metric: row.value for row in rows[:2]}
    assert found["top1"] == pytest.approx(1 / 58)
    by_image = evaluate_classification(constant, folders, ClassificationSettings()).counts
    assert by_image["top1, zero-shot"].sum(0).tolist() == [[1], [58]]
    right, of_class = by_image["mean_per_class_recall, zero-shot"].sum(0)
    assert (right / of_class).mean() == found["mean_per_class_recall"]
    assert found["mean_per_class_recall"] == pytest.approx(1 / 20)


def test_a_head_classifies_by_compatibility(perfect, folders) -> None:
    """With a head that changes nothing, images of one colour are still told apart."""
    import torch

    perfect.head = torch.nn.Identity()
    rows = evaluate_classification(perfect, folders, ClassificationSettings()).measurements
    assert rows[0].value == 1.0


def test_own_templates_are_used(perfect, folders) -> None:
    asked = []
    perfect.text.encode = lambda texts, encode=perfect.text.encode: (asked.extend(texts), encode(texts))[1]
    folders.templates = ["the colour of a {}"]
    rows = evaluate_classification(perfect, folders, ClassificationSettings("own")).measurements
    assert rows[0].value == 1.0
    assert sorted(asked) == sorted(f"the colour of a {name}" for name in CLASSNAMES)


def test_classes_of_one_name_have_a_row_each(perfect, folders) -> None:
    """As OpenAI's list for ImageNet has two; the second is not told apart from the first."""
    folders.classnames = [*folders.classnames[:-1], folders.classnames[0]]
    measured = evaluate_classification(perfect, folders, ClassificationSettings()).measurements
    rows = {row.class_name: row.value for row in measured}
    assert rows["aeroplane"] == 1
    assert rows["aeroplane (2)"] == 0
    assert len(rows) == 21  # and one of them over all classes
