"""From a study to records: what is recorded is skipped, what changed is measured again."""

import json
import re
import shutil
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from pacl_bench import evaluators, load_encoder, records
from pacl_bench.data.segmentation import load_segmentation
from pacl_bench.encoders.base import VisionEncoder
from pacl_bench.encoders.open_clip import OpenClipVisionEncoder
from pacl_bench.errors import NoTextSpace, RunError, UsageError
from pacl_bench.evaluators.base import Result
from pacl_bench.evaluators.settings import PatchSettings
from pacl_bench.model.head_files import read_card
from pacl_bench.records import Measurement
from pacl_bench.studies import candidates
from pacl_bench.studies.experiment import load_study
from pacl_bench.studies.runner import run_study, variant
from pacl_bench.studies.study import Study
from pacl_bench.training.curves import curves_files, read_curves
from pacl_bench.training.loop import train
from pacl_bench.training.recipe import RECIPES, TrainConfig
from pacl_bench.validation.values import as_option, made


@pytest.fixture
def head(clip_spec: str, pairs_csv: Path, tmp_path: Path) -> Path:
    recipe = replace(RECIPES["small"], batch_size=4, steps=2)
    train(TrainConfig(clip_spec, clip_spec, str(pairs_csv), recipe), tmp_path / "heads" / "pacl-small")
    return tmp_path / "heads" / "pacl-small"


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """(model, data set) of every call of an evaluator."""
    calls = []
    for name, entry in evaluators.EVALUATORS.items():

        def counting(model, dataset, settings, entry=entry):
            calls.append((model.name, dataset.name))
            return entry.evaluate(model, dataset, settings)

        monkeypatch.setitem(evaluators.EVALUATORS, name, replace(entry, evaluate=counting))
    return calls


def test_before_and_after_under_every_evaluator(voc: Path, clip_spec: str, head: Path, tmp_path: Path) -> None:
    for evaluator in ("patches", "segment", "coherence"):
        found = run_study(Study(evaluator, evaluator, [clip_spec], [str(head)], ["voc20"]), tmp_path)
        assert [record.key.model for record in found] == ["small-clip", "pacl-small"]
        assert [record.config["model"]["head"] is None for record in found] == [True, False]
        for record in found:
            assert records.read(tmp_path / "records" / record.key.path) == record
            assert all(0 <= row.value <= 1 for row in record.measurements)
            assert record.config["dataset"]["images"] == 6
            assert record.config["dataset"]["official_images"] == 1449
            assert record.provenance["packages"]["torch"]
    assert set(records.load(tmp_path / "records").metric) >= {"patch_accuracy", "miou", "iou", "auroc"}
    roc = json.loads((tmp_path / "records/coherence/small-clip/voc20.default.json").read_text())["curves"]["roc"]
    assert len(roc["fpr"]) == len(roc["tpr"]) > 2


def test_what_is_recorded_is_not_measured_again(
    voc: Path, clip_spec: str, head: Path, tmp_path: Path, measured: list
) -> None:
    study = Study("patches", "patches", [clip_spec], [str(head)], ["voc20", "voc21"])
    first = run_study(study, tmp_path)
    assert len(measured) == 4
    assert run_study(study, tmp_path) == first
    assert run_study(study, tmp_path, "never") == first
    assert len(measured) == 4
    run_study(study, tmp_path, "always")
    assert len(measured) == 8


def test_other_settings_are_another_record(voc: Path, clip_spec: str, tmp_path: Path, measured: list) -> None:
    study = Study("patches", "patches", [clip_spec], datasets=["voc20"])
    run_study(study, tmp_path)
    run_study(replace(study, settings={"purity": 0.5}), tmp_path)
    run_study(replace(study, settings={"purity": 0.5, "size": 96}), tmp_path)
    names = sorted(file.name for file in (tmp_path / "records/patches/small-clip").glob("*.json"))
    assert names == ["voc20.default.json", "voc20.purity=0.5,size=96.json", "voc20.purity=0.5.json"]


