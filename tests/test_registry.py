"""What installed packages add to the tables: found without being imported, and harmless where it is broken."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pacl_bench import load_encoder, registry
from pacl_bench.cli import catalog
from pacl_bench.data.catalog import kind_of
from pacl_bench.data.classification import load_classification
from pacl_bench.data.pairs import load_pairs
from pacl_bench.data.segmentation import load_segmentation
from pacl_bench.errors import UsageError

Install = Callable[[str, str, str], None]
SETS = """
from pathlib import Path
from PIL import Image
from pacl_bench.data.outside_sets import OutsideSet
from pacl_bench.data.pair_readers import Pairs, read_csv
from pacl_bench.data.segmentation_folders import read_user_folder

class Grey:
    classnames, labels, templates, official_images, fingerprint = ["a", "b"], [0, 1], [], 2, "grey 1"
    def __init__(self, name):
        self.name = name
    def __len__(self):
        return 2
    def image(self, index):
        return Image.new("RGB", (8, 8), (9, 9, 9))

def declared(kind, read, **more):
    return OutsideSet(kind=kind, title="t", num_images=2, read=read, **more)

grey = declared("classification", lambda root: Grey("grey"), classnames=("a", "b"))
misnamed = declared("classification", lambda root: Grey("other"))
no_maps = declared("segmentation", lambda root: Grey("no_maps"))
no_pairs = declared("pairs", lambda root: Grey("no_pairs"))
absent = declared("classification", lambda root: Grey("absent"), folders=("absent-set",))
failing = declared("classification", lambda root: {}["key"])
own_pairs = declared("pairs", lambda root: Pairs("own_pairs", Grey("x"), [["one"], ["two"]], []))
mine = declared("segmentation", lambda root: None)
no_set = 3
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Puts a package of one module where Python finds it: its name, its entry points as an ini file, its code."""

    def put(name: str, points: str, code: str) -> None:
        about = tmp_path / f"{name}-1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (about / "entry_points.txt").write_text(points)
        (tmp_path / f"{name}.py").write_text(code)
        registry._installed.cache_clear()

    monkeypatch.syspath_prepend(tmp_path)
    registry._tell.cache_clear()
    yield put
    registry._installed.cache_clear()
    registry._tell.cache_clear()


def test_found_but_not_imported(install: Install) -> None:
    install("outside1", "[pacl_bench.heads]\nbilinear = outside1:Bilinear\n", "raise SystemExit(1)")
    points = registry.entry_points("pacl_bench.heads")
    assert {name: registry.package_of(point) for name, point in points.items()} == {"bilinear": "outside1"}
    with pytest.raises(
        UsageError, match="'bilinear' of the package outside1: outside1:Bilinear does not import: System"
    ):
        registry.loaded(points["bilinear"])


def test_a_broken_package_costs_a_line(install: Install, capsys: pytest.CaptureFixture) -> None:
    install("outside2", "[g]\ngood = outside2:good\n", "good = 1")
    install("outside3", "[g]\nbad = outside3:bad\nworse = outside3:x\n", "import no_such_library")
    for _ in range(2):
        assert registry.loaded_entry_points("g") == {"good": 1}
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        f"warning: {name!r} of the package outside3: outside3:{value} does not import: ModuleNotFoundError: No module "
        "named 'no_such_library'"
        for name, value in (("bad", "bad"), ("worse", "x"))
    ]


def test_own_names_win_and_a_clash_is_told(install: Install, capsys: pytest.CaptureFixture) -> None:
    points = (
        "[pacl_bench.encoders]\ntiny-clip = outside4:f\n{0} = outside4:g\n[pacl_bench.datasets]\nvoc20 = outside4:s\n"
    )
    install("outside4", points.format("twice"), "")
    install("outside5", points.replace("outside4", "outside5").format("twice"), "")
    assert load_encoder("tiny-clip").architecture == "built-in:tiny-clip"
    with pytest.raises(UsageError, match="PACL_DATA"):
        load_segmentation("voc20")
    told = capsys.readouterr().err
    for name in ("tiny-clip", "voc20"):
        assert f"warning: {name!r} of the package outside4 is not used: pacl-bench has its own\n" in told
    assert "warning: 'twice' of the package outside5 is not used: outside4 has one of that name\n" in told
    assert next(row for row in catalog.encoders() if row["name"] == "twice")["loads as"] == "python:outside4:g"


def test_encoders_by_name(install: Install) -> None:
    code = "from torch import nn\nclass Means(nn.Module):\n    patch_size, image_size, mean, std = 8, 32, 0.5, 0.5\n"
    code += "    def forward(self, images):\n        return nn.functional.avg_pool2d(images, 8)\n"
    install("outside6", "[pacl_bench.encoders]\nmean-colours = outside6:Means\nlost = outside6:Lost\n", code)
    encoder = load_encoder("m=mean-colours?image_size=64")
    assert (encoder.name, encoder.spec, encoder.image_size) == ("m", "mean-colours?image_size=64", 64)
    # the same settings, and with them the same tokens in the cache, however it is named
    assert encoder.settings == load_encoder("python:outside6:Means?image_size=64").settings
    for name, line in {
        "mean-colour": "Unknown encoder 'mean-colour'. Did you mean 'mean-colours'?",
        "lost": "python:outside6:Lost: Unknown function of outside6 'Lost'.",
        "mean-colours@w.pt": "takes no file of weights; leave out @w.pt",
    }.items():
        with pytest.raises(UsageError) as error:
            load_encoder(name)
        assert line in str(error.value)


def test_data_sets_by_name(install: Install, capsys: pytest.CaptureFixture) -> None:
    names = ("grey", "misnamed", "no_maps", "no_pairs", "absent", "failing", "own_pairs", "mine", "no_set")
    install("outside7", "[pacl_bench.datasets]\n" + "".join(f"{name} = outside7:{name}\n" for name in names), SETS)
    assert load_classification("grey").labels == [0, 1]
    assert load_pairs("own_pairs")[0].captions == [["one"], ["two"]]
    assert (kind_of("grey"), kind_of("own_pairs")) == ("classification", "pairs")
    for load, name, line in (
        (load_classification, "misnamed", "the reader of the package that declares it returned a set called 'other'."),
        (load_segmentation, "no_maps", "returned a Grey without label_map."),
        (load_pairs, "no_pairs", "returned a Grey, not Pairs or ShardSet."),
        (load_classification, "absent", "absent-set not found. Get it from its package"),
        (load_classification, "failing", "failing: KeyError: 'key' (outside7.py, line 25)"),
        (load_classification, "grei", "Unknown classification set 'grei'. Did you mean 'grey'?"),
        (load_segmentation, "grey", "Unknown segmentation set 'grey'."),
        (load_classification, "no_set", "outside7:no_set is no OutsideSet (pacl_bench.data.outside_sets)"),
    ):  # fmt: skip
        with pytest.raises(UsageError) as error:
            load(name)
        assert line in str(error.value)
    rows = {row["name"]: row for row in catalog.datasets()}
    assert rows["grey"] == {
        "name": "grey", "kind": "classification", "what": "t", "images": 2, "classes": 2, "found": "in its package",
    }  # fmt: skip
    assert rows["absent"]["found"] == "no"
    assert "own_pairs" in {row["name"] for row in catalog.pairs()}
    assert "no_set" not in rows
    assert capsys.readouterr().err.count("\n") == 1


def test_a_folder_of_the_users_may_not_have_its_name(install: Install, tmp_path: Path) -> None:
    install("outside8", "[pacl_bench.datasets]\nmine = outside8:mine\n", SETS)
    for part in ("images", "masks"):
        (tmp_path / "mine" / part).mkdir(parents=True)
    (tmp_path / "mine" / "names.txt").write_text("a\n")
    with pytest.raises(UsageError, match="'mine' is the name of another data set"):
        load_segmentation(f"folder:{tmp_path / 'mine'}")
