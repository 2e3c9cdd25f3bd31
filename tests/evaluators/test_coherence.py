import numpy as np
import pytest
import sklearn.metrics
import torch

from pacl_bench.encoders.base import PatchFeatures
from pacl_bench.errors import UsageError
from pacl_bench.evaluators.coherence import CoherenceSettings, common_grid, evaluate_coherence, on_grid


def same_class_share(coloured) -> float:
    """Of the pairs of patches of two images, those of one class: each class fills two fields of 16 patches."""
    images_of = [[index for index in range(10) if label in coloured.label_map(index)] for label in range(20)]
    return 16 * 16 * sum(len(images) == 2 for images in images_of) / (64 * 64 * 10 * 9 / 2)


def test_colours_tell_classes_apart_perfectly(perfect, coloured) -> None:
    measured = evaluate_coherence(perfect.vision, coloured, CoherenceSettings()).measurements
    whole = {row.metric: row for row in measured if not row.class_name}
    assert {metric: row.value for metric, row in whole.items()} == {
        "auroc": 1.0, "mean_per_class_auroc": 1.0, "average_precision": 1.0,
    }  # fmt: skip
    assert {row.protocol for row in measured} == {"pairs-across"}
    patches, images = 10 * 64, 10
    assert whole["auroc"].n == patches * (patches - 1) // 2 - images * 64 * 63 // 2
    assert whole["auroc"].chance == 0.5
    assert whole["average_precision"].chance == pytest.approx(same_class_share(coloured))


def test_each_class_has_its_own_number(perfect, coloured) -> None:
    measured = evaluate_coherence(perfect.vision, coloured, CoherenceSettings(scope="all")).measurements
    rows = {row.class_name: row for row in measured if row.class_name}
    assert list(rows) == coloured.classnames
    its = 2 * 16  # patches: each class fills two of the 40 fields
    assert {row.n for row in rows.values()} == {its * (its - 1) // 2 + its * (640 - its)}


def test_constant_tokens_tell_nothing(perfect, coloured) -> None:
    perfect.vision.encode = lambda images, stride, grid: (None, torch.ones(len(images), grid[0] * grid[1], 21))
    measured = evaluate_coherence(perfect.vision, coloured, CoherenceSettings()).measurements
    assert measured[0].value == measured[0].ci_low == measured[0].ci_high == 0.5
    assert measured[2].value == pytest.approx(same_class_share(coloured), rel=1e-3)


@pytest.mark.parametrize("scope", ["across", "within", "all"])
def test_scopes(perfect, coloured, scope) -> None:
    measured = evaluate_coherence(perfect.vision, coloured, CoherenceSettings(scope=scope)).measurements
    pairs = {"within": 10 * 64 * 63 // 2, "all": 640 * 639 // 2}
    pairs["across"] = pairs["all"] - pairs["within"]
    assert measured[0].n == pairs[scope]
    assert measured[0].protocol == f"pairs-{scope}"


def test_a_head_is_measured_by_its_embeddings(perfect, coloured) -> None:
    """A head that forgets the colours of half the classes makes them one."""
    forgetful = torch.diag((torch.arange(21) < 10).float())
    forgetful[:, 20] = (torch.arange(21) >= 10).float()
    perfect.vision.project = lambda tokens: tokens @ forgetful
    measured = evaluate_coherence(perfect, coloured, CoherenceSettings()).measurements
    assert 0.5 < measured[0].value < 1.0
    of_class = {row.class_name: row.value for row in measured if row.class_name}
    assert of_class[coloured.classnames[0]] == 1.0
    assert of_class[coloured.classnames[19]] < 1.0


def test_a_common_grid_counts_its_cells(perfect, coloured) -> None:
    measured = evaluate_coherence(perfect.vision, coloured, CoherenceSettings(scope="all", grid=4)).measurements
    cells = 10 * 16
    assert measured[0].n == cells * (cells - 1) // 2
    assert measured[0].protocol == "pairs-all, grid=4"
    assert measured[0].value > 0.99  # a cell at an edge takes a little of its neighbour


def test_cells_are_nearly_square() -> None:
    assert common_grid((64, 64), 4) == (4, 4)
    assert common_grid((375, 500), 12) == (12, 16)
    assert common_grid((500, 333), 12) == (18, 12)


def test_tokens_on_another_grid_keep_their_place_and_their_mean() -> None:
    ramp = torch.arange(4.0)[:, None].expand(4, 6)  # grows from row to row
    tokens = torch.stack([ramp, torch.ones(4, 6)], dim=-1).reshape(1, 24, 2)
    coarse = on_grid(PatchFeatures(None, tokens, (4, 6)), (2, 3))
    assert (coarse.patch_tokens.shape, coarse.grid) == ((1, 6, 2), (2, 3))
    rows = coarse.patch_tokens[0, :, 0].reshape(2, 3).numpy()
    np.testing.assert_allclose(rows, rows[:, :1].repeat(3, 1), rtol=1e-6)
    assert rows.mean() == pytest.approx(1.5)
    assert rows[0, 0] < 1 < 2 < rows[1, 0]
    fine = on_grid(PatchFeatures(None, tokens, (4, 6)), (8, 12))
    assert fine.patch_tokens[0, :, 0].mean() == pytest.approx(1.5)
    assert torch.all(fine.patch_tokens[..., 1] == 1)


def test_stegos_protocol_is_another_number(perfect, coloured) -> None:
    """Its points and pairs by hand; a record of it is not compared with one of pairs of patches."""
    images = [coloured.label_map(index) for index in range(10)]
    found = evaluate_coherence(perfect.vision, coloured, CoherenceSettings(protocol="stego"))
    (row,) = found.measurements
    assert (row.metric, row.protocol, row.n) == ("average_precision", "stego", 10 * 121 * 121)
    agree, alike = [], []
    for index, label_map in enumerate(images):
        first, second = (2 * one - 1 for one in torch.rand(2, 121, 2, generator=torch.Generator().manual_seed(index)))
        tokens = torch.nn.functional.one_hot(torch.from_numpy(label_map[4::8, 4::8].astype(int)), 21).double()
        pixels = torch.nn.functional.one_hot(torch.from_numpy(label_map.astype(int)), 21).double()

        def at(maps: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
            grid = points.double()[None, None]
            return torch.nn.functional.grid_sample(maps.permute(2, 0, 1)[None], grid, align_corners=True)[0, :, 0].T

        one, other = (torch.nn.functional.normalize(at(tokens, points), dim=-1) for points in (first, second))
        alike.append((one @ other.T).numpy().ravel())
        agree.append((at(pixels, first) @ at(pixels, second).T).numpy().ravel() >= 1 - 1e-4)
    expected = sklearn.metrics.average_precision_score(np.concatenate(agree), np.concatenate(alike).round(6))
    assert row.value == pytest.approx(expected, abs=2e-3)
    assert row.chance == pytest.approx(np.concatenate(agree).mean(), abs=1e-9)
    assert set(found.curves) == {"pr"}
    usual = CoherenceSettings()
    assert "protocol" not in usual.describe(coloured)
    with pytest.raises(UsageError, match="--protocol stego: draws pairs of its own; leave out --grid, --purity"):
        CoherenceSettings(protocol="stego", purity=0.5, grid=8).resolve(coloured)