def test_another_head_or_other_data_is_measured_again(
    voc: Path, clip_spec: str, pairs_csv: Path, head: Path, tmp_path: Path, measured: list
) -> None:
    study = Study("patches", "patches", heads=[str(head)], datasets=["voc20"])
    run_study(study, tmp_path)
    [curves] = curves_files(tmp_path).values()
    assert read_curves(curves).loss.steps == list(range(1, read_card(head).step + 1))
    for file in head.iterdir():
        file.unlink()
    recipe = replace(RECIPES["small"], batch_size=4, steps=3)
    train(TrainConfig(clip_spec, clip_spec, str(pairs_csv), recipe), head)
    run_study(study, tmp_path)
    assert len(measured) == len(curves_files(tmp_path)) == 2
    (tmp_path / "training").rename(tmp_path / "away")
    run_study(study, tmp_path, rerun="never")
    assert curves_files(tmp_path) == {}
    run_study(study, tmp_path)  # measures nothing, as where it was killed behind its last record
    assert len(measured) == 2
    assert len(curves_files(tmp_path)) == 1
    ids = (voc / "ImageSets/Segmentation/val.txt").read_text().split()
    (voc / "ImageSets/Segmentation/val.txt").write_text("\n".join(ids[:4]))
    (found,) = run_study(study, tmp_path)
    assert len(measured) == 3
    assert found.config["dataset"]["images"] == 4


def test_a_user_template_that_changed_is_measured_again(
    voc: Path, clip_spec: str, tmp_path: Path, measured: list
) -> None:
    file = tmp_path / "mine.txt"
    file.write_text("a {}\n")
    study = Study("patches", "patches", [clip_spec], datasets=["voc20"], settings={"templates": str(file)})
    run_study(study, tmp_path)
    file.write_text("some {}\n")
    run_study(study, tmp_path)
    assert len(measured) == 2


