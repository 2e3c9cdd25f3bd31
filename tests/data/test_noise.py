"""Sets that drown in noise: the images change as they should, and nothing else does."""

import numpy as np
import pytest

from pacl_bench.data.noise import drowned, noise_of
from pacl_bench.data.segmentation import load_segmentation
from pacl_bench.errors import UsageError
from pacl_bench.evaluators.sets import classification_sets, segmentation_sets
from pacl_bench.image_sets import LabelledImages, SegmentationImages


def test_a_share_of_noise() -> None:
    plain, half, gone = segmentation_sets(["world-things", "world-things?noise=0.5", "world-things?noise=1"])
    assert [one.name for one in (plain, half, gone)] == [
        "world-things",
        "world-things?noise=0.5",
        "world-things?noise=1",
    ]
    image, mixed, noise = (np.asarray(one.image(3), float) for one in (plain, half, gone))
    assert np.abs((image + noise) / 2 - mixed).max() <= 1
    assert abs(noise.mean() - 127.5) < 3
    assert abs(np.corrcoef(image.ravel(), noise.ravel())[0, 1]) < 0.05
    assert (np.asarray(half.image(3)) == mixed).all()
    assert not (np.asarray(gone.image(4)) == noise).all()


def test_all_else_is_as_in_the_set() -> None:
    plain, half = segmentation_sets(["world-things", "world-things?noise=0.5"])
    (labelled,) = classification_sets(["world-clean?noise=0.5"])
    assert isinstance(half, SegmentationImages)
    assert isinstance(labelled, LabelledImages)
    assert (half.classnames, len(half)) == (plain.classnames, len(plain))
    assert (half.label_map(3) == plain.label_map(3)).all()
    assert len({plain.fingerprint, half.fingerprint, drowned(plain, 0.25).fingerprint}) == 3
    assert drowned(plain, 0.0) is plain


def test_what_is_no_share_is_said() -> None:
    assert noise_of("voc20") == ("voc20", 0)
    assert noise_of("voc20?noise=0.25") == ("voc20", 0.25)
    for share in ("2", "-1", "much", "", "nan"):
        with pytest.raises(UsageError, match="must be a share from 0"):
            segmentation_sets([f"world-things?noise={share}"])
    with pytest.raises(UsageError, match="Did you mean 'world-things'"):
        segmentation_sets(["world-thing?noise=0.5"])
    assert load_segmentation("world-things").name == "world-things"
