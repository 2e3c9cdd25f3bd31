"""What a plan counts, where one can reckon it."""

from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from pacl_bench.data.pair_readers import Pairs
from pacl_bench.encoders import load_encoder, load_text_encoder
from pacl_bench.evaluators.protocols import MapScorer
from pacl_bench.evaluators.score_field import DenseField, ScoreField
from pacl_bench.evaluators.sets import segmentation_sets
from pacl_bench.evaluators.settings import SegmentationSettings
from pacl_bench.studies import probes, survey
from pacl_bench.studies.experiment import Picture
from pacl_bench.studies.survey import Survey, Work, number_of_texts
from pacl_bench.training.recipe import RECIPES, TrainConfig

CONFIG = TrainConfig("tiny-clip", "tiny-clip", "world-1k", RECIPES["small"])


def pairs_with(captions: list[list[str]]) -> Pairs:
    return Pairs("p", probes.Photos(len(captions)), captions, [])


def test_texts_are_captions_and_prompts_each_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three captions, of which two nouns are made into seven prompts each."""
    pairs = pairs_with([["a zebra", "the zebra runs"], ["a zebra"], ["a kite"]])
    assert number_of_texts(pairs) == 3 + 2 * 7
    monkeypatch.setattr(survey, "TAGGED", 1)  # the one noun of the first caption stands for all three
    assert number_of_texts(pairs) == 3 + 3 * 7


def test_a_step_of_a_large_batch_is_linear_and_quadratic_in_its_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def seconds(vision: Any, text: Any, config: TrainConfig, batch: int) -> float:
        asked.append(batch)
        return 0.01 * batch + 0.001 * batch**2

    monkeypatch.setattr(probes, "step_seconds", seconds)
    look = Survey()
    given = load_encoder("tiny-clip"), load_text_encoder("tiny-clip"), CONFIG
    assert look._step_seconds(*given, 4096) == pytest.approx(40.96 + 0.001 * 4096**2)
    assert look._step_seconds(*given, 96) == pytest.approx(0.96 + 0.001 * 96**2)
    assert max(asked) == 128


def test_no_more_steps_and_images_are_probed_than_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    steps, scored = Mock(wraps=probes.info_nce), Mock(wraps=probes.score_field)
    monkeypatch.setattr(probes, "info_nce", steps)
    monkeypatch.setattr(probes, "score_field", scored)
    (images,) = segmentation_sets(["world-scenes"])
    monkeypatch.setattr(type(images), "__len__", lambda images: 3)
    short, settings = replace(CONFIG, recipe=replace(RECIPES["small"], steps=7)), SegmentationSettings()
    encoder, text = load_encoder("tiny-clip"), load_text_encoder("tiny-clip")
    probes.step_seconds(encoder, text, short, batch=4)
    probes.segmenting_seconds(encoder, images, settings, settings.chosen(images)[0])
    assert (steps.call_count, scored.call_count) == (7, 3)


def test_what_is_not_probed_has_no_time() -> None:
    look, work = Survey(seconds=0.0), Work()
    work.add(3, look._text_seconds(load_text_encoder("tiny-clip")))
    assert work.seconds is None


def test_pairs_of_patches_are_a_part_of_their_own_and_one_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "_of_pairs", lambda width, device: iter([(11, 2 + 55.0), (21, 2 + 210.0)]))
    assert probes.pairs_seconds(8, "cpu") == pytest.approx((2, 1))


def test_a_picture_takes_as_long_as_it_shows_images() -> None:
    picture = Picture("gallery", datasets=["a", "b"], images=4)
    assert Survey().of(survey.DrawStep("p", picture, (Path("no head"),), Path("nowhere"))).seconds == 8 * survey.PICTURE


def test_an_image_is_scored_as_the_measurement_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A refinement takes a hundred times as long as what comes before it, and names that are not classes count too."""
    seen: list[ScoreField] = []

    def score(self: MapScorer, field: ScoreField, label_map: Any, boundary: int) -> Any:
        seen.append(field)
        return label_map

    monkeypatch.setattr(MapScorer, "score", score)
    (images,) = segmentation_sets(["world-scenes"])
    (tmp_path / "two.txt").write_text("".join(f"{name}, a {name}\n" for name in images.classnames))
    vocabulary = str(tmp_path / "two.txt")
    settings = SegmentationSettings(protocol="sclip", size=96, window=64, refinement="pamr", vocabulary=vocabulary)
    (chosen,) = settings.chosen(images)
    assert probes.segmenting_seconds(load_encoder("tiny-clip"), images, settings, chosen) > 0
    assert isinstance(seen[0], DenseField)  # which only a refinement or a mean of probabilities needs
    assert len(seen[0].class_of) == 2 * len(images.classnames)