def test_an_encoder_without_text_is_measured_through_heads(
    voc: Path, vit_file: Path, clip_spec: str, pairs_csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    vit = f"vit=timm:vit_tiny_patch16_224@{vit_file}?size=64"
    with pytest.raises(NoTextSpace, match="vit has no text space"):
        run_study(Study("patches", "patches", [vit], datasets=["voc20"]), tmp_path)
    recipe = replace(RECIPES["small"], batch_size=4, steps=1)
    train(TrainConfig(vit, clip_spec, str(pairs_csv), recipe), tmp_path / "pacl-vit")
    found = run_study(Study("patches", "patches", [vit], [str(tmp_path / "pacl-vit")], ["voc20"]), tmp_path)
    assert [record.key.model for record in found] == ["pacl-vit"]
    assert "measured through --heads alone" in " ".join(capsys.readouterr().err.split())
    (bare,) = run_study(Study("coherence", "coherence", [vit], datasets=["voc20"]), tmp_path)
    assert bare.config["model"]["text"] is None


def test_a_head_is_not_run_on_other_weights(voc: Path, head: Path, tmp_path: Path) -> None:
    card = json.loads((head / "head.json").read_text())
    card["encoder"]["sha256"] = "0" * 64
    (head / "head.json").write_text(json.dumps(card))
    with pytest.raises(UsageError, match="was trained on other weights of small-clip"):
        run_study(Study("patches", "patches", heads=[str(head)], datasets=["voc20"]), tmp_path)


@pytest.mark.parametrize(
    ("study", "line"),
    [
        (Study("x", "patchs", ["clip-b16"], datasets=["voc20"]), "Did you mean 'patches'"),
        (Study("x", "patches", ["clip-b16"], datasets=["voc20"], settings={"purty": 1}), "Did you mean 'purity'"),
        (Study("x", "patches", [], datasets=["voc20"]), "give --encoders or --heads"),
        (Study("x", "patches", ["clip-b16"], datasets=["voc2"]), "Did you mean 'voc20'|Did you mean 'voc21'"),
        (Study("x", "patches", heads=["/nowhere"], datasets=["voc20"]), "/nowhere holds no head"),
    ],
)
def test_wrong_studies_fail_before_anything_is_measured(voc: Path, tmp_path: Path, study: Study, line: str) -> None:
    with pytest.raises(UsageError, match=line):
        run_study(study, tmp_path)
    assert not (tmp_path / "records").exists()


def test_study_files_with_mistakes(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    for text, line in (
        ("evaluator = ", "mine.toml: "),
        ('encoders = ["clip-b16"]', "the key 'evaluator' is missing"),
        ('evaluator = "patches"\ndataset = ["voc20"]', "Did you mean 'datasets'"),
        ('evaluator = "patches"\ndatasets = "voc20"', "datasets = 'voc20': should be a valid list"),
    ):
        file.write_text(text)
        with pytest.raises(UsageError, match=line):
            load_study(file)
    with pytest.raises(UsageError, match="Did you mean"):
        load_study(Path("table1-patche"))


def test_an_encoder_read_at_another_block_is_measured_again(
    voc: Path, clip_spec: str, tmp_path: Path, measured
) -> None:
    """Under the same alias: the name is equal, the tokens are not."""
    for block in (0, 1, 1):
        run_study(Study("coherence", "coherence", [f"{clip_spec}?block={block}"], datasets=["voc20"]), tmp_path)
    assert len(measured) == 2


def test_a_head_is_not_run_on_another_block(voc: Path, clip_spec: str, head: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="was trained on small-clip with block=1, not 0"):
        run_study(Study("patches", "patches", [f"{clip_spec}?block=0"], [str(head)], ["voc20"]), tmp_path)


def test_two_models_of_one_name_stand_side_by_side(
    voc: Path, clip_spec: str, vit_file: Path, tmp_path: Path, measured: list, capsys: pytest.CaptureFixture
) -> None:
    twice = [clip_spec, f"small-clip=timm:vit_tiny_patch16_224@{vit_file}"]
    study = Study("coherence", "coherence", twice, datasets=["voc20"])
    first, second = run_study(study, tmp_path)
    assert first.key.model == "small-clip"
    assert re.fullmatch("small-clip-[0-9a-f]{8}", second.key.model)
    assert f"recorded as coherence/{second.key.model}/voc20.default.json" in " ".join(capsys.readouterr().err.split())
    assert run_study(replace(study, encoders=twice[::-1]), tmp_path) == [second, first]
    assert len(measured) == 2


def test_two_heads_of_one_name_stand_side_by_side(
    voc: Path, clip_spec: str, pairs_csv: Path, tmp_path: Path, measured: list
) -> None:
    recipe = replace(RECIPES["small"], batch_size=4, steps=0)
    for seed, folder in enumerate(("d1", "d2")):
        train(TrainConfig(clip_spec, clip_spec, str(pairs_csv), recipe, seed), tmp_path / folder / "h")
    heads = [str(tmp_path / folder / "h") for folder in ("d1", "d2")]
    study = Study("patches", "patches", heads=heads, datasets=["voc20", "voc21"])
    found = run_study(study, tmp_path)
    assert records.load(tmp_path / "records")["head"].nunique() == 2
    names = [record.key.model for record in found]
    assert names[0] == names[1] == "h"
    assert names[2] == names[3] != "h"
    assert run_study(study, tmp_path) == run_study(study, tmp_path, "never") == found
    assert run_study(replace(study, heads=heads[1:]), tmp_path, "never") == found[2:]
    assert len(measured) == 4


def test_two_folders_of_one_name_stand_side_by_side(clip_spec: str, tmp_path: Path, measured: list) -> None:
    images = load_segmentation("world-things")
    for number, folder in enumerate(("a", "b")):
        for part in ("images", "masks"):
            (tmp_path / folder / "m5" / part).mkdir(parents=True)
        (tmp_path / folder / "m5" / "names.txt").write_text("\n".join(images.classnames))
        for index in range(2 + number):
            images.image(index).save(tmp_path / folder / "m5" / "images" / f"{index}.png")
            Image.fromarray(images.label_map(index)).save(tmp_path / folder / "m5" / "masks" / f"{index}.png")
    sets = [f"folder:{tmp_path}/{folder}/m5" for folder in ("a", "b")]
    study = Study("patches", "patches", [clip_spec], datasets=sets, settings={"purity": 0.3})
    first, second = run_study(study, tmp_path)
    assert first.key.dataset == "m5"
    assert re.fullmatch("m5-[0-9a-f]{8}", second.key.dataset)
    assert [record.config["dataset"]["images"] for record in (first, second)] == [2, 3]
    for rerun in ("missing", "never"):
        assert run_study(replace(study, datasets=sets[::-1]), tmp_path, rerun) == [second, first]
    assert len(measured) == 2


def test_two_folders_whose_files_differ_by_content_alone(clip_spec: str, tmp_path: Path, measured: list) -> None:
    for folder, index in (("a", 0), ("b", 1), ("c", 2), ("copy", 1)):
        for label, name in enumerate(("things", "stuff")):
            (tmp_path / folder / "m5" / name).mkdir(parents=True)
            photo = Image.new("RGB", (64, 64), (80 * index, 80 * label, 0))
            photo.save(tmp_path / folder / "m5" / name / "1.bmp")
    sets = [f"folder:{tmp_path}/{folder}/m5" for folder in ("a", "b", "c", "copy")]
    study = Study("classify", "classify", [clip_spec], datasets=sets)
    first, second, third = run_study(study, tmp_path)  # the copy has the record of b
    assert first.config["dataset"]["fingerprint"] == third.config["dataset"]["fingerprint"]
    assert first.key.dataset == "m5"
    assert re.fullmatch("m5-[0-9a-f]{8}", second.key.dataset)
    assert re.fullmatch("m5-[0-9a-f]{8}", third.key.dataset)
    for rerun in ("missing", "never"):
        found = run_study(replace(study, datasets=sets[::-1]), tmp_path, rerun)
        assert found == [second, third, first]
    assert len(measured) == 3


def test_a_record_without_a_sample_of_contents_stays(voc: Path, clip_spec: str, tmp_path: Path, measured: list) -> None:
    """An earlier version wrote none."""
    study = Study("patches", "patches", [clip_spec], datasets=["voc20"])
    (found,) = run_study(study, tmp_path)
    del found.config["dataset"]["contents_sample"]
    records.write(tmp_path / "records", found)
    assert run_study(study, tmp_path) == run_study(study, tmp_path, "never")
    assert len(measured) == 1
    found.config["dataset"]["contents_sample"] = "of other photos"
    records.write(tmp_path / "records", found)
    run_study(study, tmp_path)
    assert len(measured) == 2


def test_a_setting_that_came_later_had_its_default(
    voc: Path, clip_spec: str, head: Path, tmp_path: Path, measured: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    @dataclass(frozen=True)
    class Later(PatchSettings):
        rounds: int = 3

    study = Study("patches", "patches", [clip_spec], [str(head)], ["voc20"])
    first = run_study(study, tmp_path)
    monkeypatch.setitem(evaluators.EVALUATORS, "patches", replace(evaluators.EVALUATORS["patches"], settings=Later))
    assert run_study(study, tmp_path) == first
    assert len(measured) == 2
    changed = run_study(replace(study, settings={"rounds": 4}), tmp_path)
    assert [record.key.variant for record in changed] == ["rounds=4", "rounds=4"]
    assert len(measured) == 4


def test_what_older_and_newer_versions_recorded(
    voc: Path, clip_spec: str, head: Path, tmp_path: Path, measured: list
) -> None:
    """Settings and parts of the recipe that they did not know are no difference; those that we do not know are."""
    study = Study("patches", "patches", heads=[str(head)], datasets=["voc20"])
    (first,) = run_study(study, tmp_path)
    file = tmp_path / "records" / first.key.path
    content = json.loads(file.read_text())
    del content["config"]["settings"]["templates"], content["config"]["settings"]["templates_hash"]
    del content["config"]["settings"]["size"], content["config"]["model"]["head"]["train"]["noun_share"]
    file.write_text(json.dumps(content))
    run_study(study, tmp_path)
    assert len(measured) == 1
    for group, changed in (("settings", {"purity": 0.7}), ("settings", {"rounds": 3}), ("dataset", {"images": 5})):
        content["config"][group] |= changed
        file.write_text(json.dumps(content))
        assert run_study(study, tmp_path)[0].config == first.config
    assert len(measured) == 4


def test_a_setting_of_encoders_that_came_later_had_its_default(
    voc: Path, clip_spec: str, head: Path, tmp_path: Path, measured: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = Study("patches", "patches", [clip_spec], [str(head)], ["voc20"])
    first = run_study(study, tmp_path)
    own = VisionEncoder.settings.fget
    monkeypatch.setitem(VisionEncoder.__annotations__, "registers", int)
    monkeypatch.setattr(VisionEncoder, "registers", 0, raising=False)
    monkeypatch.setattr(
        VisionEncoder, "settings", property(lambda encoder: {**own(encoder), "registers": encoder.registers})
    )
    assert run_study(study, tmp_path) == first
    assert len(measured) == 2
    monkeypatch.setattr(OpenClipVisionEncoder, "registers", 4, raising=False)
    with pytest.raises(UsageError, match="was trained on small-clip with registers=0, not 4"):
        run_study(study, tmp_path)
    assert len(measured) == 3  # the encoder itself, before its head


def test_weights_that_are_nan_are_not_measured(voc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with torch.no_grad():
        broken = load_encoder("tiny-clip")
        broken.visual.proj[0] = float("nan")
    monkeypatch.setattr(candidates, "load_encoder", lambda spec: broken)
    for evaluator in ("coherence", "segment"):
        with pytest.raises(UsageError, match=r"tiny-clip: .*visual\.proj holds NaN"):
            run_study(Study(evaluator, evaluator, ["tiny-clip"], datasets=["voc20"]), tmp_path)
    assert not (tmp_path / "records").exists()


def test_a_number_that_is_nan_is_told_in_one_line(voc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nan = Result([Measurement("auroc", float("nan"), "pairs-across", 4)])
    entry = replace(evaluators.EVALUATORS["coherence"], evaluate=lambda *given: nan)
    monkeypatch.setitem(evaluators.EVALUATORS, "coherence", entry)
    with pytest.raises(RunError, match=r"auroc  is nan; nothing is recorded\.$"):
        run_study(Study("coherence", "coherence", ["tiny-clip"], datasets=["voc20"]), tmp_path)
    assert not list((tmp_path / "records").rglob("*.json"))


@pytest.mark.parametrize(
    "settings", [{"purity": "high"}, {"size": "64"}, {"purity": True}, {"scope": "foo"}, {"keep_background": "no"}]
)
def test_settings_of_the_wrong_kind_are_refused(voc: Path, clip_spec: str, tmp_path: Path, settings: dict) -> None:
    with pytest.raises(UsageError, match=f"setting {next(iter(settings))}"):
        run_study(Study("c", "coherence", [clip_spec], datasets=["voc20"], settings=settings), tmp_path)


def test_lists_of_numbers_in_a_study(voc: Path, clip_spec: str, tmp_path: Path, measured: list) -> None:
    """As TOML gives them; they stand in the record's name, and a record read back is the same config."""
    study = Study(
        "s", "segment", [clip_spec], datasets=["voc21"], settings={"thresholds": [0.2, 0.1], "entropies": [2]}
    )
    (found,) = run_study(study, tmp_path)
    assert found.key.variant == "thresholds=0.2+0.1,entropies=2"
    assert run_study(study, tmp_path) == [found]
    assert len(measured) == 1
    assert {"tokens_per_image", "ms_per_image", "tokens_from", "peak_memory_mb"} <= set(found.provenance)
    with pytest.raises(UsageError, match="setting thresholds = 'high': should be a valid list"):
        run_study(replace(study, settings={"thresholds": "high"}), tmp_path)
    long = run_study(replace(study, settings={"thresholds": [at / 100 for at in range(100)]}), tmp_path)[0].key.variant
    assert len(long) == 160


def test_a_vocabulary_that_does_not_fit_is_told_of_first(voc: Path, clip_spec: str, tmp_path: Path, measured) -> None:
    file = tmp_path / "mine.txt"
    file.write_text("cat, tabby\ndog\n")
    study = Study("s", "segment", [clip_spec], datasets=["voc20"], settings={"vocabulary": str(file)})
    with pytest.raises(UsageError, match=r"mine.txt has 2 lines of names for 20 classes"):
        run_study(study, tmp_path)
    assert not measured


@pytest.mark.parametrize(
    ("evaluator", "heads", "dataset", "settings"),
    [
        ("patches", ["heads/trained"], "folder:scenes", {"purity": 0.6}),
        ("coherence", [], "folder:scenes", {}),
        ("segment", ["heads/trained"], "folder:scenes", {"thresholds": [0.2]}),
        ("classify", ["heads/trained"], "folder:classes", {}),
    ],
)
def test_what_the_first_version_recorded_is_not_measured_again(
    evaluator: str, heads: list, dataset: str, settings: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, measured
) -> None:
    """The studies of tests/frozen/make.py: name, settings and all else of a record are what they were."""
    shutil.copytree(Path(__file__).parents[1] / "frozen" / "v1", tmp_path / "v1")
    monkeypatch.chdir(tmp_path / "v1")
    encoders = ["tiny-clip", *["tiny-dino"] * (evaluator == "coherence")]
    found = run_study(Study(evaluator, evaluator, encoders, heads, [dataset], settings), Path())
    assert len(found) == 2
    assert measured == []


def test_settings_and_names_of_every_record_so_far_are_what_they_were() -> None:
    """Byte for byte, so that none is measured again: of tests/frozen and of results/."""
    root = Path(__file__).parents[2]
    files = [*root.glob("tests/frozen/v1/records/*/*/*.json"), *root.glob("results/records/*/*/*.json")]
    assert len(files) > 8
    for file in files:
        record = json.loads(file.read_text(encoding="utf-8"))
        then = record["config"]["settings"]
        if record["key"]["variant"].startswith("predictions"):
            continue  # of another tool: nothing was set
        declared = evaluators.EVALUATORS[record["config"]["evaluator"]].settings
        known = [field.name for field in fields(declared)]  # type: ignore[arg-type]
        settings = made(declared, {name: value for name, value in then.items() if name in known}, as_option)
        now = settings.describe(SimpleNamespace(**record["config"]["dataset"]))
        assert json.dumps({name: now[name] for name in now if name in then}) == json.dumps(then), file
        assert variant(settings) == record["key"]["variant"], file


def test_bounds_are_the_same_through_python(voc: Path, clip_spec: str, tmp_path: Path, measured: list) -> None:
    for settings, line in (
        ({"purity": -3}, "setting purity = -3: should be greater than or equal to 0."),
        ({"size": 0}, "setting size = 0: should be greater than or equal to 1."),
    ):
        with pytest.raises(UsageError, match=line):
            run_study(Study("x", "patches", [clip_spec], datasets=["voc20"], settings=settings), tmp_path)
    assert measured == []


def test_a_record_that_was_copied_to_the_place_of_another_is_not_taken_for_it(
    voc: Path, clip_spec: str, tmp_path: Path
) -> None:
    study = Study("patches", "patches", [clip_spec], datasets=["voc20"])
    (measured,) = run_study(study, tmp_path)
    file = tmp_path / "records" / measured.key.path
    records.write(tmp_path / "records", replace(measured, key=replace(measured.key, model="other")))
    (tmp_path / "records" / "patches" / "other" / file.name).rename(file)
    with pytest.raises(UsageError, match=r"voc20\.default\.json is the record of patches/other/voc20"):
        run_study(study, tmp_path)
