"""Label PNGs: ours written and scored again, other people's with every way to be wrong."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pacl_bench import cli, records
from pacl_bench.data.segmentation import load_segmentation
from pacl_bench.errors import UsageError
from pacl_bench.image_sets import BrokenImage
from pacl_bench.report import table
from pacl_bench.studies.predictions import image_id, label_writer, read_label_map, score_predictions


@pytest.fixture
def perfect_maps(voc: Path, tmp_path: Path) -> Path:
    """The labels themselves; nothing predicted where they are ignored."""
    images = load_segmentation("voc20")
    write = label_writer(tmp_path / "made" / "voc20", images)
    for index in range(len(images)):
        write(index, images.label_map(index))
    return tmp_path / "made"


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["pacl-bench", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def headline(record: records.Record) -> dict[tuple[str, str], float]:
    return {(row.protocol, row.metric + row.class_name): row.value for row in record.measurements}


def test_what_is_saved_scores_as_it_did(
    voc: Path, clip_spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Ours, written, read and scored again: every number of the protocol, intervals included, is the same."""
    to, made = ["--results", str(tmp_path / "results")], str(tmp_path / "made")
    sets = ["--datasets", "voc20,voc21"]
    assert run(monkeypatch, "segment", "--encoders", clip_spec, *sets, *to, "--save-predictions", made) == 0
    assert run(monkeypatch, "segment", "--predictions", f"{made}/small-clip", "--name", "LSeg", *sets, *to) == 0
    assert "LSeg" in capsys.readouterr().out
    for dataset, protocol in (("voc20", "dataset-miou, background=none"), ("voc21", "dataset-miou, background=class")):
        ours, theirs = (
            [row for row in records.read(tmp_path / "results/records/segment" / file).measurements
             if row.protocol == protocol]
            for file in (f"small-clip/{dataset}.default.json", f"LSeg/{dataset}.predictions.json")
        )  # fmt: skip
        assert len(ours) > 6
        assert ours == theirs


