"""What several tests of training begin with."""

from pathlib import Path

import pytest
from quick_training import QUICK

from pacl_bench.training.recipe import TrainConfig


@pytest.fixture
def config(clip_spec: str, pairs_csv: Path) -> TrainConfig:
    """A quick run on twelve pairs in files."""
    return TrainConfig(clip_spec, clip_spec, str(pairs_csv), QUICK)
