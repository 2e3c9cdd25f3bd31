"""Somebody else's protocol through the one evaluator: what it counts and says, and that every option does something."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from golden_vectors import HERE, GoldenImages, GoldenTexts, Preset, golden_encoder

from pacl_bench import cli, confusion_matrix, load_encoder, miou, predict_map, records
from pacl_bench.data.segmentation import load_segmentation
from pacl_bench.data.vocabulary import load_templates, load_vocabulary
from pacl_bench.encoders.setup import Setup
from pacl_bench.errors import UsageError
from pacl_bench.evaluators.presets import PRESETS
from pacl_bench.evaluators.segmentation import encoded_sets, encoder_as, evaluate_segmentation
from pacl_bench.evaluators.settings import SegmentationSettings
from pacl_bench.image_sets import IGNORE_LABEL
from pacl_bench.model.aligned import AlignedModel, load_before
from pacl_bench.records import Record
from pacl_bench.studies.runner import run_study
from pacl_bench.studies.study import Study


def spec_for(protocol: str, clip_spec: str) -> str:
    attention = PRESETS[protocol].setup.attention
    return f"{clip_spec}?attention={attention}" if attention else clip_spec


def record_of(protocol: str, spec: str, folder: Path, dataset: str = "voc21", **options) -> Record:
    settings = {"protocol": protocol, **options}
    (found,) = run_study(Study("segment", "segment", [spec], datasets=[dataset], settings=settings), folder)
    return found


@pytest.mark.parametrize("protocol", PRESETS)
def test_a_record_counts_the_maps_of_predict_map(protocol: str, voc: Path, clip_spec: str, tmp_path: Path) -> None:
    listed = voc / "ImageSets/Segmentation/val.txt"
    listed.write_text("\n".join(listed.read_text().split()[:2]))
    found = record_of(protocol, spec_for(protocol, clip_spec), tmp_path)
    steps = PRESETS[protocol].steps_on("voc21")
    model, images = load_before(load_encoder(clip_spec)), load_segmentation("voc21")
    names = load_vocabulary(steps.vocabulary, "voc21", images.classnames)
    texts = model.class_embeddings([name for one in names for name in one], load_templates(steps.templates))
    class_of_name = [label for label, one in enumerate(names) for _ in one]
    counts = torch.zeros(21, 21, dtype=torch.long)
    for index in range(len(images)):
        predicted = predict_map(model.vision, images.image(index), texts, class_of_name, protocol, "voc21")
        counts += confusion_matrix(torch.from_numpy(predicted), torch.from_numpy(images.label_map(index)), 21)
    rows = {row.metric: row for row in found.measurements if not row.class_name}
    assert {row.protocol for row in found.measurements} == {f"dataset-miou, protocol={protocol}"}
    # the evaluator keeps tokens in half precision, and in a random model many classes are nearly equal
    assert rows["miou"].value == pytest.approx(miou(counts), abs=0.003)
    assert rows["pixel_accuracy"].chance == pytest.approx(1 / 21)
    assert rows["miou"].n == 2


def test_the_record_holds_every_step(voc: Path, clip_spec: str, tmp_path: Path) -> None:
    found = record_of("sclip", spec_for("sclip", clip_spec), tmp_path, size=64)
    assert found.key.variant == "size=64,protocol=sclip"
    settings = json.loads((tmp_path / "records" / found.key.path).read_text())["config"]["settings"]
    steps = settings["steps"]["sclip, but size=64"]
    own = PRESETS["sclip"].steps_on("voc21")
    assert {name: steps[name] for name in vars(own)} == vars(replace(own, size=64))
    assert steps["encoder"]["attention"] == "sclip"
    assert len(steps["vocabulary_hash"]) == 64
    assert {row.protocol for row in found.measurements} == {"dataset-miou, protocol=sclip, but size=64"}
    again = record_of("sclip", spec_for("sclip", clip_spec), tmp_path, size=64)
    assert again == found  # it is not measured again


def test_a_step_without_a_protocol_is_told_where_it_is_given(voc: Path, clip_spec: str, tmp_path: Path) -> None:
    def settings(**given) -> Record:
        (found,) = run_study(Study("segment", "segment", [clip_spec], datasets=["voc21"], settings=given), tmp_path)
        return found

    usual, given = settings(), settings(resize="mmseg", remainder="drop", background="candidate+threshold=0.1")
    assert "resize" not in usual.config["settings"]
    assert given.config["settings"]["resize"] == "mmseg"
    assert given.key.variant == "resize=mmseg,remainder=drop,background=candidate+threshold=0.1"
    assert "steps" in records.comparable(usual, given)
    protocols = {row.protocol for row in given.measurements}
    assert protocols - {row.protocol for row in usual.measurements} == {
        "dataset-miou, background=candidate+threshold=0.1"
    }
    assert settings(templates="paper7", merged="patches").key == usual.key


def test_protocols_that_show_the_same_images_share_a_pass(
    voc: Path, clip_spec: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    found = record_of("naclip,naclip-pamr,sclip", clip_spec, tmp_path)
    told = " ".join(capsys.readouterr().err.split())
    assert "voc21 with small-clip: 2 passes" in told
    assert "naclip, naclip-pamr | sclip" in told
    assert "sclip goes with attention=sclip; small-clip is measured with clip" in told
    assert len({row.protocol for row in found.measurements}) == 3
    alone = record_of("naclip-pamr", clip_spec, tmp_path)
    assert set(alone.measurements) < set(found.measurements)
    assert "passes" not in capsys.readouterr().err


def test_a_head_keeps_the_network_it_was_trained_on(clip_spec: str, voc: Path) -> None:
    encoder, images = load_encoder(f"{clip_spec}?attention=maskclip"), load_segmentation("voc20")
    (chosen,) = SegmentationSettings(protocol="maskclip").chosen(images)
    theirs = encoder_as(encoder, chosen, bare=True)
    assert theirs.settings["activation"] == "GELU"
    assert theirs.preprocess.mean == (0.485, 0.456, 0.406)
    own = encoder_as(encoder, chosen, bare=False)
    assert own.preprocess == encoder.preprocess
    assert own.settings | {"pos": "bicubic"} == encoder.settings | {"pos": "bicubic"}
    assert own.pos == "bicubic-noalias"
    settings = SegmentationSettings(protocol="sclip,naclip,clearclip,naclip-pamr")
    assert len(encoded_sets(encoder, images, settings, bare=True)) == 3
    with pytest.raises(UsageError, match=r"small-clip has pos=bilinear, maskclip wants bicubic-noalias: leave one out"):
        encoder_as(load_encoder(f"{clip_spec}?pos=bilinear"), chosen, bare=True)


DEPARTURES = [  # a preset of the golden vectors, and one thing changed in it
    ("sclip_voc21", {"resize": "patch-multiple"}),
    ("sclip_voc21", {"resize": "pillow"}),
    ("sclip_voc21", {"size": 352}),
    ("sclip_voc20", {"long_side": 400}),
    ("maskclip_context59", {"remainder": "drop"}),
    ("sclip_voc21", {"window": 0}),
    ("sclip_voc21", {"overlap": 0.0}),
    ("sclip_voc21", {"stride": 8}),
    ("naclip_voc21", {"pos": "bicubic"}),
    ("sclip_voc21", {"upsampled": "once"}),
    ("sclip_voc21", {"upsampled": "once", "upsampling": "nearest"}),
    ("clearclip_voc20", {"fusion": "probabilities"}),
    ("naclip_voc21", {"refinement": "pamr"}),
    ("sclip_voc21", {"merged": "patches"}),
    ("sclip_voc21", {"merged": "patches", "names": "mean"}),
    ("sclip_context60", {"softmax": "classes"}),
    ("clearclip_voc21", {"scale": 40.0}),
    ("sclip_voc21", {"area": 0.0}),
    ("clearclip_voc21", {"background": "candidate"}),
    ("clearclip_voc21", {"background": "threshold=0.5"}),
    ("clearclip_voc21", {"background": "entropy=1.5"}),
]


@pytest.mark.parametrize(("name", "options"), DEPARTURES, ids=lambda value: str(value))
def test_every_option_changes_the_map_and_the_name(name: str, options: dict, tmp_path: Path) -> None:
    preset = Preset(HERE, name)
    protocol, _ = preset.protocol
    images = GoldenImages(preset, preset.pictures[:1], theirs=True)
    encoder = golden_encoder(HERE).set_up(Setup(attention=PRESETS[protocol].setup.attention))
    model, file = AlignedModel("golden", encoder, GoldenTexts(preset)), images.write_names(tmp_path / "names.txt")
    settings = SegmentationSettings(protocol=protocol, vocabulary=str(file), **options)
    found = evaluate_segmentation(model, images, settings).measurements
    (told,) = {row.protocol for row in found}
    assert all(f"{option}=" in told for option in options)
    (accuracy,) = (row.value for row in found if row.metric == "pixel_accuracy")
    assert accuracy < 1, "the map is still theirs"


def test_a_threshold_makes_background_of_a_candidate(voc: Path, clip_spec: str) -> None:
    """Above every probability there is nothing else; below every one the map is that of a class like the others."""
    model, images = load_before(load_encoder(clip_spec)), load_segmentation("voc21")

    def maps(background: str) -> list[np.ndarray]:
        kept: dict[int, np.ndarray] = {}
        settings = SegmentationSettings(protocol="sclip", area=0.0, background=background)
        evaluate_segmentation(model, images, settings, kept.__setitem__)
        return [kept[index] for index in sorted(kept)]

    assert not any(one.any() for one in maps("candidate+threshold=1"))
    assert all(map(np.array_equal, maps("candidate+threshold=0"), maps("candidate")))
    assert any(one.any() for one in maps("candidate"))
    assert all(one[label != IGNORE_LABEL].all() for one, label in zip(
        maps("threshold=0"), map(images.label_map, range(len(images))), strict=True
    ))  # fmt: skip


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (["--protocol", "sclop"], "--protocol 'sclop': Unknown protocol 'sclop'. Did you mean 'sclip'?"),
        (["--protocol", "sclip", "--thresholds", "0.1"], "--protocol: has a rule of its own for background"),
        (["--protocol", "sclip", "--remainder", "none"], "--resize mmseg: its sides are no whole patches"),
        (["--protocol", "tipsv2", "--upsampled", "once"], "--fusion probabilities: is of the pixels of the resized"),
        (["--protocol", "sclip", "--area", "0.1"], "voc20 has no background class: leave out --background and --area"),
        (["--background", "candidate+treshold=1"], "candidate+threshold=0.1, threshold=0.1 or entropy=1.5 is wanted"),
        (["--resize", "pilow"], "--resize"),
    ],
)
def test_what_contradicts_is_one_line(
    given: list[str],
    line: str,
    voc: Path,
    clip_spec: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    words = ["pacl-bench", "segment", "--encoders", clip_spec, "--datasets", "voc20", *given]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert line in told
    assert told.count("\n") == 1