def test_a_saved_map_is_written_again_where_a_record_is_there(
    voc: Path, clip_spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["segment", "--encoders", clip_spec, "--results", str(tmp_path / "results")]
    assert run(monkeypatch, *command) == 0
    assert run(monkeypatch, *command, "--save-predictions", str(tmp_path / "made")) == 0
    assert len(list((tmp_path / "made/small-clip/voc20").iterdir())) == 6


def test_two_sets_of_one_name_are_saved_in_two_folders(
    clip_spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place, size in (("a", 64), ("b", 80)):
        for part in ("images", "masks"):
            (tmp_path / place / "mine" / part).mkdir(parents=True)
            Image.fromarray(np.zeros((size, size), np.uint8)).save(tmp_path / place / "mine" / part / "0.png")
        (tmp_path / place / "mine" / "names.txt").write_text("cat\ndog\n")
    sets = f"folder:{tmp_path / 'a/mine'},folder:{tmp_path / 'b/mine'}"
    command = ["segment", "--encoders", clip_spec, "--datasets", sets, "--results", str(tmp_path / "results")]
    assert run(monkeypatch, *command, "--save-predictions", str(tmp_path / "made")) == 0
    first, second = sorted((tmp_path / "made/small-clip").iterdir())
    assert (first.name, second.name[:5], len(second.name)) == ("mine", "mine-", 13)
    assert [np.asarray(Image.open(folder / "0.png")).shape for folder in (first, second)] == [(64, 64), (80, 80)]


def test_other_predictions_of_one_name_stand_beside_the_first(
    perfect_maps: Path, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    images = load_segmentation("voc20")
    first = score_predictions(perfect_maps, "LSeg", images, tmp_path / "results")
    assert score_predictions(perfect_maps, "LSeg", images, tmp_path / "results").key == first.key
    for file in (perfect_maps / "voc20").iterdir():
        Image.fromarray(np.zeros_like(np.asarray(Image.open(file)))).save(file)
    second = score_predictions(perfect_maps, "LSeg", images, tmp_path / "results")
    assert second.key.model.startswith("LSeg-")
    assert "other predictions were scored under the name of segment/LSeg/voc20" in capfd.readouterr().err
    folder = tmp_path / "results" / "records"
    assert headline(records.read(folder / first.key.path)) == headline(first) != headline(second)
    assert headline(records.read(folder / second.key.path)) == headline(second)


def test_perfect_predictions_score_one(perfect_maps: Path, tmp_path: Path) -> None:
    images = load_segmentation("voc20")
    record = score_predictions(perfect_maps, "Perfect", images, tmp_path / "results")
    found = headline(record)
    for metric in ("miou", "pixel_accuracy", "mean_accuracy", "boundary_blind_miou", "ioucat"):
        assert found["dataset-miou, background=none", metric] == 1
    assert {protocol for protocol, _ in found} == {"dataset-miou, background=none"}
    assert record.config["model"]["predictions"]["name"] == "Perfect"
    assert records.read(tmp_path / "results/records" / record.key.path) == record


def test_nothing_predicted_is_wrong_for_its_class(perfect_maps: Path, tmp_path: Path) -> None:
    images = load_segmentation("voc20")
    for index in range(len(images)):
        file = perfect_maps / "voc20" / f"{image_id(images, index)}.png"
        label_map = np.array(Image.open(file))
        label_map[label_map == images.classnames.index("cat")] = 255
        Image.fromarray(label_map).save(file)
    found = headline(score_predictions(perfect_maps / "voc20", "NoCats", images, tmp_path / "results"))
    assert found["dataset-miou, background=none", "ioucat"] == 0
    assert found["dataset-miou, background=none", "ioudog"] == 1
    assert found["dataset-miou, background=none", "miou"] == 0.5


def test_background_predicted_is_no_class_where_background_is_ignored(perfect_maps: Path, tmp_path: Path) -> None:
    images = load_segmentation("voc21")
    write = label_writer(perfect_maps / images.name, images)
    for index in range(len(images)):
        write(index, np.where(images.label_map(index) == 12, 0, images.label_map(index)).astype(np.uint8))
    found = headline(score_predictions(perfect_maps, "NoDogs", images, tmp_path / "results"))
    assert found["dataset-miou, background=none", "miou"] == 0.5  # cat 1, dog 0; background is in neither
    assert found["dataset-miou, background=class", "ioucat"] == 1
    assert 0 < found["dataset-miou, background=class", "ioubackground"] < 0.2


def test_missing_files_are_counted_and_named(perfect_maps: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    files = sorted((perfect_maps / "voc20").iterdir())
    command = ["segment", "--predictions", str(perfect_maps), "--name", "Some", "--results", str(tmp_path / "results")]
    for number, file in enumerate(files[:5], start=1):
        file.unlink()
        assert run(monkeypatch, *command) == 2
        err = capsys.readouterr().err
        assert f"{number} of 6 predictions for voc20 are missing ({files[0].name}" in err
        assert err.count("\n") == 1
        assert ("and 1 more" in err) == (number == 4)
    assert not (tmp_path / "results").exists()
    assert run(monkeypatch, *command, "--allow-partial", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert {(row["n"], row["variant"]) for row in rows} == {(1, "predictions,partial")}
    files[5].unlink()
    assert run(monkeypatch, *command, "--allow-partial") == 2
    assert "6 of 6 predictions for voc20 are missing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--predictions", "/nowhere", "--name", "x"], "--predictions /nowhere: no such folder."),
        (["--predictions", "/nowhere"], "--predictions wants --name METHOD"),
        (
            ["--predictions", "/nowhere", "--name", "x", "--encoders", "clip-b16"],
            "scored as they are: leave out --encoders.",
        ),
        (
            ["--predictions", "/nowhere", "--name", "x", "--thresholds", "0.1", "--stride", "4"],
            "--predictions are scored as they are: leave out --thresholds, --stride.",
        ),
        (["--name", "x", "--encoders", "clip-b16"], "--name and --allow-partial go with --predictions DIR"),
        (["--encoders", "clip-b16", "--thresholds", "0.1,high"], "--thresholds 'high': should be a valid number."),
        (["--encoders", "clip-b16", "--thresholds", "1.5"], "--thresholds 1.5: should be less than or equal to 1."),
        (["--encoders", "clip-b16", "--vocabulary", "plian"], "Did you mean 'plain'?"),
        (["--encoders", "clip-b16", "--vocabulary", "plain,plain"], "stands there twice"),
        (["--encoders", "clip-b16", "--vocabulary", " , "], "--vocabulary ' , ' says nothing"),
        (["--encoders", "clip-b16", "--templates", ""], "--templates '' says nothing"),
        (["--encoders", "clip-b16", "--templates", "paper7,smple"], "Did you mean 'simple'?"),
    ],
)
def test_wrong_usage_is_one_line(voc: Path, monkeypatch, capsys, arguments: list[str], line: str) -> None:
    assert run(monkeypatch, "segment", *arguments) == 2
    err = capsys.readouterr().err
    assert line in err
    assert err.count("\n") == 1


def test_a_file_that_is_no_prediction_is_named(tmp_path: Path) -> None:
    file = tmp_path / "one.png"
    for content, line in (
        (np.zeros((3, 4), np.uint8), "4 x 3 pixels, its image 5 x 3; a prediction is wanted in the size of its image"),
        (np.zeros((3, 5, 3), np.uint8), "must hold one whole number a pixel"),
        (np.full((3, 5), 20, np.uint8), "label 20; the set has 0 to 19, and 255 for nothing"),
    ):
        Image.fromarray(content).save(file)
        with pytest.raises(BrokenImage, match=line):
            read_label_map(file, (3, 5), 20)
    file.write_text("no image")
    with pytest.raises(BrokenImage, match=r"one\.png: cannot identify"):
        read_label_map(file, (3, 5), 20)
    palette = Image.fromarray(np.full((3, 5), 7, np.uint8))
    palette.putpalette(list(range(30)))
    palette.save(file)
    assert (read_label_map(file, (3, 5), 20) == 7).all()


def test_a_broken_prediction_leaves_no_record(perfect_maps: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    file = sorted((perfect_maps / "voc20").iterdir())[3]
    Image.fromarray(np.zeros((3, 4), np.uint8)).save(file)
    command = ["segment", "--predictions", str(perfect_maps), "--name", "Bad", "--results", str(tmp_path / "results")]
    assert run(monkeypatch, *command) == 1
    err = capsys.readouterr().err
    assert file.name in err
    assert err.count("\n") == 1
    assert not (tmp_path / "results").exists()


def test_they_stand_in_table_2(perfect_maps: Path, tmp_path: Path) -> None:
    record = score_predictions(perfect_maps, "LSeg", load_segmentation("voc20"), tmp_path / "results")
    found = table("table2", [record])
    printed, mine, *_ = found.groups
    [line] = mine.lines
    assert (line.name, line.cells["voc20"].value) == ("LSeg", 1)
    told = {line.name: line.detail for line in printed.lines}
    assert "masks upstream" in told["OpenSeg"]
    assert "seen classes annotated" in told["LSeg"]


def test_images_without_an_id_have_a_number() -> None:
    assert image_id(load_segmentation("world-things"), 7) == "7"
    with pytest.raises(UsageError, match="no such folder"):
        score_predictions(Path("/nowhere"), "x", load_segmentation("world-things"), Path("/nowhere"))
