"""The built-in world: scenes, captions and label maps drawn from a seed, and the data sets made of them."""

from pacl_bench.world.captions import CaptionSpec, Region
from pacl_bench.world.scene import Image, Map, Scene, WorldSpec, render_scene
from pacl_bench.world.sets import (
    PRETRAINING_STREAM,
    WORLD_CLASSIFICATION,
    WORLD_PAIRS,
    WORLD_SEGMENTATION,
    WorldClassification,
    WorldPairs,
    WorldScenes,
    WorldSegmentation,
)
from pacl_bench.world.tables import COLOURS, HELD_OUT, IMAGE_SIZE, STUFF, TEMPLATES, THINGS, vocabulary

__all__ = [
    "COLOURS",
    "HELD_OUT",
    "IMAGE_SIZE",
    "PRETRAINING_STREAM",
    "STUFF",
    "TEMPLATES",
    "THINGS",
    "WORLD_CLASSIFICATION",
    "WORLD_PAIRS",
    "WORLD_SEGMENTATION",
    "CaptionSpec",
    "Image",
    "Map",
    "Region",
    "Scene",
    "WorldClassification",
    "WorldPairs",
    "WorldScenes",
    "WorldSegmentation",
    "WorldSpec",
    "render_scene",
    "vocabulary",
]
